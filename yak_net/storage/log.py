"""The segment file: record batches without gaps, in Kafka's format.

One thread writes, and another thread may read at the same time. A sparse index has one entry for
about 32 KiB of the log. A read starts at an entry and follows the batch headers to its offset. The
log retries nothing; the caller handles errors.
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
from typing import Final, Protocol

from yak_core.batch import HEADER_BYTES, Batch, Damaged, Torn, parse, read_header
from yak_core.ids import Epoch, Offset
from yak_net.storage.checkpoints import (
    REWRITE,
    Checkpoint,
    CheckpointFile,
    encode_epochs,
    encode_value,
)
from yak_net.storage.session import StorageSession
from yak_net.storage.system import FULL, write_file

INDEX_BYTES: Final = 32 * 1024
"""Minimum distance in bytes between two entries of the index."""
SCAN_BYTES: Final = INDEX_BYTES + HEADER_BYTES
NO_TIMESTAMP: Final = -1
BUFFERS_MAX: Final = 512
"""Buffers in one writev; systems allow 1024."""
CHECKPOINT_SYNC_S: Final = 1.0
"""Seconds between two flushes of the flush checkpoint's own file."""


class ReadableLog(Protocol):
    """A segment file that is read from its start: ``end`` and ``position`` are where the reader is.

    ``epochs`` has (epoch, start offset) of what was read.
    """

    end: Offset
    position: int
    epochs: list[tuple[Epoch, Offset]]

    def read_bytes(self, size: int, at: int) -> bytes:
        """Return at most ``size`` bytes from position ``at`` on. Raises OSError."""
        ...


class PositionIndex:
    """A sparse index from base offsets to file positions; it always contains the first batch.

    Each entry also has the largest timestamp of all batches before it. So the first batch with a
    timestamp is between the last entry that has a smaller one and the next entry.
    """

    __slots__ = ("_lock", "_offsets", "_positions", "_times", "_newest")

    def __init__(self, start: Offset) -> None:
        self._lock = threading.Lock()
        self._offsets = array("q", (start,))
        self._positions = array("q", (0,))
        self._times = array("q", (NO_TIMESTAMP,))
        #: The largest timestamp of all batches.
        self._newest = NO_TIMESTAMP

    def add(self, offset: Offset, position: int, timestamp: int) -> None:
        """Add a batch; it becomes an entry if it is at least INDEX_BYTES after the last one."""
        if position - self._positions[-1] >= INDEX_BYTES:
            with self._lock:
                self._offsets.append(offset)
                self._positions.append(position)
                self._times.append(self._newest)
        self._newest = max(self._newest, timestamp)

    def before_time(self, timestamp: int) -> tuple[Offset, int]:
        """Return (base offset, position) of the last entry with only earlier batches before it."""
        with self._lock:
            at = max(0, bisect_left(self._times, timestamp) - 1)
            return (self._offsets[at], self._positions[at])

    def floor(self, offset: Offset) -> tuple[Offset, int]:
        """Return (base offset, position) of the last entry at or below ``offset``."""
        with self._lock:
            at = bisect_right(self._offsets, offset) - 1
            return (self._offsets[at], self._positions[at])

    def truncate(self, end: Offset) -> None:
        """Remove the entries at or above ``end``, except the first one."""
        with self._lock:
            keep = max(1, bisect_left(self._offsets, end))
            del self._offsets[keep:]
            del self._positions[keep:]
            del self._times[keep:]
            self._newest = self._times[-1]

    @property
    def last(self) -> tuple[Offset, int]:
        """(base offset, position) of the last entry."""
        return (self._offsets[-1], self._positions[-1])

    def __len__(self) -> int:
        return len(self._offsets)


