"""Read the files of a data folder without opening any of them for writing.

A broker may use the folder at the same time. Saved values and the epoch checkpoint are replaced
atomically, and the flush checkpoint has a CRC, so each of them is read whole. The log below the
flush checkpoint changes only by a truncation; see :func:`yak_net.log_files.verify.verify`.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import unquote

from yak_core.batch import HEADER_BYTES, Batch, BatchError, parse, read_header
from yak_core.broker.saved_state import SavedValues, read_saved
from yak_core.ids import Epoch, Offset
from yak_net.storage.checkpoints import (
    Checkpoint,
    Epochs,
    decode_epochs,
    decode_value,
    newest_slot,
)
from yak_net.storage.folder import (
    CHECKPOINT,
    DAMAGED_SUFFIX,
    EPOCHS,
    IDENTITY,
    LOCK,
    SAVED,
    SEGMENT,
    Identity,
)
from yak_net.storage.folder import read_identity as identity_of
from yak_net.storage.session import WRITTEN
from yak_net.storage.system import TEMPORARY, StorageError, read_file

CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """A batch in a log file at byte ``position``, or what is there instead.

    ``header`` is None if it cannot be read. ``batch`` has the bytes of an intact batch, and is
    None if there is an ``error``.
    """

    position: int
    header: Batch | None
    batch: Batch | None
    error: BatchError | None = None


class LogFile:
    """A segment, open for reading; ``end`` and ``position`` are those of :meth:`advance`."""

    def __init__(self, path: Path) -> None:
        """Open the file. Raises OSError."""
        self.path = path
        name = path.name.partition(".")[0]
        #: Base offset in the name; None in a file of another name.
        self.base: Offset | None = int(name) if name.isdigit() and path.suffix == SEGMENT else None
        self.end: Offset = self.base or 0
        self.position = 0
        self.epochs: list[tuple[Epoch, Offset]] = []
        self._fd = os.open(path, os.O_RDONLY)

    def __enter__(self) -> Self:
        """Return the open file."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        os.close(self._fd)

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return os.fstat(self._fd).st_size

    def read_bytes(self, size: int, at: int) -> bytes:
        """Return at most ``size`` bytes from position ``at`` on. Raises OSError."""
        return os.pread(self._fd, size, at)

    def advance(self, batch: Batch) -> None:
        """Move the end over a batch."""
        if not self.epochs or self.epochs[-1][0] != batch.epoch:
            self.epochs.append((batch.epoch, batch.base_offset))
        self.end = batch.end
        self.position += batch.size

    def entries(self, stop: int | None = None) -> Iterator[Entry]:
        """Yield what is in the file up to byte ``stop``, by default to its end. Raises OSError.

        After a damaged batch the next one is looked for where the size in its header says. The
        last entry has an error if the file does not end after a batch.
        """
        stop = self.size if stop is None else stop
        at, base, chunk = 0, 0, b""
        while at < stop:
            header: Batch | None = None
            try:
                if at + HEADER_BYTES > base + len(chunk):
                    base, chunk = at, self.read_bytes(min(CHUNK_BYTES, stop - at), at)
                header = read_header(chunk, at - base, base)
                if at + header.size > base + len(chunk):
                    wanted = min(max(header.size, CHUNK_BYTES), stop - at)
                    base, chunk = at, self.read_bytes(wanted, at)
                entry = Entry(at, header, parse(chunk, at - base, base))
                size: int | None = header.size
            except BatchError as error:
                size = error.size
                entry = Entry(at, header, None, error)
            yield entry
            if size is None or at + size > stop:
                return
            at += size


@dataclass(frozen=True, slots=True)
class Folder:
    """The files of a data folder at one moment, except the content of the log.

    ``holder`` is the process that has the folder open: None if no process has, 0 if its id is
    unknown. ``flushed`` and ``written`` are the two checkpoints, None if they are missing or
    damaged. ``epochs`` is None without an epoch checkpoint. ``problems`` lists what cannot be read.
    """

    path: Path
    identity: Identity
    holder: int | None
    flushed: Checkpoint | None
    written: Checkpoint | None
    epochs: Epochs | None
    saved: SavedValues
    problems: tuple[str, ...]
    segments: tuple[Path, ...]
    others: tuple[Path, ...]


def is_folder(path: Path) -> bool:
    """Return whether a path is a data folder."""
    return (path / IDENTITY).is_file()


def folders_in(path: Path) -> list[Path]:
    """Return the data folder ``path``, or those in it. Raises StorageError if there is none."""
    found = (
        [path] if is_folder(path) else sorted(each.parent for each in path.glob(f"*/{IDENTITY}"))
    )
    if not found:
        raise StorageError(
            f"{path} is no data folder of a broker, and contains none: found no {IDENTITY}; give "
            "the --data-dir of a broker or of a cluster, such as .yak/data"
        )
    return found


def read_folder(path: Path) -> Folder:
    """Read all small files of a data folder. Raises StorageError, OSError."""
    problems: list[str] = []
    identity = identity_of(path)
    holder = holder_of(path / LOCK)
    flushed = checkpoint_of(path / CHECKPOINT)
    segments = sorted(each for each in path.glob(f"*{SEGMENT}") if each.stem.isdigit())
    others = [each for each in path.iterdir() if each.suffix in (DAMAGED_SUFFIX, TEMPORARY)]
    try:
        epochs = epochs_of(path / EPOCHS)
    except StorageError as error:
        epochs = None
        problems.append(str(error))
    values: list[tuple[str, bytes]] = []
    for file in sorted((path / SAVED).glob("*")):
        if file.name.endswith(TEMPORARY):
            continue
        try:
            values.append((unquote(file.name), value_of(file)))
        except StorageError as error:
            problems.append(str(error))
    saved = read_saved(tuple(values))
    if isinstance(saved, str):
        problems.append(saved)
        saved = SavedValues()
    return Folder(
        path,
        identity,
        holder,
        flushed,
        checkpoint_of(path / WRITTEN),
        epochs,
        saved,
        tuple(problems),
        tuple(segments),
        tuple(sorted(others)),
    )


def checkpoint_of(path: Path) -> Checkpoint | None:
    """Return the newest checkpoint of a file; None if it is missing or damaged. Raises OSError."""
    try:
        found = newest_slot(path.read_bytes())
    except FileNotFoundError:
        return None
    return None if found is None else found[1]


def epochs_of(path: Path) -> Epochs | None:
    """Return the content of the epoch checkpoint, None if it is missing. Raises StorageError."""
    if not path.exists():
        return None
    try:
        return decode_epochs(decode_value(EPOCHS, read_file(path), path))
    except ValueError as error:
        raise StorageError(f"{path} is damaged: {error}") from error


def value_of(path: Path) -> bytes:
    """Return the content of a saved value. Raises StorageError."""
    return decode_value(unquote(path.name), read_file(path), path)


def holder_of(lock: Path) -> int | None:
    """Return the process that holds a lock, 0 if its id is unknown, None if no process does.

    The lock is taken, shared, for a moment; a broker that starts tries more than once.
    """
    try:
        fd = os.open(lock, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(fd, 20, 0).strip()
        return int(text) if text.isdigit() else 0
    finally:
        os.close(fd)
    return None
