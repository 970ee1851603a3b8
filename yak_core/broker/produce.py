"""What a broker answers to producers: refusals, appends, confirmations; must never guess.

Every answer says what became of the records: written, not written, or unknown. Before the append
all refusals are definite; after it, whatever is not a confirmation is unknown (R9, R10).
"""

from __future__ import annotations

from typing import Final

from yak_core.batch import placed
from yak_core.broker.context import Context
from yak_core.broker.leader import Leader
from yak_core.broker.replica_log import Log
from yak_core.broker.waiting import Entry, Waiting
from yak_core.contract.effects import Answer, SetTimer
from yak_core.contract.messages import ProduceRequest, ProduceResponse
from yak_core.contract.notes import DuplicateRecognised, ProduceRefused
from yak_core.errors import ErrorCode, Outcome
from yak_core.ids import NO_EPOCH, CallId, Epoch, Micros, Offset
from yak_core.metadata.partition_state import PartitionState
from yak_core.rules import SequenceCheck, SequenceResult
from yak_core.value import value

TIMER_WAITERS = "waiters"
ACKS = (-1, 0, 1)
ACCEPT: Final = SequenceResult.ACCEPT
NO_ERROR: Final = ErrorCode.NONE
WRITTEN: Final = Outcome.WRITTEN


@value
class Waiter:
    """One unanswered produce request for the records from ``base`` on.

    It is confirmed in ``waiting_epoch`` only, and fails as unknown when its leader steps down: the
    offset that it waits for may then be reused by another record (R10, F58).
    """

    correlation: int
    base: Offset
    record_epoch: Epoch
    waiting_epoch: Epoch
    acks: int


