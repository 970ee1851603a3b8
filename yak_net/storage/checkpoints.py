"""The small files of the data directory: saved values and the flush checkpoint.

A saved value has its own file: one line of text with the CRC, then the bytes. The file is replaced
atomically.

The flush checkpoint is the end of the last completed flush. With it, recovery distinguishes a torn
tail (above the checkpoint) from lost records (below). It is written in place after each flush, and
flushed itself about once per second. After a crash of the process it is exact; after a power
failure it is a lower bound. Writes alternate between two slots: if one is torn, the other is valid.
"""

from __future__ import annotations

import os
import re
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from struct import Struct
from typing import Final
from urllib.parse import quote, unquote

from crc32c import crc32c

from yak_core.ids import Epoch, Offset
from yak_net.storage.system import (
    TEMPORARY,
    StorageError,
    System,
    read_file,
    write_all,
    write_file,
)

Epochs = tuple[tuple[Epoch, Offset], ...]

VALUE_VERSION: Final = 1
_VALUE_HEADER = re.compile(rb"yak-value (\d+) ([0-9a-f]{8})\n")

DAMAGED: Final = 1
"""Flag: recovery found damage, and no flush has completed since."""
VERIFY: Final = 2
"""Flag: a read found a damaged batch; the next recovery checks the CRC of every batch."""
REWRITE: Final = 4
"""Flag: a flush failed; bytes above the checkpoint may exist only as clean pages in the cache."""

_SLOT = Struct(">4sHHqqqq")
_CRC = Struct(">I")
_SLOT_MAGIC: Final = b"YAKM"
_SLOT_VERSION: Final = 1
SLOT_BYTES: Final = 512
"""One disk sector for each slot, so that a torn write of one cannot damage the other."""


# Saved values.


def encode_value(key: str, value: bytes) -> bytes:
    """Return the file content of a saved value; the CRC also covers the key."""
    crc = crc32c(value, crc32c(key.encode() + b"\0"))
    return b"yak-value %d %08x\n" % (VALUE_VERSION, crc) + value


def decode_value(key: str, data: bytes, path: Path) -> bytes:
    """Return the value of a file's content. Raises StorageError if it is damaged or too new."""
    match = _VALUE_HEADER.match(data)
    if match is not None and int(match[1]) > VALUE_VERSION:
        raise StorageError(
            f"{path} has version {int(match[1])}, this YAK supports up to {VALUE_VERSION}; "
            "use the newer version of YAK"
        )
    value = data[match.end() :] if match is not None else b""
    if match is None or data != encode_value(key, value):
        raise StorageError(
            f"the saved value {key!r} in {path} is damaged; "
            "start this broker with an empty data directory, so that its peers replicate to it"
        )
    return value


def file_name(key: str) -> str:
    """Return the file name of a key: valid on every file system, and never a temporary file's."""
    assert key, "key must not be empty"
    return quote(key, safe="").replace(".", "%2E")


def save_value(system: System, folder: Path, key: str, value: bytes | None) -> None:
    """Save ``value`` durably, or delete the saved value if ``value`` is None. Raises OSError."""
    path = folder / file_name(key)
    if value is not None:
        write_file(system, path, encode_value(key, value))
    elif path.exists():
        system.unlink(path)
        system.sync_folder(folder)


