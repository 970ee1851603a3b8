"""Files that one process at a time holds, until it ends; must never be held by a broker.

The system gives a lock back however its holder ends, so it says for certain whether that runs. A
process id does not: it may belong to somebody else by now.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from yak_net.cluster.errors import CannotStart


class InUse(Exception):
    """Somebody holds the lock; ``holder`` is the process id in the file, or 0."""

    def __init__(self, holder: int) -> None:
        super().__init__(holder)
        self.holder = holder


class FileLock:
    """The lock ``path``, held until :meth:`release`. The file stays; only the lock matters."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd

    @classmethod
    def take(cls, path: Path) -> FileLock:
        """Take it at once. Raises InUse, and CannotStart where no lock can be made."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Not inheritable, so that a broker that outlives us for a moment does not hold it.
            fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise CannotStart(f"cannot write {path}: {error.strerror}") from error
        try:
            _lock(fd)
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        except BaseException as error:
            os.close(fd)
            if not isinstance(error, OSError):
                raise
            raise CannotStart(f"cannot lock {path}: {error.strerror}") from error
        return cls(path, fd)

    def release(self) -> None:
        """Let others take it. May be repeated."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def holder_of(path: Path) -> int | None:
    """The process that holds a lock of this kind, 0 if it does not say; None if nobody does."""
    try:
        fd = os.open(path, os.O_RDWR)
    except OSError:
        return None
    try:
        _lock(fd)
    except InUse as busy:
        return busy.holder
    finally:
        os.close(fd)
    return None


def _lock(fd: int) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
        raise InUse(int(text) if text.isdigit() else 0) from None
