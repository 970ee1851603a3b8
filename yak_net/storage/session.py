"""The storage session of a data directory: a text that vouches for what was written.

Two starts of a broker have the same storage session only if all that was written under one is there
under the other, also what was not flushed. That holds if only the process ended: the page cache of
the system keeps its writes. So the text is a digest of the boot id, the device, the inodes of the
directory and of the log, and a random key in the file ``storage-session``.

The session ends, and the next start has a new key, if writes may be lost without a new boot:

- a process saw an I/O error other than a full disk, a failed flush or a damaged batch, also during
  recovery;
- recovery found the log damaged, or shorter than the end in ``written-end``.

On a file system that is not known to keep the writes of a process in this machine (network, FUSE,
unknown), and without a boot id, each start has a session of its own.

``written-end`` has the format of the flush checkpoint. It is written after appends that are not
flushed, and never flushed itself: it has to survive the process only.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from yak_net.storage.checkpoints import Checkpoint, CheckpointFile, decode_value, encode_value
from yak_net.storage.system import FULL, StorageError, System, read_file, write_file

P = ParamSpec("P")
T = TypeVar("T")

KEY_FILE: Final = "storage-session"
WRITTEN: Final = "written-end"
KEY_BYTES: Final = 16

LOCAL: Final = frozenset(
    (
        "bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "ramfs", "tmpfs",
        "xfs", "zfs",
    )
)  # fmt: skip
"""Types of file systems whose written bytes stay in this machine when a process ends."""


class StorageSession:
    """The storage session of an open data directory; :meth:`end` may be called by any thread."""

    def __init__(self, folder: Path, system: System) -> None:
        """Open or create ``written-end``. Raises OSError."""
        self._folder = folder
        self._key = folder / KEY_FILE
        self._plain = system
        self.system = watched(system, self.end)
        """The system with which the directory must be used: an I/O error ends the session."""
        self._written = CheckpointFile(self.system, folder / WRITTEN)

    def end(self) -> None:
        """End the session: the next start has another one."""
        # If even this fails, for example on a device that has become read-only, no note is
        # possible (docs/decisions/0014-storage-sessions.md).
        with suppress(OSError):
            self._plain.unlink(self._key)

    def note_written(self, checkpoint: Checkpoint) -> None:
        """Note the end of the written log, if it changed. Raises OSError.

        On a full disk the older note stays; after appends it is a valid lower bound.
        """
        if checkpoint == self._written.newest:
            return
        try:
            self._written.put(checkpoint)
        except OSError as error:
            if error.errno not in FULL:
                raise

    def lower(self, checkpoint: Checkpoint) -> None:
        """Lower the note before a truncation to ``checkpoint``. Raises OSError."""
        noted = self._written.newest
        if noted is not None and noted.end > checkpoint.end:
            self._written.put(checkpoint)

    def check_written(self, found: Checkpoint) -> None:
        """End the session if the log that recovery found is not the one that was noted."""
        noted = self._written.newest
        if noted is None or noted.segment != found.segment or noted.position > found.position:
            self.end()

    def name(self, log: Path) -> str:
        """Return the text of the present session, after recovery. Raises OSError."""
        boot = self._plain.boot_id()
        if not boot or self._plain.file_system(self._folder) not in LOCAL:
            return secrets.token_hex(KEY_BYTES)
        folder = self._folder.stat()
        facts = (self._saved_key(), boot, folder.st_dev, folder.st_ino, log.stat().st_ino)
        return blake2b("\0".join(map(str, facts)).encode(), digest_size=KEY_BYTES).hexdigest()

    def _saved_key(self) -> str:
        """Return the saved key, or save a new one if it is missing or damaged. Raises OSError.

        On a full disk the new key is not saved, so the next start makes another one.
        """
        if self._key.exists():
            with suppress(StorageError):
                return decode_value(KEY_FILE, read_file(self._key), self._key).decode()
        key = secrets.token_hex(KEY_BYTES)
        try:
            write_file(self._plain, self._key, encode_value(KEY_FILE, key.encode()))
        except OSError as error:
            if error.errno not in FULL:
                raise
        return key

    def close(self) -> None:
        """Close ``written-end``."""
        self._written.close()


def watched(system: System, on_error: Callable[[], None]) -> System:
    """Return ``system`` with an additional call of ``on_error`` for each I/O error.

    A full disk counts only if a flush reports it: otherwise nothing was written.
    """

    def watch(call: Callable[P, T], *, full_too: bool = False) -> Callable[P, T]:
        def checked(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return call(*args, **kwargs)
            except OSError as error:
                if full_too or error.errno not in FULL:
                    on_error()
                raise

        return checked

    watch_flush = partial(watch, full_too=True)
    return replace(
        system,
        write=watch(system.write),
        read=watch(system.read),
        sync=watch_flush(system.sync),
        truncate=watch(system.truncate),
        replace=watch(system.replace),
        unlink=watch(system.unlink),
        sync_folder=watch_flush(system.sync_folder),
    )
