"""The producer node: it sends batches in order, with retries and idempotence.

A batch gets its sequence when it is first sent and keeps it in all retries. Batches are sent in
order, at most five in flight. Later batches wait while an earlier batch waits for its retry
(KIP-98, KAFKA-5494). The result of a batch is written, not written or unknown.

A batch is not sent once its delivery timeout is so near that no response could arrive in time. When
it is given up, :meth:`Delivery.outcome` says whether it is not written or unknown.

A batch that is given up with a sequence may leave a gap. The producer then ends its producer epoch:
it sends no new batch until every batch of the epoch is resolved, and continues in the next epoch at
sequence 0 (F76, F77). Batches of which no copy can be appended are sent again there (KIP-360).
"""

from __future__ import annotations

from itertools import takewhile
from typing import Final

from yak_core.clients.delivery import FENCED, QUEUE_FULL, STOPPED, Delivery, DeliveryState, failed
from yak_core.clients.leader_finder import LeaderFinder
from yak_core.clients.session import ProducerSession
from yak_core.config import ProducerConfig, check_client_config
from yak_core.contract.client_calls import SendBatch, SendResult
from yak_core.contract.effects import Answer, Effect, Exit, Observe, Send, SetTimer
from yak_core.contract.events import (
    Called,
    Cancelled,
    Event,
    NotSent,
    PeerLost,
    Received,
    Started,
    StopAsked,
    TimerFired,
)
from yak_core.contract.messages import ProduceRequest, ProduceResponse
from yak_core.contract.node import Snapshot
from yak_core.contract.notes import ProducerReset
from yak_core.errors import RETRIABLE, ErrorCode, Outcome
from yak_core.fork import fork_of
from yak_core.ids import CallId, Micros, NodeId

TIMER_RETRY: Final = "retry"
TIMER_TIMEOUT: Final = "overdue"

MISDIRECTED: Final = (ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.UNKNOWN_LEADER_EPOCH)
OUT_OF_ORDER: Final = ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
UNKNOWN_PRODUCER: Final = ErrorCode.UNKNOWN_PRODUCER_ID