def load_values(system: System, folder: Path) -> tuple[tuple[str, bytes], ...]:
    """Return all (key, value), sorted by key. Raises StorageError if one is damaged."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.endswith(TEMPORARY):
            system.unlink(path)
            continue
        key = unquote(path.name)
        found.append((key, decode_value(key, read_file(path), path)))
    return tuple(sorted(found))


# The epochs below the flush checkpoint.


def encode_epochs(epochs: Epochs) -> bytes:
    """Return the epochs in the format of Kafka's leader-epoch-checkpoint.

    The lines are: version 0, the number of entries, then "epoch start_offset" for each entry.
    """
    lines = ["0", str(len(epochs)), *(f"{epoch} {start}" for epoch, start in epochs)]
    return "".join(line + "\n" for line in lines).encode()


def decode_epochs(data: bytes) -> Epochs:
    """Return the epochs of a leader-epoch-checkpoint. Raises ValueError if it is invalid."""
    version, count, *lines = data.decode().splitlines()
    if version != "0" or int(count) != len(lines):
        raise ValueError("not a leader-epoch-checkpoint")
    pairs = [line.split() for line in lines]
    return tuple((Epoch(int(epoch)), int(start)) for epoch, start in pairs)


# The flush checkpoint.


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A flush checkpoint: the records below offset ``end`` are flushed.

    They are the first ``position`` bytes of the segment with base offset ``segment``. ``flags`` is
    a combination of DAMAGED, VERIFY and REWRITE.
    """

    segment: Offset = 0
    end: Offset = 0
    position: int = 0
    flags: int = 0


def newest_slot(data: bytes) -> tuple[int, Checkpoint] | None:
    """Return (sequence number, checkpoint) of the newer valid slot; None if neither is valid.

    ``data`` is the content of the file.
    """
    found = []
    for at in (0, SLOT_BYTES):
        slot = data[at : at + _SLOT.size + _CRC.size]
        if len(slot) < _SLOT.size + _CRC.size:
            continue
        (crc,) = _CRC.unpack_from(slot, _SLOT.size)
        magic, version, flags, sequence, segment, end, position = _SLOT.unpack_from(slot)
        valid = (magic, version) == (_SLOT_MAGIC, _SLOT_VERSION)
        if valid and crc32c(slot[: _SLOT.size]) == crc and sequence > 0:
            found.append((sequence, Checkpoint(segment, end, position, flags)))
    return max(found, key=lambda each: each[0], default=None)


class CheckpointFile:
    """The file of the flush checkpoint; safe to use from several threads."""

    def __init__(self, system: System, path: Path) -> None:
        """Open or create the file. Raises OSError.

        ``newest`` is the newest valid checkpoint, None if the file has none.
        """
        self._system = system
        self._lock = threading.Lock()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self._sequence = 0
        self.dirty = False
        self.newest: Checkpoint | None = None
        found = newest_slot(os.pread(self._fd, 2 * SLOT_BYTES, 0))
        if found is not None:
            self._sequence, self.newest = found

    def put(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint. Raises OSError.

        It survives a crash of the process; after :meth:`sync` also a power failure.
        """
        with self._lock:
            self._put(checkpoint)

    def put_durably(self, checkpoint: Checkpoint) -> None:
        """Overwrite both slots durably; required to lower the checkpoint. Raises OSError."""
        with self._lock:
            self._put(checkpoint)
            self._put(checkpoint)
            self._sync()

    def sync(self) -> None:
        """Flush the checkpoint file. Raises OSError."""
        with self._lock:
            self._sync()

    def set_flag(self, flag: int) -> None:
        """Set a flag durably, for the next recovery. Raises OSError."""
        with self._lock:
            checkpoint = self.newest or Checkpoint()
            self._put(replace(checkpoint, flags=checkpoint.flags | flag))
            self._sync()

    def _put(self, checkpoint: Checkpoint) -> None:
        self._sequence += 1
        slot = _SLOT.pack(
            _SLOT_MAGIC,
            _SLOT_VERSION,
            checkpoint.flags,
            self._sequence,
            checkpoint.segment,
            checkpoint.end,
            checkpoint.position,
        )
        data = slot + _CRC.pack(crc32c(slot))
        write_all(self._system, self._fd, data, self._sequence % 2 * SLOT_BYTES)
        self.newest = checkpoint
        self.dirty = True

    def _sync(self) -> None:
        self._system.sync(self._fd)
        self.dirty = False

    def close(self) -> None:
        os.close(self._fd)
