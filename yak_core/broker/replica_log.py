"""The state of a replica's log: ends, epochs and producers, without record payloads.

The log has three ends. ``leo`` advances when an append is issued, ``appended_end`` when the append
completes and is readable, ``durable_end`` when a flush completes. A truncation does not remove
records below the high watermark, so only the batches above it are kept in ``tail``. There are two
idempotence tables: ``committed_producers`` covers the log up to the high watermark, ``producers``
up to the LEO. After a truncation the second is rebuilt from the first and ``tail``, without reading
the log.

Every truncation and every change of role begins a new generation. Completions of an older
generation are dropped, because their records may have been overwritten (F62). A flush is issued at
once in the new generation; its completion covers all earlier appends and truncations.
"""

from __future__ import annotations

from collections import deque
from typing import TypeAlias

from yak_core.batch import Batch
from yak_core.broker.context import Context
from yak_core.contract.effects import AppendLog, FlushLog, TruncateLog
from yak_core.contract.events import DiskDone, Recovered
from yak_core.fork import fork_of
from yak_core.ids import LogGeneration, Offset, OpId
from yak_core.log.epochs import EpochIndex
from yak_core.log.producers import ProducerEntry, ProducerTable

TailBatch: TypeAlias = tuple[Offset, int, ProducerEntry | None]
"""The end of a batch above the high watermark, its producer id, and the producer's entry after
this batch."""

PendingOp: TypeAlias = tuple[Offset, int | None]
"""The end offset that an append or flush covers, and the bytes of an append, None for a flush."""


