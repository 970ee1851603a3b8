"""The write side of a broker: it appends batches and answers produce requests.

Every response has an outcome: written, not written or unknown. An error before the append means
not written. After the append, every response except a confirmation means unknown (R9, R10).
"""

from __future__ import annotations

from typing import Final

from yak_core.batch import placed
from yak_core.broker.context import Context
from yak_core.broker.leader import Leader
from yak_core.broker.pending_calls import PendingCall, PendingCalls
from yak_core.broker.replica_log import Log
from yak_core.contract.effects import Answer, SetTimer
from yak_core.contract.messages import ProduceRequest, ProduceResponse
from yak_core.contract.notes import DuplicateRecognised, ProduceRefused
from yak_core.errors import ErrorCode, Outcome
from yak_core.ids import NO_EPOCH, CallId, Epoch, Micros, Offset
from yak_core.metadata.partition_state import PartitionState
from yak_core.rules import SequenceCheck, SequenceResult
from yak_core.value import value

TIMER_PRODUCE_DEADLINE = "waiters"
ACKS = (-1, 0, 1)
ACCEPT: Final = SequenceResult.ACCEPT
NO_ERROR: Final = ErrorCode.NONE
WRITTEN: Final = Outcome.WRITTEN


@value
class PendingProduce:
    """One pending produce request; ``base`` is the base offset of its batch.

    The leader confirms the request in ``waiting_epoch`` only, and answers it with UNKNOWN when the
    leader steps down: after that, another record may get the same offset (R10, F58).
    """

    correlation: int
    base: Offset
    record_epoch: Epoch
    waiting_epoch: Epoch
    acks: int


