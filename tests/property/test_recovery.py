"""Walks in which the metadata store is emptied, and rebuilt from what the brokers have saved.

Between two moves all brokers are killed and the store loses everything. The rebuilt store has the
newest saved state. The walk goes on, and every invariant still holds.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st

from tests.property.cluster import NODES, Cluster
from tests.property.menu import walk
from tests.property.openings import OPENINGS, Opening
from tests.property.walks import Shape, moves, openings, shapes
from yak_core.broker.saved_state import SavedValues, read_saved
from yak_core.ids import NO_EPOCH
from yak_core.invariants import InvariantViolated
from yak_core.metadata.partition_state import PartitionState, encode_partition_state
from yak_core.metadata.recovery import Copy, ObstacleKind, rebuild
from yak_core.metadata.store_calls import Cas

Rebuild = Callable[[tuple[Copy, ...]], PartitionState | None]

LONG_MOVES = bytes(range(1, 256, 4))


def copy_of(cluster: Cluster, node: str) -> Copy:
    """Return what the disk of a broker that is down holds."""
    image = cluster.world.nodes[node].disk.image
    saved = read_saved(tuple(sorted(image.saved.items())))
    assert isinstance(saved, SavedValues)
    epoch = image.batches[-1].epoch if image.batches else NO_EPOCH
    return Copy(node, node, saved.state, "", "", epoch, image.leo, saved.hw)


def exact(copies: tuple[Copy, ...]) -> PartitionState | None:
    """Rebuild by the rule; None if there is an obstacle, which only an emptied disk causes."""
    found = rebuild(copies)
    if isinstance(found, PartitionState):
        return found
    kinds = {obstacle.kind for obstacle in found}
    assert kinds <= {ObstacleKind.MISSING, ObstacleKind.LOG_AHEAD}, found
    assert any(copy.state is None for copy in copies), found
    return None


def without_the_newest(copies: tuple[Copy, ...]) -> PartitionState | None:
    """Rebuild although the replica with the newest state is missing."""
    states = sorted(
        (copy.state for copy in copies if copy.state is not None),
        key=lambda state: (state.leader_epoch, state.partition_epoch),
    )
    return states[-2] if len(states) > 1 else None


def candidate(cluster: Cluster) -> str:
    """Return a follower that may be elected, the first follower if there is none."""
    state = cluster.world.store.state
    assert state is not None
    followers = cluster.followers()
    return next((each for each in followers if each in (*state.isr, *state.elr)), followers[0])


def propose_election(cluster: Cluster, node: str) -> None:
    """Let a broker campaign until its proposal is in flight."""
    cluster.bring_up(node)
    for _ in range(16):
        timers = cluster.world.nodes[node].timers
        if not cluster.up(node) or not timers:
            return
        cluster.fire(node, min(timers.values(), key=lambda timer: timer.lo_at).key)
        if any(isinstance(call.request, Cas) for call in cluster.calls_of(node)):
            return
        cluster.run_alone(node)


def lose_the_store(cluster: Cluster, decide: Rebuild, *, write_last: bool) -> int | None:
    """Kill all brokers, empty the store and rebuild it. Return the number of states that were lost.

    Return None if the store cannot be rebuilt.

    With ``write_last`` a broker campaigns, and the store executes the writes in flight, whose
    replies are lost. Other calls in flight stay in flight, and reach the rebuilt store.
    """
    if write_last:
        propose_election(cluster, candidate(cluster))
        for call in tuple(cluster.world.transit.calls.values()):
            if isinstance(call.request, Cas) and call.outcome is None:
                cluster.world.meta_execute(call.number)
    for node in NODES:
        if cluster.up(node):
            cluster.world.crash(node)
    store = cluster.world.store
    if any(cluster.invariants.context.replicas[node].damaged for node in NODES):
        # A disk that was replaced by an old copy is not recognised until its broker starts.
        return None
    found = decide(tuple(copy_of(cluster, node) for node in NODES))
    if found is None:
        return None
    assert store.state is not None
    assert found.partition_epoch <= store.state.partition_epoch
    assert any(encode_partition_state(found) == encode_partition_state(s) for s in store.history)
    cluster.moves_made.append(
        f"the store is emptied at version {store.state.partition_epoch} and rebuilt at version "
        f"{found.partition_epoch}"
    )
    lost = store.state.partition_epoch - found.partition_epoch
    store.renewals, store.status = {}, {}
    store.state = found
    store.history = [s for s in store.history if s.partition_epoch <= found.partition_epoch]
    cluster.invariants.on_store_rebuilt(found)
    return lost


def run(
    shape: Shape, opening: Opening, parts: tuple[bytes, ...], decide: Rebuild, seen: Counter[str]
) -> None:
    """Walk each part, and lose the store after it; heal at the end."""
    cluster = Cluster(None, flush=shape[0], min_isr=shape[1])
    try:
        cluster.begin()
        cluster.moves_made.append(f"opening: {opening.__name__}")
        opening(cluster)
        for part in parts:
            walk(cluster, part)
            lost = lose_the_store(cluster, decide, write_last=len(part) % 2 == 1)
            seen["not possible" if lost is None else "rebuilt"] += 1
            seen["an older version"] += bool(lost)
        cluster.heal()
        seen["healed"] += cluster.counts.healed
    except Exception as error:
        error.add_note("\n".join(cluster.moves_made))
        raise


@pytest.mark.parametrize(
    "part", [0, *(pytest.param(part, marks=pytest.mark.long) for part in range(1, 12))]
)
def test_no_walk_with_an_emptied_store_breaks_an_invariant(part: int) -> None:
    """Goal: committed records survive the loss of the store. Method: walks with a fixed seed."""
    seen: Counter[str] = Counter()
    examples = 60 if part else 30

    @settings(max_examples=examples, phases=(Phase.generate, Phase.shrink))
    @seed(part)
    @given(shape=shapes, opening=openings, parts=st.lists(moves, min_size=1, max_size=3))
    def walks(shape: Shape, opening: Opening, parts: list[bytes]) -> None:
        run(shape, opening, tuple(parts), exact, seen)

    walks()
    assert seen["rebuilt"] >= examples, seen
    assert seen["an older version"] >= examples // 10, seen
    assert seen["healed"] >= examples // 3, seen


@pytest.mark.parametrize(
    "opening",
    [OPENINGS[0], *(pytest.param(each, marks=pytest.mark.long) for each in OPENINGS[1:])],
    ids=lambda opening: opening.__name__,
)
def test_store_is_emptied_between_any_two_moves(
    opening: Opening, pytestconfig: pytest.Config
) -> None:
    """Goal: no moment is special. Method: one walk for each number of moves before the loss."""
    seen: Counter[str] = Counter()
    every = 1 if "long" in pytestconfig.getoption("-m").split() else 15
    for count in range(0, len(LONG_MOVES), every):
        run(("batch", 2), opening, (LONG_MOVES[:count],), exact, seen)
    assert seen["rebuilt"] + seen["not possible"] == len(range(0, len(LONG_MOVES), every))
    assert seen["rebuilt"] >= 1, seen


def test_rebuilding_without_the_newest_state_loses_records() -> None:
    """Goal: every registered replica is needed. Method: walks that leave out the newest state."""
    raised: list[Exception] = []

    @settings(max_examples=300, phases=(Phase.generate,))
    @seed(3)
    @given(shape=shapes, opening=openings, data=moves)
    def walks(shape: Shape, opening: Opening, data: bytes) -> None:
        if not raised:
            try:
                run(shape, opening, (data,), without_the_newest, Counter())
            except Exception as error:
                raised.append(error)

    walks()
    assert raised, "no walk has failed"
    assert isinstance(raised[0], InvariantViolated), "".join(traceback.format_exception(raised[0]))
