"""The data directory of a broker: its identity, its lock, and its files.

- ``identity.json``: kind, format, node, cluster, store; checked at each start
- ``lock``: locked while a process has the directory open; contains the process id
- ``00000000000000000000.log``: record batches without gaps; the name is the base offset
- ``durable-end``: the flush checkpoint (checkpoints.py)
- ``leader-epoch-checkpoint``: the start offsets of the epochs below the flush checkpoint
- ``saved/``: the saved values, one file for each
- ``*.damaged``: damaged bytes that recovery removed from the log
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from yak_core.ids import NodeId, Offset
from yak_net.storage.checkpoints import Checkpoint, CheckpointFile
from yak_net.storage.system import (
    TEMPORARY,
    StorageError,
    System,
    read_file,
    write_file,
)

FORMAT: Final = 1
KIND: Final = "yak-data"
IDENTITY: Final = "identity.json"
LOCK: Final = "lock"
CHECKPOINT: Final = "durable-end"
EPOCHS: Final = "leader-epoch-checkpoint"
SAVED: Final = "saved"
SEGMENT: Final = ".log"
DAMAGED_SUFFIX: Final = ".damaged"
LOCK_TRIES: Final = 10
LOCK_RETRY_S: Final = 0.01

_INITIAL_FILES: Final = (LOCK, CHECKPOINT, SAVED, IDENTITY + TEMPORARY, "lost+found")


@dataclass(frozen=True, slots=True)
class StoreName:
    """The metadata store of a data directory: its id, and where it was reached last.

    ``store_id`` is that of the partition state. ``address`` is a text for messages without a
    password, such as ``Redis at 10.0.0.5:6379``.
    """

    store_id: str
    address: str


@dataclass(frozen=True, slots=True)
class Identity:
    """The content of ``identity.json``.

    ``cluster`` is empty until it is known. ``store`` is None until the first partition state was
    seen, and in a directory of a version that did not write it.
    """

    node: NodeId
    cluster: str
    store: StoreName | None


def segment_name(base: Offset) -> str:
    """Return the file name, as in Kafka, of the segment with base offset ``base``."""
    return f"{base:020d}{SEGMENT}"


class DataFolder:
    """An open data directory; no other process can open it until :meth:`close` or process end.

    ``cluster`` is empty until it is known, ``store`` is None until it is known.
    """

    def __init__(self, path: Path, identity: Identity, system: System, lock: int) -> None:
        self.path = path
        self.node = identity.node
        self.cluster = identity.cluster
        self.store = identity.store
        self.system = system
        self._lock = lock

    @property
    def saved(self) -> Path:
        """Path of the folder of the saved values."""
        return self.path / SAVED

    def set_cluster(self, cluster: str) -> None:
        """Save the name of the cluster. Raises StorageError if another name is already saved."""
        if cluster == self.cluster:
            return
        if self.cluster:
            raise StorageError(_wrong_cluster(self.path, self.cluster, cluster))
        self._write(cluster, self.store)

    def set_store(self, store: StoreName) -> None:
        """Save the metadata store, unless it is already saved. Raises OSError."""
        if store != self.store:
            self._write(self.cluster, store)

    def _write(self, cluster: str, store: StoreName | None) -> None:
        _write_identity(self.system, self.path, Identity(self.node, cluster, store))
        self.cluster, self.store = cluster, store

    def segments(self) -> list[Path]:
        """Return the paths of the segments, in the order of their base offsets."""
        return sorted(
            path
            for path in self.path.iterdir()
            if path.suffix == SEGMENT and path.stem.isdigit() and len(path.stem) == 20
        )

    def close(self) -> None:
        """Release the lock."""
        os.close(self._lock)


def open_folder(
    path: Path, node: NodeId, cluster: str = "", system: System | None = None
) -> DataFolder:
    """Open a data directory, or create it if the path does not exist or is empty.

    Raises StorageError if the directory is in use, not writable, or not a data directory of YAK.
    Also raises it for a directory of another node or cluster, or of a newer format.
    """
    system = System() if system is None else system
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StorageError(_unusable(path, error)) from error
    try:
        _take_lock(path, lock)
        if not (path / IDENTITY).exists():
            _create(system, path, node, cluster)
        found = _check_identity(path, read_identity(path), node, cluster)
        folder = DataFolder(path, found, system, lock)
        if cluster:
            folder.set_cluster(cluster)
    except BaseException as error:
        os.close(lock)
        if not isinstance(error, OSError):
            raise
        raise StorageError(_unusable(path, error)) from error
    return folder


def _take_lock(path: Path, lock: int) -> None:
    try:
        _lock(lock)
    except BlockingIOError as error:
        holder = os.pread(lock, 20, 0).decode(errors="replace").strip()
        by = f" by process {holder}" if holder else ""
        raise StorageError(
            f"the data directory {path} is in use{by}; stop that process, or choose another "
            "directory with --data-dir"
        ) from error
    # The process id is for error messages only. The system releases the lock at process end.
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def _lock(lock: int) -> None:
    """Lock the file. Raises BlockingIOError if another process keeps it locked."""
    for tries_left in reversed(range(LOCK_TRIES)):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            # A command that only reads may hold the lock for a moment, to see whether it is free.
            if not tries_left:
                raise
        time.sleep(LOCK_RETRY_S)


def _create(system: System, path: Path, node: NodeId, cluster: str) -> None:
    """Create the files of a new directory.

    The identity is last: a directory without it contains no records. Raises StorageError if the
    directory contains other files.
    """
    segment = path / segment_name(0)
    for entry in sorted(path.iterdir()):
        if entry.name not in _INITIAL_FILES and not (entry == segment and not entry.stat().st_size):
            raise StorageError(
                f"{path} is not a data directory of YAK: found {entry.name}, expected {IDENTITY}; "
                "choose an empty or a new directory"
            )
    (path / SAVED).mkdir(exist_ok=True)
    checkpoints = CheckpointFile(system, path / CHECKPOINT)
    checkpoints.put_durably(Checkpoint())
    checkpoints.close()
    create_segment(system, segment)
    _write_identity(system, path, Identity(node, cluster, None))
    system.sync_folder(path.parent)


def create_segment(system: System, path: Path) -> None:
    """Create and flush an empty segment; the caller flushes the folder. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        system.sync(fd)
    finally:
        os.close(fd)


