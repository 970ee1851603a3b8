"""Recovery of a data directory at the start of a broker.

Recovery keeps the longest valid prefix of the segment: complete batches, offsets without a gap,
epochs that do not decrease. The bytes after it are one of two things (F13):

- A torn write above the flush checkpoint, which a crash interrupted: recovery truncates it. It is
  an incomplete batch at the end of the file, or contains sectors that never reached the disk and
  read as zeros.
- Damage: all other bytes above the flush checkpoint, and every error below it. Recovery copies the
  removed bytes to a file ``*.damaged``, and the log is not intact. The flag DAMAGED keeps this
  state until the first flush, which the broker issues after it is registered as unclean.

Recovery checks the CRC of each batch above the flush checkpoint and in the ``verify_bytes`` below
it. Of older batches it reads only the headers, and all bytes if it finds an error.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
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
    Checkpoint,
    CheckpointFile,
    decode_epochs,
    decode_value,
    load_values,
)
from yak_net.storage.folder import (
    CHECKPOINT,
    DAMAGED_SUFFIX,
    EPOCHS,
    DataFolder,
    create_segment,
    open_folder,
    segment_name,
)
from yak_net.storage.log import ReadableLog, SegmentLog
from yak_net.storage.session import StorageSession
from yak_net.storage.system import TEMPORARY, StorageError, System, read_file, write_all

VERIFY_BYTES: Final = 1 << 30
CHUNK_BYTES: Final = 1 << 20
SMALL_BATCH_BYTES: Final = 8 * 1024
"""Headers of batches smaller than this are read in chunks, others one at a time."""
SECTOR_BYTES: Final = 512
ZEROS_MIN: Final = 32
"""Zero bytes at the end of a file that prove an unwritten sector; fewer may belong to a record."""


class Misplaced(Damaged):
    """A batch with a valid CRC whose offset or epoch does not continue the log."""


@dataclass(slots=True)
class Storage:
    """An open data directory after recovery.

    ``recovered`` is for the node. ``warnings`` lists warnings about repairs, one sentence each.
    """

    folder: DataFolder
    session: StorageSession
    checkpoints: CheckpointFile
    log: SegmentLog
    recovered: Recovered
    warnings: tuple[str, ...]

    def close(self) -> None:
        """Close all files and release the lock; no thread may use the storage any more."""
        self.log.close()
        self.checkpoints.close()
        self.session.close()
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
    """Open and recover the data directory of a node; this call blocks.

    Raises StorageError if the directory is unusable (see :func:`open_folder`), or a saved value is
    damaged.
    """
    with ExitStack() as opened:
        folder = open_folder(path, node, cluster, system)
        opened.callback(folder.close)
        try:
            storage = _Recovery(folder, opened, producers_max, verify_bytes).run()
        except OSError as error:
            raise StorageError(f"cannot recover {path}: {error.strerror}") from error
        opened.pop_all()
        return storage


class _Recovery:
    """One recovery of a data directory; ``opened`` closes what it opened if it fails."""

    def __init__(
        self, folder: DataFolder, opened: ExitStack, producers_max: int, verify_bytes: int
    ) -> None:
        self.folder = folder
        self.opened = opened
        self.system = folder.system
        self.verify_bytes = verify_bytes
        self.warnings: list[str] = []
        self.intact = True
        self.producers = ProducerTable((), producers_max)
        self.headers: list[Batch] = []
        self.hw: Offset = 0

    def run(self) -> Storage:
        folder = self.folder
        session = StorageSession(folder.path, folder.system)
        self.opened.callback(session.close)
        self.system = folder.system = session.system
        for path in folder.path.glob(f"*{TEMPORARY}"):
            self.system.unlink(path)
        saved = load_values(self.system, folder.saved)
        found = read_saved(saved)
        # An error text of read_saved is ignored here: the node reports invalid values itself.
        self.hw = 0 if isinstance(found, str) else found.hw
        checkpoints = CheckpointFile(self.system, folder.path / CHECKPOINT)
        self.opened.callback(checkpoints.close)
        log = self._open_log(checkpoints, session)
        self.opened.callback(log.close)
        self._scan(checkpoints, log)
        # Before the repair, which removes what shows that the session has ended.
        self._check_session(checkpoints, log, session)
        self._repair(checkpoints, log)
        recovered = Recovered(
            log_start=log.start,
            leo=log.end,
            intact=self.intact,
            epochs=tuple(log.epochs),
            producers=self.producers.snapshot(),
            headers=tuple(self.headers),
            saved=saved,
            storage_session=session.name(log.path),
        )
        return Storage(folder, session, checkpoints, log, recovered, tuple(self.warnings))

    def _add_damage(self, warning: str) -> None:
        self.intact = False
        self.warnings.append(warning)

    def _check_session(
        self, checkpoints: CheckpointFile, log: SegmentLog, session: StorageSession
    ) -> None:
        """End the storage session if written records may be missing."""
        assert checkpoints.newest is not None, "_open_log writes a missing flush checkpoint"
        if not self.intact or checkpoints.newest.flags:
            session.end()
        session.check_written(log.written)

    def _open_log(self, checkpoints: CheckpointFile, session: StorageSession) -> SegmentLog:
        """Open the single segment; create a missing one, and report that as damage.

        A missing flush checkpoint is also damage. Raises StorageError for several segments.
        """
        folder = self.folder
        paths = folder.segments()
        if len(paths) > 1:
            raise StorageError(
                f"{folder.path} contains {len(paths)} segments ({paths[0].name}, {paths[1].name}, "
                "...), expected 1; use the newer version of YAK that wrote them, or choose another "
                "directory"
            )
        newest = checkpoints.newest
        start = int(paths[0].stem) if paths else 0 if newest is None else newest.segment
        path = paths[0] if paths else folder.path / segment_name(start)
        if not paths:
            self._add_damage(f"the log {path} is missing; recovery created an empty one")
            create_segment(self.system, path)
            self.system.sync_folder(folder.path)
        if newest is None:
            missing = folder.path / CHECKPOINT
            self._add_damage(f"the flush checkpoint {missing} is missing or damaged")
            checkpoints.put_durably(Checkpoint(start, start, 0, DAMAGED))
        elif newest.flags & DAMAGED:
            self._add_damage("an earlier recovery found damage, and no flush has completed since")
        return SegmentLog(session, path, checkpoints, folder.path / EPOCHS, start)

    def _scan(self, checkpoints: CheckpointFile, log: SegmentLog) -> None:
        """Read the valid prefix, and classify the bytes after it."""
        checkpoint = checkpoints.newest
        assert checkpoint is not None, "_open_log writes a missing flush checkpoint"
        size = log.path.stat().st_size
        epochs = self._saved_epochs()
        verify_all = checkpoint.flags & VERIFY
        verify_from = 0 if verify_all else max(0, checkpoint.position - self.verify_bytes)
        complete, error = self._read_prefix(log, size, verify_from, checkpoint, epochs)
        torn = isinstance(error, Torn)
        if verify_from and not (complete and (error is None or torn)):
            # A damaged header may have passed unnoticed: read again and check all CRCs.
            complete, error = self._read_prefix(log, size, 0, checkpoint, epochs)
            torn = isinstance(error, Torn)
        if not complete:
            self._add_damage(
                f"{log.path} is valid up to offset {log.end} at byte {log.position}, expected "
                f"offset {checkpoint.end} at byte {checkpoint.position}, the flush checkpoint"
            )
        if error is None:
            return
        if complete and torn:
            torn_bytes = size - log.position
            self.warnings.append(f"{log.path}: removed an unfinished write of {torn_bytes} bytes")
            return
        if not complete or isinstance(error, Misplaced) or not is_unwritten(log, error.size):
            self._add_damage(f"{log.path}: {error}")
        self._save_damaged(log, size)

    def _read_prefix(
        self, log: SegmentLog, size: int, verify_from: int, checkpoint: Checkpoint,
        epochs: EpochIndex | None,
    ) -> tuple[bool, BatchError | None]:
        """Read the valid prefix of the log.

        Returns whether the flush checkpoint is a batch boundary in it, and the error that ended it.
        """
        log.reset()
        self.headers.clear()
        self.producers = ProducerTable((), self.producers.limit)
        at_checkpoint = (checkpoint.segment, checkpoint.end, checkpoint.position)
        found = (log.start, log.end, log.position) == at_checkpoint
        try:
            for header in read_headers(log, size, verify_from):
                check_next(log, header, epochs if header.base_offset < checkpoint.end else None)
                log.advance(header)
                self._apply_header(header)
                found = found or (log.start, log.end, log.position) == at_checkpoint
        except BatchError as error:
            return (found, error)
        return (found, None)

    def _saved_epochs(self) -> EpochIndex | None:
        """Return the epochs of the epoch checkpoint; None if it is missing or damaged.

        A missing epoch checkpoint does not make the log damaged.
        """
        path = self.folder.path / EPOCHS
        if not path.exists():
            return None
        try:
            return EpochIndex(decode_epochs(decode_value(EPOCHS, read_file(path), path)))
        except (StorageError, ValueError) as error:
            self.warnings.append(f"{path} is damaged ({error}); it is rebuilt from the log")
            return None

    def _apply_header(self, header: Batch) -> None:
        """Apply a batch to the producers table, or keep its header.

        Headers are kept from the first batch that ends above the high watermark.
        """
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

    def _save_damaged(self, log: SegmentLog, size: int) -> None:
        """Copy the bytes after the valid prefix to a file ``*.damaged``. Raises OSError."""
        number = 0
        while True:
            name = f"{log.path.name}.{log.position}.{number}{DAMAGED_SUFFIX}"
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
        self.warnings.append(f"the removed bytes are saved in {target}")

    def _repair(self, checkpoints: CheckpointFile, log: SegmentLog) -> None:
        """Truncate the file to the valid prefix, flush it, and write the flush checkpoint."""
        checkpoint = checkpoints.newest
        assert checkpoint is not None, "_open_log writes a missing flush checkpoint"
        flags = 0 if self.intact else DAMAGED
        if flags and not checkpoint.flags & DAMAGED:
            checkpoints.set_flag(DAMAGED)
        if checkpoint.flags & REWRITE:
            log.rewrite(min(checkpoint.position, log.position))
        if log.path.stat().st_size > log.position:
            log.truncate_at(log.end, log.position)
        log.finish_recovery(flags)


def read_headers(log: SegmentLog, size: int, verify_from: int) -> Iterator[Batch]:
    """Yield the batch headers from the log's position on; the caller advances the position.

    Complete batches are read, and their CRCs checked, from byte ``verify_from`` on. Raises
    BatchError.
    """
    chunk = b""
    base = 0
    read_size = CHUNK_BYTES
    while log.position < size:
        at = log.position
        verify = at >= verify_from
        if at + HEADER_BYTES > base + len(chunk):
            base, chunk = at, log.read_bytes(CHUNK_BYTES if verify else read_size, at)
        header = read_header(chunk, at - base, base)
        if verify:
            if at + header.size > base + len(chunk):
                size_wanted = min(max(header.size, CHUNK_BYTES), BATCH_BYTES_MAX)
                base, chunk = at, log.read_bytes(size_wanted, at)
            parse(chunk, at - base, base)
        elif at + header.size > size:
            raise Torn(
                f"batch at byte {at} is torn: expected {header.size} bytes, found {size - at}", at
            )
        read_size = CHUNK_BYTES if header.size < SMALL_BATCH_BYTES else HEADER_BYTES
        yield header


def check_next(log: ReadableLog, header: Batch, epochs: EpochIndex | None) -> None:
    """Raise Misplaced if the batch does not continue the log.

    Kafka's CRC does not cover offset and epoch. ``epochs`` has the epochs of the epoch checkpoint.
    """
    at, base, epoch = log.position, header.base_offset, header.epoch
    newest = log.epochs[-1][0] if log.epochs else NO_EPOCH + 1
    if base != log.end:
        mismatch = f"base offset is {base}, expected {log.end}"
    elif epoch < newest:
        mismatch = f"epoch is {epoch}, expected at least {newest} as in the batch before"
    elif epochs is not None and epochs.prev_epoch(base + 1) != epoch:
        expected = epochs.prev_epoch(base + 1)
        mismatch = f"epoch is {epoch}, expected {expected} from the epoch checkpoint"
    else:
        return
    raise Misplaced(f"batch at byte {at} is damaged: {mismatch}", at, header.size)


def is_unwritten(log: ReadableLog, size: int | None) -> bool:
    """Return whether the invalid batch contains a sector of zeros.

    A power failure leaves such sectors if they were not written yet. ``size`` is the batch size in
    its header, None if the header is invalid.
    """
    data = log.read_bytes(size or 2 * SECTOR_BYTES, log.position)
    zeros = bytes(SECTOR_BYTES)
    pieces = [data[:HEADER_BYTES]] if size is None else []
    first = -log.position % SECTOR_BYTES
    pieces += [data[at : at + SECTOR_BYTES] for at in range(first, len(data), SECTOR_BYTES)]
    return any(len(piece) >= ZEROS_MIN and piece == zeros[: len(piece)] for piece in pieces)
