"""The data directories of stopped brokers: locked, and read for a recovery of their store.

Contains no replication logic: :mod:`yak_core.metadata.recovery` decides what is rebuilt.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from crc32c import crc32c

from yak_core.broker.saved_state import SavedValues, read_saved
from yak_core.config import FlushMode
from yak_core.ids import NO_EPOCH, Epoch, NodeId
from yak_core.metadata.partition_state import (
    PartitionState,
    PartitionStateError,
    decode_partition_state,
    encode_partition_state,
)
from yak_core.metadata.recovery import Copy
from yak_net.cluster.errors import ClusterError
from yak_net.runtime.state_file import InUse, take_lock
from yak_net.storage.folder import IDENTITY, DataFolder, StoreName, open_folder, read_identity
from yak_net.storage.survey import LogSurvey, saved_values, survey_log
from yak_net.storage.system import StorageError, System, write_file

CLUSTER_LOCK: Final = "lock"
"""The lock of a cluster, in its data folder."""
EXPORT_KIND: Final = "yak-saved-record"
EXPORT_SCHEMA: Final = 1


class FolderError(ClusterError):
    """A data directory or an exported record cannot be used; the message names it."""


@dataclass(frozen=True)
class Place:
    """One data directory, or the record that was exported from one.

    ``folder`` is None for an exported record. ``flush`` is the flush mode of the last start.
    """

    copy: Copy
    cluster: str
    store: StoreName | None
    flush: FlushMode
    folder: DataFolder | None


def lock_cluster(root: Path) -> int:
    """Lock the data folder of a cluster; return the descriptor, whose close frees the lock.

    Raises FolderError if a cluster uses the folder, OSError if the lock cannot be opened.
    """
    try:
        return take_lock(root / CLUSTER_LOCK)
    except InUse as busy:
        raise FolderError(
            f"{root} is in use by the cluster with supervisor pid {busy.holder}; stop it with yak "
            "cluster down, or give another --data-dir"
        ) from None


@contextmanager
def locked(roots: Sequence[Path], cluster: str = "") -> Iterator[tuple[DataFolder, ...]]:
    """Lock the data directories of all brokers in ``roots`` until the block ends.

    A root is a data directory itself, or contains those of a cluster. Raises FolderError if a
    directory is in use, damaged, or of another cluster than ``cluster``.
    """
    with ExitStack() as opened:
        folders = []
        for path in _directories(roots):
            try:
                folder = open_folder(path, read_identity(path).node, cluster)
            except StorageError as error:
                raise FolderError(str(error)) from error
            opened.callback(folder.close)
            folders.append(folder)
        yield tuple(folders)


def _directories(roots: Sequence[Path]) -> list[Path]:
    found: dict[Path, None] = {}
    for root in roots:
        if (root / IDENTITY).exists():
            found[root.resolve()] = None
        else:
            found |= {path.parent.resolve(): None for path in sorted(root.glob(f"*/{IDENTITY}"))}
    return list(found)


def used_places(places: Sequence[Place], roots: Sequence[Path]) -> list[Place]:
    """Return the places in ``roots`` as the brokers of their clusters use them.

    A broker of a cluster uses the directory with its name. Another directory of the same broker
    beside it, such as a copy that was made by hand, has no log for the recovery: it only counts as
    one more saved state, without a node. It does not count at all if it is of another store.
    """
    inside = {root.resolve() for root in roots if not (root / IDENTITY).exists()}
    used: list[Place] = []
    others: list[Place] = []
    for place in places:
        is_used = place.folder is None or not is_renamed(place, inside)
        (used if is_used else others).append(place)
    nodes = {place.copy.node for place in used}
    stores = {place.copy.state.store_id for place in used if place.copy.state is not None}
    for place in others:
        state = place.copy.state
        if place.copy.node not in nodes:
            used.append(place)  # the only one of its broker
        elif state is not None and state.store_id in stores:
            used.append(replace(place, copy=Copy(place.copy.place, None, state)))
    return used


def is_renamed(place: Place, roots: Collection[Path]) -> bool:
    """Return whether a place is in the folder of a cluster, under another name than its broker."""
    if place.folder is None:
        return False
    return place.folder.path.parent in roots and place.folder.path.name != place.folder.node


def place_of(folder: DataFolder, *, with_log: bool) -> Place:
    """Read a locked data directory; without its log, the fields about the log are empty.

    The check of a log reads all of it. Raises FolderError if the directory cannot be read.
    """
    try:
        saved: SavedValues | str = read_saved(saved_values(folder))
    except StorageError as error:
        saved = str(error)
    known = SavedValues() if isinstance(saved, str) else saved
    damage = saved if isinstance(saved, str) else ""
    try:
        log = survey_log(folder) if with_log else LogSurvey((), 0, "")
    except OSError as error:
        raise FolderError(f"cannot read {folder.path}: {error.strerror}") from error
    copy = Copy(
        str(folder.path),
        folder.node,
        known.state,
        damage,
        log.damage,
        log.epochs[-1][0] if log.epochs else NO_EPOCH,
        log.leo,
        known.hw,
    )
    return Place(copy, folder.cluster, folder.store, known.flush or "batch", folder)


# -- records of directories on other machines ------------------------------------------------------


def export_record(folder: DataFolder, path: Path) -> Place:
    """Write what a recovery on another machine needs of a locked directory; return it.

    Raises FolderError.
    """
    place = place_of(folder, with_log=True)
    copy = place.copy
    state = None if copy.state is None else encode_partition_state(copy.state)
    body: dict[str, object] = {
        "schema": EXPORT_SCHEMA,
        "kind": EXPORT_KIND,
        "node": copy.node,
        "cluster": place.cluster,
        "store": place.store and {"id": place.store.store_id, "address": place.store.address},
        "state": state and base64.b64encode(state).decode("ascii"),
        "damage": copy.damage,
        "log_damage": copy.log_damage,
        "last_epoch": copy.last_epoch,
        "leo": copy.leo,
        "hw": copy.hw,
        "flush": place.flush,
    }
    body["crc"] = _crc(body)
    try:
        write_file(System(), path, (json.dumps(body, indent=1) + "\n").encode())
    except OSError as error:
        raise FolderError(f"cannot write {path}: {error.strerror}") from error
    return place


def read_record(path: Path) -> Place:
    """Return what :func:`export_record` wrote. Raises FolderError."""
    try:
        body: dict[str, Any] = json.loads(path.read_bytes())
        crc = body.pop("crc")
        if body["kind"] != EXPORT_KIND or int(body["schema"]) > EXPORT_SCHEMA:
            raise FolderError(
                f"{path} is not a record of schema {EXPORT_SCHEMA} or lower; export it with yak "
                "cluster export-record"
            )
        if crc != _crc(body):
            raise ValueError("wrong checksum")
        store = body["store"]
        copy = Copy(
            str(path),
            NodeId(body["node"]),
            _state_of(body["state"]),
            str(body["damage"]),
            str(body["log_damage"]),
            Epoch(int(body["last_epoch"])),
            int(body["leo"]),
            int(body["hw"]),
        )
        name = None if store is None else StoreName(str(store["id"]), str(store["address"]))
        flush: FlushMode = "os" if body["flush"] == "os" else "batch"
        return Place(copy, str(body["cluster"]), name, flush, None)
    except OSError as error:
        raise FolderError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, PartitionStateError) as error:
        raise FolderError(
            f"{path} is damaged ({error}); export it again with yak cluster export-record"
        ) from error


def _state_of(text: str | None) -> PartitionState | None:
    return None if text is None else decode_partition_state(base64.b64decode(text, validate=True))


def _crc(body: dict[str, Any]) -> str:
    return f"{crc32c(json.dumps(body, sort_keys=True).encode()):08x}"
