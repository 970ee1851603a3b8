"""The operating system calls of the storage, in one replaceable object.

Tests replace single calls to simulate a full, slow or broken disk, or to compute what survives a
power failure. ``Rules`` makes the protocol's decisions replaceable in the same way.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
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


def descriptor_limit() -> int:
    """Return how many files this process may open."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1 << 20 if limit == resource.RLIM_INFINITY else limit


class _Spare:
    """A descriptor that is kept for :func:`opened`, so that connections cannot take it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fd: int | None = None
        #: Any open descriptor, to copy from.
        self._source: int | None = None

    def keep(self) -> None:
        """Take the descriptors, unless they are kept already or none is free."""
        with self._lock, suppress(OSError):
            if self._source is None:
                self._source = os.open(os.devnull, os.O_RDONLY)
            if self._fd is None:
                self._fd = os.dup(self._source)

    def release(self) -> None:
        """Free the descriptor."""
        with self._lock:
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None

    def close(self, fd: int) -> None:
        """Close a file; keep its descriptor if none is kept."""
        with self._lock:
            if self._fd is None and self._source is not None:
                # In one call: after a close, another thread could take the descriptor.
                os.dup2(self._source, fd, inheritable=False)
                self._fd = fd
            else:
                os.close(fd)


_spare = _Spare()


@contextmanager
def opened(path: Path, flags: int, mode: int = 0o644) -> Iterator[int]:
    """Open a file like os.open, with the spare descriptor if no other one is free, and close it.

    Waits up to DESCRIPTOR_WAIT_S for a descriptor: a lack of them does not endanger what is on the
    disk, so it must not end the process. Open one file at a time.
    """
    fd = _open(path, flags, mode)
    try:
        yield fd
    finally:
        _spare.close(fd)


def _open(path: Path, flags: int, mode: int) -> int:
    _spare.keep()
    give_up_at = time.monotonic() + DESCRIPTOR_WAIT_S
    released = False
    while True:
        try:
            return os.open(path, flags, mode)
        except OSError as error:
            if error.errno not in NO_DESCRIPTOR or time.monotonic() > give_up_at:
                raise
        if released:
            time.sleep(DESCRIPTOR_POLL_S)
        released = True
        _spare.release()


def sync_folder(folder: Path) -> None:
    """Flush a folder: the creation, deletion and renaming of files in it become durable."""
    with opened(folder, os.O_RDONLY | os.O_DIRECTORY) as fd:
        os.fsync(fd)


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
        with opened(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as fd:
            write_all(system, fd, data, 0)
            system.sync(fd)
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
