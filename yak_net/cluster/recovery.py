"""The recovery of an emptied metadata store, for the command ``yak cluster recover``.

The decision is made in :mod:`yak_core.metadata.recovery`; this module writes the store and the data
folders. The brokers must be stopped: the lock of each data folder is held.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from yak_core.broker.saved_state import values_of_new_store
from yak_core.metadata.partition_state import PartitionState
from yak_core.metadata.recovery import Copy, Loss, accept_loss, newest_of, rebuild
from yak_net.cluster.errors import ClusterError
from yak_net.cluster.folders import Place, is_renamed
from yak_net.cluster.store_check import Stored, read_store, sentence_of, write_state
from yak_net.metadata.redis_store import EMBEDDED_NAME, RedisStore
from yak_net.storage.checkpoints import save_value
from yak_net.storage.folder import StoreName
from yak_net.storage.system import System, sync_folder

HISTORY: Final = "recoveries.jsonl"
DROPPED: Final = "dropped"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What ``yak cluster recover`` was asked for; an empty ``cluster`` is that of the folders."""

    roots: tuple[Path, ...]
    cluster: str = ""
    accept_loss: bool = False
    dry_run: bool = False


class CannotRecover(ClusterError):
    """The store cannot be rebuilt; nothing was changed."""


async def recover(request: Request, places: Sequence[Place], store: RedisStore, say: Say) -> None:
    """Rebuild the store from locked ``places``. Raises CannotRecover, ClusterError.

    ``say`` is called with each line of the report.
    """
    stored = await read_store(store)
    copies = tuple(place.copy for place in places)
    for copy in copies:
        say(_line_of(copy))
    if stored.name != EMBEDDED_NAME and (stored.state is not None or stored.damage):
        raise CannotRecover(_content_refusal(stored, newest_of(copies), store))
    if stored.state is not None:
        copies = (*copies, Copy(stored.name, None, stored.state))
    exact = rebuild(copies)
    if isinstance(exact, PartitionState):
        await _recover_exactly(request, places, store, stored, exact, say)
        return
    refusal = sentence_of(exact)
    if not request.accept_loss:
        raise CannotRecover(
            f"cannot rebuild the metadata in {stored.name} without loss: {refusal}; find the "
            "missing data, or give --accept-loss to keep only the log that is most complete"
        )
    say(f"not possible without loss: {refusal}")
    loss = accept_loss(copies, store_id=secrets.token_hex(16), attempt=secrets.token_hex(16))
    if isinstance(loss, tuple):
        raise CannotRecover(f"no log can be kept: {sentence_of(loss)}")
    await _recover_with_loss(request, places, store, stored, loss, say)


def _content_refusal(stored: Stored, newest: PartitionState | None, store: RedisStore) -> str:
    """Return why a store with content is not rebuilt."""
    state = stored.state
    delete = f"delete it with redis-cli DEL '{store.record_key}' if no broker uses it"
    if state is None:
        return f"{stored.damage}; {delete}"
    if newest is None or state.store_id != newest.store_id:
        creator = state.ancestors[-1][1] if state.ancestors else state.attempt
        return (
            f"{stored.name} has store {state.store_id}, version {state.partition_epoch}, which "
            f"none of these data folders belongs to (its oldest known attempt is {creator}); "
            f"{delete}"
        )
    known = (state.leader_epoch, state.partition_epoch)
    if known < (newest.leader_epoch, newest.partition_epoch):
        return (
            f"{stored.name} has version {state.partition_epoch}, older than version "
            f"{newest.partition_epoch} in the data folders; {delete}, then recover again"
        )
    return (
        f"{stored.name} has version {state.partition_epoch} of this store, nothing is missing in "
        "it; start the brokers"
    )


async def _recover_exactly(
    request: Request, places: Sequence[Place], store: RedisStore, stored: Stored,
    state: PartitionState, say: Say,
) -> None:  # fmt: skip
    what = f"version {state.partition_epoch}, epoch {state.leader_epoch} of store {state.store_id}"
    if state == stored.state:
        say(f"nothing to do: {stored.name} has {what}, the newest one")
        return
    if request.dry_run:
        say(f"would rebuild {what} in {stored.name}, without loss")
        return
    await write_state(store, stored, state)
    await asyncio.to_thread(_remember, places, StoreName(state.store_id, stored.name))
    entry = {"exact": True, "store": stored.name, "store_id": state.store_id}
    _record(request.roots, entry | {"version": state.partition_epoch})
    say(f"rebuilt {what} in {stored.name}, without loss; start the brokers")


