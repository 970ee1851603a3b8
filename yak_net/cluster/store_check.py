"""The metadata store of a cluster that starts: compared with the data folders of its brokers.

A store that was emptied, and the file of the embedded store if it is older than what the brokers
have seen, get the newest partition state that the brokers have saved. The decision is made in
:mod:`yak_core.metadata.recovery`; this module reads the folders and writes the store. The brokers
are stopped: the lock of each data folder is held.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from yak_core.metadata.partition_state import PartitionState
from yak_core.metadata.recovery import Copy, Obstacle, newest_of, rebuild
from yak_core.metadata.store_calls import Cas, Read, StoreOk
from yak_net.cluster.errors import CannotStart, ClusterError
from yak_net.cluster.folders import FolderError, Place, locked, place_of, used_places
from yak_net.cluster.metadata import NAME, client_of
from yak_net.metadata.redis_store import EMBEDDED_NAME, RedisStore, StoreError
from yak_net.storage.folder import StoreName, wrong_store


@dataclass(frozen=True)
class Stored:
    """The content of a store. ``name`` is its name in messages; ``damage`` is of the content."""

    name: str
    state: PartitionState | None
    damage: str = ""


async def read_store(store: RedisStore) -> Stored:
    """Return the content of a store. Raises ClusterError if it does not answer."""
    try:
        outcome = await store.call(Read())
    except StoreError as error:
        return Stored(await store.name(), None, damage=str(error))
    if not isinstance(outcome, StoreOk):
        raise ClusterError(store.problem or "no response of the metadata store")
    return Stored(await store.name(), outcome.value.state)


# -- at the start of a cluster ---------------------------------------------------------------------


async def reconcile(root: Path, cluster: str, url: str, *, final: bool) -> str:
    """Compare the store at ``url`` with the data folders in ``root``, and rebuild it if necessary.

    ``final`` says that an embedded store was saved when its cluster stopped; it is ignored for
    other stores. Return a sentence on what was done, or "". Raises CannotStart if the folders
    belong to another store, or if the store is not as new as they are and cannot be rebuilt.
    """
    store = client_of(url, cluster)
    try:
        with locked((root,), cluster) as folders:
            places = used_places([place_of(each, with_log=False) for each in folders], (root,))
            stored = await read_store(store)
            if stored.damage:
                raise CannotStart(f"{stored.damage}; {_way_out(stored, store, root)}")
            _check_same_store(places, stored, root)
            if not _may_be_behind(places, stored, final):
                return ""
            work = [asyncio.to_thread(place_of, folder, with_log=True) for folder in folders]
            complete = used_places(await asyncio.gather(*work), (root,))
            copies = tuple(place.copy for place in complete)
            if stored.state is not None:
                copies = (*copies, Copy(stored.name, None, stored.state))
            found = rebuild(copies)
            if isinstance(found, tuple):
                raise CannotStart(
                    f"cannot rebuild the metadata in {stored.name}: {sentence_of(found)}; see yak "
                    "cluster recover --dry-run"
                )
            if found == stored.state:
                return ""
            await write_state(store, stored, found)
            names = ", ".join(folder.node for folder in folders)
            return (
                f"rebuilt the metadata in {stored.name} from the data folders of {names}: version "
                f"{found.partition_epoch}, epoch {found.leader_epoch}"
            )
    except (FolderError, StoreError) as error:
        raise CannotStart(str(error)) from error
    finally:
        await store.close()


def _may_be_behind(places: Sequence[Place], stored: Stored, final: bool) -> bool:
    """Return whether the brokers may have acted on a state that the store does not have.

    Without any saved state they have not acted on one. A store that is not embedded is believed if
    it has a state: the brokers compare it with what they have seen, and halt.
    """
    saved = newest_of(tuple(place.copy for place in places))
    damaged = any(place.copy.damage for place in places)
    if saved is None and not damaged:
        return False
    if stored.state is None:
        return True
    if stored.name != EMBEDDED_NAME:
        return False
    newest = newest_of((Copy("", None, saved), Copy("", None, stored.state)))
    return not final or newest != stored.state


def _check_same_store(places: Sequence[Place], stored: Stored, root: Path) -> None:
    """Raise CannotStart if a folder belongs to a store with another address or id.

    A store that has moved to another address keeps its id and all its content.
    """
    state = stored.state
    given = None if state is None else state.store_id
    newest = newest_of((*(place.copy for place in places), Copy("", None, state)))
    for place in places:
        known = store_of(place, root)
        if known is None:
            continue
        same_address = known.address in ("", stored.name)
        if known.store_id == given and (same_address or newest == state):
            continue
        if given is None and same_address:
            continue
        path = Path(place.copy.place)
        what = wrong_store(path, known, stored.name, None if state is None else _label(state))
        raise CannotStart(f"{what}; {_way_back(known, stored)}")


def _label(state: PartitionState) -> str:
    return f"{state.store_id}, version {state.partition_epoch}"


def store_of(place: Place, root: Path) -> StoreName | None:
    """Return the store of a folder; that of an older version may be known from its saved state."""
    if place.store is not None or place.copy.state is None:
        return place.store
    # Only an embedded store leaves its file beside the folders.
    saved_here = (root / NAME).exists()
    return StoreName(place.copy.state.store_id, EMBEDDED_NAME if saved_here else "")


def _way_back(known: StoreName, stored: Stored) -> str:
    """Return the commands that help when another store was given."""
    use = "omit --redis" if known.address == EMBEDDED_NAME else "give its address with --redis"
    move = "" if stored.state is not None else ", move the cluster with yak cluster recover"
    return f"{use}{move}, or delete all its records with yak cluster down --wipe"


def _way_out(stored: Stored, store: RedisStore, root: Path) -> str:
    """Return the command that removes damaged content, so that it can be rebuilt."""
    if stored.name == EMBEDDED_NAME:
        return f"move {root / NAME} away, so that it is rebuilt from the data folders"
    return f"stop all brokers, then delete it with redis-cli DEL '{store.record_key}'"


def sentence_of(obstacles: tuple[Obstacle, ...]) -> str:
    """Return all obstacles in one sentence, each with its place."""
    return "; ".join(
        f"{obstacle.place}: {obstacle.reason}" if obstacle.place else obstacle.reason
        for obstacle in obstacles
    )


async def write_state(store: RedisStore, stored: Stored, state: PartitionState) -> None:
    """Write ``state`` if the store is still as it was read. Raises ClusterError."""
    expected = None if stored.state is None else stored.state.stamp
    outcome = await store.call(Cas(expected, state, None))
    if not isinstance(outcome, StoreOk):
        raise ClusterError(
            store.problem or f"{stored.name} has changed meanwhile: is a broker running?"
        )
