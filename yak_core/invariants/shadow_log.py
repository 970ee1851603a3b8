"""The checkers' copy of each replica's log, as a chain of hashes.

A link of the chain is a hash of the previous link and of (epoch, crc, size, count) of a batch. So
two logs whose links after ``k`` batches are equal hold the same first ``k`` batches: prefixes of
any length are compared in one comparison. A link is a 64-bit hash of a Python tuple of integers,
which does not depend on the hash seed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import Final

from yak_core.batch import Batch
from yak_core.ids import Epoch, Offset, OpId
from yak_core.log.producers import WINDOW, ProducerEntry

NO_LIMIT: Final = 1 << 62
"""A number above the number of batches of any log."""


class ShadowLog:
    """The shadow of one log."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        #: End offset of each batch.
        self.ends: list[Offset] = []
        #: Link after each batch.
        self.links: list[int] = []
        #: Number of batches that a completed flush made durable.
        self.durable = 0
        #: Upper limit of the number of batches on the disk; a failed append lowers it.
        self.written = NO_LIMIT
        #: Number of batches in the log when each pending flush was issued.
        self.flushes: dict[OpId, int] = {}
        #: Number of batches in the log before each pending append.
        self.appends: dict[OpId, int] = {}
        #: The epochs along the log.
        self.run_epochs: list[Epoch] = []
        #: Index of the first batch of each epoch.
        self.run_firsts: list[int] = []

    @property
    def leo(self) -> Offset:
        """The log end offset."""
        return self.ends[-1] if self.ends else 0

    @property
    def durable_end(self) -> Offset:
        """The end offset of the durable batches."""
        return self.ends[self.durable - 1] if self.durable else 0

    def append(self, batch: Batch) -> int:
        """Append a batch and return its link."""
        links = self.links
        epoch = batch.epoch
        index = len(links)
        link = hash((links[-1] if index else 0, epoch, batch.crc, batch.size, batch.count))
        self.batches.append(batch)
        self.ends.append(batch.base_offset + batch.count)
        links.append(link)
        if not self.run_epochs or self.run_epochs[-1] != epoch:
            self.run_epochs.append(epoch)
            self.run_firsts.append(index)
        return link

    def extend(self, batches: Iterable[Batch]) -> None:
        """Append batches."""
        for batch in batches:
            self.append(batch)

    def truncate(self, keep: int) -> None:
        """Keep the first ``keep`` batches."""
        del self.batches[keep:]
        del self.ends[keep:]
        del self.links[keep:]
        while self.run_firsts and self.run_firsts[-1] >= keep:
            self.run_firsts.pop()
            self.run_epochs.pop()
        self.durable = min(self.durable, keep)
        if keep <= self.written:
            self.written = NO_LIMIT
        for op, count in self.flushes.items():
            self.flushes[op] = min(count, keep)

    def flushed(self, op: OpId) -> int:
        """Make the batches durable that flush ``op`` covers, and return ``durable``."""
        count = self.flushes.pop(op)
        if count > self.written:
            count = self.written
        if count > self.durable:
            self.durable = count
        return self.durable

    def on_no_space(self, op: OpId) -> None:
        """Record that append ``op`` failed: its batches and all later ones are not on the disk."""
        self.written = min(self.written, self.appends.pop(op, NO_LIMIT))
        self.durable = min(self.durable, self.written)

    def count_below(self, end: Offset) -> int:
        """Return the number of batches that end at or below ``end``."""
        ends = self.ends
        if ends and ends[-1] == end:
            return len(ends)
        return bisect_right(ends, end)

    def holds(self, count: int, link: int) -> bool:
        """Return whether the first ``count`` batches are those whose last link is ``link``."""
        return count == 0 or (
            len(self.links) >= count <= self.written and self.links[count - 1] == link
        )

    def link_at(self, count: int) -> int:
        """Return the link after the first ``count`` batches; 0 if ``count`` is 0."""
        return self.links[count - 1] if count else 0

    def producers(self) -> dict[int, ProducerEntry]:
        """Compute the producer table: the last five batches of each producer's last epoch."""
        windows: dict[int, tuple[Batch, ...]] = {}
        for batch in self.batches:
            window = windows.get(batch.producer_id, ())
            if window and window[-1].producer_epoch != batch.producer_epoch:
                window = ()
            windows[batch.producer_id] = (*window[1 - WINDOW :], batch)
        return {
            producer: ProducerEntry(
                window[-1].producer_epoch,
                tuple((b.base_sequence, b.last_sequence, b.base_offset, b.end) for b in window),
            )
            for producer, window in windows.items()
            if producer >= 0
        }

    def common_prefix(self, links: list[int]) -> int:
        """Return the length, in batches, of the longest common prefix with these links."""
        pairs = enumerate(zip(self.links, links, strict=False))
        shorter = min(len(self.links), len(links))
        return next((at for at, (mine, its) in pairs if mine != its), shorter)


def log_of(batches: Iterable[Batch]) -> ShadowLog:
    """Return the shadow of a log that was found on a disk; all its batches are durable."""
    log = ShadowLog()
    log.extend(batches)
    log.durable = len(log.links)
    return log