class Writers:
    """The write side of one broker."""

    __slots__ = ("context", "log", "awaiting_commit", "awaiting_append", "armed")

    def __init__(self, context: Context, log: Log) -> None:
        self.context = context
        self.log = log
        #: Requests with acks=all, by the end of what they wait for; all but those of a variant
        #: of the rules wait in the epoch that this broker leads.
        self.awaiting_commit: Waiting[Waiter] = Waiting()
        #: Requests with acks=1, by the end of their own records.
        self.awaiting_append: Waiting[Waiter] = Waiting()
        #: When the timer of the first deadline fires; None while there is none.
        self.armed: Micros | None = None

    def produce(
        self, call: CallId, request: ProduceRequest, leading: Leader, lease_deadline: Micros
    ) -> None:
        """Answer, append, or both."""
        refusal = self._refusal(request, leading.partition, lease_deadline)
        if refusal is not None:
            self.refuse(call, request, *refusal)
            return
        batch = request.batch
        if batch.producer_id < 0:
            self._append(call, request, leading.epoch)
            return
        known = self.log.producers.get(batch.producer_id)
        check = self.context.rules.accept_sequence(known, batch)
        if check.result is ACCEPT:
            self._append(call, request, leading.epoch)
        elif check.result in (SequenceResult.DUPLICATE, SequenceResult.DUPLICATE_OLD):
            self._join_original(call, request, leading.epoch, check)
        elif check.result is SequenceResult.FENCED:
            detail = "another producer with this id has taken over: start a new producer"
            self.refuse(call, request, ErrorCode.INVALID_PRODUCER_EPOCH, detail)
        else:
            detail = "an earlier batch of this producer is missing: send that one first"
            self.refuse(call, request, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, detail)

    def refuse(
        self, call: CallId, request: ProduceRequest, error: ErrorCode, detail: str = ""
    ) -> None:
        """A definite refusal: nothing of this request was written by this call."""
        self.context.note(ProduceRefused(error.name, request.batch.producer_id))
        self._answer(call, request.correlation, error, Outcome.NOT_WRITTEN, detail=detail)

    def on_committed(self) -> None:
        """The high watermark moved: confirm what is committed."""
        hw, epoch = self.log.hw, self.context.hint.epoch
        confirm = self.context.rules.confirm
        for call, entry in self.awaiting_commit.take_reached(hw):
            waiter = entry.waiter
            if confirm(waiter.waiting_epoch, epoch, entry.position, hw):
                self._answer_written(call, waiter.correlation, waiter.base, waiter.record_epoch)
            else:
                self.awaiting_commit.add(call, waiter, entry.position, entry.deadline)

    def on_appended(self) -> None:
        """A write completed: answer the acks=1 requests that it covers."""
        for call, entry in self.awaiting_append.take_reached(self.log.appended_end):
            waiter = entry.waiter
            self._answer_written(call, waiter.correlation, waiter.base, waiter.record_epoch)

    def on_partition(self, partition: PartitionState) -> None:
        """The recorded ISR fell below min ISR: what waits may or may not commit (R10)."""
        if len(partition.isr) < partition.effective_min_isr:
            waiting = self.awaiting_commit.take_all()
            self._answer_unknown(waiting, ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND)

    def step_down(self) -> int:
        """The leadership is over: fail what waits, as unknown. Returns how many."""
        survives = self.context.rules.survives_step_down
        failed: list[tuple[CallId, Entry[Waiter]]] = []
        for call, entry in self.awaiting_commit.take_all():
            if survives(entry.waiter.acks):
                self.awaiting_commit.add(call, entry.waiter, entry.position, entry.deadline)
            else:
                failed.append((call, entry))
        failed += self.awaiting_append.take_all()
        self._answer_unknown(failed, ErrorCode.NOT_LEADER_OR_FOLLOWER)
        return len(failed)

    def fail_all(self, error: ErrorCode) -> None:
        """This broker stops: everything that waits ends as unknown."""
        for waiting in (self.awaiting_commit, self.awaiting_append):
            self._answer_unknown(waiting.take_all(), error)

    def expire(self) -> None:
        """The waiters' timer fired: who waited too long does not know what became of it."""
        for waiting in (self.awaiting_commit, self.awaiting_append):
            self._answer_unknown(waiting.take_due(self.context.now), ErrorCode.REQUEST_TIMED_OUT)
        self.armed = None
        self._arm()

    def drop_call(self, call: CallId) -> None:
        """The caller went away; its records stay."""
        self.awaiting_commit.drop(call)
        self.awaiting_append.drop(call)

    def _refusal(
        self, request: ProduceRequest, partition: PartitionState, lease_deadline: int
    ) -> tuple[ErrorCode, str] | None:
        """Why this request cannot be taken now, if so."""
        config = self.context.config
        size = request.batch.size
        if request.acks not in ACKS:
            return ErrorCode.INVALID_REQUIRED_ACKS, "acks is all (-1), 1 or 0"
        if size > config.batch_bytes_max:
            detail = f"the batch has {size} bytes, at most {config.batch_bytes_max} are taken"
            return ErrorCode.MESSAGE_TOO_LARGE, detail
        if request.acks == -1 and len(partition.isr) < partition.effective_min_isr:
            needed = partition.effective_min_isr
            detail = f"{len(partition.isr)} in sync, {needed} needed: try again later"
            return ErrorCode.NOT_ENOUGH_REPLICAS, detail
        if not self.context.rules.serves_acks(request.acks, self.context.now, lease_deadline):
            detail = "the lease of this leader is over: only acks=all is taken"
            return ErrorCode.NOT_LEADER_OR_FOLLOWER, detail
        waiting = len(self.awaiting_commit) + len(self.awaiting_append)
        if (
            waiting >= config.waiting_max
            or len(self.log.tail) >= config.uncommitted_max
            or self.log.pending_bytes + size > config.append_bytes_max
        ):
            return ErrorCode.THROTTLING_QUOTA_EXCEEDED, "this broker is busy: try again later"
        return None

    def _append(self, call: CallId, request: ProduceRequest, epoch: Epoch) -> None:
        log, base = self.log, self.log.leo
        log.append((placed(request.batch, base, epoch),))
        if request.acks == 0:
            self._answer_written(call, request.correlation, -1, NO_EPOCH)
        else:
            self._wait(call, request, base, log.leo, epoch, epoch)

    def _join_original(
        self, call: CallId, request: ProduceRequest, epoch: Epoch, check: SequenceCheck
    ) -> None:
        """A retry waits for the commit of what it repeats (F71)."""
        batch = request.batch
        base, end = check.base_offset, check.end
        self.context.note(DuplicateRecognised(batch.producer_id, batch.base_sequence, base))
        record_epoch = NO_EPOCH if base < 0 else self.log.epochs.before(end)
        held = self.log.hw if request.acks == -1 else self.log.appended_end
        if end <= held or request.acks == 0:
            self._answer_written(call, request.correlation, base, record_epoch)
        else:
            self._wait(call, request, base, end, record_epoch, epoch)

    def _wait(
        self,
        call: CallId,
        request: ProduceRequest,
        base: Offset,
        end: Offset,
        record_epoch: Epoch,
        epoch: Epoch,
    ) -> None:
        deadline = self.context.now + max(0, request.timeout_us)
        waiter = Waiter(request.correlation, base, record_epoch, epoch, request.acks)
        waiting = self.awaiting_commit if request.acks == -1 else self.awaiting_append
        waiting.add(call, waiter, end, deadline)
        if self.armed is None or deadline < self.armed:
            self._arm_for(deadline)

    def _arm(self) -> None:
        waiting = (self.awaiting_commit, self.awaiting_append)
        due = [deadline for each in waiting if (deadline := each.next_deadline()) is not None]
        if due:
            self._arm_for(min(due))

    def check(self) -> None:
        """Assert that a timer ends each wait in time."""
        for waiting in (self.awaiting_commit, self.awaiting_append):
            waiting.check()
            for entry in waiting.entries.values():
                assert self.armed is not None, "a timer ends each wait"
                assert self.armed <= entry.deadline, "and in time"

    def _arm_for(self, deadline: Micros) -> None:
        self.armed = deadline
        wait = max(0, deadline - self.context.now)
        self.context.emit(SetTimer(TIMER_WAITERS, wait, wait))

    def _answer_written(
        self, call: CallId, correlation: int, base: Offset, record_epoch: Epoch
    ) -> None:
        self._answer(call, correlation, NO_ERROR, WRITTEN, base, record_epoch)

    def _answer_unknown(
        self, waiting: list[tuple[CallId, Entry[Waiter]]], error: ErrorCode
    ) -> None:
        for call, entry in waiting:
            self._answer(call, entry.waiter.correlation, error, Outcome.UNKNOWN)

    def _answer(
        self,
        call: CallId,
        correlation: int,
        error: ErrorCode,
        outcome: Outcome,
        base: Offset = -1,
        record_epoch: Epoch = NO_EPOCH,
        detail: str = "",
    ) -> None:
        hint = self.context.hint
        self.context.emit(
            Answer(
                call,
                ProduceResponse(
                    correlation,
                    error,
                    outcome,
                    base,
                    record_epoch,
                    self.log.hw,
                    hint.leader,
                    hint.epoch,
                    detail,
                ),
            )
        )