class Log:
    """The log of one replica; this replica knows that records below ``hw`` are committed."""

    __slots__ = (
        "context", "log_start", "leo", "appended_end", "durable_end", "position", "hw",
        "generation", "epochs", "producers", "committed_producers", "tail", "pending",
        "pending_bytes", "flush_each",
    )  # fmt: skip

    def __init__(self, context: Context, recovered: Recovered, hw: Offset) -> None:
        self.context = context
        #: Offset of the first record in the log; at most ``hw``.
        self.log_start = recovered.log_start
        #: Log end offset, including pending appends; not below the other ends.
        self.leo = recovered.leo
        #: End of the completed appends, which are readable: in [durable_end, leo].
        self.appended_end = recovered.leo
        #: End of the flushed records.
        self.durable_end = recovered.leo
        #: The offset that this replica may acknowledge: ``durable_end`` with flush=batch, else
        #: ``appended_end``.
        self.position = recovered.leo
        #: High watermark: in [log_start, leo]; does not decrease within a start.
        self.hw = max(recovered.log_start, min(hw, recovered.leo))
        #: Number of truncations and changes of role so far.
        self.generation = LogGeneration(0)
        #: The start of each leader epoch; the last start is at most ``leo``.
        self.epochs = EpochIndex(recovered.epochs)
        #: The idempotence table up to ``leo``.
        self.producers = ProducerTable(recovered.producers, context.config.producers_max)
        #: The idempotence table up to ``hw``.
        self.committed_producers = fork_of(self.producers)
        #: The batches that end above ``hw``, in the order of the log.
        self.tail: deque[TailBatch] = deque()
        #: Pending appends and flushes of this generation, oldest first.
        self.pending: dict[OpId, PendingOp] = {}
        #: The total bytes of the pending appends.
        self.pending_bytes = 0
        #: Whether each append is flushed before it is acknowledged (flush=batch).
        self.flush_each = context.config.flush == "batch"
        for header in recovered.headers:
            self._track(header)
        self._fold_committed()

    def append(self, batches: tuple[Batch, ...]) -> None:
        """Append batches that have offsets and epochs; with flush=batch, flush them, too."""
        assert batches[0].base_offset == self.leo, "an append must begin at the log end offset"
        size = 0
        for batch in batches:
            self.epochs.add(batch.epoch, batch.base_offset)
            self.leo = self._track(batch)
            size += batch.size
        op = self.context.new_op()
        self.pending[op] = (self.leo, size)
        self.pending_bytes += size
        self.context.emit(AppendLog(op, self.generation, batches))
        if self.flush_each:
            self.flush()

    def flush(self) -> OpId:
        """Issue a flush of all earlier appends and truncations; return its operation id."""
        op = self.context.new_op()
        self.pending[op] = (self.leo, None)
        self.context.emit(FlushLog(op, self.generation))
        return op

    def truncate(self, end: Offset) -> Offset:
        """Truncate every batch that ends above ``end`` and begin a new generation.

        Return the new log end offset.
        """
        assert end >= self.hw, "truncation below the high watermark"
        while self.tail and self.tail[-1][0] > end:
            self.tail.pop()
        self.leo = self.tail[-1][0] if self.tail else min(self.leo, self.hw)
        assert self.leo <= end, "log end offset above the truncation point"
        self.epochs.truncate(self.leo)
        self.appended_end = min(self.appended_end, self.leo)
        self.durable_end = min(self.durable_end, self.leo)
        self.position = min(self.position, self.leo)
        self.producers = self.context.rules.producers_after_truncation(
            self._rebuilt_producers, self.producers
        )
        self.generation = LogGeneration(self.generation + 1)
        self.pending.clear()
        self.pending_bytes = 0
        self.context.emit(TruncateLog(self.context.new_op(), self.generation, self.leo))
        self.flush()
        return self.leo

    def new_generation(self) -> OpId:
        """Begin a new generation after a change of role; return the operation id of its flush."""
        self.generation = LogGeneration(self.generation + 1)
        self.pending.clear()
        self.pending_bytes = 0
        return self.flush()

    def complete(self, event: DiskDone) -> None:
        """Handle the completion of an append or flush; ignore completions of older generations."""
        if event.generation != self.generation:
            return
        operation = self.pending.pop(event.op, None)
        if operation is None:
            return
        end, size = operation
        if end > self.appended_end:
            self.appended_end = end
        if size is not None:
            self.pending_bytes -= size
        elif end > self.durable_end:
            self.durable_end = end
        self.position = self.durable_end if self.flush_each else self.appended_end

    def raise_hw(self, hw: Offset) -> bool:
        """Raise the high watermark to ``hw``, at most ``leo``; return whether it moved."""
        if hw <= self.hw:
            return False
        assert hw <= self.leo, "high watermark above the log end offset"
        self.hw = hw
        self._fold_committed()
        return True

    def check(self) -> None:
        """Assert the invariants of the fields; the cost grows with the uncommitted batches."""
        assert 0 <= self.log_start <= self.hw <= self.leo, "expected log start <= HW <= LEO"
        assert self.durable_end <= self.appended_end <= self.leo, "need durable <= appended <= LEO"
        expected = self.durable_end if self.flush_each else self.appended_end
        assert self.position == expected, "position must be durable_end or appended_end"
        before = self.hw
        for end, _, _ in self.tail:
            assert before < end, "ends in the tail must rise from the high watermark"
            before = end
        assert before == self.leo, "the tail must end at the log end offset"
        total = 0
        before = self.log_start
        for end, size in self.pending.values():
            assert before <= end <= self.leo, "ends of pending operations must rise up to the LEO"
            before = end
            total += size or 0
        assert total == self.pending_bytes, "wrong pending_bytes"
        self.epochs.check(self.leo)

    def _track(self, batch: Batch) -> Offset:
        end = batch.base_offset + batch.count
        entry = self.producers.apply(
            batch.producer_id, batch.producer_epoch, batch.base_sequence, batch.base_offset, end
        )
        self.tail.append((end, batch.producer_id, entry))
        return end

    def _fold_committed(self) -> None:
        """Move the committed batches from the tail to the table of committed producers."""
        tail = self.tail
        while tail and tail[0][0] <= self.hw:
            _, producer_id, entry = tail.popleft()
            if entry is not None:
                self.committed_producers.put(producer_id, entry)

    def _rebuilt_producers(self) -> ProducerTable:
        table = fork_of(self.committed_producers)
        for _, producer_id, entry in self.tail:
            if entry is not None:
                table.put(producer_id, entry)
        return table
