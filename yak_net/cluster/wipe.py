"""Deletion of the data of a stopped cluster: its records, its metadata, and its broker logs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from yak_net.cluster.errors import CannotStart, ClusterError
from yak_net.cluster.folders import (
    CLUSTER_LOCK,
    FolderError,
    Place,
    lock_cluster,
    locked,
    place_of,
)
from yak_net.cluster.metadata import NAME, client_of
from yak_net.cluster.recovery import DROPPED, HISTORY
from yak_net.cluster.store_check import read_store, store_of
from yak_net.metadata.redis_store import EMBEDDED_NAME, StoreError

FILES: Final = (NAME, f"{NAME}.damaged", HISTORY, "supervisor.log", CLUSTER_LOCK)
"""The files of a cluster in its data folder, beside the folders and logs of the brokers."""


async def wipe(root: Path, redis_url: str) -> list[str]:
    """Delete the data of the cluster in the data folder ``root``; return what was deleted.

    Only files that YAK has written are deleted. If the metadata is in Redis, ``redis_url`` must
    name that server: without its records, the metadata would leave no broker that can lead. Raises
    CannotStart for a missing or wrong address, ClusterError if a process uses the folder or a file
    cannot be deleted.
    """
    try:
        if not root.exists():  # noqa: ASYNC240 - nothing else runs on the loop
            return []
        lock = lock_cluster(root)
    except OSError as error:
        raise ClusterError(f"cannot lock {root}: {error.strerror}") from error
    try:
        with locked((root,)) as folders:
            places = [place_of(folder, with_log=False) for folder in folders]
            deleted = await _delete_metadata(root, places, redis_url)
            return [*deleted, *_delete_files(root, places)]
    finally:
        os.close(lock)


async def _delete_metadata(root: Path, places: Sequence[Place], redis_url: str) -> list[str]:
    """Delete the keys of these folders' cluster in Redis, if the metadata is there."""
    stores = [store for place in places if (store := store_of(place, root)) is not None]
    remote = [store for store in stores if store.address != EMBEDDED_NAME]
    if not remote:
        return []
    if not redis_url:
        where = remote[0].address or "a Redis server"
        raise CannotStart(
            f"the metadata of {root} is in {where}; give its URL with --redis, so that it is "
            "deleted, too"
        )
    client = client_of(redis_url, places[0].cluster)
    try:
        stored = await read_store(client)
        if stored.state is None:
            return []
        if stored.state.store_id not in [store.store_id for store in stores]:
            raise CannotStart(
                f"{stored.name} has store {stored.state.store_id}, which is not that of {root}; "
                "correct --redis"
            )
        await client.delete_all()
        return [f"the metadata in {stored.name}"]
    except StoreError as error:
        raise ClusterError(str(error)) from error
    finally:
        await client.close()


def _delete_files(root: Path, places: Sequence[Place]) -> list[str]:
    deleted = []
    try:
        for place in places:
            path = Path(place.copy.place)
            shutil.rmtree(path)
            path.with_name(f"{path.name}.log").unlink(missing_ok=True)
            deleted.append(str(path))
        if (root / DROPPED).is_dir():
            shutil.rmtree(root / DROPPED)
            deleted.append(str(root / DROPPED))
        for name in FILES:
            (root / name).unlink(missing_ok=True)
        if not any(root.iterdir()):
            root.rmdir()
    except OSError as error:
        raise FolderError(f"cannot delete {error.filename}: {error.strerror}") from error
    return deleted
