"""Reads a data directory after whatever happened to it; must never throw away a flushed record.

The longest prefix of the segment that is valid is kept: whole batches, offsets without a gap,
epochs that do not fall. What follows it is one of two things (F13):

- The beginning of a write that a crash interrupted, above the durable mark: it is cut off. That is
  an incomplete batch at the end of the file, or sectors that never reached the disk and read as
  zeros.
- Damage: anything else, and anything at all below the mark. What is cut off is kept in a file
  ``*.damaged``, and the log is not intact. That is remembered until the broker, registered as
  unclean, flushes for the first time.

Above the mark, and for ``verify_bytes`` below it, each batch is read as a whole and its CRC
checked; before that, only its header is read, unless something turns out wrong.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from yak_core.batch import (
    BATCH_BYTES_MAX,
    HEADER_BYTES,
    Batch,
    BatchError,
    Damaged,
    Torn,
    parse,
    read_header,
)
from yak_core.broker.saved_state import read_saved
from yak_core.contract.events import Recovered
from yak_core.ids import NO_EPOCH, NodeId, Offset
from yak_core.log.epochs import EpochIndex
from yak_core.log.producers import PRODUCERS_MAX, ProducerTable
from yak_net.storage.checkpoints import (
    DAMAGED,
    REWRITE,
    VERIFY,
    Mark,
    MarkFile,
    decode_epochs,
    decode_value,
    load_values,
)
from yak_net.storage.folder import (
    ASIDE,
    EPOCHS,
    MARK,
    DataFolder,
    make_segment,
    open_folder,
    segment_name,
)
from yak_net.storage.log import SegmentLog
from yak_net.storage.system import TEMPORARY, StorageError, System, read_whole, write_all

VERIFY_BYTES: Final = 1 << 30
CHUNK_BYTES: Final = 1 << 20
SMALL_BYTES: Final = 8 * 1024
"""Headers that lie closer together are read in chunks, others one by one."""
SECTOR_BYTES: Final = 512
ZEROS_MIN: Final = 32
"""So many at the end of a file are a part of an unwritten sector, fewer may be records."""


class Misplaced(Damaged):
    """A batch that is intact by itself and does not belong where it is."""


@dataclass(slots=True)
class Storage:
    """An open data directory whose log is ready to be written.

    ``recovered`` is for the node, ``remarks`` are sentences for a person about what was mended.
    """

    folder: DataFolder
    marks: MarkFile
    log: SegmentLog
    recovered: Recovered
    remarks: tuple[str, ...]

    def close(self) -> None:
        """Give everything back; whoever writes must have stopped."""
        self.log.close()
        self.marks.close()
        self.folder.close()


def open_storage(
    path: Path,
    node: NodeId,
    cluster: str = "",
    *,
    producers_max: int = PRODUCERS_MAX,
    verify_bytes: int = VERIFY_BYTES,
    system: System | None = None,
) -> Storage:
    """Open the data directory of a node and recover what it holds.

    Blocks for as long as reading takes. Raises StorageError with one sentence when the directory
    cannot be used (see :func:`open_folder`) or a saved value is damaged.
    """
    folder = open_folder(path, node, cluster, system)
    try:
        return _Recovery(folder, producers_max, verify_bytes).run()
    except BaseException as error:
        folder.close()
        if not isinstance(error, OSError):
            raise
        raise StorageError(f"cannot recover {path}: {error.strerror}") from error


class _Recovery:
    """One pass over a directory."""

    def __init__(self, folder: DataFolder, producers_max: int, verify_bytes: int) -> None:
        self.folder = folder
        self.system = folder.system
        self.verify_bytes = verify_bytes
        self.remarks: list[str] = []
        self.intact = True
        self.producers = ProducerTable((), producers_max)
        self.headers: list[Batch] = []
        self.hw: Offset = 0
        self.marks: MarkFile | None = None
        self.log: SegmentLog | None = None

    def run(self) -> Storage:
        try:
            for path in self.folder.path.glob(f"*{TEMPORARY}"):
                self.system.unlink(path)
            saved = load_values(self.system, self.folder.saved)
            found = read_saved(saved)
            # A value that is no number is the node's to complain about.
            self.hw = 0 if isinstance(found, str) else found.hw
            marks = self.marks = MarkFile(self.system, self.folder.path / MARK)
            log = self.log = self._open_log(marks)
            self._scan(marks, log)
            self._mend(marks, log)
        except BaseException:
            if self.log is not None:
                self.log.close()
            if self.marks is not None:
                self.marks.close()
            raise
        recovered = Recovered(
            log_start=log.start,
            leo=log.end,
            intact=self.intact,
            epochs=tuple(log.epochs),
            producers=self.producers.snapshot(),
            headers=tuple(self.headers),
            saved=saved,
        )
        return Storage(self.folder, marks, log, recovered, tuple(self.remarks))

    def _blame(self, remark: str) -> None:
        self.intact = False
        self.remarks.append(remark)

    def _open_log(self, marks: MarkFile) -> SegmentLog:
        """The one segment; a missing file, or a missing mark, is damage."""
        folder = self.folder
        paths = folder.segments()
        if len(paths) > 1:
            raise StorageError(
                f"{folder.path} holds more than one segment ({paths[0].name}, {paths[1].name}, ...)"
                ": a newer version of YAK wrote it; use that one, or name another directory"
            )
        start = int(paths[0].stem) if paths else 0 if marks.mark is None else marks.mark.segment
        path = paths[0] if paths else folder.path / segment_name(start)
        if not paths:
            self._blame(f"the log {path} is missing")
            make_segment(self.system, path)
            self.system.sync_folder(folder.path)
        if marks.mark is None:
            path_of_mark = folder.path / MARK
            self._blame(f"{path_of_mark} is missing or damaged: it said what was flushed")
            marks.put_durably(Mark(start, start, 0, DAMAGED))
        elif marks.mark.flags & DAMAGED:
            self._blame("the damage that was found before has not been mended since")
        return SegmentLog(self.system, path, marks, folder.path / EPOCHS, start)

    def _scan(self, marks: MarkFile, log: SegmentLog) -> None:
        """Take in the valid prefix, and judge what follows it."""
        mark = marks.mark
        assert mark is not None, "the mark was made good"
        size = log.path.stat().st_size
        known = self._known_epochs()
        verify_from = 0 if mark.flags & VERIFY else max(0, mark.position - self.verify_bytes)
        found, error = self._take_in(log, size, verify_from, mark, known)
        torn = isinstance(error, Torn)
        if verify_from and not (found and (error is None or torn)):
            # A header that looks right may be what is wrong: now every byte counts.
            found, error = self._take_in(log, size, 0, mark, known)
            torn = isinstance(error, Torn)
        if not found:
            self._blame(
                f"{log.path} was flushed up to offset {mark.end} at byte {mark.position}, and is "
                f"valid up to offset {log.end} at byte {log.position}"
            )
        if error is None:
            return
        if found and torn:
            self.remarks.append(f"{log.path}: an unfinished write of {size - log.position} bytes")
            return
        if not found or isinstance(error, Misplaced) or not _is_unwritten(log, error.size):
            self._blame(f"{log.path}: {error}")
        self._keep_aside(log, size)

    def _take_in(
        self, log: SegmentLog, size: int, verify_from: int, mark: Mark, known: EpochIndex | None
    ) -> tuple[bool, BatchError | None]:
        """Read the valid prefix; whether the mark is in it, and what stands at its end."""
        log.forget()
        self.headers.clear()
        self.producers = ProducerTable((), self.producers.limit)
        marked = (mark.segment, mark.end, mark.position)
        found = (log.start, log.end, log.position) == marked
        try:
            for header in _walk(log, size, verify_from):
                _check_next(log, header, known if header.base_offset < mark.end else None)
                log.take_in(header)
                self._fold(header)
                found = found or (log.start, log.end, log.position) == marked
        except BatchError as error:
            return (found, error)
        return (found, None)

    def _known_epochs(self) -> EpochIndex | None:
        """The epochs below the mark, as they were noted; None makes them unknown, no damage."""
        path = self.folder.path / EPOCHS
        if not path.exists():
            return None
        try:
            return EpochIndex(decode_epochs(decode_value(EPOCHS, read_whole(path), path)))
        except (StorageError, ValueError) as error:
            self.remarks.append(f"{path} is damaged ({error}): it is made anew from the log")
            return None

    def _fold(self, header: Batch) -> None:
        """Below the high watermark only the producers' table is wanted, above it the headers."""
        if self.headers or header.end > self.hw:
            self.headers.append(header)
            return
        self.producers.apply(
            header.producer_id,
            header.producer_epoch,
            header.base_sequence,
            header.base_offset,
            header.end,
        )

    def _keep_aside(self, log: SegmentLog, size: int) -> None:
        """Copy what is about to be cut off into a file of its own. Raises OSError."""
        number = 0
        while True:
            name = f"{log.path.name}.{log.position}.{number}{ASIDE}"
            target = log.path.with_name(name)
            if not target.exists():
                break
            number += 1
        temporary = target.with_name(name + TEMPORARY)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            for at in range(log.position, size, CHUNK_BYTES):
                write_all(self.system, fd, log.read_bytes(CHUNK_BYTES, at), at - log.position)
            self.system.sync(fd)
        finally:
            os.close(fd)
        self.system.replace(temporary, target)
        self.system.sync_folder(target.parent)
        self.remarks.append(f"what was cut off is kept in {target}")

    def _mend(self, marks: MarkFile, log: SegmentLog) -> None:
        """Make the file what was taken in, durably, and remember what a restart must know."""
        mark = marks.mark
        assert mark is not None, "the mark was made good"
        flags = 0 if self.intact else DAMAGED
        if flags and not mark.flags & DAMAGED:
            marks.flag(DAMAGED)
        if mark.flags & REWRITE:
            log.rewrite(min(mark.position, log.position))
        if log.path.stat().st_size > log.position:
            log.cut(log.end, log.position)
        log.establish(flags)


