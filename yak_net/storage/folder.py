"""The data directory: whose it is, who has it open, what lies where; must never touch records.

- ``identity.json``: kind, format, node, cluster; a wrong directory is refused
- ``lock``: held as long as a process has the directory open; holds its process id
- ``00000000000000000000.log``: record batches back to back; the name is the first one's offset
- ``durable-end``: the durable mark (checkpoints.py)
- ``leader-epoch-checkpoint``: where the epochs below the mark begin
- ``saved/``: the named values, a file each
- ``*.damaged``: what recovery cut off and did not dare to throw away
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Final

from yak_core.ids import NodeId, Offset
from yak_net.storage.checkpoints import Mark, MarkFile
from yak_net.storage.system import (
    TEMPORARY,
    StorageError,
    System,
    read_whole,
    write_file,
)

FORMAT: Final = 1
KIND: Final = "yak-data"
IDENTITY: Final = "identity.json"
LOCK: Final = "lock"
MARK: Final = "durable-end"
EPOCHS: Final = "leader-epoch-checkpoint"
SAVED: Final = "saved"
SEGMENT: Final = ".log"
ASIDE: Final = ".damaged"

_MAKINGS: Final = (LOCK, MARK, SAVED, IDENTITY + TEMPORARY, "lost+found")


def segment_name(base: Offset) -> str:
    """Kafka's name of the segment whose first offset is ``base``."""
    return f"{base:020d}{SEGMENT}"


class DataFolder:
    """An open data directory; nobody else can open it until it is closed or the process ends.

    ``cluster`` is empty until it is known.
    """

    def __init__(self, path: Path, node: NodeId, cluster: str, system: System, lock: int) -> None:
        self.path = path
        self.node = node
        self.cluster = cluster
        self.system = system
        self._lock = lock

    @property
    def saved(self) -> Path:
        """Where the named values lie."""
        return self.path / SAVED

    def learn_cluster(self, cluster: str) -> None:
        """Note which cluster this directory belongs to; StorageError if it is of another one."""
        if cluster == self.cluster:
            return
        if self.cluster:
            raise StorageError(_of_another_cluster(self.path, self.cluster, cluster))
        _write_identity(self.system, self.path, self.node, cluster)
        self.cluster = cluster

    def segments(self) -> list[Path]:
        """The files of the log, lowest offsets first."""
        return sorted(
            path
            for path in self.path.iterdir()
            if path.suffix == SEGMENT and path.stem.isdigit() and len(path.stem) == 20
        )

    def close(self) -> None:
        """Let others open it."""
        os.close(self._lock)


def open_folder(
    path: Path, node: NodeId, cluster: str = "", system: System | None = None
) -> DataFolder:
    """Open a data directory, or make it where nothing is yet.

    Raises StorageError, with one sentence, for a directory that is in use, of another node or
    cluster, of a newer format, not YAK's, or not writable.
    """
    system = System() if system is None else system
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StorageError(f"cannot use {path} as data directory: {error.strerror}") from error
    try:
        _take_lock(path, lock)
        if not (path / IDENTITY).exists():
            _make(system, path, node, cluster)
        found = _read_identity(path, node, cluster)
        folder = DataFolder(path, node, found, system, lock)
        if cluster:
            folder.learn_cluster(cluster)
    except BaseException as error:
        os.close(lock)
        if not isinstance(error, OSError):
            raise
        raise StorageError(f"cannot use {path} as data directory: {error.strerror}") from error
    return folder


def _take_lock(path: Path, lock: int) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(lock, 20, 0).decode(errors="replace").strip()
        by = f" by process {holder}" if holder else ""
        raise StorageError(f"the data directory {path} is in use{by}") from error
    # For people; what counts is the lock, which the system takes back when the process ends.
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def _make(system: System, path: Path, node: NodeId, cluster: str) -> None:
    """Make the files of a new directory, the identity last: without it there was nothing yet."""
    segment = path / segment_name(0)
    for entry in sorted(path.iterdir()):
        if entry.name not in _MAKINGS and not (entry == segment and not entry.stat().st_size):
            raise StorageError(
                f"{path} is not a data directory of YAK: it holds {entry.name} and no {IDENTITY}; "
                "name an empty or a new directory"
            )
    (path / SAVED).mkdir(exist_ok=True)
    marks = MarkFile(system, path / MARK)
    marks.put_durably(Mark())
    marks.close()
    make_segment(system, segment)
    _write_identity(system, path, node, cluster)
    system.sync_folder(path.parent)


def make_segment(system: System, path: Path) -> None:
    """Make an empty file of the log; the folder is the caller's to make durable."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        system.sync(fd)
    finally:
        os.close(fd)


def _write_identity(system: System, path: Path, node: NodeId, cluster: str) -> None:
    identity = {"kind": KIND, "format": FORMAT, "node": node, "cluster": cluster or None}
    write_file(system, path / IDENTITY, (json.dumps(identity) + "\n").encode())


def _read_identity(path: Path, node: NodeId, cluster: str) -> str:
    """The cluster that the directory belongs to, empty if it is not known."""
    file = path / IDENTITY
    data = read_whole(file)
    try:
        identity = json.loads(data)
        kind, version = identity["kind"], int(identity["format"])
        owner, known = str(identity["node"]), identity["cluster"] or ""
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{file} is damaged or not YAK's: name another directory") from error
    if kind != KIND:
        raise StorageError(f"{path} is not a data directory of YAK: {IDENTITY} says {kind!r}")
    if version > FORMAT:
        raise StorageError(
            f"{path} was written by a newer version of YAK (format {version}, this one knows "
            f"{FORMAT}): use that one, or name another directory"
        )
    if owner != node:
        raise StorageError(f"{path} is the data directory of {owner}, not of {node}")
    if cluster and known and cluster != known:
        raise StorageError(_of_another_cluster(path, known, cluster))
    return str(known)


def _of_another_cluster(path: Path, known: str, cluster: str) -> str:
    return f"{path} belongs to cluster {known}, not to {cluster}"
