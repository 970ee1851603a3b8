"""The consumer node: it keeps a position in the log and fetches records from there.

The position is (offset, epoch of the record before it), so a leader can detect that the log was
truncated below the position (KIP-320). The application makes one poll at a time. The consumer
retries a poll after a change of leader. The result of a poll is records, no records after the fetch
wait time, or an error for the application. The consumer does not decode records.
"""

from __future__ import annotations

from typing import Final

from yak_core.batch import Batch
from yak_core.clients.leader_finder import LeaderFinder
from yak_core.config import ConsumerConfig, check_client_config
from yak_core.contract.client_calls import Poll, PollResult, Seek
from yak_core.contract.effects import Answer, CancelTimer, Effect, Exit, Send, SetTimer
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
from yak_core.contract.messages import (
    FetchRequest,
    FetchResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
)
from yak_core.contract.node import Snapshot
from yak_core.errors import RETRIABLE, ErrorCode
from yak_core.fork import fork_of
from yak_core.ids import NO_EPOCH, CallId, Micros, Offset

TIMER_RETRY: Final = "retry"
TIMER_TIMEOUT: Final = "overdue"


class Consumer:
    """A consumer, built from its first event."""

    __slots__ = (
        "call", "config", "correlation", "effects", "finder", "last_epoch", "leader_checked_at",
        "node_id", "now", "position",
    )  # fmt: skip

    def __init__(self, now: Micros, started: Started) -> None:
        config = started.config
        assert isinstance(config, ConsumerConfig), f"expected a ConsumerConfig, got {config!r}"
        check_client_config(config)
        self.node_id = started.node
        self.config = config
        self.finder = LeaderFinder(config.brokers)
        self.now = now
        self.effects: list[Effect] = []
        self.position = config.start_offset
        self.last_epoch = NO_EPOCH
        self.call: CallId | None = None
        self.correlation = 0
        self.leader_checked_at = now  # Not 0: the clock's origin is arbitrary.

    def step(self, now: Micros, event: Event) -> list[Effect]:
        """Handle one event; return the effects in order (see docs/contract.md)."""
        self.now = now
        if isinstance(event, Received):
            self._on_received(event)
        elif isinstance(event, Called):
            self._on_called(event)
        elif isinstance(event, TimerFired):
            self._on_timer_fired(event)
        elif isinstance(event, PeerLost):
            if event.peer == self.finder.target and self.call is not None:
                self.finder.on_no_answer(event.peer)
                self._retry_later()
        elif isinstance(event, NotSent):
            if self.call is not None and event.correlation == self.correlation:
                self.finder.on_no_answer(self.finder.target)
                self._retry_later()
        elif isinstance(event, Cancelled):
            if event.call == self.call:
                self.call = None
        elif isinstance(event, StopAsked):
            self.effects.append(Exit(True))
        else:
            raise TypeError(f"unexpected event for a consumer: {type(event).__name__}")
        effects = self.effects
        self.effects = []
        return effects

    def snapshot(self) -> Snapshot:
        """Return the current state as named values."""
        return Snapshot(
            "consumer",
            (
                ("last_epoch", self.last_epoch),
                ("node", self.node_id),
                ("polling", self.call is not None),
                ("position", self.position),
                ("target", self.finder.target),
            ),
        )

    def _on_called(self, event: Called) -> None:
        request = event.request
        if isinstance(request, Seek):
            assert self.call is None, "seek during a poll"
            self.call = event.call
            self.position = request.offset
            self.last_epoch = NO_EPOCH
            self._finish(ErrorCode.NONE, (), 0, "")
            return
        assert isinstance(request, Poll), f"expected Poll or Seek, got {request!r}"
        assert self.call is None, "poll during another poll"
        self.call = event.call
        if self.now - self.leader_checked_at > self.config.metadata_max_age_us:
            # A partitioned leader gets no new records; another broker may know a newer leader.
            self.leader_checked_at = self.now
            self.finder.next_broker()
        self._send_request()

    def _send_request(self) -> None:
        """Send a fetch to the target broker, or ListOffsets first if the position is unknown."""
        self.correlation += 1
        config = self.config
        wait = config.request_timeout_us
        request: FetchRequest | ListOffsetsRequest
        if self.position < 0:
            request = ListOffsetsRequest(self.correlation, self.position)
        else:
            wait += config.fetch_wait_us
            request = FetchRequest(
                self.correlation,
                self.position,
                self.last_epoch,
                self.finder.epoch,
                config.fetch_bytes_max,
                config.fetch_wait_us,
            )
        self.effects.append(Send(self.finder.target, request))
        self.effects.append(SetTimer(TIMER_TIMEOUT, wait, wait))

    def _on_received(self, event: Received) -> None:
        message = event.message
        if not isinstance(message, (FetchResponse, ListOffsetsResponse)):
            return
        if self.call is None or message.correlation != self.correlation:
            return
        self.correlation += 1
        self.effects.append(CancelTimer(TIMER_TIMEOUT))
        error = message.error
        if error in (ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.UNKNOWN_LEADER_EPOCH):
            self.finder.redirected(event.src, message.leader, message.leader_epoch)
        if error in RETRIABLE:
            self._retry_later()
            return
        if error == ErrorCode.NONE:
            self.finder.answered(event.src, message.leader_epoch)
        if isinstance(message, ListOffsetsResponse):
            self._on_offset(message)
        else:
            self._on_records(message)

    def _on_offset(self, response: ListOffsetsResponse) -> None:
        if response.error != ErrorCode.NONE:
            self._finish(response.error, (), -1, "")
            return
        self.position = response.offset
        self.last_epoch = response.epoch
        self._send_request()

    def _on_records(self, response: FetchResponse) -> None:
        if response.error != ErrorCode.NONE:
            self._finish(response.error, (), response.hw, response.detail)
        elif response.diverging_end >= 0:
            detail = (
                f"the log was truncated at offset {response.diverging_end}: records read in "
                f"[{response.diverging_end}, {self.position}) were removed; seek to continue"
            )
            self._finish(ErrorCode.OFFSET_OUT_OF_RANGE, (), response.hw, detail)
        else:
            batches = self._from_position(response.batches)
            start = self.position
            if batches:
                self.leader_checked_at = self.now
                self.position = batches[-1].end
                self.last_epoch = batches[-1].epoch
            self._finish(ErrorCode.NONE, batches, response.hw, "", start)

    def _from_position(self, batches: tuple[Batch, ...]) -> tuple[Batch, ...]:
        """Return the batch that contains the position and the batches after it, up to a gap."""
        at = self.position
        kept: list[Batch] = []
        for batch in batches:
            if batch.end <= at:
                continue
            if batch.base_offset > at:
                break
            kept.append(batch)
            at = batch.end
        return tuple(kept)

    def _on_timer_fired(self, event: TimerFired) -> None:
        if self.call is None:
            return
        if event.key == TIMER_TIMEOUT:
            self.finder.on_no_answer(self.finder.target)
        self._send_request()

    def _retry_later(self) -> None:
        backoff = self.config.retry_backoff_us
        self.correlation += 1
        self.effects.append(CancelTimer(TIMER_TIMEOUT))
        self.effects.append(SetTimer(TIMER_RETRY, backoff // 2, backoff))

    def _finish(
        self,
        error: ErrorCode,
        batches: tuple[Batch, ...],
        hw: Offset,
        detail: str,
        start: Offset | None = None,
    ) -> None:
        call = self.call
        assert call is not None
        self.call = None
        start = self.position if start is None else start
        result = PollResult(error, batches, start, self.position, hw, self.finder.epoch, detail)
        self.effects.append(Answer(call, result))

    def fork(self) -> Consumer:
        """Return a copy that shares only immutable values."""
        return fork_of(self)


def build_consumer(now: Micros, started: Started) -> tuple[Consumer, list[Effect]]:
    """Build a consumer from its first event; the first step has no effects."""
    return Consumer(now, started), []