def _walk(log: SegmentLog, size: int, verify_from: int) -> Iterator[Batch]:
    """The headers of the batches from the log's position on, which the caller moves.

    Whole batches are read and checked from position ``verify_from`` on. Raises BatchError.
    """
    chunk = b""
    base = 0
    wanted = CHUNK_BYTES
    while log.position < size:
        at = log.position
        verify = at >= verify_from
        if at + HEADER_BYTES > base + len(chunk):
            base, chunk = at, log.read_bytes(CHUNK_BYTES if verify else wanted, at)
        header = read_header(chunk, at - base)
        if verify:
            if at + header.size > base + len(chunk):
                size_wanted = min(max(header.size, CHUNK_BYTES), BATCH_BYTES_MAX)
                base, chunk = at, log.read_bytes(size_wanted, at)
            parse(chunk, at - base)
        elif at + header.size > size:
            raise Torn(f"batch at byte {at} is torn: {size - at} of its bytes are there", at)
        wanted = CHUNK_BYTES if header.size < SMALL_BYTES else HEADER_BYTES
        yield header


def _check_next(log: SegmentLog, header: Batch, known: EpochIndex | None) -> None:
    """Raise Misplaced unless the batch goes on where the log ends.

    Kafka's CRC does not cover offset and epoch; ``known`` are the epochs as they were noted.
    """
    at, base, epoch = log.position, header.base_offset, header.epoch
    newest = log.epochs[-1][0] if log.epochs else NO_EPOCH + 1
    if base != log.end:
        said = f"it begins at offset {base}, where {log.end} belongs"
    elif epoch < newest:
        said = f"its epoch {epoch} is below {newest}, which came before"
    elif known is not None and known.before(base + 1) != epoch:
        said = f"its epoch is {epoch}, and {known.before(base + 1)} was noted"
    else:
        return
    raise Misplaced(f"batch at byte {at} is damaged: {said}", at, header.size)


def _is_unwritten(log: SegmentLog, size: int | None) -> bool:
    """Whether the bad batch has a sector of zeros, as a power cut leaves those not yet written.

    ``size`` is what the batch says it has, None when its header is too bad for that.
    """
    data = log.read_bytes(size or 2 * SECTOR_BYTES, log.position)
    zeros = bytes(SECTOR_BYTES)
    pieces = [data[:HEADER_BYTES]] if size is None else []
    first = -log.position % SECTOR_BYTES
    pieces += [data[at : at + SECTOR_BYTES] for at in range(first, len(data), SECTOR_BYTES)]
    return any(len(one) >= ZEROS_MIN and one == zeros[: len(one)] for one in pieces)