class Producer:
    """A producer, built from its first event."""

    __slots__ = (
        "abandoned", "by_correlation", "config", "correlation", "effects", "ending_epoch", "fenced",
        "finder", "last_refusal", "node_id", "now", "requests_once", "retrying", "session",
        "settling", "timer_due", "unresolved", "unsent_margin_us",
    )  # fmt: skip

    def __init__(self, now: Micros, started: Started, *, requests_once: bool = False) -> None:
        config = started.config
        assert isinstance(config, ProducerConfig), f"expected a ProducerConfig, got {config!r}"
        check_client_config(config)
        self.node_id = started.node
        self.config = config
        #: Whether the world delivers each request at most once (docs/contract.md, clause 5).
        self.requests_once = requests_once
        self.finder = LeaderFinder(config.brokers)
        self.now = now
        #: A batch is not sent for the first time if less of its delivery timeout is left.
        self.unsent_margin_us = min(config.request_timeout_us, config.delivery_timeout_us // 10)
        self.effects: list[Effect] = []
        self.session = ProducerSession(started.nonce, idempotent=config.idempotent)
        #: Whether the producer epoch ends as soon as each of its batches is resolved.
        self.ending_epoch = False
        #: Number of batches given up since the last change of the producer epoch.
        self.abandoned = 0
        self.correlation = 0
        #: The accepted batches without a result, in the order of the calls.
        self.unresolved: list[Delivery] = []
        self.by_correlation: dict[int, Delivery] = {}
        self.timer_due: Micros | None = None
        #: Whether the timer is the pause after a stall, in which arrived responses are handled.
        self.settling = False
        self.retrying = False
        self.fenced = False
        #: Why a broker last refused a batch; empty after a success.
        self.last_refusal = ""

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
        elif isinstance(event, NotSent):
            self._on_not_sent(event.correlation)
        elif isinstance(event, PeerLost):
            self._on_peer_lost(event.peer)
        elif isinstance(event, StopAsked):
            self._on_stop_asked()
        elif not isinstance(event, Cancelled):
            raise TypeError(f"unexpected event for a producer: {type(event).__name__}")
        effects, self.effects = self.effects, []
        return effects

    def snapshot(self) -> Snapshot:
        """Return the current state as named values."""
        return Snapshot(
            "producer",
            (
                ("epoch", self.session.epoch),
                ("next_sequence", self.session.next_sequence),
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
        self.effects.append(Answer(call, failed(error, Outcome.NOT_WRITTEN, detail)))

    def _on_stop_asked(self) -> None:
        for delivery in list(self.unresolved):
            outcome = delivery.outcome(requests_once=self.requests_once)
            self._resolve(delivery, failed(ErrorCode.NETWORK_EXCEPTION, outcome, STOPPED))
        self.effects.append(Exit(True))

    # -- sending --------------------------------------------------------------------------------

    def _send_pending(self) -> None:
        """Send the queued batches in order, up to the first one that waits for a retry.

        Unsent batches expire first. While a producer epoch ends, only its own batches are sent, not
        those without a sequence. Nothing is sent while the first batch is past its deadline: the
        timer is due, and resolves it first.
        """
        self._expire(sent=False)
        self._end_epoch_if_resolved()
        if self.unresolved and self.unresolved[0].deadline > self.now:
            sent_first = True
            for delivery in self.unresolved[: self.config.in_flight_max]:
                if delivery.state is DeliveryState.WAITING:
                    break
                if self.ending_epoch and not delivery.stamped:
                    continue
                if delivery.state is DeliveryState.QUEUED:
                    self._send(delivery, sent_first=sent_first)
                sent_first = False
        self._set_timer()

    def _send(self, delivery: Delivery, *, sent_first: bool) -> None:
        batch = delivery.batch
        if not delivery.stamped and self.config.idempotent:
            delivery.batch = batch = self.session.stamp(batch)
            delivery.stamped = True
        self.correlation += 1
        delivery.begin_try(self.correlation, self.finder.target, sent_first=sent_first)
        self.by_correlation[self.correlation] = delivery
        config = self.config
        request = ProduceRequest(
            self.correlation, self.finder.epoch, config.acks, config.request_timeout_us, batch
        )
        self.effects.append(Send(self.finder.target, request))
        if config.acks == 0:
            self._resolve(delivery, failed(ErrorCode.NONE, Outcome.UNKNOWN, ""))
            return
        delivery.timeout_at = self.now + config.request_timeout_us + 2 * config.retry_backoff_us

    def _retry_later(self, delivery: Delivery) -> None:
        delivery.state = DeliveryState.WAITING
        if not self.retrying:
            self.retrying = True
            backoff = self.config.retry_backoff_us
            self.effects.append(SetTimer(TIMER_RETRY, backoff // 2, backoff))

    def _set_timer(self) -> None:
        """Set the timer for the first request timeout or delivery timeout."""
        if self.settling or not self.unresolved:
            return
        due = self.unresolved[0].deadline
        for delivery in self.unresolved[: self.config.in_flight_max]:
            if delivery.state is DeliveryState.IN_FLIGHT:
                due = min(due, delivery.timeout_at)
        if self.timer_due is None or due < self.timer_due:
            self._set_timer_for(due)

    def _set_timer_for(self, due: Micros) -> None:
        self.timer_due = due
        wait = max(0, due - self.now)
        self.effects.append(SetTimer(TIMER_TIMEOUT, wait, wait))

    # -- responses ------------------------------------------------------------------------------

    def _on_response(self, src: NodeId, response: ProduceResponse) -> None:
        delivery = self.by_correlation.get(response.correlation)
        if delivery is None:
            if self.config.acks == 0 and response.error in MISDIRECTED:
                self.finder.redirected(src, response.leader, response.leader_epoch)
            return
        if response.error == ErrorCode.NONE:
            self.last_refusal = ""
            self.finder.answered(src, response.leader_epoch)
            position = (response.base_offset, response.epoch)
            self._resolve(delivery, SendResult(ErrorCode.NONE, Outcome.WRITTEN, *position))
            self._send_pending()
            return
        if response.outcome == Outcome.NOT_WRITTEN:
            delivery.tries[response.correlation] = True
        if delivery.is_latest(response.correlation):
            self._on_refusal(src, delivery, response)
            self._send_pending()

    def _on_refusal(self, src: NodeId, delivery: Delivery, response: ProduceResponse) -> None:
        """Handle an error in response to the newest try of a batch."""
        error = response.error
        if error in MISDIRECTED:
            self.finder.redirected(src, response.leader, response.leader_epoch)
        elif error in (ErrorCode.REQUEST_TIMED_OUT, ErrorCode.NOT_ENOUGH_REPLICAS):
            # The leader may be partitioned; another broker may know a newer leader.
            self.finder.on_no_answer(src)
        if error not in MISDIRECTED or response.leader is None:
            # A redirect to the leader is no reason why a batch is not written.
            what = response.detail.partition(";")[0]
            self.last_refusal = f"{error.name}: {what}" if what else error.name
        if error in RETRIABLE:
            self._retry_later(delivery)
        elif error == ErrorCode.INVALID_PRODUCER_EPOCH:
            self._on_fenced(delivery)
        elif error in (OUT_OF_ORDER, UNKNOWN_PRODUCER):
            self._on_wrong_sequence(delivery, response)
        else:
            outcome = Outcome.UNKNOWN if delivery.may_be_written else Outcome.NOT_WRITTEN
            self._give_up(delivery, failed(error, outcome, response.detail))

    def _on_wrong_sequence(self, delivery: Delivery, response: ProduceResponse) -> None:
        """Handle a leader that lacks an earlier batch, or does not know the producer.

        Both are final only for the first unresolved batch of the producer epoch, from the current
        leader. A later batch may have arrived before an earlier one. A leader of an earlier epoch
        may lack records that a later leader has confirmed.
        """
        delivery.producer_unknown = response.error == UNKNOWN_PRODUCER
        if response.leader_epoch < self.finder.epoch:
            self.finder.next_broker()
            self._retry_later(delivery)
        elif delivery.producer_unknown and delivery.may_be_renumbered:
            # The leader has forgotten the producer: only sequence 0 of another epoch is accepted.
            if delivery.sent_first or self.ending_epoch:
                self._end_epoch()
            else:
                self._retry_later(delivery)
        elif delivery.sent_first:
            outcome = delivery.outcome(requests_once=self.requests_once)
            self._give_up(delivery, failed(response.error, outcome, response.detail))
        else:
            self._retry_later(delivery)

    def _on_fenced(self, delivery: Delivery) -> None:
        """Stop for good: resolve this batch, and those of which no try has left."""
        self.fenced = True
        for each in list(self.unresolved):
            if each is delivery or not each.tries:
                outcome = Outcome.UNKNOWN if each.may_be_written else Outcome.NOT_WRITTEN
                self._resolve(each, failed(ErrorCode.INVALID_PRODUCER_EPOCH, outcome, FENCED))

    def _on_not_sent(self, correlation: int) -> None:
        """Handle a try that never left: it does not count, and another broker is asked."""
        delivery = self.by_correlation.pop(correlation, None)
        if delivery is None:
            return
        del delivery.tries[correlation]
        if delivery.is_latest(correlation):
            self.finder.on_no_answer(delivery.peer)
            self._retry_later(delivery)
        if self.ending_epoch:
            self._end_epoch()
        self._send_pending()

    def _on_peer_lost(self, peer: NodeId) -> None:
        self.finder.on_no_answer(peer)
        for delivery in self.unresolved:
            if delivery.state is DeliveryState.IN_FLIGHT and delivery.peer == peer:
                self._retry_later(delivery)

    # -- timers ---------------------------------------------------------------------------------

    def _on_timer_fired(self, event: TimerFired) -> None:
        if event.key == TIMER_RETRY:
            self.retrying = False
            for delivery in self.unresolved:
                if delivery.state is DeliveryState.WAITING:
                    delivery.state = DeliveryState.QUEUED
        elif event.key == TIMER_TIMEOUT:
            self._on_timeout()
        else:
            raise ValueError(f"unknown timer key for a producer: {event.key}")
        self._send_pending()

    def _on_timeout(self) -> None:
        """Give up batches at their delivery timeout; retry others after their request timeout.

        If the timer fires late, the process was stalled, and responses may have arrived meanwhile.
        The batches that were sent then get one pause, in which these responses are handled.
        """
        due, self.timer_due = self.timer_due, None
        pause = self.config.retry_backoff_us
        stalled = due is not None and self.now - due > pause
        if stalled and not self.settling and any(d.tries for d in self.unresolved):
            self.settling = True
            self._set_timer_for(self.now + pause)
            return
        self.settling = False
        for delivery in self.unresolved:
            if delivery.state is DeliveryState.IN_FLIGHT and delivery.timeout_at <= self.now:
                self.finder.on_no_answer(delivery.peer)
                self._retry_later(delivery)
        self._expire(sent=True)

    def _expire(self, *, sent: bool) -> None:
        """Give up batches at their delivery timeout; without ``sent``, those not written before it.

        These are given up when the rest of their time is too short for one more response.
        """
        end = self.now if sent else self.now + self.unsent_margin_us
        for delivery in list(takewhile(lambda each: each.deadline <= end, self.unresolved)):
            outcome = delivery.outcome(requests_once=self.requests_once)
            if sent or outcome is Outcome.NOT_WRITTEN:
                self._give_up(delivery, delivery.timed_out(outcome, self.last_refusal))

    # -- results --------------------------------------------------------------------------------

    def _give_up(self, delivery: Delivery, result: SendResult) -> None:
        """Resolve a batch without success; if it has a sequence, end the producer epoch."""
        self._resolve(delivery, result)
        if delivery.stamped:
            self.abandoned += 1
            self._end_epoch()

    def _end_epoch(self) -> None:
        """Begin to end the producer epoch: the sequences may have a gap, or are not known.

        Batches of which no copy can be appended lose their sequence and wait for the next epoch.
        """
        self.ending_epoch = True
        for delivery in self.unresolved:
            if delivery.stamped and delivery.may_be_renumbered:
                for correlation in delivery.tries:
                    del self.by_correlation[correlation]
                delivery.unstamp()

    def _end_epoch_if_resolved(self) -> None:
        """Start the next producer epoch once no batch has a sequence of this one (F76).

        Late copies of these batches are fenced after the first batch of the next epoch.
        """
        if not self.ending_epoch or self.fenced or any(d.stamped for d in self.unresolved):
            return
        self.ending_epoch = False
        self.session.start_epoch()
        self.effects.append(Observe(ProducerReset(self.session.epoch, self.abandoned)))
        self.abandoned = 0

    def _resolve(self, delivery: Delivery, result: SendResult) -> None:
        for correlation in delivery.tries:
            self.by_correlation.pop(correlation, None)
        self.unresolved.remove(delivery)
        self.effects.append(Answer(delivery.call, result))

    def fork(self) -> Producer:
        """Return a copy that shares only immutable values."""
        return fork_of(self)


def build_producer(now: Micros, started: Started) -> tuple[Producer, list[Effect]]:
    """Build a producer from its first event; the first step has no effects."""
    return Producer(now, started), []


def build_producer_on_connections(now: Micros, started: Started) -> tuple[Producer, list[Effect]]:
    """Build a producer for a world that delivers each of its requests at most once."""
    return Producer(now, started, requests_once=True), []
