"""The partition state that an emptied store gets back, and the first state after a loss."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.core.metadata_records import altered, first, led, ok, shrunk
from yak_core.ids import NO_EPOCH, BrokerEpoch, Epoch
from yak_core.metadata.partition_state import (
    ANCESTORS_MAX,
    PartitionState,
    decode_partition_state,
    encode_partition_state,
)
from yak_core.metadata.recovery import (
    Copy,
    Loss,
    Obstacle,
    ObstacleKind,
    accept_loss,
    newest_of,
    rebuild,
)
from yak_core.metadata.transitions import check_partition_state, elect, register

OLD = led()
"""n1 leads epoch 1, all in the ISR."""
NEW = ok(elect(OLD, attempt="e2", node="n2", broker_epoch=BrokerEpoch(2)))
"""n2 leads epoch 2; n1 is not in the ISR."""


def copy(number: int, state: PartitionState | None, **fields: object) -> Copy:
    """Return the copy of broker n1, n2 or n3."""
    made = Copy(f"data/n{number}", f"n{number}", state)
    return replace(made, **fields)  # type: ignore[arg-type]


def copies(*states: PartitionState | None) -> tuple[Copy, ...]:
    """Return one copy for each broker, in the order of their numbers."""
    return tuple(copy(number, state) for number, state in enumerate(states, 1))


def kinds(outcome: PartitionState | tuple[Obstacle, ...]) -> list[tuple[str, str]]:
    """Return (kind, place) of each obstacle; there must be one."""
    assert isinstance(outcome, tuple), outcome
    assert all(obstacle.reason for obstacle in outcome)
    return [(obstacle.kind.value, obstacle.place) for obstacle in outcome]


@pytest.mark.parametrize("order", [(OLD, NEW, OLD), (NEW, OLD, OLD), (NEW, NEW, NEW)])
def test_newest_saved_state_comes_back(order: tuple[PartitionState, ...]) -> None:
    """Goal: the same bytes, whichever replica has them."""
    found = rebuild(copies(*order))
    assert isinstance(found, PartitionState)
    assert encode_partition_state(found) == encode_partition_state(NEW)


def test_saved_store_counts_as_one_more_saved_state() -> None:
    """Goal: a state that only the saved store has is used, and its age does not matter."""
    newer = shrunk(OLD, ("n1", "n2"))
    stored = Copy("metadata.json", None, newer)
    assert rebuild((*copies(OLD, OLD, OLD), stored)) == newer
    assert rebuild((*copies(OLD, NEW, OLD), replace(stored, state=first()))) == NEW


def test_missing_state_is_an_obstacle() -> None:
    """Goal: every registered replica is needed, and the place to look at is named."""
    assert kinds(rebuild(copies(NEW, NEW))) == [("missing", "n3")]
    assert kinds(rebuild(copies(NEW, None, NEW))) == [("missing", "data/n2")]
    assert kinds(rebuild(copies(None, None, None))) == [("no_state", "")]
    assert kinds(rebuild(())) == [("no_state", "")]


def test_replica_that_never_registered_needs_no_state() -> None:
    """Goal: a cluster that was interrupted in its first start comes back.

    Such a replica was never in the ISR: the leader that adds it has saved its registration.
    """
    one = first()
    two = ok(register(one, attempt="a2", node="n2", clean=True, url="u2"))
    assert rebuild(copies(one)) == one
    assert rebuild(copies(two, one)) == two
    assert kinds(rebuild(copies(two))) == [("missing", "n2")]


def test_damaged_state_is_an_obstacle() -> None:
    """Goal: damage is reported once, not as a missing state, too."""
    broken = copy(3, None, damage="the saved value 'record' is damaged")
    assert kinds(rebuild((*copies(NEW, NEW), broken))) == [("damaged", "data/n3")]
    assert kinds(rebuild((broken,))) == [("damaged", "data/n3")]


def test_damaged_log_is_no_obstacle() -> None:
    """Goal: the state is exact; the broker with the damaged log starts as unclean."""
    assert rebuild((*copies(NEW, NEW), copy(3, OLD, log_damage="torn"))) == NEW


def test_other_store_is_an_obstacle() -> None:
    """Goal: the odd one out is named: a wiped broker that made a new cluster."""
    wiped = replace(first(), store_id="s2")
    assert kinds(rebuild(copies(NEW, OLD, wiped))) == [("other_store", "data/n3")]


def test_fork_is_an_obstacle() -> None:
    """Goal: two writes for one version, and a version that is not in the history."""
    other = replace(NEW, attempt="other")
    assert kinds(rebuild(copies(NEW, other, NEW)))[0][0] == "fork"
    later = ok(altered(NEW, ("n2",), node="n2", broker_epoch=2))
    assert kinds(rebuild(copies(other, later, NEW)))[0][0] == "fork"


def test_state_older_than_all_ancestors_is_accepted() -> None:
    """Goal: a replica that was down for long does not block, as for a running broker."""
    state = NEW
    for number in range(ANCESTORS_MAX + 2):
        state = ok(register(state, attempt=f"r{number}", node="n2", clean=True, url="u2"))
    assert rebuild(copies(OLD, state, OLD)) == state


def test_log_ahead_of_the_newest_state_is_an_obstacle() -> None:
    """Goal: an epoch that no saved state has shows that a newer state has existed."""
    ahead = copy(3, OLD, last_epoch=Epoch(2), leo=7)
    assert kinds(rebuild((*copies(OLD, OLD), ahead))) == [("log_ahead", "data/n3")]
    assert rebuild((*copies(OLD, NEW), ahead)) == NEW


def test_stranger_and_second_copy_are_obstacles() -> None:
    """Goal: the places of no replica, and two places of one."""
    stranger = Copy("data/n9", "n9", NEW)
    assert kinds(rebuild((*copies(NEW, NEW, NEW), stranger))) == [("not_a_replica", "data/n9")]
    twice = Copy("n3.record", "n3", OLD)
    assert kinds(rebuild((*copies(NEW, NEW, NEW), twice))) == [("duplicate", "n3.record")]


def loss_of(*found: Copy) -> Loss:
    """Return the recovery with loss, which must be possible."""
    loss = accept_loss(found, store_id="s9", attempt="x")
    assert isinstance(loss, Loss), loss
    assert check_partition_state(loss.state) == ()
    assert decode_partition_state(encode_partition_state(loss.state)) == loss.state
    return loss


def test_loss_keeps_the_log_with_the_greatest_epoch_and_end() -> None:
    """Goal: the last epoch counts before the length; the ISR is that replica alone."""
    long = copy(1, OLD, last_epoch=Epoch(1), leo=900, hw=890)
    late = copy(2, OLD, last_epoch=Epoch(2), leo=500, hw=500)
    loss = loss_of(long, late)
    assert (loss.kept, loss.dropped, loss.missing) == (late, (long,), ("n3",))
    assert (loss.lost_committed, loss.state.isr) == (390, ("n2",))
    assert (loss.state.leader, loss.state.elr, loss.state.min_isr) == (None, (), 2)
    assert loss.state.replicas == OLD.replicas
    longer = replace(late, place="data/n1", node="n1", leo=501)
    assert loss_of(longer, late).kept is longer


def test_loss_makes_a_new_store_above_all_known_epochs() -> None:
    """Goal: neither a leader epoch nor a partition epoch is used twice."""
    ahead = copy(3, OLD, last_epoch=Epoch(40), leo=1)
    state = loss_of(*copies(OLD, NEW), ahead).state
    assert state.store_id == "s9"
    assert state.leader_epoch == 40
    assert state.partition_epoch == state.broker_epoch_of("n3") == 41
    assert state.unclean_generation == NEW.unclean_generation + 1
    few = loss_of(*copies(OLD, NEW)).state
    assert (few.leader_epoch, few.partition_epoch) == (2, NEW.partition_epoch + 1)
    assert len(few.ancestors) == NEW.partition_epoch
    follower = ok(register(state, attempt="n", node="n1", clean=True, url="u"))
    led_again = elect(follower, attempt="l", node="n3", broker_epoch=BrokerEpoch(41))
    assert ok(led_again).leader_epoch == 41


@pytest.mark.parametrize("flaw", [{"damage": "bad record"}, {"log_damage": "bad log"}])
def test_loss_needs_an_intact_folder(flaw: dict[str, str]) -> None:
    """Goal: a damaged folder is never kept, even if it is the longest."""
    bad = copy(1, None if "damage" in flaw else NEW, last_epoch=Epoch(2), leo=9, **flaw)
    assert loss_of(bad, copy(2, OLD, leo=1, last_epoch=Epoch(1))).kept.node == "n2"
    outcome = accept_loss((bad,), store_id="s9", attempt="x")
    assert isinstance(outcome, tuple)
    assert outcome[0].kind in (ObstacleKind.DAMAGED, ObstacleKind.NO_STATE)


def test_loss_without_any_saved_state_is_refused() -> None:
    """Goal: without a saved state neither replicas nor epochs are known."""
    outcome = accept_loss((copy(1, None),), store_id="s9", attempt="x")
    assert isinstance(outcome, tuple)
    assert [obstacle.kind for obstacle in outcome] == [ObstacleKind.NO_STATE]
    assert newest_of((copy(1, None, last_epoch=NO_EPOCH),)) is None
