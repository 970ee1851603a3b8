"""What the storage asks of the operating system; must never decide when to ask.

The calls stand in one object, as the protocol's decisions stand in ``Rules``: a test replaces one
of them to make a disk full, slow or broken, or to count what would survive a power cut.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a write says when there is no room."""

TEMPORARY: Final = ".tmp"
"""Ends the name of a file that is being written; what a crash left of it is thrown away."""


class StorageError(Exception):
    """The data directory cannot be used as it is; the message is one sentence for a person."""


if sys.platform == "darwin":

    def sync_data(fd: int) -> None:
        """Make a file's bytes and size durable; there, fsync stops at the disk's own cache."""
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)

else:

    def sync_data(fd: int) -> None:
        """Make a file's bytes and size durable."""
        os.fdatasync(fd)


def sync_folder(folder: Path) -> None:
    """Make durable which files are in a folder."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace(source: Path, target: Path) -> None:
    """Give ``source`` the name of ``target``, whatever had it before."""
    source.replace(target)


@dataclass(frozen=True)
class System:
    """The calls that change files, and the one that reads the log; ``System()`` is the real one.

    ``write`` and ``read`` take (descriptor, buffers or size, position), like pwritev and pread.
    """

    write: Callable[[int, Sequence[bytes | memoryview], int], int] = os.pwritev
    read: Callable[[int, int, int], bytes] = os.pread
    sync: Callable[[int], None] = sync_data
    cut: Callable[[int, int], None] = os.ftruncate
    replace: Callable[[Path, Path], None] = replace
    unlink: Callable[[Path], None] = Path.unlink
    sync_folder: Callable[[Path], None] = sync_folder


def write_all(system: System, fd: int, data: bytes, at: int) -> None:
    """Write ``data`` at position ``at``, however many calls it takes. Raises OSError."""
    rest = memoryview(data)
    while rest:
        count = system.write(fd, (rest,), at)
        if count <= 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rest = rest[count:]
        at += count


def write_file(system: System, path: Path, data: bytes) -> None:
    """Put a file in place, durable when this returns; a crash leaves the old one or the new one.

    Raises OSError, and then the old one is still there.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            write_all(system, fd, data, 0)
            system.sync(fd)
        finally:
            os.close(fd)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    system.replace(temporary, path)
    system.sync_folder(path.parent)


def read_whole(path: Path) -> bytes:
    """All bytes of a small file. Raises StorageError when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
