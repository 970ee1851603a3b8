"""The operating system calls of the storage, in one replaceable object.

Tests replace single calls to simulate a full, slow or broken disk, or to compute what survives a
power failure. ``Rules`` makes the protocol's decisions replaceable in the same way.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Values of errno that mean that the disk is full."""

NO_DESCRIPTOR: Final = (errno.EMFILE, errno.ENFILE)
"""Values of errno that mean that this process, or the machine, has too many open files."""
DESCRIPTOR_WAIT_S: Final = 30.0
DESCRIPTOR_POLL_S: Final = 0.02

TEMPORARY: Final = ".tmp"
"""Suffix of a file during its write; recovery deletes such files, which a crash can leave."""


class StorageError(Exception):
    """The data directory is unusable; the message says why and what to do."""


if sys.platform == "darwin":

    def sync_data(fd: int) -> None:
        """Flush a file's bytes and size to the disk; on macOS, fsync flushes to its cache only."""
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)

else:

    def sync_data(fd: int) -> None:
        """Flush a file's bytes and size to the disk."""
        os.fdatasync(fd)


def open_file(path: Path, flags: int, mode: int = 0o644) -> int:
    """Open a file like os.open; wait up to DESCRIPTOR_WAIT_S for a free descriptor.

    A lack of descriptors does not endanger what is on the disk, so it must not end the process.
    """
    give_up_at = time.monotonic() + DESCRIPTOR_WAIT_S
    while True:
        try:
            return os.open(path, flags, mode)
        except OSError as error:
            if error.errno not in NO_DESCRIPTOR or time.monotonic() > give_up_at:
                raise
        time.sleep(DESCRIPTOR_POLL_S)


def sync_folder(folder: Path) -> None:
    """Flush a folder: the creation, deletion and renaming of files in it become durable."""
    fd = open_file(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace(source: Path, target: Path) -> None:
    """Rename ``source`` to ``target``; replace an existing file."""
    source.replace(target)


def boot_id() -> str:
    """Return the id of this boot of the machine, as Linux has it; empty if it is unknown."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def file_system(folder: Path) -> str:
    """Return the type of the file system of a folder, such as ``ext4``; empty if unknown.

    Linux lists the types by mount id. Raises OSError if the folder cannot be opened.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        about = Path(f"/proc/self/fdinfo/{fd}").read_text()
        mounts = Path("/proc/self/mountinfo").read_text(errors="replace")
    except OSError:
        return ""
    finally:
        os.close(fd)
    found = re.search(r"^mnt_id:\s*(\d+)$", about, re.MULTILINE)
    for line in mounts.splitlines():
        place, _, kind = line.partition(" - ")
        if found is not None and place.split()[0] == found[1]:
            return kind.split()[0]
    return ""


@dataclass(frozen=True)
class System:
    """The system calls that the storage depends on; ``System()`` has the real ones.

    ``write`` takes (descriptor, buffers, position) like pwritev, ``read`` (descriptor, size,
    position) like pread, ``truncate`` (descriptor, size) like ftruncate.
    """

    write: Callable[[int, Sequence[bytes | memoryview], int], int] = os.pwritev
    read: Callable[[int, int, int], bytes] = os.pread
    sync: Callable[[int], None] = sync_data
    truncate: Callable[[int, int], None] = os.ftruncate
    replace: Callable[[Path, Path], None] = replace
    unlink: Callable[[Path], None] = Path.unlink
    sync_folder: Callable[[Path], None] = sync_folder
    boot_id: Callable[[], str] = boot_id
    file_system: Callable[[Path], str] = file_system


def write_all(system: System, fd: int, data: bytes, at: int) -> None:
    """Write all of ``data`` at position ``at``, if necessary in several calls. Raises OSError."""
    rest = memoryview(data)
    while rest:
        count = system.write(fd, (rest,), at)
        if count <= 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rest = rest[count:]
        at += count


def write_file(system: System, path: Path, data: bytes) -> None:
    """Replace a small file atomically and durably; a crash leaves the old or the new content.

    Raises OSError; the old file is then unchanged.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        fd = open_file(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
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


def read_file(path: Path) -> bytes:
    """Return the content of a small file. Raises StorageError if it is unreadable."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
