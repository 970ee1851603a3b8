"""One batch of a producer, from its acceptance to its result, and the tries to send it.

A *try* is one request with the batch. The world may report that a try never left (``NotSent``); it
then no longer counts. A broker may refuse a try and say that it appended nothing. Every other try
may have been written, whatever happened to its response. So may a copy of a refused try, except in
a world that delivers each request at most once.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from yak_core.batch import Batch
from yak_core.contract.client_calls import SendResult
from yak_core.errors import ErrorCode, Outcome
from yak_core.ids import NO_EPOCH, CallId, Micros, NodeId

QUEUE_FULL: Final = "too many unresolved batches; retry after some are resolved"
FENCED: Final = "fenced: another producer has a newer epoch; start a new producer"
STOPPED: Final = "the producer was stopped"


class DeliveryState(StrEnum):
    """The state of a batch between its acceptance and its result."""

    QUEUED = "queued"
    IN_FLIGHT = "in flight"
    WAITING = "waiting"
    """Waiting for the backoff before the next try."""


class Delivery:
    """One unresolved batch with the state of its delivery.

    Invariants: a batch in flight has a try, the newest of which is ``correlation``. A batch of an
    idempotent producer that has a try is stamped.
    """

    __slots__ = (
        "batch", "call", "correlation", "deadline", "peer", "producer_unknown", "sent_first",
        "stamped", "state", "timeout_at", "tries",
    )  # fmt: skip

    def __init__(self, call: CallId, batch: Batch, deadline: Micros) -> None:
        self.call = call
        self.batch = batch
        #: Time at which the producer gives up the batch.
        self.deadline = deadline
        #: Time at which the request in flight times out.
        self.timeout_at: Micros = 0
        self.state = DeliveryState.QUEUED
        #: Whether the batch has a sequence of the present producer epoch.
        self.stamped = False
        #: Correlation number of each try that may have left -> whether a broker refused it.
        self.tries: dict[int, bool] = {}
        #: Correlation number of the newest try, and the broker that it was sent to.
        self.correlation = 0
        self.peer: NodeId = ""
        #: Whether no earlier batch of the producer epoch was unresolved at the newest try.
        self.sent_first = False
        #: Whether the newest try was refused because the leader does not know the producer.
        self.producer_unknown = False

    @property
    def may_be_written(self) -> bool:
        """Whether some try may have been appended."""
        return not all(self.tries.values())

    def outcome(self, *, requests_once: bool) -> Outcome:
        """Return the outcome if the batch is given up now.

        It is not written if no try can be appended: each of them never left, or in a world that
        delivers each request at most once, was refused.
        """
        is_certain = not self.may_be_written if requests_once else not self.tries
        return Outcome.NOT_WRITTEN if is_certain else Outcome.UNKNOWN

    def timed_out(self, outcome: Outcome, last_refusal: str) -> SendResult:
        """Return the result at the delivery timeout; ``last_refusal`` is empty after a success."""
        what = "an ack" if self.tries else "the batch was sent"
        detail = f"the delivery timeout expired before {what}"
        detail += f", last refusal {last_refusal}" if last_refusal else ""
        return failed(ErrorCode.REQUEST_TIMED_OUT, outcome, detail)

    @property
    def may_be_renumbered(self) -> bool:
        """Whether the batch may get another sequence, because no copy of it can be appended.

        Either every try never left, or the leader did not know the producer and every try was
        refused.
        """
        return not self.tries or (self.producer_unknown and not self.may_be_written)

    def is_latest(self, correlation: int) -> bool:
        """Return whether the batch is in flight and this is its newest try."""
        return self.state is DeliveryState.IN_FLIGHT and self.correlation == correlation

    def begin_try(self, correlation: int, peer: NodeId, *, sent_first: bool) -> None:
        """Record that the batch is sent to ``peer``."""
        self.state = DeliveryState.IN_FLIGHT
        self.tries[correlation] = False
        self.correlation = correlation
        self.peer = peer
        self.sent_first = sent_first
        self.producer_unknown = False

    def unstamp(self) -> None:
        """Remove the sequence; the batch gets another one when it is sent again."""
        assert self.may_be_renumbered, "a batch that may be in the log keeps its sequence"
        self.state = DeliveryState.QUEUED
        self.stamped = False
        self.tries.clear()
        self.producer_unknown = False


def failed(error: ErrorCode, outcome: Outcome, detail: str) -> SendResult:
    """Return the result of a batch that is not confirmed."""
    return SendResult(error, outcome, -1, NO_EPOCH, detail)
