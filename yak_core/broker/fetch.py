"""What a broker answers to readers: fetches, long polls, offsets, descriptions.

Must never show a reader anything above the high watermark (R11), nor guess the latest offset
before the high watermark has reached the epoch's start (R12).
"""

from __future__ import annotations

from yak_core.broker.context import Context
from yak_core.broker.replica_log import Log
from yak_core.contract.effects import Answer, AnswerLog, SetTimer
from yak_core.contract.messages import (
    FetchRequest,
    FetchResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
)
from yak_core.errors import ErrorCode
from yak_core.ids import NO_EPOCH, CallId, Epoch, Micros, NodeId, Offset
from yak_core.value import value

TIMER_READERS = "readers"
LATEST = -1
EARLIEST = -2


@value
class Parked:
    """A long poll: a fetch that waits for records until ``deadline``."""

    call: CallId
    request: FetchRequest
    deadline: Micros


class Readers:
    """The read side of one broker. ``leader`` and ``epoch`` are told with every question."""

    __slots__ = ("context", "log", "parked")

    def __init__(self, context: Context, log: Log) -> None:
        self.context = context
        self.log = log
        self.parked: list[Parked] = []

    def fetch(
        self, call: CallId, request: FetchRequest, leader: NodeId | None, epoch: Epoch
    ) -> None:
        """Answer a fetch at the leader: records, a divergence, an error, or later."""
        log = self.log
        rules = self.context.rules
        if request.offset < log.log_start or request.offset > log.leo:
            detail = f"the log holds [{log.log_start}, {log.leo})"
            self.refuse(call, request, ErrorCode.OFFSET_OUT_OF_RANGE, leader, epoch, detail)
            return
        end = rules.diverged(log.epochs, log.leo, request.offset, request.last_epoch)
        if end >= 0:
            self._answer(call, request, ErrorCode.NONE, leader, epoch, diverging_end=end)
            return
        if request.offset < rules.readable_end(log.hw, log.leo):
            self._ship(call, request, leader, epoch)
        elif request.wait_us > 0 and len(self.parked) < self.context.config.waiting_max:
            wait = min(request.wait_us, self.context.config.fetch_wait_us_max)
            self.parked.append(Parked(call, request, self.context.now + wait))
            self.arm()
        else:
            self._answer(call, request, ErrorCode.NONE, leader, epoch)

    def list_offsets(
        self,
        call: CallId,
        request: ListOffsetsRequest,
        leader: NodeId | None,
        epoch: Epoch,
        epoch_start: Offset,
    ) -> None:
        """Answer with the earliest or latest offset, as the leader knows it."""
        log = self.log
        offset: Offset | None = log.log_start
        error = ErrorCode.NONE
        if request.at == LATEST:
            offset = self.context.rules.latest_offset(log.hw, epoch_start)
            if offset is None:
                error = ErrorCode.OFFSET_NOT_AVAILABLE
        elif request.at != EARLIEST:
            offset, error = None, ErrorCode.INVALID_REQUEST
        found = -1 if offset is None else offset
        before = NO_EPOCH if offset is None else log.epochs.before(offset)
        self.context.emit(
            Answer(
                call,
                ListOffsetsResponse(request.correlation, error, found, before, leader, epoch),
            )
        )

    def wake(self, leader: NodeId | None, epoch: Epoch) -> None:
        """The high watermark moved: answer the polls that have something to read now."""
        if not self.parked:
            return
        end = self.context.rules.readable_end(self.log.hw, self.log.leo)
        ready = [poll for poll in self.parked if poll.request.offset < end]
        if ready:
            self.parked = [poll for poll in self.parked if poll.request.offset >= end]
            for poll in ready:
                self._ship(poll.call, poll.request, leader, epoch)

    def expire(self, leader: NodeId | None, epoch: Epoch) -> None:
        """The readers' timer fired: polls that have waited long enough get an empty answer."""
        now = self.context.now
        over = [poll for poll in self.parked if poll.deadline <= now]
        self.parked = [poll for poll in self.parked if poll.deadline > now]
        for poll in over:
            self._answer(poll.call, poll.request, ErrorCode.NONE, leader, epoch)
        self.arm()

    def redirect(self, leader: NodeId | None, epoch: Epoch) -> None:
        """This broker leads no more: the polls must go elsewhere."""
        polls, self.parked = self.parked, []
        for poll in polls:
            self.refuse(
                poll.call, poll.request, ErrorCode.NOT_LEADER_OR_FOLLOWER, leader, epoch, ""
            )

    def drop_call(self, call: CallId) -> None:
        """The caller went away."""
        self.parked = [poll for poll in self.parked if poll.call != call]

    def arm(self) -> None:
        """Wake up when the first poll runs out of time."""
        if self.parked:
            wait = max(0, min(poll.deadline for poll in self.parked) - self.context.now)
            self.context.emit(SetTimer(TIMER_READERS, wait, wait))

    def refuse(
        self,
        call: CallId,
        request: FetchRequest,
        error: ErrorCode,
        leader: NodeId | None,
        epoch: Epoch,
        detail: str,
    ) -> None:
        """Answer a fetch with an error."""
        self._answer(call, request, error, leader, epoch, detail=detail)

    def _ship(
        self, call: CallId, request: FetchRequest, leader: NodeId | None, epoch: Epoch
    ) -> None:
        log = self.log
        config = self.context.config
        header = self._header(request, ErrorCode.NONE, leader, epoch, -1, "")
        self.context.emit(
            AnswerLog(
                call,
                header,
                request.offset,
                self.context.rules.readable_end(log.hw, log.leo),
                max(1, min(request.bytes_max, config.fetch_bytes_max)),
            )
        )

    def _answer(
        self,
        call: CallId,
        request: FetchRequest,
        error: ErrorCode,
        leader: NodeId | None,
        epoch: Epoch,
        *,
        diverging_end: Offset = -1,
        detail: str = "",
    ) -> None:
        header = self._header(request, error, leader, epoch, diverging_end, detail)
        self.context.emit(Answer(call, header))

    def _header(
        self,
        request: FetchRequest,
        error: ErrorCode,
        leader: NodeId | None,
        epoch: Epoch,
        diverging_end: Offset,
        detail: str,
    ) -> FetchResponse:
        log = self.log
        return FetchResponse(
            request.correlation,
            error,
            (),
            log.hw,
            log.log_start,
            leader,
            epoch,
            diverging_end,
            detail,
        )