class SegmentLog:
    """An open segment.

    It ends at offset ``end`` and byte ``position``. It is flushed up to offset ``durable_end`` and
    byte ``durable_position``. All ends are exclusive.
    """

    def __init__(
        self,
        session: StorageSession,
        path: Path,
        checkpoints: CheckpointFile,
        epochs: Path,
        start: Offset,
    ) -> None:
        """Open the file as an empty log; recovery adds the batches. Raises OSError."""
        self._session = session
        self._system = session.system
        self._fd = os.open(path, os.O_RDWR)
        self._checkpoints = checkpoints
        self._epochs_path = epochs
        self._saved_epochs: tuple[tuple[Epoch, Offset], ...] | None = None
        self._flushed = False
        self._synced_at = 0.0
        self.path = path
        self.start = start
        self.reset()

    def reset(self) -> None:
        """Reset the log's state to empty; the file is unchanged."""
        self.end = self.start
        self.position = 0
        self.durable_end = self.start
        self.durable_position = 0
        self.epochs: list[tuple[Epoch, Offset]] = []
        self.index = PositionIndex(self.start)

    def advance(self, batch: Batch) -> None:
        """Advance the log's end over a batch that is in the file at ``position``."""
        self.index.add(batch.base_offset, self.position, batch.max_timestamp)
        if not self.epochs or self.epochs[-1][0] != batch.epoch:
            self.epochs.append((batch.epoch, batch.base_offset))
        self.end = batch.end
        self.position += batch.size

    # -- writing --------------------------------------------------------------------------------

    def append(self, appends: Sequence[tuple[Batch, ...]]) -> int:
        """Append the stamped batches of several operations; each continues the one before it.

        Returns how many operations were appended completely. If the disk is full, nothing of the
        remaining ones is in the log. Raises OSError for other write errors.
        """
        written, full = self._write([batch.data for order in appends for batch in order])
        appended = len(appends)
        if full:
            appended = 0
            for order in appends:
                written -= sum(batch.size for batch in order)
                if written < 0:
                    break
                appended += 1
        for order in appends[:appended]:
            for batch in order:
                self.advance(batch)
        if full:
            self._system.truncate(self._fd, self.position)
        return appended

    def _write(self, buffers: list[bytes]) -> tuple[int, bool]:
        """Write buffers after the log's end; return (bytes written, whether the disk is full)."""
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
        """Flush all appended batches. Raises OSError; the broker must then halt (F65)."""
        self._sync()
        self.durable_end = self.end
        self.durable_position = self.position
        self._flushed = True

    def _sync(self) -> None:
        try:
            self._system.sync(self._fd)
        except OSError:
            self._checkpoints.set_flag(REWRITE)
            raise

    def write_checkpoint(self, durably: bool = False) -> None:
        """Write the flush checkpoint if the log was flushed further since. Raises OSError.

        The first flush clears the flag DAMAGED: a broker issues no flush before it is registered as
        unclean. ``durably`` also flushes the checkpoint file.
        """
        self.note_written()
        checkpoint = Checkpoint(self.start, self.durable_end, self.durable_position)
        if self._flushed and checkpoint != self._checkpoints.newest and self._save_epochs():
            self._checkpoints.put(checkpoint)
        now = time.monotonic()
        if self._checkpoints.dirty and (durably or now - self._synced_at >= CHECKPOINT_SYNC_S):
            self._checkpoints.sync()
            self._synced_at = now

    def note_written(self) -> None:
        """Note the end of records that are not flushed, for the storage session. Raises OSError."""
        if self.end != self.durable_end:
            self._session.note_written(self.written)

    @property
    def written(self) -> Checkpoint:
        """The end of the written log."""
        return Checkpoint(self.start, self.end, self.position)

    def finish_recovery(self, flags: int) -> None:
        """Flush the recovered log, and write a flush checkpoint with ``flags``. Raises OSError."""
        self._sync()
        self.durable_end = self.end
        self.durable_position = self.position
        checkpoint = Checkpoint(self.start, self.end, self.position, flags)
        if checkpoint != self._checkpoints.newest and self._save_epochs():
            self._checkpoints.put_durably(checkpoint)
        self._session.note_written(self.written)

    def _save_epochs(self) -> bool:
        """Write the epoch checkpoint if the epochs changed; return False if the disk is full."""
        epochs = tuple(entry for entry in self.epochs if entry[1] < self.durable_end)
        if epochs == self._saved_epochs:
            return True
        path = self._epochs_path
        try:
            write_file(self._system, path, encode_value(path.name, encode_epochs(epochs)))
        except OSError as error:
            if error.errno in FULL:  # Keep the old flush checkpoint, a valid lower bound.
                return False
            raise
        self._saved_epochs = epochs
        return True

    def truncate(self, end: Offset) -> Offset:
        """Remove every batch that ends above ``end``, durably; return the new end.

        Lowers the flush checkpoint first: otherwise recovery after a crash in between would report
        lost records. Raises OSError, or BatchError if damage prevents the search for the position.
        """
        if end >= self.end:
            return self.end
        base, position = self.locate(max(end, self.start))
        self.truncate_at(base, position)
        return base

    def truncate_at(self, base: Offset, position: int) -> None:
        """Truncate the file durably at ``position``, the start of the batch with offset ``base``.

        Raises OSError.
        """
        checkpoint = self._checkpoints.newest or Checkpoint()
        if checkpoint.end > base or checkpoint.position > position:
            self._checkpoints.put_durably(Checkpoint(self.start, base, position, checkpoint.flags))
        self._session.lower(Checkpoint(self.start, base, position))
        self._system.truncate(self._fd, position)
        self._sync()
        self.index.truncate(base)
        self._note_times(position)
        while self.epochs and self.epochs[-1][1] >= base:
            self.epochs.pop()
        self.end = self.durable_end = base
        self.position = self.durable_position = position

    def _note_times(self, position: int) -> None:
        """Note the timestamps of the batches from the last entry of the index to ``position``."""
        base, at = self.index.last
        while at < position:
            header = read_header(self.read_bytes(HEADER_BYTES, at), 0, at)
            self.index.add(base, at, header.max_timestamp)
            base, at = header.end, at + header.size

    def rewrite(self, position: int) -> None:
        """Write the bytes from ``position`` on again, after a failed flush. Raises OSError.

        The system may treat pages as clean that never reached the disk; a later flush skips them.
        """
        while position < self.position:
            data = self._system.read(self._fd, min(1 << 20, self.position - position), position)
            position += self._system.write(self._fd, (data,), position)

    # -- reading --------------------------------------------------------------------------------

    def read_bytes(self, size: int, at: int) -> bytes:
        """Return at most ``size`` bytes from position ``at`` on. Raises OSError."""
        return self._system.read(self._fd, size, at)

    def locate(self, offset: Offset) -> tuple[Offset, int]:
        """Return (base offset, position) of the batch that contains ``offset``.

        ``offset`` must be below the log end. Raises BatchError if the file is damaged, OSError.
        """
        base, at = self.index.floor(offset)
        while base < offset:
            chunk = self.read_bytes(SCAN_BYTES, at)
            within = 0
            while base < offset and within + HEADER_BYTES <= len(chunk):
                header = self._check_offset(read_header(chunk, within, at), base, at + within)
                if header.end > offset:
                    return (base, at + within)
                base = header.end
                within += header.size
            if within == 0:
                raise Torn(f"batch at byte {at} is torn", at)
            at += within
        return (base, at)

    def read(self, start: Offset, end_max: Offset, bytes_max: int) -> tuple[Batch, ...]:
        """Return complete batches, from the one that contains ``start``, with checked CRCs.

        All end at or below ``end_max``. They have at most ``bytes_max`` bytes; the first one may be
        larger. Empty if the first one ends above ``end_max``. Raises BatchError if the file is
        damaged, OSError.
        """
        base, at = self.locate(start)
        chunk = self.read_bytes(max(HEADER_BYTES, min(bytes_max, self.position - at)), at)
        found: list[Batch] = []
        within = 0
        while base < end_max:
            if found and within + HEADER_BYTES > len(chunk):
                break
            header = self._check_offset(read_header(chunk, within, at), base, at + within)
            if header.end > end_max:
                break
            if within + header.size > len(chunk):
                if found:
                    break
                chunk = self.read_bytes(header.size, at)
            found.append(parse(chunk, within, at))
            base = header.end
            within += header.size
        return tuple(found)

    def _check_offset(self, header: Batch, base: Offset, at: int) -> Batch:
        if header.base_offset != base:
            raise Damaged(
                f"batch at byte {at} is damaged: base offset is {header.base_offset}, "
                f"expected {base}",
                at,
                header.size,
            )
        return header

    def close(self) -> None:
        os.close(self._fd)
