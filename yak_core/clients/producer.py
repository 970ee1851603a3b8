"""The producer node: it sends batches in order, with retries and idempotence.

A batch gets its sequence when it is first sent and keeps it in all retries. Batches are sent in
order, at most five in flight. Later batches wait while an earlier batch waits for its retry
(KIP-98, KAFKA-5494). The result of a batch is written, not written or unknown. If any attempt may
have been written and the producer gives up the batch, the result is unknown. The producer then
starts a new producer epoch, because the batch may have left a gap in the sequences (F76, F77).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from yak_core.batch import Batch, with_producer
from yak_core.clients.leader_finder import LeaderFinder
from yak_core.config import ProducerConfig, check_client_config
from yak_core.contract.client_calls import SendBatch, SendResult
from yak_core.contract.effects import Answer, Effect, Observe, Send, SetTimer
from yak_core.contract.events import (
    Called,
    Cancelled,
    Event,
    PeerLost,
    Received,
    Started,
    TimerFired,
)
from yak_core.contract.messages import ProduceRequest, ProduceResponse
from yak_core.contract.node import Snapshot
from yak_core.contract.notes import ProducerReset
from yak_core.errors import RETRIABLE, ErrorCode, Outcome
from yak_core.fork import fork_of
from yak_core.ids import NO_EPOCH, CallId, Micros, NodeId
from yak_core.log.producers import successor

TIMER_RETRY: Final = "retry"
TIMER_TIMEOUT: Final = "overdue"


class DeliveryState(StrEnum):
    """The state of a batch between its acceptance and its result."""

    QUEUED = "queued"
    IN_FLIGHT = "in flight"
    WAITING = "waiting"
    """Waiting for the backoff before the next attempt."""


MISDIRECTED: Final = (ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.UNKNOWN_LEADER_EPOCH)
QUEUE_FULL: Final = "too many unresolved batches; retry after some are resolved"
FENCED: Final = "fenced: another producer has a newer epoch; start a new producer"


class Delivery:
    """One unresolved batch with the state of its delivery."""

    __slots__ = (
        "batch", "call", "correlations", "deadline", "may_be_written", "sent_first", "state",
        "timeout_at",
    )  # fmt: skip

    def __init__(self, call: CallId, batch: Batch, deadline: Micros) -> None:
        self.call = call
        self.batch = batch
        self.deadline = deadline
        #: Time at which the request in flight times out.
        self.timeout_at: Micros = 0
        self.state = DeliveryState.QUEUED
        #: Whether an attempt may have been written.
        self.may_be_written = False
        #: Whether the batch was the first unresolved one when it was last sent.
        self.sent_first = False
        #: The correlation numbers of the attempts.
        self.correlations: tuple[int, ...] = ()

    @property
    def sent(self) -> bool:
        """Whether the batch was sent at least once; if so, its sequence is fixed."""
        return bool(self.correlations)


class Producer:
    """A producer, built from its first event."""

    __slots__ = (
        "by_correlation", "config", "correlation", "effects", "fenced", "finder", "next_sequence",
        "node_id", "now", "producer_epoch", "producer_id", "retrying", "timer_due", "unresolved",
    )  # fmt: skip

    def __init__(self, now: Micros, started: Started) -> None:
        config = started.config
        assert isinstance(config, ProducerConfig), f"expected a ProducerConfig, got {config!r}"
        check_client_config(config)
        self.node_id = started.node
        self.config = config
        self.finder = LeaderFinder(config.brokers)
        self.now = now
        self.effects: list[Effect] = []
        # 62 random bits are unique without an id service.
        self.producer_id = started.nonce >> 66 if config.idempotent else -1
        self.producer_epoch = 0 if config.idempotent else -1
        self.next_sequence = 0
        self.correlation = 0
        self.unresolved: list[Delivery] = []
        self.by_correlation: dict[int, Delivery] = {}
        self.timer_due: Micros | None = None
        self.retrying = False
        self.fenced = False

    def step(self, now: Micros, event: Event) -> list[Effect]:
        """Handle one event; return the effects in order (see docs/contract.md)."""
        self.now = now
        if isinstance(event, Received):
            if isinstance(event.message, ProduceResponse):
                self._on_response(event.src, event.message)
        elif isinstance(event, Called):
            self._on_called(event)
        elif isinstance(event, TimerFired):
            self._on_timer_fired(event)
        elif isinstance(event, PeerLost):
            self._on_peer_lost(event.peer)
        elif not isinstance(event, Cancelled):
            raise TypeError(f"unexpected event for a producer: {type(event).__name__}")
        effects = self.effects
        self.effects = []
        return effects

    def snapshot(self) -> Snapshot:
        """Return the current state as named values."""
        return Snapshot(
            "producer",
            (
                ("epoch", self.producer_epoch),
                ("next_sequence", self.next_sequence),
                ("node", self.node_id),
                ("target", self.finder.target),
                ("unresolved", tuple((d.state, d.batch.base_sequence) for d in self.unresolved)),
            ),
        )

    def _on_called(self, event: Called) -> None:
        request = event.request
        assert isinstance(request, SendBatch), f"expected SendBatch, got {request!r}"
        if self.fenced:
            self._refuse(event.call, ErrorCode.INVALID_PRODUCER_EPOCH, FENCED)
        elif len(self.unresolved) >= self.config.queue_max:
            self._refuse(event.call, ErrorCode.THROTTLING_QUOTA_EXCEEDED, QUEUE_FULL)
        else:
            deadline = self.now + self.config.delivery_timeout_us
            self.unresolved.append(Delivery(event.call, request.batch, deadline))
            self._send_pending()

    def _refuse(self, call: CallId, error: ErrorCode, detail: str) -> None:
        self.effects.append(Answer(call, _without_offset(error, Outcome.NOT_WRITTEN, detail)))

    # -- sending --------------------------------------------------------------------------------

    def _send_pending(self) -> None:
        """Send the queued batches in order, up to the first one that waits for a retry.

        The first batch of a new producer epoch is sent only when all batches of the old epoch are
        resolved (F76).
        """
        of_old_epoch = False
        for index, delivery in enumerate(self.unresolved[: self.config.in_flight_max]):
            if delivery.state == DeliveryState.WAITING or (of_old_epoch and not delivery.sent):
                break
            of_old_epoch |= delivery.sent and delivery.batch.producer_epoch != self.producer_epoch
            if delivery.state == DeliveryState.QUEUED:
                self._send(delivery, sent_first=index == 0)
        self._set_timer()

    def _send(self, delivery: Delivery, *, sent_first: bool) -> None:
        batch = delivery.batch
        if not delivery.sent and self.config.idempotent:
            producer = (self.producer_id, self.producer_epoch, self.next_sequence)
            delivery.batch = batch = with_producer(batch, *producer)
            self.next_sequence = successor(self.next_sequence, batch.count)
        self.correlation += 1
        delivery.correlations = (*delivery.correlations, self.correlation)
        delivery.sent_first = sent_first
        self.by_correlation[self.correlation] = delivery
        config = self.config
        request = ProduceRequest(
            self.correlation, self.finder.epoch, config.acks, config.request_timeout_us, batch
        )
        self.effects.append(Send(self.finder.target, request))
        if config.acks == 0:
            # With acks=0 there is no response.
            self._resolve(delivery, _without_offset(ErrorCode.NONE, Outcome.UNKNOWN, ""))
            return
        delivery.state = DeliveryState.IN_FLIGHT
        delivery.timeout_at = self.now + config.request_timeout_us + 2 * config.retry_backoff_us

    def _retry_later(self, delivery: Delivery) -> None:
        delivery.state = DeliveryState.WAITING
        if not self.retrying:
            self.retrying = True
            backoff = self.config.retry_backoff_us
            self.effects.append(SetTimer(TIMER_RETRY, backoff // 2, backoff))

    def _set_timer(self) -> None:
        """Set the timer for the first request timeout or delivery timeout."""
        if not self.unresolved:
            return
        due = self.unresolved[0].deadline
        for delivery in self.unresolved[: self.config.in_flight_max]:
            if delivery.state == DeliveryState.IN_FLIGHT:
                due = min(due, delivery.timeout_at)
        if self.timer_due is None or due < self.timer_due:
            self.timer_due = due
            wait = max(0, due - self.now)
            self.effects.append(SetTimer(TIMER_TIMEOUT, wait, wait))

    # -- responses ------------------------------------------------------------------------------

    def _on_response(self, src: NodeId, response: ProduceResponse) -> None:
        delivery = self.by_correlation.get(response.correlation)
        if delivery is None:
            if self.config.acks == 0 and response.error in MISDIRECTED:
                # With acks=0 no batch waits for this response, but it has a leader hint.
                self.finder.redirected(src, response.leader, response.leader_epoch)
            return
        latest = (
            delivery.correlations[-1] == response.correlation
            and delivery.state == DeliveryState.IN_FLIGHT
        )
        error = response.error
        if error == ErrorCode.NONE:
            self.finder.answered(src, response.leader_epoch)
            base_offset, epoch = response.base_offset, response.epoch
            self._resolve(delivery, SendResult(error, Outcome.WRITTEN, base_offset, epoch))
            self._send_pending()
            return
        if response.outcome == Outcome.UNKNOWN:
            delivery.may_be_written = True
        if not latest:
            return
        if error in MISDIRECTED:
            self.finder.redirected(src, response.leader, response.leader_epoch)
        elif error in (ErrorCode.REQUEST_TIMED_OUT, ErrorCode.NOT_ENOUGH_REPLICAS):
            # The leader may be partitioned; another broker may know a newer leader.
            self.finder.on_no_answer(src)
        if error in RETRIABLE or self._may_retry_out_of_order(delivery, response):
            self._retry_later(delivery)
        elif error == ErrorCode.INVALID_PRODUCER_EPOCH:
            self.fenced = True
            self._abandon(delivery, error, FENCED)
        else:
            delivery.may_be_written |= error == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
            self._abandon(delivery, error, response.detail)

    def _may_retry_out_of_order(self, delivery: Delivery, response: ProduceResponse) -> bool:
        """Return whether a batch that was refused as out of order is to be retried.

        The error is final only for the first unresolved batch, from the current leader. A later
        batch may have arrived before an earlier one. A leader of an earlier epoch may lack records
        that a later leader has confirmed.
        """
        if response.error != ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER:
            return False
        if response.leader_epoch < self.finder.epoch:
            self.finder.next_broker()
            return True
        return not delivery.sent_first

    def _on_peer_lost(self, peer: NodeId) -> None:
        if peer == self.finder.target:
            self.finder.on_no_answer(peer)
            for delivery in self.unresolved:
                if delivery.state == DeliveryState.IN_FLIGHT:
                    delivery.may_be_written = True
                    self._retry_later(delivery)

    def _on_timer_fired(self, event: TimerFired) -> None:
        if event.key == TIMER_RETRY:
            self.retrying = False
            for delivery in self.unresolved:
                if delivery.state == DeliveryState.WAITING:
                    delivery.state = DeliveryState.QUEUED
        elif event.key == TIMER_TIMEOUT:
            self.timer_due = None
            self._on_timeouts()
        else:
            raise ValueError(f"unknown timer key for a producer: {event.key}")
        self._send_pending()

    def _on_timeouts(self) -> None:
        """Retry batches after their request timeout; give up batches at their delivery timeout."""
        timed_out = False
        for delivery in self.unresolved:
            if delivery.state == DeliveryState.IN_FLIGHT and delivery.timeout_at <= self.now:
                delivery.may_be_written = True
                timed_out = True
                self._retry_later(delivery)
        if timed_out:
            self.finder.on_no_answer(self.finder.target)
        while self.unresolved and self.unresolved[0].deadline <= self.now:
            head = self.unresolved[0]
            head.may_be_written = head.may_be_written or head.sent
            self._abandon(head, ErrorCode.REQUEST_TIMED_OUT, "the delivery timeout has expired")

    # -- results --------------------------------------------------------------------------------

    def _abandon(self, delivery: Delivery, error: ErrorCode, detail: str) -> None:
        """Give up a batch and all batches sent after it, which the gap would make out of order."""
        at = self.unresolved.index(delivery)
        abandoned = [d for d in self.unresolved[at:] if d.sent or d is delivery]
        sent_before = any(d.sent for d in abandoned)
        for each in abandoned:
            # Copies of the other batches may still arrive at a broker, so only the outcome of the
            # batch that got this response can be definite.
            definite = each is delivery and not each.may_be_written
            outcome = Outcome.NOT_WRITTEN if definite else Outcome.UNKNOWN
            self._resolve(each, _without_offset(error, outcome, detail))
        if self.config.idempotent and sent_before and not self.fenced:
            self.producer_epoch += 1
            self.next_sequence = 0
            self.effects.append(Observe(ProducerReset(self.producer_epoch, len(abandoned))))
        self._send_pending()

    def _resolve(self, delivery: Delivery, result: SendResult) -> None:
        for correlation in delivery.correlations:
            self.by_correlation.pop(correlation, None)
        self.unresolved.remove(delivery)
        self.effects.append(Answer(delivery.call, result))

    def fork(self) -> Producer:
        """Return a copy that shares only immutable values."""
        return fork_of(self)


def _without_offset(error: ErrorCode, outcome: Outcome, detail: str) -> SendResult:
    """Return a result without offset and epoch."""
    return SendResult(error, outcome, -1, NO_EPOCH, detail)


def build_producer(now: Micros, started: Started) -> tuple[Producer, list[Effect]]:
    """Build a producer from its first event; the first step has no effects."""
    return Producer(now, started), []
