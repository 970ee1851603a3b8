"""The newest batches in memory, as they were ordered; must never wait for the disk.

What is ordered can be read at once, whether it is written or not. What is written and no longer
fits into ``bytes_max`` is forgotten, the oldest first, and read from the file from then on.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from yak_core.batch import Batch, carrying, stamped
from yak_core.contract.effects import AppendLog, TruncateLog
from yak_core.ids import NO_EPOCH, Offset

_FORGOTTEN = Batch(0, NO_EPOCH, 0, -1, -1, -1, -1, 0, 0, b"")


class Tail:
    """All batches of [start, leo) as of the last order."""

    __slots__ = ("_batches", "_ends", "_exact", "_head", "bytes_max", "leo", "log_start", "size")

    def __init__(self, log_start: Offset, leo: Offset, bytes_max: int) -> None:
        self.log_start = log_start
        self.leo = leo
        self.bytes_max = bytes_max
        self.size = 0
        self._batches: list[Batch] = []
        self._ends: list[Offset] = []
        self._head = 0
        # After a cut below what is in memory, the end is a boundary that only the file knows.
        self._exact = True

    @property
    def start(self) -> Offset:
        """Where memory begins; below it there is the file."""
        return self._batches[self._head].base_offset if self._head < len(self._ends) else self.leo

    def fits(self, base: Offset) -> bool:
        """Whether a batch with this base offset goes on where the log ends."""
        return base == self.leo or (not self._exact and base < self.leo)

    def append(self, batches: tuple[Batch, ...]) -> None:
        """They are ordered to be written, and fit."""
        for batch in batches:
            self._batches.append(batch)
            self._ends.append(batch.end)
            self.size += batch.size
        self.leo = batches[-1].end
        self._exact = True

    def truncate(self, end: Offset) -> None:
        """Every batch that ends above ``end`` is ordered to be removed."""
        if end >= self.leo:
            return
        start = self.start
        # From the head on: before it are ends of a log that may have been cut since.
        keep = bisect_right(self._ends, end, self._head)
        for batch in self._batches[keep:]:
            self.size -= batch.size
        del self._batches[keep:]
        del self._ends[keep:]
        if end >= start:
            self.leo = self._ends[-1] if keep > self._head else start
        else:
            self.leo = end
            self._exact = False

    def settle(self, end: Offset) -> None:
        """The file ends there, and everything ordered is done: so the end is known exactly."""
        if not self._exact:
            self.leo = end
            self._exact = True

    def refuse(self, end: Offset, pending: Iterable[AppendLog | TruncateLog]) -> None:
        """An append found no space: the file ends at ``end``, and ``pending`` is yet to come.

        What is pending and would leave a gap will not be written either.
        """
        orders = list(pending)
        self.truncate(
            min([end, *(order.end for order in orders if isinstance(order, TruncateLog))])
        )
        for order in orders:
            if isinstance(order, TruncateLog):
                self.truncate(order.end)
            elif self.fits(order.batches[0].base_offset):
                self.append(order.batches)

    def evict(self, written: Offset) -> None:
        """Forget the oldest batches that end at or below ``written``, down to the limit."""
        head = self._head
        while self.size > self.bytes_max and head < len(self._ends) and self._ends[head] <= written:
            self.size -= self._batches[head].size
            self._batches[head] = _FORGOTTEN
            head += 1
        self._head = head
        if head > 64 and 2 * head > len(self._ends):
            del self._batches[:head]
            del self._ends[:head]
            self._head = 0

    def holds(self, start: Offset, end_max: Offset) -> bool:
        """Whether memory alone can tell what is in [start, end_max)."""
        return (
            start >= self.start or start >= end_max or start >= self.leo or start < self.log_start
        )

    def read(self, start: Offset, end_max: Offset, bytes_max: int) -> tuple[Batch, ...]:
        """As :meth:`yak_core.model.disk.DiskImage.read`, of what is in memory."""
        if start >= end_max or start >= self.leo or start < self.start:
            return ()
        ends = self._ends
        first = last = bisect_right(ends, start, self._head)
        size = 0
        while last < len(ends) and ends[last] <= end_max:
            size += self._batches[last].size
            if last > first and size > bytes_max:
                break
            last += 1
        return tuple(self._batches[first:last])


def positioned(batch: Batch) -> Batch:
    """The handle whose bytes are stamped, so that nobody has to do it again."""
    data = stamped(batch)
    if data is batch.data:
        return batch
    return carrying(batch, data)


def joined(found: tuple[Batch, ...], tail: tuple[Batch, ...], bytes_max: int) -> tuple[Batch, ...]:
    """What the file had, and behind it what memory had, as far as ``bytes_max`` goes."""
    if not found or not tail or found[-1].end != tail[0].base_offset:
        return found
    room = bytes_max - sum(batch.size for batch in found)
    more = []
    for batch in tail:
        room -= batch.size
        if room < 0:
            break
        more.append(batch)
    return (*found, *more)
