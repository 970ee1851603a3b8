"""The log as the core sees it: ends, epochs, producers, never a payload; must never decide.

Three ends move on: ``leo`` when an append is ordered, ``appended_end`` when it is written and
readable, ``durable_end`` when it is flushed. A cut never passes the high watermark, so only the
tail above it is kept batch by batch; the idempotence table exists twice, folded up to the high
watermark (``stable``) and up to the end (``producers``), so that a cut can fold it again without
reading anything.

Every truncation and every change of role begins a new generation: completions of older orders are
dropped, for what they name may have been overwritten since (F62). A flush is ordered at once in
the new generation, and its completion stands for all that went before it.
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
"""The end of a batch above the high watermark, its producer id, and that producer's entry once
the batch counts."""

Pending: TypeAlias = tuple[Offset, int | None]
"""The end of what an order writes or flushes, and the bytes of an append, None for a flush."""


class Log:
    """One replica's log. ``hw`` is the end of what this replica knows to be committed."""

    __slots__ = (
        "context",
        "log_start",
        "leo",
        "appended_end",
        "durable_end",
        "position",
        "hw",
        "generation",
        "epochs",
        "producers",
        "stable",
        "tail",
        "pending",
        "pending_bytes",
        "flush_each",
    )

    def __init__(self, context: Context, recovered: Recovered, hw: Offset) -> None:
        self.context = context
        #: Offset of the first record that is kept; at most ``hw``.
        self.log_start = recovered.log_start
        #: End of what is ordered; at least each of the other ends.
        self.leo = recovered.leo
        #: End of what is written and readable: in [durable_end, leo].
        self.appended_end = recovered.leo
        #: End of what is flushed.
        self.durable_end = recovered.leo
        #: What this replica may claim to hold: flushed, or written where acks mean written.
        self.position = recovered.leo
        #: High watermark: in [log_start, leo]; never falls while this process lives.
        self.hw = max(recovered.log_start, min(hw, recovered.leo))
        #: Number of truncations and changes of role so far.
        self.generation = LogGeneration(0)
        #: Where each leader epoch begins; the last start is at most ``leo``.
        self.epochs = EpochIndex(recovered.epochs)
        #: The idempotence table up to ``leo``.
        self.producers = ProducerTable(recovered.producers, context.config.producers_max)
        #: The same up to ``hw``.
        self.stable = fork_of(self.producers)
        #: The batches that end above ``hw``, ends rising up to ``leo``.
        self.tail: deque[TailBatch] = deque()
        #: Orders of this generation without a completion, oldest first.
        self.pending: dict[OpId, Pending] = {}
        #: The bytes of the appends among them.
        self.pending_bytes = 0
        #: Whether acks mean flushed.
        self.flush_each = context.config.flush == "batch"
        for header in recovered.headers:
            self._remember(header)
        self._fold_stable()

    def append(self, batches: tuple[Batch, ...]) -> None:
        """Order the append of placed batches, and their flush if acks mean flushed."""
        assert batches[0].base_offset == self.leo, "a log has no gaps"
        size = 0
        for batch in batches:
            self.epochs.note(batch.epoch, batch.base_offset)
            self.leo = self._remember(batch)
            size += batch.size
        op = self.context.op()
        self.pending[op] = (self.leo, size)
        self.pending_bytes += size
        self.context.emit(AppendLog(op, self.generation, batches))
        if self.flush_each:
            self.flush()

    def flush(self) -> OpId:
        """Order a flush of all that was ordered before."""
        op = self.context.op()
        self.pending[op] = (self.leo, None)
        self.context.emit(FlushLog(op, self.generation))
        return op

    def truncate(self, end: Offset) -> Offset:
        """Cut every batch that ends above ``end``; returns the new end. Begins a generation."""
        assert end >= self.hw, "committed records are never cut"
        while self.tail and self.tail[-1][0] > end:
            self.tail.pop()
        self.leo = self.tail[-1][0] if self.tail else min(self.leo, self.hw)
        assert self.leo <= end, "a cut leaves nothing above it"
        self.epochs.truncate(self.leo)
        self.appended_end = min(self.appended_end, self.leo)
        self.durable_end = min(self.durable_end, self.leo)
        self.position = min(self.position, self.leo)
        self.producers = self.context.rules.producers_after_truncation(
            self._rebuilt, self.producers
        )
        self.generation = LogGeneration(self.generation + 1)
        self.pending.clear()
        self.pending_bytes = 0
        self.context.emit(TruncateLog(self.context.op(), self.generation, self.leo))
        self.flush()
        return self.leo

    def new_generation(self) -> OpId:
        """A change of role: completions of older orders no longer count; flush at once."""
        self.generation = LogGeneration(self.generation + 1)
        self.pending.clear()
        self.pending_bytes = 0
        return self.flush()

    def complete(self, event: DiskDone) -> None:
        """Take in a completion; one of an older generation says nothing any more."""
        if event.generation != self.generation:
            return
        order = self.pending.pop(event.op, None)
        if order is None:
            return
        end, size = order
        if end > self.appended_end:
            self.appended_end = end
        if size is not None:
            self.pending_bytes -= size
        elif end > self.durable_end:
            self.durable_end = end
        self.position = self.durable_end if self.flush_each else self.appended_end

    def raise_hw(self, hw: Offset) -> bool:
        """Move the high watermark up to ``hw`` (never beyond the end); True if it moved."""
        if hw <= self.hw:
            return False
        assert hw <= self.leo, "nothing above the log's end is committed"
        self.hw = hw
        self._fold_stable()
        return True

    def check(self) -> None:
        """Assert the bounds that the fields name, in time of what is not committed."""
        assert 0 <= self.log_start <= self.hw <= self.leo, "start, high watermark, end"
        assert self.durable_end <= self.appended_end <= self.leo, "flushed, written, ordered"
        claimed = self.durable_end if self.flush_each else self.appended_end
        assert self.position == claimed, "flushed, or written"
        before = self.hw
        for end, _, _ in self.tail:
            assert before < end, "the tail rises from the high watermark"
            before = end
        assert before == self.leo, "the tail ends where the log ends"
        total = 0
        before = self.log_start
        for end, size in self.pending.values():
            assert before <= end <= self.leo, "orders rise, and name what is in the log"
            before = end
            total += size or 0
        assert total == self.pending_bytes, "bytes without a completion"
        self.epochs.check(self.leo)

    def _remember(self, batch: Batch) -> Offset:
        end = batch.base_offset + batch.count
        entry = self.producers.apply(
            batch.producer_id, batch.producer_epoch, batch.base_sequence, batch.base_offset, end
        )
        self.tail.append((end, batch.producer_id, entry))
        return end

    def _fold_stable(self) -> None:
        """Fold what is now committed into the stable table and forget its batches."""
        tail = self.tail
        while tail and tail[0][0] <= self.hw:
            _, producer_id, entry = tail.popleft()
            if entry is not None:
                self.stable.put(producer_id, entry)

    def _rebuilt(self) -> ProducerTable:
        table = fork_of(self.stable)
        for _, producer_id, entry in self.tail:
            if entry is not None:
                table.put(producer_id, entry)
        return table
