"""The segment file: record batches back to back, as Kafka has them; must never decode a record.

One thread writes (the disk's), another may read at the same time. Positions are found by a sparse
index, an entry for each 32 KiB or so, from which headers are walked. Nothing is retried: a call
that fails is the caller's to report.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from yak_core.batch import HEADER_BYTES, Batch, Damaged, Torn, parse, read_header
from yak_core.ids import Epoch, Offset
from yak_net.storage.checkpoints import REWRITE, Mark, MarkFile, encode_epochs, encode_value
from yak_net.storage.system import FULL, System, write_file

INDEX_BYTES: Final = 32 * 1024
"""Of the log between two entries of the index, at least."""
WALK_BYTES: Final = INDEX_BYTES + HEADER_BYTES
BUFFERS_MAX: Final = 512
"""In one writev; systems take 1024."""
MARK_SYNC_S: Final = 1.0
"""The durable mark is made durable itself once in so many seconds."""


class PositionIndex:
    """Base offset to position in the file of some batches, the first always among them."""

    __slots__ = ("_lock", "_offsets", "_positions")

    def __init__(self, start: Offset) -> None:
        self._lock = threading.Lock()
        self._offsets = array("q", (start,))
        self._positions = array("q", (0,))

    def note(self, offset: Offset, position: int) -> None:
        """A batch begins there; it is remembered if the last one is far enough away."""
        if position - self._positions[-1] >= INDEX_BYTES:
            with self._lock:
                self._offsets.append(offset)
                self._positions.append(position)

    def floor(self, offset: Offset) -> tuple[Offset, int]:
        """The last entry that is not above ``offset``."""
        with self._lock:
            at = bisect_right(self._offsets, offset) - 1
            return (self._offsets[at], self._positions[at])

    def cut(self, end: Offset) -> None:
        """Forget what begins at ``end`` or above."""
        with self._lock:
            keep = max(1, bisect_left(self._offsets, end))
            del self._offsets[keep:]
            del self._positions[keep:]

    def __len__(self) -> int:
        return len(self._offsets)


class SegmentLog:
    """An open segment. ``end`` and ``position`` are where it ends, ``durable_end`` what is flushed.

    Offsets are exclusive ends as everywhere; positions are bytes.
    """

    def __init__(
        self, system: System, path: Path, marks: MarkFile, epochs_path: Path, start: Offset
    ) -> None:
        """Opens the file as an empty log; recovery then says what is in it. Raises OSError."""
        self._system = system
        self._fd = os.open(path, os.O_RDWR)
        self._marks = marks
        self._epochs_path = epochs_path
        self._checkpointed: tuple[tuple[Epoch, Offset], ...] | None = None
        self._flushed = False
        self._synced_at = 0.0
        self.path = path
        self.start = start
        self.forget()

    def forget(self) -> None:
        """Nothing is known of what is in the file."""
        self.end = self.start
        self.position = 0
        self.durable_end = self.start
        self.durable_position = 0
        self.epochs: list[tuple[Epoch, Offset]] = []
        self.index = PositionIndex(self.start)

    def take_in(self, batch: Batch) -> None:
        """The file goes on with this batch."""
        self.index.note(batch.base_offset, self.position)
        if not self.epochs or self.epochs[-1][0] != batch.epoch:
            self.epochs.append((batch.epoch, batch.base_offset))
        self.end = batch.end
        self.position += batch.size

    # -- writing --------------------------------------------------------------------------------

    def append(self, orders: Sequence[tuple[Batch, ...]]) -> int:
        """Write stamped batches at the end; each order follows the one before it.

        Returns how many orders are in the log now: of the others, which found no space, there is
        nothing. Raises OSError when writing failed for another reason.
        """
        written, full = self._write([batch.data for order in orders for batch in order])
        taken = len(orders)
        if full:
            taken = 0
            for order in orders:
                written -= sum(batch.size for batch in order)
                if written < 0:
                    break
                taken += 1
        for order in orders[:taken]:
            for batch in order:
                self.take_in(batch)
        if full:
            self._system.cut(self._fd, self.position)
        return taken

    def _write(self, buffers: list[bytes]) -> tuple[int, bool]:
        """How many bytes were written behind the end, and whether there was no room for more."""
        written = first = skip = 0
        while first < len(buffers):
            part: list[bytes | memoryview] = list(buffers[first : first + BUFFERS_MAX])
            part[0] = memoryview(part[0])[skip:]
            try:
                count = self._system.write(self._fd, part, self.position + written)
            except OSError as error:
                if error.errno in FULL:
                    return (written, True)
                raise
            if count <= 0:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            written += count
            skip += count
            while first < len(buffers) and skip >= len(buffers[first]):
                skip -= len(buffers[first])
                first += 1
        return (written, False)

    def flush(self) -> None:
        """Make durable whatever was written. Raises OSError, and then nothing may go on (F65)."""
        try:
            self._system.sync(self._fd)
        except OSError:
            self._marks.flag(REWRITE)
            raise
        self.durable_end = self.end
        self.durable_position = self.position
        self._flushed = True

    def checkpoint(self, durably: bool = False) -> None:
        """Note how far the log is durable, if that is further than noted before.

        Damage that recovery found is forgotten with the first flush: a broker orders none before
        it is registered as unclean. Raises OSError.
        """
        mark = Mark(self.start, self.durable_end, self.durable_position)
        if self._flushed and mark != self._marks.mark and self._checkpoint_epochs():
            self._marks.put(mark)
        now = time.monotonic()
        if self._marks.dirty and (durably or now - self._synced_at >= MARK_SYNC_S):
            self._marks.sync()
            self._synced_at = now

    def establish(self, flags: int) -> None:
        """Make durable what recovery found, and mark it so, with what is to be remembered of it.

        Raises OSError.
        """
        self._system.sync(self._fd)
        self.durable_end = self.end
        self.durable_position = self.position
        mark = Mark(self.start, self.end, self.position, flags)
        if mark != self._marks.mark and self._checkpoint_epochs():
            self._marks.put_durably(mark)

    def _checkpoint_epochs(self) -> bool:
        """Write the epochs if there are new ones; False if there is no room for them."""
        epochs = tuple(entry for entry in self.epochs if entry[1] < self.durable_end)
        if epochs == self._checkpointed:
            return True
        path = self._epochs_path
        try:
            write_file(self._system, path, encode_value(path.name, encode_epochs(epochs)))
        except OSError as error:
            if error.errno in FULL:  # Then the mark stays behind, where it is right.
                return False
            raise
        self._checkpointed = epochs
        return True

    def truncate(self, end: Offset) -> Offset:
        """Remove every batch that ends above ``end``, durably; returns the new end.

        The mark goes down first, so that a crash in between is not taken for a loss. Raises
        OSError, or BatchError when the place cannot be found because of damage.
        """
        if end >= self.end:
            return self.end
        base, position = self.locate(max(end, self.start))
        self.cut(base, position)
        return base

    def cut(self, base: Offset, position: int) -> None:
        """Make the file end at ``position``, where the batch of offset ``base`` began."""
        mark = self._marks.mark or Mark()
        if mark.end > base or mark.position > position:
            self._marks.put_durably(Mark(self.start, base, position, mark.flags))
        self._system.cut(self._fd, position)
        self._system.sync(self._fd)
        self.index.cut(base)
        while self.epochs and self.epochs[-1][1] >= base:
            self.epochs.pop()
        self.end = self.durable_end = base
        self.position = self.durable_position = position

    def rewrite(self, position: int) -> None:
        """Write anew what lies from ``position`` on: after a failed flush nothing else would.

        The system may call pages clean that never reached the disk. Raises OSError.
        """
        while position < self.position:
            data = self._system.read(self._fd, min(1 << 20, self.position - position), position)
            position += self._system.write(self._fd, (data,), position)

    # -- reading --------------------------------------------------------------------------------

    def read_bytes(self, size: int, at: int) -> bytes:
        """At most ``size`` bytes from position ``at`` on. Raises OSError."""
        return self._system.read(self._fd, size, at)

    def locate(self, offset: Offset) -> tuple[Offset, int]:
        """(base offset, position) of the batch that holds ``offset``, which is below the end.

        Raises BatchError where the file is not what was written.
        """
        base, at = self.index.floor(offset)
        while base < offset:
            chunk = self.read_bytes(WALK_BYTES, at)
            within = 0
            while base < offset and within + HEADER_BYTES <= len(chunk):
                header = self._expect(read_header(chunk, within), base, at + within)
                if header.end > offset:
                    return (base, at + within)
                base = header.end
                within += header.size
            if within == 0:
                raise Torn(f"batch at byte {at} is torn", at)
            at += within
        return (base, at)

    def read(self, start: Offset, end_max: Offset, bytes_max: int) -> tuple[Batch, ...]:
        """Whole batches from the one that holds ``start`` on, at least one, all below ``end_max``.

        Empty when the first one ends above ``end_max``. CRCs are checked. Raises BatchError where
        the file is not what was written, and OSError.
        """
        base, at = self.locate(start)
        chunk = self.read_bytes(max(HEADER_BYTES, min(bytes_max, self.position - at)), at)
        found: list[Batch] = []
        within = 0
        while base < end_max:
            if found and within + HEADER_BYTES > len(chunk):
                break
            header = self._expect(read_header(chunk, within), base, at + within)
            if header.end > end_max:
                break
            if within + header.size > len(chunk):
                if found:
                    break
                chunk = self.read_bytes(header.size, at)
            found.append(parse(chunk, within))
            base = header.end
            within += header.size
        return tuple(found)

    def _expect(self, header: Batch, base: Offset, at: int) -> Batch:
        if header.base_offset != base:
            raise Damaged(
                f"batch at byte {at} is damaged: it begins at offset {header.base_offset}, "
                f"where {base} belongs",
                at,
                header.size,
            )
        return header

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)