def _write_identity(system: System, path: Path, identity: Identity) -> None:
    body: dict[str, object] = {"kind": KIND, "format": FORMAT, "node": identity.node}
    body["cluster"] = identity.cluster or None
    if identity.store is not None:
        body["store"] = {"id": identity.store.store_id, "address": identity.store.address}
    write_file(system, path / IDENTITY, (json.dumps(body) + "\n").encode())


def read_identity(path: Path) -> Identity:
    """Return the identity of a data directory. Raises StorageError if it has no valid one."""
    file = path / IDENTITY
    data = read_file(file)
    try:
        body = json.loads(data)
        kind, version = body["kind"], int(body["format"])
        store = body.get("store")
        identity = Identity(
            str(body["node"]),
            str(body["cluster"] or ""),
            None if store is None else StoreName(str(store["id"]), str(store["address"])),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(
            f"{file} is damaged or not a file of YAK; choose another directory"
        ) from error
    if kind != KIND:
        raise StorageError(
            f"{path} is not a data directory of YAK: kind in {IDENTITY} is {kind!r}, "
            f"expected {KIND!r}"
        )
    if version > FORMAT:
        raise StorageError(
            f"{path} has format {version}, this YAK supports up to {FORMAT}; "
            "use the newer version of YAK, or choose another directory"
        )
    return identity


def _check_identity(path: Path, identity: Identity, node: NodeId, cluster: str) -> Identity:
    """Return the identity if it is of this node and cluster. Raises StorageError."""
    if identity.node != node:
        raise StorageError(
            f"{path} is the data directory of {identity.node}, expected {node}; "
            "correct --node-id or --data-dir"
        )
    if cluster and identity.cluster and cluster != identity.cluster:
        raise StorageError(_wrong_cluster(path, identity.cluster, cluster))
    return identity


def wrong_store(path: Path, known: StoreName, address: str, found: str | None) -> str:
    """Return the message for a directory of the store ``known``, when ``address`` has another one.

    ``found`` is the id of that store, None if it is empty.
    """
    other = "has no metadata of this cluster" if found is None else f"has store {found}"
    place = f" in {known.address}" if known.address else ""
    return f"{path} belongs to store {known.store_id}{place}, but {address} {other}"


def _unusable(path: Path, error: OSError) -> str:
    return (
        f"cannot use {path} as data directory: {error.strerror}; choose another one with --data-dir"
    )


def _wrong_cluster(path: Path, known: str, cluster: str) -> str:
    return f"{path} belongs to cluster {known}, expected {cluster}; correct --cluster or --data-dir"
