"""A survey of a data directory that changes nothing: what a recovery of the store needs of it.

:mod:`yak_net.storage.recovery` repairs the log of a broker that starts. A survey only reads, so it
can be made before anybody has decided what to keep.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from yak_core.batch import BatchError, Torn
from yak_core.ids import Epoch, Offset
from yak_core.log.epochs import EpochIndex
from yak_net.storage.checkpoints import (
    DAMAGED,
    Checkpoint,
    CheckpointFile,
    decode_epochs,
    decode_value,
)
from yak_net.storage.folder import CHECKPOINT, EPOCHS, DataFolder
from yak_net.storage.log import SegmentLog
from yak_net.storage.recovery import Misplaced, check_next, is_unwritten, read_headers
from yak_net.storage.system import TEMPORARY, StorageError, System, read_file


@dataclass(frozen=True, slots=True)
class LogSurvey:
    """The log of a data directory: its epochs, its end, and its damage.

    ``damage`` is empty if no flushed record is missing.
    """

    epochs: tuple[tuple[Epoch, Offset], ...]
    leo: Offset
    damage: str


def survey_log(folder: DataFolder) -> LogSurvey:
    """Read the log of an open data directory and check every CRC. Raises OSError."""
    paths = folder.segments()
    if len(paths) != 1:
        return LogSurvey((), 0, f"found {len(paths)} segments, expected 1")
    if not (folder.path / CHECKPOINT).exists():
        return LogSurvey((), 0, f"the flush checkpoint {CHECKPOINT} is missing")
    checkpoints = CheckpointFile(folder.system, folder.path / CHECKPOINT)
    try:
        start, unchanged = int(paths[0].stem), _Unchanged(folder.system)
        log = SegmentLog(unchanged, paths[0], checkpoints, folder.path / EPOCHS, start)
        try:
            return _read(log, checkpoints.newest, _epochs(folder.path / EPOCHS))
        finally:
            log.close()
    finally:
        checkpoints.close()


@dataclass
class _Unchanged:
    """The written end of a log that is only read, which nobody changes."""

    system: System

    def note_written(self, checkpoint: Checkpoint) -> None:
        raise AssertionError(f"a log that is only read was written up to {checkpoint}")

    def lower(self, checkpoint: Checkpoint) -> None:
        raise AssertionError(f"a log that is only read was truncated to {checkpoint}")


def saved_values(folder: DataFolder) -> tuple[tuple[str, bytes], ...]:
    """Return the saved values of an open data directory, sorted by key.

    Incomplete files of an earlier process are skipped. Raises StorageError if a value is damaged.
    """
    if not folder.saved.is_dir():
        raise StorageError(f"the folder {folder.saved} is missing")
    found = []
    for path in sorted(folder.saved.iterdir()):
        if not path.name.endswith(TEMPORARY):
            key = unquote(path.name)
            found.append((key, decode_value(key, read_file(path), path)))
    return tuple(sorted(found))


def _read(log: SegmentLog, checkpoint: Checkpoint | None, epochs: EpochIndex | None) -> LogSurvey:
    newest = checkpoint or Checkpoint(log.start, log.start, 0, DAMAGED)
    at_checkpoint = (newest.segment, newest.end, newest.position)
    complete = (log.start, log.end, log.position) == at_checkpoint
    damage = ""
    try:
        for header in read_headers(log, log.path.stat().st_size, 0):
            check_next(log, header, epochs if header.base_offset < newest.end else None)
            log.advance(header)
            complete = complete or (log.start, log.end, log.position) == at_checkpoint
    except BatchError as error:
        # As in a recovery: what a crash interrupted above the flush checkpoint is no damage.
        interrupted = isinstance(error, Torn) or (
            not isinstance(error, Misplaced) and is_unwritten(log, error.size)
        )
        damage = "" if interrupted else str(error)
    if not complete:
        damage = f"the log is valid up to offset {log.end}, expected {newest.end}"
    elif newest.flags & DAMAGED and not damage:
        damage = "an earlier recovery found damage, and no flush has completed since"
    return LogSurvey(tuple(log.epochs), log.end, damage)


def _epochs(path: Path) -> EpochIndex | None:
    """Return the epochs of the epoch checkpoint; None if it is missing or damaged."""
    try:
        return EpochIndex(decode_epochs(decode_value(EPOCHS, read_file(path), path)))
    except (StorageError, ValueError):
        return None