class Writers:
    """The write side of one broker."""

    __slots__ = ("context", "log", "awaiting_commit", "awaiting_append", "timer_due")

    def __init__(self, context: Context, log: Log) -> None:
        self.context = context
        self.log = log
        #: Pending requests with acks=all, by the end offset of their records. Without variants of
        #: the rules, all of them are from the epoch that this broker leads.
        self.awaiting_commit: PendingCalls[PendingProduce] = PendingCalls()
        #: Pending requests with acks=1, by the end offset of their records.
        self.awaiting_append: PendingCalls[PendingProduce] = PendingCalls()
        #: Time of the timer for the first deadline; None if it is not set.
        self.timer_due: Micros | None = None

    def produce(
        self, call: CallId, request: ProduceRequest, leading: Leader, lease_deadline: Micros
    ) -> None:
        """Refuse the request, append its batch, or match it with an earlier batch."""
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
            self._answer_duplicate(call, request, leading.epoch, check)
        elif check.result is SequenceResult.FENCED:
            detail = (
                f"producer epoch {batch.producer_epoch} is fenced: producer {batch.producer_id} "
                "has a newer epoch; start a new producer"
            )
            self.refuse(call, request, ErrorCode.INVALID_PRODUCER_EPOCH, detail)
        elif check.result is SequenceResult.UNKNOWN_PRODUCER:
            detail = (
                f"no batch of producer {batch.producer_id} is known, got sequence "
                f"{batch.base_sequence}; start at sequence 0 of the next producer epoch"
            )
            self.refuse(call, request, ErrorCode.UNKNOWN_PRODUCER_ID, detail)
        else:
            detail = (
                f"sequence {batch.base_sequence} is out of order: an earlier batch of producer "
                f"{batch.producer_id} is missing; send the earlier batch first"
            )
            self.refuse(call, request, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, detail)

    def refuse(
        self, call: CallId, request: ProduceRequest, error: ErrorCode, detail: str = ""
    ) -> None:
        """Answer with an error and NOT_WRITTEN: this request appended nothing."""
        self.context.note(ProduceRefused(error.name, request.batch.producer_id))
        self._answer(call, request.correlation, error, Outcome.NOT_WRITTEN, detail=detail)

    def on_committed(self) -> None:
        """Confirm the requests whose records are committed."""
        hw, epoch = self.log.hw, self.context.hint.epoch
        confirm = self.context.rules.confirm
        for call, entry in self.awaiting_commit.take_reached(hw):
            pending = entry.request
            if confirm(pending.waiting_epoch, epoch, entry.position, hw):
                self._answer_written(call, pending.correlation, pending.base, pending.record_epoch)
            else:
                self.awaiting_commit.add(call, pending, entry.position, entry.deadline)

    def on_appended(self) -> None:
        """Confirm the acks=1 requests whose records are appended on disk."""
        for call, entry in self.awaiting_append.take_reached(self.log.appended_end):
            pending = entry.request
            self._answer_written(call, pending.correlation, pending.base, pending.record_epoch)

    def on_partition(self, partition: PartitionState) -> None:
        """Answer all acks=all requests with UNKNOWN if the ISR is now below min ISR (R10)."""
        if len(partition.isr) < partition.effective_min_isr:
            waiting = self.awaiting_commit.take_all()
            self._answer_unknown(waiting, ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND)

    def step_down(self) -> int:
        """Answer all pending requests with UNKNOWN; return their number."""
        survives = self.context.rules.survives_step_down
        failed: list[tuple[CallId, PendingCall[PendingProduce]]] = []
        for call, entry in self.awaiting_commit.take_all():
            if survives(entry.request.acks):
                self.awaiting_commit.add(call, entry.request, entry.position, entry.deadline)
            else:
                failed.append((call, entry))
        failed += self.awaiting_append.take_all()
        self._answer_unknown(failed, ErrorCode.NOT_LEADER_OR_FOLLOWER)
        return len(failed)

    def fail_all(self, error: ErrorCode) -> None:
        """Answer all pending requests with ``error`` and UNKNOWN, because the broker stops."""
        for waiting in (self.awaiting_commit, self.awaiting_append):
            self._answer_unknown(waiting.take_all(), error)

    def expire(self) -> None:
        """Answer the requests whose deadline has passed with REQUEST_TIMED_OUT and UNKNOWN."""
        for waiting in (self.awaiting_commit, self.awaiting_append):
            self._answer_unknown(waiting.take_due(self.context.now), ErrorCode.REQUEST_TIMED_OUT)
        self.timer_due = None
        self._set_timer()

    def drop_call(self, call: CallId) -> None:
        """Drop the pending request of a cancelled call; its records stay in the log."""
        self.awaiting_commit.drop(call)
        self.awaiting_append.drop(call)

    def _refusal(
        self, request: ProduceRequest, partition: PartitionState, lease_deadline: int
    ) -> tuple[ErrorCode, str] | None:
        """Return the error code and detail if this request must be refused, else None."""
        config = self.context.config
        size = request.batch.size
        if request.acks not in ACKS:
            detail = f"acks must be -1 (all), 1 or 0, got {request.acks}"
            return ErrorCode.INVALID_REQUIRED_ACKS, detail
        if size > config.batch_bytes_max:
            detail = f"batch too large: {size} bytes, at most {config.batch_bytes_max} are allowed"
            return ErrorCode.MESSAGE_TOO_LARGE, detail
        if request.acks == -1 and len(partition.isr) < partition.effective_min_isr:
            needed = partition.effective_min_isr
            detail = f"too few in-sync replicas: {len(partition.isr)}, need {needed}; retry later"
            return ErrorCode.NOT_ENOUGH_REPLICAS, detail
        if not self.context.rules.serves_acks(request.acks, self.context.now, lease_deadline):
            detail = f"the leader's lease has expired: need acks=-1 (all), got {request.acks}"
            return ErrorCode.NOT_LEADER_OR_FOLLOWER, detail
        waiting = len(self.awaiting_commit) + len(self.awaiting_append)
        if (
            waiting >= config.waiting_max
            or len(self.log.tail) >= config.uncommitted_max
            or self.log.pending_bytes + size > config.append_bytes_max
        ):
            return ErrorCode.THROTTLING_QUOTA_EXCEEDED, "the broker is busy; retry later"
        return None

    def _append(self, call: CallId, request: ProduceRequest, epoch: Epoch) -> None:
        log, base = self.log, self.log.leo
        log.append((placed(request.batch, base, epoch),))
        if request.acks == 0:
            self._answer_written(call, request.correlation, -1, NO_EPOCH)
        else:
            self._wait(call, request, base, log.leo, epoch, epoch)

    def _answer_duplicate(
        self, call: CallId, request: ProduceRequest, epoch: Epoch, check: SequenceCheck
    ) -> None:
        """Answer a duplicate when the first copy of its batch is committed or appended (F71)."""
        batch = request.batch
        base, end = check.base_offset, check.end
        self.context.note(DuplicateRecognised(batch.producer_id, batch.base_sequence, base))
        record_epoch = NO_EPOCH if base < 0 else self.log.epochs.prev_epoch(end)
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
        pending = PendingProduce(request.correlation, base, record_epoch, epoch, request.acks)
        waiting = self.awaiting_commit if request.acks == -1 else self.awaiting_append
        waiting.add(call, pending, end, deadline)
        if self.timer_due is None or deadline < self.timer_due:
            self._set_timer_for(deadline)

    def _set_timer(self) -> None:
        waiting = (self.awaiting_commit, self.awaiting_append)
        due = [deadline for each in waiting if (deadline := each.next_deadline()) is not None]
        if due:
            self._set_timer_for(min(due))

    def check(self) -> None:
        """Assert that the timer fires at or before each deadline."""
        for waiting in (self.awaiting_commit, self.awaiting_append):
            waiting.check()
            for entry in waiting.entries.values():
                assert self.timer_due is not None, "pending request without a timer"
                assert self.timer_due <= entry.deadline, "the timer fires after a deadline"

    def _set_timer_for(self, deadline: Micros) -> None:
        self.timer_due = deadline
        wait = max(0, deadline - self.context.now)
        self.context.emit(SetTimer(TIMER_PRODUCE_DEADLINE, wait, wait))

    def _answer_written(
        self, call: CallId, correlation: int, base: Offset, record_epoch: Epoch
    ) -> None:
        self._answer(call, correlation, NO_ERROR, WRITTEN, base, record_epoch)

    def _answer_unknown(
        self, waiting: list[tuple[CallId, PendingCall[PendingProduce]]], error: ErrorCode
    ) -> None:
        for call, entry in waiting:
            self._answer(call, entry.request.correlation, error, Outcome.UNKNOWN)

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
