"""The tail cache: the newest batches of the log in memory.

It contains a batch as soon as its append is issued, whether or not the append is complete. If the
cache exceeds ``bytes_max``, it evicts the oldest written batches; reads of those use the file.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import TypeAlias

from yak_core.batch import Batch, stamped, with_data
from yak_core.contract.effects import AppendLog, TruncateLog
from yak_core.ids import NO_EPOCH, Offset

OnRead: TypeAlias = Callable[[tuple[Batch, ...]], None]

_EVICTED = Batch(0, NO_EPOCH, 0, -1, -1, -1, -1, 0, 0, b"")


class Tail:
    """The batches of [start, leo), after all operations issued so far."""

    __slots__ = ("_batches", "_ends", "_exact", "_head", "bytes_max", "leo", "log_start", "size")

    def __init__(self, log_start: Offset, leo: Offset, bytes_max: int) -> None:
        self.log_start = log_start
        self.leo = leo
        self.bytes_max = bytes_max
        self.size = 0
        self._batches: list[Batch] = []
        self._ends: list[Offset] = []
        self._head = 0
        # False after a truncation below the cache: the exact end is then a batch boundary that
        # is known only from the file.
        self._exact = True

    @property
    def start(self) -> Offset:
        """Base offset of the oldest cached batch; LEO if the cache is empty."""
        return self._batches[self._head].base_offset if self._head < len(self._ends) else self.leo

    def can_append(self, base: Offset) -> bool:
        """Return whether a batch with base offset ``base`` can be appended at the log end."""
        return base == self.leo or (not self._exact and base < self.leo)

    def append(self, batches: tuple[Batch, ...]) -> None:
        """Add batches whose append is issued; the first one must fit."""
        for batch in batches:
            self._batches.append(batch)
            self._ends.append(batch.end)
            self.size += batch.size
        self.leo = batches[-1].end
        self._exact = True

    def truncate(self, end: Offset) -> None:
        """Remove every batch that ends above ``end``; the truncation is issued."""
        if end >= self.leo:
            return
        start = self.start
        # Search from the head: entries before it may be from before an earlier truncation.
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

    def set_end(self, end: Offset) -> None:
        """Set the exact log end ``end`` of the file, after all issued operations are complete."""
        if not self._exact:
            self.leo = end
            self._exact = True

    def drop_failed(self, end: Offset, pending: Iterable[AppendLog | TruncateLog]) -> None:
        """Remove the batches of an append that failed on a full disk.

        The file ends at ``end``; ``pending`` lists the incomplete operations. Pending appends that
        would leave a gap also fail.
        """
        orders = list(pending)
        self.truncate(
            min([end, *(order.end for order in orders if isinstance(order, TruncateLog))])
        )
        for order in orders:
            if isinstance(order, TruncateLog):
                self.truncate(order.end)
            elif self.can_append(order.batches[0].base_offset):
                self.append(order.batches)

    def evict(self, written: Offset) -> None:
        """Evict the oldest batches that end at or below ``written``, down to ``bytes_max``."""
        head = self._head
        while self.size > self.bytes_max and head < len(self._ends) and self._ends[head] <= written:
            self.size -= self._batches[head].size
            self._batches[head] = _EVICTED
            head += 1
        self._head = head
        if head > 64 and 2 * head > len(self._ends):
            del self._batches[:head]
            del self._ends[:head]
            self._head = 0

    def holds(self, start: Offset, end_max: Offset) -> bool:
        """Return whether :meth:`read` of [start, end_max) needs no read of the file."""
        return (
            start >= self.start or start >= end_max or start >= self.leo or start < self.log_start
        )

    def read(self, start: Offset, end_max: Offset, bytes_max: int) -> tuple[Batch, ...]:
        """Read cached batches, like :meth:`yak_core.model.disk.DiskImage.read`."""
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


class PendingRead:
    """A pending read of the file: its arguments, the part in memory, and later truncations."""

    def __init__(self, start: Offset, end_max: Offset, bytes_max: int, done: OnRead) -> None:
        self.start = start
        self.end_max = end_max
        self.bytes_max = bytes_max
        self.done = done
        self.limit: Offset = 0
        self.tail: tuple[Batch, ...] = ()
        self.truncated_to: Offset | None = None
        self.truncations_done = 0


def positioned(batch: Batch) -> Batch:
    """Return a batch whose bytes contain its base offset and epoch."""
    data = stamped(batch)
    if data is batch.data:
        return batch
    return with_data(batch, data)


def join(found: tuple[Batch, ...], tail: tuple[Batch, ...], bytes_max: int) -> tuple[Batch, ...]:
    """Return the batches of the file followed by those of memory, at most ``bytes_max`` bytes."""
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