async def _recover_with_loss(
    request: Request, places: Sequence[Place], store: RedisStore, stored: Stored, loss: Loss,
    say: Say,
) -> None:  # fmt: skip
    kept = next(place for place in places if place.copy is loss.kept)
    if kept.folder is None:
        raise CannotRecover(
            f"the log to keep is on another machine, that of {loss.kept.node} in "
            f"{loss.kept.place}: run the command there, with the records of the other folders"
        )
    if is_renamed(kept, [root.resolve() for root in request.roots]):
        path = kept.folder.path
        raise CannotRecover(
            f"the log to keep is in {path}, but {kept.copy.node} uses "
            f"{path.with_name(kept.folder.node)}; rename the folder, then run the command again"
        )
    bill = bill_of(loss)
    for line in bill:
        say(line)
    if request.dry_run:
        return
    # The store is last: until then every broker refuses to start, and this command can run again.
    await asyncio.to_thread(_keep_only, kept, places, loss, stored.name, say)
    await write_state(store, stored, loss.state)
    entry = {"exact": False, "store": stored.name, "store_id": loss.state.store_id}
    _record(request.roots, entry | {"version": loss.state.partition_epoch, "bill": bill})
    say(f"created store {loss.state.store_id} in {stored.name}; start the brokers")


def bill_of(loss: Loss) -> list[str]:
    """Return what a recovery with loss keeps and gives up, one sentence for each place."""
    kept = loss.kept
    lines = [f"kept: {kept.place}, the log of {kept.node}: {_log_of(kept)}"]
    for copy in loss.dropped:
        more = max(0, copy.leo - kept.leo)
        lines.append(
            f"given up: {copy.place}, the log of {copy.node}: {_log_of(copy)}; "
            f"{more} records after the end of the kept log"
        )
    lines += [f"given up: the log of {node}, which was not found" for node in loss.missing]
    if loss.lost_committed:
        lines.append(f"lost: at least {loss.lost_committed} committed records")
    else:
        lines.append("lost: no record that these logs know to be committed")
    return lines


def _log_of(copy: Copy) -> str:
    damage = f", damaged: {copy.log_damage or copy.damage}" if not copy.is_intact else ""
    return f"last epoch {copy.last_epoch}, end {copy.leo}, HW at least {copy.hw}{damage}"


def _line_of(copy: Copy) -> str:
    if copy.state is None:
        state = copy.damage or "no saved partition state"
    else:
        state = f"store {copy.state.store_id}, version {copy.state.partition_epoch}"
    if copy.node is None:
        return f"found: {copy.place}, not used under this name: {state}"
    return f"found: {copy.place}, {copy.node}: {state}; {_log_of(copy)}"


def _remember(places: Sequence[Place], name: StoreName) -> None:
    for place in places:
        if place.folder is not None and place.copy.node is not None:
            place.folder.set_store(name)


def _keep_only(kept: Place, places: Sequence[Place], loss: Loss, address: str, say: Say) -> None:
    """Make the kept log the first log of the new store, and move the other folders away.

    Raises ClusterError.
    """
    folder, copy = kept.folder, loss.kept
    assert folder is not None
    assert copy.node is not None
    system = System()
    values = values_of_new_store(loss.state, copy.node, kept.flush, copy.hw, copy.leo)
    try:
        _flush(folder.segments(), system)
        for key, value in values:
            save_value(system, folder.saved, key, value)
        folder.set_store(StoreName(loss.state.store_id, address))
        for place in places:
            if place.folder is not None and place.copy.node is not None and place is not kept:
                moved = move_away(place.folder.path, loss.state.store_id)
                say(f"moved {place.folder.path} to {moved}; {place.copy.node} starts empty")
    except OSError as error:
        raise ClusterError(
            f"cannot change {error.filename or folder.path}: {error.strerror}"
        ) from error
    for place in places:
        if place.folder is None:
            say(f"on its machine, move the folder of {place.copy.node} away before its next start")


def _flush(segments: Sequence[Path], system: System) -> None:
    """Flush the kept log: with flush=os its end may be in memory only."""
    for path in segments:
        with path.open("rb") as file:
            system.sync(file.fileno())


def move_away(path: Path, label: str) -> Path:
    """Move a data folder to ``dropped/LABEL`` beside it; return its new path. Raises OSError."""
    target = path.parent / DROPPED / label[:8] / path.name
    target.parent.mkdir(parents=True, exist_ok=True)
    path.rename(target)
    sync_folder(target.parent)
    sync_folder(path.parent)
    return target


def _record(roots: Sequence[Path], entry: dict[str, object]) -> None:
    """Append a line about this recovery to the history in each root. Raises ClusterError."""
    body = {"schema": 1, "kind": "yak-recovery", "at_ms": time.time_ns() // 1_000_000, **entry}
    for root in roots:
        try:
            with (root / HISTORY).open("a") as file:
                file.write(json.dumps(body) + "\n")
        except OSError as error:
            raise ClusterError(f"cannot write {root / HISTORY}: {error.strerror}") from error
