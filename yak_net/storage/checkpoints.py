"""Small files beside the log: named values and the durable mark; must never guess a damaged one.

A named value is a file of its own: one line of text with its CRC, then the bytes. It is replaced as
a whole.

The durable mark says up to where a flush has completed, so that recovery can tell a tail that a
crash tore (above) from records that were lost (below). It is written in place after each flush and
made durable by itself once in a while, so it is exact after the end of the process and a lower
bound after a power cut. Two slots take turns: a torn slot leaves the older one.
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
    read_whole,
    write_all,
    write_file,
)

Epochs = tuple[tuple[Epoch, Offset], ...]

VALUE_VERSION: Final = 1
_VALUE = re.compile(rb"yak-value (\d+) ([0-9a-f]{8})\n")

DAMAGED: Final = 1
"""Recovery found damage, and nothing has been flushed since: a restart must not forget it."""
VERIFY: Final = 2
"""A batch could not be read back: the next recovery checks every byte of the log."""
REWRITE: Final = 4
"""A flush failed: what lies above the mark may be in the page cache only, and called clean."""

_SLOT = Struct(">4sHHqqqq")
_CRC = Struct(">I")
_SLOT_MAGIC: Final = b"YAKM"
_SLOT_VERSION: Final = 1
SLOT_BYTES: Final = 512
"""A sector for each, so that writing one cannot tear the other."""


# Named values.


def encode_value(key: str, value: bytes) -> bytes:
    """The content of a value's file. The CRC covers the key, so that files are not mixed up."""
    crc = crc32c(value, crc32c(key.encode() + b"\0"))
    return b"yak-value %d %08x\n" % (VALUE_VERSION, crc) + value


def decode_value(key: str, data: bytes, path: Path) -> bytes:
    """What :func:`encode_value` was given. Raises StorageError when it is damaged or too new."""
    match = _VALUE.match(data)
    if match is not None and int(match[1]) > VALUE_VERSION:
        raise StorageError(f"{path} was written by a newer version of YAK: use that one")
    value = data[match.end() :] if match is not None else b""
    if match is None or data != encode_value(key, value):
        raise StorageError(
            f"the saved value {key!r} in {path} is damaged: "
            "start this broker on an empty data directory, so that it copies from its peers"
        )
    return value


def file_name(key: str) -> str:
    """A name that every file system takes, and that no temporary file has."""
    assert key, "a value has a name"
    return quote(key, safe="").replace(".", "%2E")


def save_value(system: System, folder: Path, key: str, value: bytes | None) -> None:
    """Keep ``value``, or delete what is kept (None); durable when this returns. Raises OSError."""
    path = folder / file_name(key)
    if value is not None:
        write_file(system, path, encode_value(key, value))
    elif path.exists():
        system.unlink(path)
        system.sync_folder(folder)


def load_values(system: System, folder: Path) -> tuple[tuple[str, bytes], ...]:
    """All (key, value), sorted by key. Raises StorageError for one that is damaged."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.endswith(TEMPORARY):
            system.unlink(path)
            continue
        key = unquote(path.name)
        found.append((key, decode_value(key, read_whole(path), path)))
    return tuple(sorted(found))


# The epochs below the durable mark.


def encode_epochs(epochs: Epochs) -> bytes:
    """Kafka's leader-epoch-checkpoint: version, count, then an epoch and its start a line."""
    lines = ["0", str(len(epochs)), *(f"{epoch} {start}" for epoch, start in epochs)]
    return "".join(line + "\n" for line in lines).encode()


def decode_epochs(data: bytes) -> Epochs:
    """What :func:`encode_epochs` was given. Raises ValueError."""
    version, count, *lines = data.decode().splitlines()
    if version != "0" or int(count) != len(lines):
        raise ValueError("not a leader-epoch-checkpoint")
    pairs = [line.split() for line in lines]
    return tuple((Epoch(int(epoch)), int(start)) for epoch, start in pairs)


# The durable mark.


@dataclass(frozen=True, slots=True)
class Mark:
    """Everything below ``end`` was flushed; it is the first ``position`` bytes of a segment.

    ``segment`` is the base offset of that segment's file, ``flags`` a sum of the constants above.
    """

    segment: Offset = 0
    end: Offset = 0
    position: int = 0
    flags: int = 0


class MarkFile:
    """The file of the durable mark; used by both threads of the disk."""

    def __init__(self, system: System, path: Path) -> None:
        """Opens the file, or makes it. ``mark`` is None when it holds no mark. Raises OSError."""
        self._system = system
        self._lock = threading.Lock()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self._sequence = 0
        self.dirty = False
        self.mark: Mark | None = None
        for slot in (0, 1):
            self._read(os.pread(self._fd, _SLOT.size + _CRC.size, slot * SLOT_BYTES))

    def _read(self, data: bytes) -> None:
        if len(data) < _SLOT.size + _CRC.size:
            return
        (crc,) = _CRC.unpack_from(data, _SLOT.size)
        magic, version, flags, sequence, segment, end, position = _SLOT.unpack_from(data)
        if magic != _SLOT_MAGIC or version != _SLOT_VERSION or crc32c(data[: _SLOT.size]) != crc:
            return
        if sequence > self._sequence:
            self._sequence = sequence
            self.mark = Mark(segment, end, position, flags)

    def put(self, mark: Mark) -> None:
        """Write the mark; it outlives the process, and a power cut after :meth:`sync`."""
        with self._lock:
            self._put(mark)

    def put_durably(self, mark: Mark) -> None:
        """Write the mark over whatever was there, durably: the way to lower it."""
        with self._lock:
            self._put(mark)
            self._put(mark)
            self._sync()

    def sync(self) -> None:
        """Make the mark durable. Raises OSError."""
        with self._lock:
            self._sync()

    def flag(self, flag: int) -> None:
        """Leave word for the next recovery. Raises OSError."""
        with self._lock:
            mark = self.mark or Mark()
            self._put(replace(mark, flags=mark.flags | flag))
            self._sync()

    def _put(self, mark: Mark) -> None:
        self._sequence += 1
        slot = _SLOT.pack(
            _SLOT_MAGIC,
            _SLOT_VERSION,
            mark.flags,
            self._sequence,
            mark.segment,
            mark.end,
            mark.position,
        )
        data = slot + _CRC.pack(crc32c(slot))
        write_all(self._system, self._fd, data, self._sequence % 2 * SLOT_BYTES)
        self.mark = mark
        self.dirty = True

    def _sync(self) -> None:
        self._system.sync(self._fd)
        self.dirty = False

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)
