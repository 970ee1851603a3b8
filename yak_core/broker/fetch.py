"""The read side of a broker: fetches, long polls and ListOffsets.

Readers see records below the high watermark only (R11). The latest offset is unknown until the
high watermark reaches the epoch's start (R12).
"""

from __future__ import annotations

from yak_core.broker.context import Context
from yak_core.broker.pending_calls import PendingCall, PendingCalls
from yak_core.broker.replica_log import Log
from yak_core.contract.effects import Answer, AnswerLog, SetTimer
from yak_core.contract.messages import (
    FetchRequest,
    FetchResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
)
from yak_core.errors import ErrorCode
from yak_core.ids import NO_EPOCH, CallId, Offset

TIMER_LONG_POLL = "readers"
LATEST = -1
EARLIEST = -2


class Readers:
    """The read side of one broker."""

    __slots__ = ("context", "log", "long_polls")

    def __init__(self, context: Context, log: Log) -> None:
        self.context = context
        self.log = log
        #: Long polls: fetches that wait for a committed record at their offset.
        self.long_polls: PendingCalls[FetchRequest] = PendingCalls()

    def fetch(self, call: CallId, request: FetchRequest) -> None:
        """Answer a fetch with records, a divergence or an error, or keep it as a long poll."""
        log = self.log
        rules = self.context.rules
        if request.offset < log.log_start or request.offset > log.leo:
            detail = f"offset {request.offset} is not in the log [{log.log_start}, {log.leo})"
            self.answer(call, request, ErrorCode.OFFSET_OUT_OF_RANGE, detail=detail)
            return
        end = rules.diverged(log.epochs, log.leo, request.offset, request.last_epoch)
        if end >= 0:
            self.answer(call, request, ErrorCode.NONE, diverging_end=end)
            return
        if request.offset < rules.readable_end(log.hw, log.leo):
            self._answer_with_records(call, request)
        elif request.wait_us > 0 and len(self.long_polls) < self.context.config.waiting_max:
            wait = min(request.wait_us, self.context.config.fetch_wait_us_max)
            self.long_polls.add(call, request, request.offset + 1, self.context.now + wait)
            self._set_timer()
        else:
            self.answer(call, request, ErrorCode.NONE)

    def list_offsets(
        self, call: CallId, request: ListOffsetsRequest, epoch_start: Offset | ErrorCode
    ) -> None:
        """Answer with the earliest or latest offset.

        ``epoch_start`` is the start of the leader's epoch, or the error to answer with if this
        broker does not lead.
        """
        log = self.log
        offset: Offset | None = None
        error = ErrorCode.NONE
        if isinstance(epoch_start, ErrorCode):
            error = epoch_start
        elif request.at == LATEST:
            offset = self.context.rules.latest_offset(log.hw, epoch_start)
            if offset is None:
                error = ErrorCode.OFFSET_NOT_AVAILABLE
        elif request.at == EARLIEST:
            offset = log.log_start
        else:
            error = ErrorCode.INVALID_REQUEST
        found = -1 if offset is None else offset
        before = NO_EPOCH if offset is None else log.epochs.prev_epoch(offset)
        hint = self.context.hint
        response = ListOffsetsResponse(
            request.correlation, error, found, before, hint.leader, hint.epoch
        )
        self.context.emit(Answer(call, response))

    def on_committed(self) -> None:
        """Answer the long polls that have records to read after the high watermark moved."""
        end = self.context.rules.readable_end(self.log.hw, self.log.leo)
        for call, entry in sorted(self.long_polls.take_reached(end), key=_by_arrival):
            self._answer_with_records(call, entry.request)

    def expire(self) -> None:
        """Answer the long polls whose wait time has expired, without records."""
        for call, entry in sorted(self.long_polls.take_due(self.context.now), key=_by_arrival):
            self.answer(call, entry.request, ErrorCode.NONE)
        self._set_timer()

    def redirect(self) -> None:
        """Answer all long polls with NOT_LEADER_OR_FOLLOWER."""
        for call, entry in sorted(self.long_polls.take_all(), key=_by_arrival):
            self.answer(call, entry.request, ErrorCode.NOT_LEADER_OR_FOLLOWER)

    def drop_call(self, call: CallId) -> None:
        """Drop the long poll of a cancelled call."""
        self.long_polls.drop(call)

    def check(self) -> None:
        """Assert that the set of long polls is consistent and not larger than ``waiting_max``."""
        self.long_polls.check()
        assert len(self.long_polls) <= self.context.config.waiting_max, "too many long polls"

    def _set_timer(self) -> None:
        """Set the timer for the first deadline of a long poll."""
        deadline = self.long_polls.next_deadline()
        if deadline is not None:
            wait = max(0, deadline - self.context.now)
            self.context.emit(SetTimer(TIMER_LONG_POLL, wait, wait))

    def _answer_with_records(self, call: CallId, request: FetchRequest) -> None:
        log = self.log
        config = self.context.config
        self.context.emit(
            AnswerLog(
                call,
                self._header(request, ErrorCode.NONE),
                request.offset,
                self.context.rules.readable_end(log.hw, log.leo),
                max(1, min(request.bytes_max, config.fetch_bytes_max)),
            )
        )

    def answer(
        self,
        call: CallId,
        request: FetchRequest,
        error: ErrorCode,
        *,
        diverging_end: Offset = -1,
        detail: str = "",
    ) -> None:
        """Answer a fetch without records."""
        self.context.emit(Answer(call, self._header(request, error, diverging_end, detail)))

    def _header(
        self, request: FetchRequest, error: ErrorCode, diverging_end: Offset = -1, detail: str = ""
    ) -> FetchResponse:
        log = self.log
        hint = self.context.hint
        return FetchResponse(
            request.correlation,
            error,
            (),
            log.hw,
            log.log_start,
            hint.leader,
            hint.epoch,
            diverging_end,
            detail,
        )


def _by_arrival(found: tuple[CallId, PendingCall[FetchRequest]]) -> int:
    return found[1].number
