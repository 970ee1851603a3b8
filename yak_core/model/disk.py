"""What a broker's disk holds, as a value to be simulated; must never do real I/O.

The image has a written state and a durable state. A flush makes them equal; a crash may go back
to the durable one, in whole or in part. Cutting durable batches without a flush leaves them as
ghosts, which reappear when the cut is lost in a crash, as file systems do.

The Manual and the Sim backend share this model; the real one has files. A backend holds the queue
of orders and decides when each is performed. The image decides what an order changes, which
appends are refused, and how the log ends once the rest of the queue is performed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import Final

from yak_core.batch import Batch, carrying
from yak_core.contract.effects import AppendLog, DiskOrder, FlushLog, TruncateLog
from yak_core.contract.events import DiskOk, DiskResult, NoSpace, Recovered
from yak_core.fork import fork_of
from yak_core.ids import Epoch, Offset
from yak_core.log.epochs import EpochIndex

_DONE: Final = DiskOk()
_NO_SPACE: Final = NoSpace()


class DiskImage:
    """Batches back to back from ``log_start``, and a few named values."""

    __slots__ = ("log_start", "batches", "ends", "durable_count", "ghosts", "saved", "intact")

    def __init__(self) -> None:
        self.log_start: Offset = 0
        self.batches: list[Batch] = []
        self.ends: list[Offset] = []
        self.durable_count = 0
        self.ghosts: list[Batch] = []
        self.saved: dict[str, bytes] = {}
        self.intact = True

    @property
    def leo(self) -> Offset:
        """End of what is written."""
        return self.ends[-1] if self.ends else self.log_start

    @property
    def durable_end(self) -> Offset:
        """End of what a crash cannot take away."""
        return self.ends[self.durable_count - 1] if self.durable_count else self.log_start

    def perform(self, order: DiskOrder, no_space: bool = False) -> DiskResult:
        """Perform one order and return its result, DiskOk or NoSpace.

        An append fails, and changes nothing, if ``no_space`` is set or if it would leave a gap
        because an append before it failed.
        """
        if isinstance(order, AppendLog):
            if no_space or order.batches[0].base_offset != self.leo:
                return _NO_SPACE
            self.append(order.batches)
        elif isinstance(order, FlushLog):
            self.flush()
        elif isinstance(order, TruncateLog):
            self.truncate(order.end)
        else:
            self.save(order.key, order.value)
        return _DONE

    def after(self, orders: Iterable[DiskOrder]) -> DiskImage:
        """Return a copy in which these orders are performed; an append that leaves a gap is not."""
        image = fork_of(self)
        for order in orders:
            image.perform(order)
        return image

    def append(self, batches: tuple[Batch, ...]) -> None:
        """Write batches at the end; they are lost in a crash until the next flush."""
        for batch in batches:
            assert batch.base_offset == self.leo, "a log has no gaps"
            self.batches.append(batch)
            self.ends.append(batch.end)

    def flush(self) -> None:
        """Make durable whatever was written and cut before."""
        self.durable_count = len(self.batches)
        self.ghosts = []

    def truncate(self, end: Offset) -> None:
        """Remove every batch that ends above ``end``."""
        keep = bisect_right(self.ends, end)
        if keep < self.durable_count:
            self.ghosts = self.batches[keep : self.durable_count] + self.ghosts
            self.durable_count = keep
        del self.batches[keep:]
        del self.ends[keep:]

    def save(self, key: str, value: bytes | None) -> None:
        """Keep or delete a named value, durably."""
        if value is None:
            self.saved.pop(key, None)
        else:
            self.saved[key] = value

    def read(self, start: Offset, end_max: Offset, bytes_max: int) -> tuple[Batch, ...]:
        """Whole batches from the one that holds ``start`` on, at least one, all below ``end_max``.

        Empty when nothing lies in [start, end_max).
        """
        if start >= end_max or start >= self.leo or start < self.log_start:
            return ()
        first = bisect_right(self.ends, start)
        last = first
        size = 0
        while last < len(self.ends) and self.ends[last] <= end_max:
            size += self.batches[last].size
            if last > first and size > bytes_max:
                break
            last += 1
        return tuple(self.batches[first:last])

    @property
    def unsynced(self) -> int:
        """How many written batches a crash may take away."""
        return len(self.batches) - self.durable_count

    def crash(self, keep_unsynced: int = 0) -> None:
        """Lose what was not flushed but its first ``keep_unsynced`` batches (write-back order).

        A torn batch is a batch that is lost: recovery cuts it. With nothing kept, a cut that was
        not flushed is undone.
        """
        keep = min(self.durable_count + keep_unsynced, len(self.batches))
        ghosts = self.ghosts if keep == self.durable_count and keep_unsynced == 0 else []
        del self.batches[keep:]
        del self.ends[keep:]
        for batch in ghosts:
            self.batches.append(batch)
            self.ends.append(batch.end)
        self.durable_count = len(self.batches)
        self.ghosts = []

    def recovered(self) -> Recovered:
        """What recovery tells the next incarnation."""
        return Recovered(
            log_start=self.log_start,
            leo=self.leo,
            intact=self.intact,
            epochs=fold_epochs(self.batches),
            producers=(),
            headers=tuple(header_of(batch) for batch in self.batches),
            saved=tuple(sorted(self.saved.items())),
        )


def header_of(batch: Batch) -> Batch:
    """The handle without its payload."""
    return carrying(batch, b"") if batch.data else batch


def fold_epochs(batches: list[Batch]) -> tuple[tuple[Epoch, Offset], ...]:
    """(epoch, start) of each run of equal epochs: the epoch index is a fold over the log."""
    index = EpochIndex()
    for batch in batches:
        index.note(batch.epoch, batch.base_offset)
    return index.entries()
