"""The recovery of the partition state after its store was emptied.

A broker acts on a partition state only after it has saved this state on its own disk. So the newest
state that any replica has saved is the newest one that any replica has acted on. A store that was
emptied gets back exactly this state, with the same bytes, if the saved states of all replicas are
there: :func:`rebuild`. If one is missing, its replica may have acted on a newer state: it may have
shrunk the ISR and committed records that the other replicas do not have.

A replica that has never registered in the newest state needs no saved state. To join the ISR it
must be registered in the state that the leader replaces, and the leader has saved that state. So
such a replica has never been in the ISR or ELR, and nothing was ever committed because of it.

Without these conditions, only a new store is possible: :func:`accept_loss` makes one log the only
member of the ISR, and all other replicas start empty.
"""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise

from yak_core.ids import NO_EPOCH, BrokerEpoch, Epoch, NodeId, Offset
from yak_core.metadata.partition_state import (
    ANCESTORS_MAX,
    UNREPORTED,
    NodeEntry,
    PartitionState,
    Recovery,
    follows,
)
from yak_core.metadata.transitions import check_partition_state
from yak_core.value import value


@value
class Copy:
    """What one place holds for a recovery: a data folder, an exported record, or a saved store.

    ``place`` is its name in messages. ``node`` is None for a saved store, which has no log.
    ``damage`` says why the saved values cannot be read, and is empty if they can.
    ``log_damage`` says the same of the log. ``last_epoch`` is the epoch of the last record, or -1.
    """

    place: str
    node: NodeId | None
    state: PartitionState | None
    damage: str = ""
    log_damage: str = ""
    last_epoch: Epoch = NO_EPOCH
    leo: Offset = 0
    hw: Offset = 0

    @property
    def is_intact(self) -> bool:
        """Whether both the log and the saved values can be read."""
        return not self.damage and not self.log_damage


class ObstacleKind(StrEnum):
    """Why an exact recovery is not possible."""

    NO_STATE = "no_state"
    """No place holds a saved state."""
    MISSING = "missing"
    """A registered replica has no saved state."""
    DAMAGED = "damaged"
    """A saved value is damaged."""
    DUPLICATE = "duplicate"
    """Two places belong to one replica."""
    NOT_A_REPLICA = "not_a_replica"
    """A place belongs to a node that is not a replica."""
    OTHER_STORE = "other_store"
    """A saved state is of another store."""
    FORK = "fork"
    """A saved state is not an ancestor of the newest one: the store lost a write earlier."""
    LOG_AHEAD = "log_ahead"
    """A log has an epoch that is above the newest saved state: a newer state has existed."""


@value
class Obstacle:
    """A reason against an exact recovery. ``place`` is where to look, or empty."""

    kind: ObstacleKind
    place: str
    reason: str


@value
class Loss:
    """What a recovery with loss keeps and gives up.

    ``state`` is the first state of the new store. ``kept`` is the only log that is kept.
    ``dropped`` are the other places with a log. ``lost_committed`` is the number of records at the
    end of the committed part that are certainly lost; more may be, if a place is missing.
    """

    state: PartitionState
    kept: Copy
    dropped: tuple[Copy, ...]
    missing: tuple[NodeId, ...]
    lost_committed: int


def newest_of(copies: tuple[Copy, ...]) -> PartitionState | None:
    """Return the newest saved state, None if there is none."""
    states = [copy.state for copy in copies if copy.state is not None]
    return max(states, key=_age, default=None)


def rebuild(copies: tuple[Copy, ...]) -> PartitionState | tuple[Obstacle, ...]:
    """Return the state that an emptied store gets back, or all reasons why it cannot.

    ``copies`` are all places that are left, at most one for each replica; a saved store counts as
    one more saved state.
    """
    damaged = tuple(
        Obstacle(ObstacleKind.DAMAGED, copy.place, copy.damage) for copy in copies if copy.damage
    )
    newest = newest_of(copies)
    if newest is None:
        reason = "no saved partition state was found"
        return damaged or (Obstacle(ObstacleKind.NO_STATE, "", reason),)
    foreign = _other_stores(copies, newest)
    if foreign:
        return (*damaged, *foreign)
    found = (
        *damaged,
        *_wrong_members(copies, newest),
        *_missing(copies, newest),
        *_forks(copies),
        *_logs_ahead(copies, newest),
    )
    return found or newest


def accept_loss(
    copies: tuple[Copy, ...], *, store_id: str, attempt: str
) -> Loss | tuple[Obstacle, ...]:
    """Return a new store whose ISR is the intact log with the greatest (last epoch, LEO).

    ``store_id`` and ``attempt`` were not used before. The new epochs are above all epochs that any
    place has, so neither brokers nor clients see an epoch twice.
    """
    newest = newest_of(copies)
    logs = tuple(copy for copy in copies if copy.node is not None)
    usable = [
        copy
        for copy in logs
        if copy.is_intact and newest is not None and copy.node in newest.replicas
    ]
    if newest is None or not usable:
        unusable = tuple(
            Obstacle(ObstacleKind.DAMAGED, copy.place, copy.damage or copy.log_damage)
            for copy in logs
            if not copy.is_intact
        )
        reason = "no intact data folder with a saved partition state was found"
        return unusable or (Obstacle(ObstacleKind.NO_STATE, "", reason),)
    kept = max(usable, key=lambda copy: (copy.last_epoch, copy.leo))
    known = {copy.node for copy in logs}
    state = _first_state(copies, newest, kept, store_id, attempt)
    return Loss(
        state=state,
        kept=kept,
        dropped=tuple(copy for copy in logs if copy is not kept),
        missing=tuple(node for node in newest.replicas if node not in known),
        lost_committed=max(0, max(copy.hw for copy in logs) - kept.leo),
    )


