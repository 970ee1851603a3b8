"""What a broker answers to producers: refusals, appends, confirmations; must never guess.

Every answer says what became of the records: written, not written, or unknown. Before the append
all refusals are definite; after it, whatever is not a confirmation is unknown (R9, R10).
"""

from __future__ import annotations

from yak_core.batch import Batch, placed
from yak_core.broker.context import Context
from yak_core.broker.leader import Leader
from yak_core.broker.pending_acks import Waiter, Waiters
from yak_core.broker.replica_log import Log
from yak_core.contract.effects import Answer, SetTimer
from yak_core.contract.messages import ProduceRequest, ProduceResponse
from yak_core.contract.notes import DuplicateRecognised, ProduceRefused
from yak_core.errors import ErrorCode, Outcome
from yak_core.ids import NO_EPOCH, CallId, Epoch, Micros, NodeId, Offset
from yak_core.metadata.partition_state import PartitionState
from yak_core.rules import SequenceCheck, SequenceResult

TIMER_WAITERS = "waiters"
ACKS = (-1, 0, 1)


class Writers:
    """The write side of one broker."""

    __slots__ = ("context", "log", "awaiting_commit", "awaiting_append", "leader", "epoch", "armed")

    def __init__(self, context: Context, log: Log) -> None:
        self.context = context
        self.log = log
        self.awaiting_commit = Waiters()
        self.awaiting_append = Waiters()
        self.leader: NodeId | None = None
        self.epoch: Epoch = Epoch(0)
        self.armed: Micros | None = None

    def produce(
        self, call: CallId, request: ProduceRequest, leading: Leader, lease_deadline: int
    ) -> bool:
        """Answer, append, or both; True if records were appended."""
        refusal = self._refusal(request, leading.partition, lease_deadline)
        if refusal is not None:
            error, detail = refusal
            self.refuse(call, request, error, detail)
            return False
        batch = request.batch
        check = SequenceCheck(SequenceResult.ACCEPT)
        if batch.producer_id >= 0:
            known = self.log.producers.get(batch.producer_id)
            check = self.context.rules.accept_sequence(known, batch)
        if check.result is SequenceResult.ACCEPT:
            self._append(call, request, leading.epoch)
            return True
        if check.result in (SequenceResult.DUPLICATE, SequenceResult.DUPLICATE_OLD):
            self._join_original(call, request, leading.epoch, check)
        elif check.result is SequenceResult.FENCED:
            detail = "another producer with this id has taken over: start a new producer"
            self.refuse(call, request, ErrorCode.INVALID_PRODUCER_EPOCH, detail)
        else:
            detail = "an earlier batch of this producer is missing: send that one first"
            self.refuse(call, request, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, detail)
        return False

    def refuse(
        self, call: CallId, request: ProduceRequest, error: ErrorCode, detail: str = ""
    ) -> None:
        """A definite refusal: nothing of this request was written by this call."""
        self.context.note(ProduceRefused(error.name, request.batch.producer_id))
        self._answer(call, request.correlation, error, Outcome.NOT_WRITTEN, detail=detail)

    def settle(self, epoch: Epoch) -> None:
        """The high watermark moved: confirm what is committed."""
        hw = self.log.hw
        confirm = self.context.rules.confirm
        for done in self.awaiting_commit.take(
            lambda waiter: confirm(waiter.waiting_epoch, epoch, waiter.end, hw), hw
        ):
            self._answer_written(done.call, done.correlation, done.base, done.record_epoch)

    def on_log_progress(self) -> None:
        """A write completed: answer the acks=1 requests that it covers."""
        end = self.log.appended_end
        for done in self.awaiting_append.take(lambda _: True, end):
            self._answer_written(done.call, done.correlation, done.base, done.record_epoch)

    def on_partition(self, partition: PartitionState) -> None:
        """The recorded ISR fell below min ISR: what waits may or may not commit (R10)."""
        if len(partition.isr) >= partition.effective_min_isr:
            return
        for waiter in self.awaiting_commit.take_all(lambda _: True):
            self._answer_unknown(waiter, ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND)

    def step_down(self) -> int:
        """The leadership is over: fail what waits, as unknown. Returns how many."""
        survives = self.context.rules.survives_step_down
        failed = self.awaiting_commit.take_all(lambda waiter: not survives(waiter.acks))
        failed += self.awaiting_append.take_all(lambda _: True)
        for waiter in failed:
            self._answer_unknown(waiter, ErrorCode.NOT_LEADER_OR_FOLLOWER)
        return len(failed)

    def fail_all(self, error: ErrorCode) -> None:
        """This broker stops: everything that waits ends as unknown."""
        for waiters in (self.awaiting_commit, self.awaiting_append):
            for waiter in waiters.take_all(lambda _: True):
                self._answer_unknown(waiter, error)

    def expire(self) -> None:
        """The waiters' timer fired: who waited too long does not know what became of it."""
        now = self.context.now
        for waiters in (self.awaiting_commit, self.awaiting_append):
            for waiter in waiters.take_all(lambda waiter: waiter.deadline <= now):
                self._answer_unknown(waiter, ErrorCode.REQUEST_TIMED_OUT)
        self.armed = None
        self._arm()

    def drop_call(self, call: CallId) -> None:
        """The caller went away; its records stay."""
        self.awaiting_commit.drop_call(call)
        self.awaiting_append.drop_call(call)

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
        batch: Batch = placed(request.batch, self.log.leo, epoch)
        self.log.append((batch,))
        if request.acks == 0:
            self._answer_written(call, request.correlation, -1, NO_EPOCH)
            return
        self._wait(call, request, batch.base_offset, batch.end, epoch, epoch)

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
        waiter = Waiter(
            end, call, request.correlation, base, record_epoch, epoch, deadline, request.acks
        )
        (self.awaiting_commit if request.acks == -1 else self.awaiting_append).add(waiter)
        if self.armed is None or deadline < self.armed:
            self._arm_for(deadline)

    def _arm(self) -> None:
        due = [
            deadline
            for deadline in (
                self.awaiting_commit.next_deadline(),
                self.awaiting_append.next_deadline(),
            )
            if deadline is not None
        ]
        if due:
            self._arm_for(min(due))

    def _arm_for(self, deadline: Micros) -> None:
        self.armed = deadline
        wait = max(0, deadline - self.context.now)
        self.context.emit(SetTimer(TIMER_WAITERS, wait, wait))

    def _answer_written(
        self, call: CallId, correlation: int, base: Offset, record_epoch: Epoch
    ) -> None:
        self._answer(call, correlation, ErrorCode.NONE, Outcome.WRITTEN, base, record_epoch)

    def _answer_unknown(self, waiter: Waiter, error: ErrorCode) -> None:
        self._answer(waiter.call, waiter.correlation, error, Outcome.UNKNOWN)

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
                    self.leader,
                    self.epoch,
                    detail,
                ),
            )
        )
