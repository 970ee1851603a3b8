"""A file system that loses unsynced data at a power failure.

It forwards every call to the real file system. It keeps the bytes of each file at its last sync,
and the entries of each folder at its last sync. The power fails before a call of a given number.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from tests.net.storage_tools import path_of
from yak_net.storage import System
from yak_net.storage.system import replace

Entries: TypeAlias = dict[str, int]


class PowerCut(BaseException):
    """Power failure: derived from BaseException so that no error handler stops it."""


class Power:
    """The calls on files below ``root``; none from the ``cut_at``-th on takes place.

    A write at the power failure is half done.
    """

    def __init__(self, root: Path, cut_at: int = -1) -> None:
        self.root = root
        self.cut_at = cut_at
        self.calls: list[str] = []
        self.synced: dict[int, bytes] = {}
        self.folders: dict[Path, Entries] = {}
        self._kept: list[int] = []
        self.system = System(
            write=self._write,
            sync=self._sync,
            truncate=self._truncate,
            replace=self._replace,
            unlink=self._unlink,
            sync_folder=self._sync_folder,
        )

    def settle(self) -> None:
        """Make the present state durable."""
        for folder in (self.root, *(path for path in self.root.rglob("*") if path.is_dir())):
            self.folders[folder] = self._entries(folder)
            for path in folder.iterdir():
                if path.is_file():
                    self._keep(path)
                    self.synced[path.stat().st_ino] = path.read_bytes()

    def _keep(self, path: Path) -> None:
        """Hold a descriptor, so that the inode number is not used again."""
        self._kept.append(os.open(path, os.O_RDONLY))

    def _call(self, what: str) -> bool:
        self.calls.append(what)
        return len(self.calls) - 1 == self.cut_at

    def _write(self, fd: int, buffers: Sequence[bytes | memoryview], at: int) -> int:
        cut = self._call(f"write {path_of(fd).name}")
        data = b"".join(buffers)
        self._keep(path_of(fd))
        count = os.pwrite(fd, data[: len(data) // 2] if cut else data, at)
        if cut:
            raise PowerCut
        return count

    def _sync(self, fd: int) -> None:
        if self._call(f"sync {path_of(fd).name}"):
            raise PowerCut
        self.synced[os.fstat(fd).st_ino] = path_of(fd).read_bytes()

    def _truncate(self, fd: int, size: int) -> None:
        if self._call(f"cut {path_of(fd).name}"):
            raise PowerCut
        os.ftruncate(fd, size)

    def _replace(self, source: Path, target: Path) -> None:
        if self._call(f"replace {target.name}"):
            raise PowerCut
        replace(source, target)

    def _unlink(self, path: Path) -> None:
        if self._call(f"unlink {path.name}"):
            raise PowerCut
        path.unlink()

    def _sync_folder(self, folder: Path) -> None:
        if self._call(f"sync {folder.name}/"):
            raise PowerCut
        self.folders[folder] = self._entries(folder)

    def _entries(self, folder: Path) -> Entries:
        return {path.name: path.stat().st_ino for path in folder.iterdir()}

    def after(self, target: Path, *, lose_bytes: bool, lose_names: bool) -> None:
        """Write to ``target`` the state after a restart, without unsynced bytes or names."""
        target.mkdir()
        folders = [self.root, *(path for path in self.root.rglob("*") if path.is_dir())]
        for folder in folders:
            there = target / folder.relative_to(self.root)
            there.mkdir(exist_ok=True)
            now = self._entries(folder)
            entries = self.folders.get(folder, {}) if lose_names else now
            for name, number in entries.items():
                path = self._find(number)
                if path is not None and path.is_file():
                    lost = self.synced.get(number, b"")
                    (there / name).write_bytes(lost if lose_bytes else path.read_bytes())

    def _find(self, number: int) -> Path | None:
        """Return a path to the file with this inode, even if it has no name left."""
        for path in self.root.rglob("*"):
            if path.stat().st_ino == number:
                return path
        for fd in self._kept:
            if os.fstat(fd).st_ino == number:
                return Path(f"/proc/self/fd/{fd}")
        return None

    def close(self) -> None:
        """Close the descriptors."""
        for fd in self._kept:
            os.close(fd)
        self._kept.clear()