def _first_state(
    copies: tuple[Copy, ...], newest: PartitionState, kept: Copy, store_id: str, attempt: str
) -> PartitionState:
    """Return the first state of the new store: ``kept`` is registered, and alone in the ISR."""
    assert kept.node is not None
    states = [copy.state for copy in copies if copy.state is not None]
    epoch = max(0, *(s.leader_epoch for s in states), *(copy.last_epoch for copy in copies))
    partition_epoch = max(epoch, *(s.partition_epoch for s in states)) + 1
    last = newest.node(kept.node)
    url, peer_url = ("", "") if last is None else (last.url, last.peer_url)
    schema_max = 1 if last is None else last.schema_max
    entry = NodeEntry(
        BrokerEpoch(partition_epoch), True, False, url, Epoch(UNREPORTED), UNREPORTED,
        peer_url, schema_max,
    )  # fmt: skip
    oldest = max(1, partition_epoch - ANCESTORS_MAX)
    state = PartitionState(
        store_id=store_id,
        partition_epoch=partition_epoch,
        attempt=attempt,
        # No state of this store precedes the first one. The stamps only fill the places of the
        # partition epochs before it; no broker has seen them.
        ancestors=tuple(
            (number, f"{attempt}-{number}") for number in range(partition_epoch - 1, oldest - 1, -1)
        ),
        leader_epoch=Epoch(epoch),
        leader=None,
        leader_broker_epoch=BrokerEpoch(0),
        isr=(kept.node,),
        elr=(),
        last_known_eligible=(),
        last_leader=None,
        replicas=newest.replicas,
        min_isr=newest.min_isr,
        unclean_policy=newest.unclean_policy,
        recovery=Recovery.RECOVERED,
        unclean_generation=max(s.unclean_generation for s in states) + 1,
        nodes=((kept.node, entry),),
    )
    assert check_partition_state(state) == (), check_partition_state(state)
    return state


def _age(state: PartitionState) -> tuple[Epoch, int]:
    """Return the order of partition states, as rule R0 has it."""
    return (state.leader_epoch, state.partition_epoch)


def _other_stores(copies: tuple[Copy, ...], newest: PartitionState) -> tuple[Obstacle, ...]:
    """Report the saved states that are not of the store that most places name."""
    ids = [copy.state.store_id for copy in copies if copy.state is not None]
    usual = max(ids, key=lambda each: (ids.count(each), each == newest.store_id))
    return tuple(
        Obstacle(
            ObstacleKind.OTHER_STORE,
            copy.place,
            f"its partition state is of store {copy.state.store_id}, expected {usual}",
        )
        for copy in copies
        if copy.state is not None and copy.state.store_id != usual
    )


def _wrong_members(copies: tuple[Copy, ...], newest: PartitionState) -> tuple[Obstacle, ...]:
    """Report places of nodes that are not replicas, and the second place of a replica."""
    found: list[Obstacle] = []
    seen: dict[NodeId, str] = {}
    for copy in copies:
        node = copy.node
        if node is None:
            continue
        if node not in newest.replicas:
            reason = f"{node} is not one of the replicas {', '.join(newest.replicas)}"
            found.append(Obstacle(ObstacleKind.NOT_A_REPLICA, copy.place, reason))
        elif node in seen:
            reason = f"both this and {seen[node]} belong to {node}"
            found.append(Obstacle(ObstacleKind.DUPLICATE, copy.place, reason))
        seen.setdefault(node, copy.place)
    return tuple(found)


def _missing(copies: tuple[Copy, ...], newest: PartitionState) -> tuple[Obstacle, ...]:
    """Report the registered replicas without a saved state; damaged ones are reported before."""
    places = {copy.node: copy for copy in copies}
    found: list[Obstacle] = []
    for node, _ in newest.nodes:
        copy = places.get(node)
        if copy is None:
            reason = f"the saved partition state of {node} is missing"
            found.append(Obstacle(ObstacleKind.MISSING, node, reason))
        elif copy.state is None and not copy.damage:
            reason = f"{node} has registered, but no saved partition state is there"
            found.append(Obstacle(ObstacleKind.MISSING, copy.place, reason))
    return tuple(found)


def _forks(copies: tuple[Copy, ...]) -> tuple[Obstacle, ...]:
    """Report neighbours in age of which the newer one does not descend from the older one.

    A state that is older than all ancestors kept is accepted, as a running broker accepts it.
    """
    known = [(copy.state, copy.place) for copy in copies if copy.state is not None]
    known.sort(key=lambda pair: pair[0].partition_epoch)
    found: list[Obstacle] = []
    for (older, place), (newer, newer_place) in pairwise(known):
        same = older.stamp == newer.stamp
        if same and older == newer:
            continue
        if same or follows(newer, older.stamp) is False or newer.leader_epoch < older.leader_epoch:
            reason = (
                f"its version {older.partition_epoch} is not in the history of version "
                f"{newer.partition_epoch} in {newer_place}"
            )
            found.append(Obstacle(ObstacleKind.FORK, place, reason))
    return tuple(found)


def _logs_ahead(copies: tuple[Copy, ...], newest: PartitionState) -> tuple[Obstacle, ...]:
    """Report the logs with an epoch that the newest state does not know."""
    return tuple(
        Obstacle(
            ObstacleKind.LOG_AHEAD,
            copy.place,
            f"its log has epoch {copy.last_epoch}, the newest saved partition state has only "
            f"epoch {newest.leader_epoch}",
        )
        for copy in copies
        if copy.last_epoch > newest.leader_epoch
    )
