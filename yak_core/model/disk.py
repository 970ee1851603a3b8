"""A model of a broker's disk in memory, with written and durable contents.

A flush makes the written contents durable. A crash of the machine loses all or some of the contents
that are not durable; the end of the process alone loses nothing that was written. A truncation of
durable batches is not durable before the next flush, either: until then a crash can restore the
truncated batches, as on a file system.

The manual world and the simulator share this model; real brokers have files. A backend keeps the
queue of disk effects and the storage session, and decides when each effect is performed. The image
decides what an effect changes, which appends are refused, and which log results from the rest of
the queue.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import Final

from yak_core.batch import Batch, with_data
from yak_core.contract.effects import AppendLog, DiskEffect, FlushLog, TruncateLog
from yak_core.contract.events import DiskOk, DiskResult, NoSpace, Recovered
from yak_core.fork import fork_of
from yak_core.ids import Epoch, Offset
from yak_core.log.epochs import EpochIndex

_DONE: Final = DiskOk()
_NO_SPACE: Final = NoSpace()


class DiskImage:
    """The contents of a disk: contiguous batches from ``log_start``, and named values."""

    __slots__ = ("log_start", "batches", "ends", "durable_count", "restorable", "saved", "intact")

    def __init__(self) -> None:
        self.log_start: Offset = 0
        #: The written batches.
        self.batches: list[Batch] = []
        #: End offset of each written batch.
        self.ends: list[Offset] = []
        #: Number of written batches that are durable.
        self.durable_count = 0
        #: Durable batches whose truncation is not durable.
        self.restorable: list[Batch] = []
        #: The named values, always durable.
        self.saved: dict[str, bytes] = {}
        #: False after the disk lost flushed batches.
        self.intact = True

    @property
    def leo(self) -> Offset:
        """The end offset of the written batches."""
        return self.ends[-1] if self.ends else self.log_start

    @property
    def durable_end(self) -> Offset:
        """The end offset of the durable batches."""
        return self.ends[self.durable_count - 1] if self.durable_count else self.log_start

    def perform(self, effect: DiskEffect, no_space: bool = False) -> DiskResult:
        """Perform one disk effect and return its result, DiskOk or NoSpace.

        An append fails and changes nothing if ``no_space`` is set, or if it would leave a gap
        because an earlier append failed.
        """
        if isinstance(effect, AppendLog):
            if no_space or effect.batches[0].base_offset != self.leo:
                return _NO_SPACE
            self.append(effect.batches)
        elif isinstance(effect, FlushLog):
            self.flush()
        elif isinstance(effect, TruncateLog):
            self.truncate(effect.end)
        else:
            self.save(effect.key, effect.value)
        return _DONE

    def with_effects(self, effects: Iterable[DiskEffect]) -> DiskImage:
        """Return a copy in which these effects are performed, except appends that leave a gap."""
        image = fork_of(self)
        for effect in effects:
            image.perform(effect)
        return image

    def append(self, batches: tuple[Batch, ...]) -> None:
        """Append batches; they are not durable before the next flush."""
        for batch in batches:
            assert batch.base_offset == self.leo, f"append at {batch.base_offset}, not {self.leo}"
            self.batches.append(batch)
            self.ends.append(batch.end)

    def flush(self) -> None:
        """Make all earlier appends and truncations durable."""
        self.durable_count = len(self.batches)
        self.restorable = []

    def truncate(self, end: Offset) -> None:
        """Remove all batches that end above ``end``."""
        keep = bisect_right(self.ends, end)
        if keep < self.durable_count:
            self.restorable = self.batches[keep : self.durable_count] + self.restorable
            self.durable_count = keep
        del self.batches[keep:]
        del self.ends[keep:]

    def save(self, key: str, value: bytes | None) -> None:
        """Save a named value durably; None deletes it."""
        if value is None:
            self.saved.pop(key, None)
        else:
            self.saved[key] = value

    def read(self, start: Offset, end_max: Offset, bytes_max: int) -> tuple[Batch, ...]:
        """Return whole batches from the one that holds ``start``, none beyond ``end_max``.

        Return at least one batch; further ones only while their sum is at most ``bytes_max`` bytes.
        Return none if no whole batch lies in this range.
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
        """The number of written batches that are not durable."""
        return len(self.batches) - self.durable_count

    def crash(self, keep_unsynced: int = 0) -> None:
        """Crash: lose the batches that are not durable, except the first ``keep_unsynced``.

        The system writes batches back in order, so the kept ones are the first. A torn batch counts
        as lost, because recovery truncates it. With ``keep_unsynced`` 0, a truncation that is not
        durable is undone.
        """
        keep = min(self.durable_count + keep_unsynced, len(self.batches))
        restorable = self.restorable if keep == self.durable_count and keep_unsynced == 0 else []
        del self.batches[keep:]
        del self.ends[keep:]
        for batch in restorable:
            self.batches.append(batch)
            self.ends.append(batch.end)
        self.durable_count = len(self.batches)
        self.restorable = []

    def recovered(self, storage_session: str) -> Recovered:
        """Return the recovered state for the next start, in this storage session."""
        return Recovered(
            log_start=self.log_start,
            leo=self.leo,
            intact=self.intact,
            epochs=fold_epochs(self.batches),
            producers=(),
            headers=tuple(header_of(batch) for batch in self.batches),
            saved=tuple(sorted(self.saved.items())),
            storage_session=storage_session,
        )


def session_name(number: int) -> str:
    """Return the text of a storage session in the manual world and in the simulator."""
    return f"session-{number}"


def header_of(batch: Batch) -> Batch:
    """Return the batch without its payload."""
    return with_data(batch, b"") if batch.data else batch


def fold_epochs(batches: list[Batch]) -> tuple[tuple[Epoch, Offset], ...]:
    """Compute the epoch index of a log: (epoch, start offset) for each epoch in it."""
    index = EpochIndex()
    for batch in batches:
        index.add(batch.epoch, batch.base_offset)
    return index.entries()
