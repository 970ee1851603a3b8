"""The health of a broker: it is ready only if records with acks=all can be committed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.core.brokers import broker_of, cluster
from tests.core.metadata_records import led
from yak_core.broker.health import BrokerHealth, health_of, why_no_leader
from yak_core.broker.node import build_broker
from yak_core.broker.phases import Phase
from yak_core.config import MS, SECOND, BrokerConfig
from yak_core.ids import NodeId
from yak_core.manual.run import advance, settle
from yak_core.manual.world import STORE, Manual

NODES: tuple[NodeId, ...] = ("n1", "n2", "n3")
SLACK = 200 * MS
"""Longer than a heartbeat and its ack."""


def world_of(min_isr: int = 2) -> Manual:
    """Return three brokers that serve."""
    return cluster(BrokerConfig(NODES, min_isr))


def health(world: Manual, node: NodeId) -> BrokerHealth:
    """Return the health of a broker at its own time."""
    return health_of(broker_of(world, node), world.nodes[node].clock)


def cut_the_store(world: Manual, *nodes: NodeId) -> None:
    """Lose all calls of these brokers to the store."""
    for node in nodes:
        world.transit.disconnected[node, STORE] = None


def test_healthy_brokers_are_ready_without_a_reason() -> None:
    """Method: the leader and both followers, then again after ten idle seconds."""
    world = world_of()
    for _ in range(2):
        for node in NODES:
            assert health(world, node) == BrokerHealth(Phase.RUNNING, True, True, "")
        advance(world, 10 * SECOND)


@pytest.mark.parametrize("min_isr", [1, 2])
def test_idle_leader_without_followers_is_not_ready(min_isr: int) -> None:
    """Goal: two dead brokers of three are noticed although the ISR still names them.

    With min ISR 1 a record removes them from the ISR and is committed.
    """
    world = world_of(min_isr)
    world.crash("n2")
    world.crash("n3")
    advance(world, 2 * SECOND - SLACK)
    assert health(world, "n1").is_ready
    advance(world, 2 * SLACK)
    found = health(world, "n1")
    assert broker_of(world, "n1").partition == world.store.state
    assert found.is_ready == (min_isr == 1)
    assert found.store_answers
    if min_isr == 2:
        assert "n2, n3" in found.reason
    world.start("n2")
    advance(world, SECOND)
    assert health(world, "n1").is_ready


def test_leader_without_the_store_is_ready_while_all_acknowledge() -> None:
    """Goal: records are committed without the store; one dead ISR member ends that.

    After the end of the lease that member cannot be removed from the ISR.
    """
    world = world_of()
    cut_the_store(world, *NODES)
    advance(world, 10 * SECOND)
    found = health(world, "n1")
    assert (found.is_ready, found.store_answers) == (True, False)
    assert "store" in found.reason
    world.crash("n3")
    advance(world, 3 * SECOND)
    found = health(world, "n1")
    assert (found.is_ready, "n3" in found.reason) == (False, True)


def test_leader_in_its_lease_is_ready_with_one_dead_member() -> None:
    """Goal: one of three is no reason to refuse: a record removes it from the ISR."""
    world = world_of()
    world.crash("n3")
    advance(world, 10 * SECOND)
    assert health(world, "n1") == BrokerHealth(Phase.RUNNING, True, True, "")


def test_deposed_leader_without_network_is_not_ready() -> None:
    """Goal: an old leader without followers reports that, though it does not know the new one."""
    world = world_of()
    for peer in ("n2", "n3", STORE):
        world.transit.disconnected["n1", peer] = None
        world.transit.disconnected[peer, "n1"] = None
    advance(world, 10 * SECOND)
    assert broker_of(world, "n1").leading is not None
    found = health(world, "n1")
    assert (found.is_ready, found.store_answers) == (False, False)
    new = next(node for node in ("n2", "n3") if broker_of(world, node).leading is not None)
    assert health(world, new).is_ready


def test_all_brokers_see_an_isr_below_min_isr() -> None:
    """Goal: a follower knows it, too. Method: shrink the ISR in the stored state."""
    world = world_of()
    for node in NODES:
        broker = broker_of(world, node)
        assert broker.partition is not None
        broker.partition = replace(broker.partition, isr=("n1",), elr=("n2", "n3"))
        found = health(world, node)
        assert (found.is_ready, "min ISR is 2" in found.reason) == (False, True)


def joined(*, store: bool) -> Manual:
    """Return a cluster in which n2 has caught up with n1, and has not read that it joined.

    Method: the store answers no call of n2 after its registration, until ``store``.
    """
    world = Manual()
    for node in NODES:
        world.add(node, BrokerConfig(NODES, 2), build_broker())
    world.start("n1")
    settle(world)
    world.start("n2")
    assert advance(world, 10 * SECOND, lambda: broker_of(world, "n1").leading is not None)
    assert advance(world, 10 * SECOND, lambda: broker_of(world, "n2").phase is Phase.RUNNING)
    cut_the_store(world, "n2")
    leader = broker_of(world, "n1")
    assert advance(
        world, 5 * SECOND, lambda: leader.partition is not None and "n2" in leader.partition.isr
    )
    if store:
        del world.transit.disconnected["n2", STORE]
    return world


@pytest.mark.parametrize("store", [True, False])
def test_follower_that_has_not_read_that_it_joined_is_ready(store: bool) -> None:
    """Goal: it hears the leader and has caught up; without the store that is all that it knows."""
    world = joined(store=store)
    for _ in range(8):
        assert health(world, "n2").is_ready
        advance(world, SECOND)
    assert health(world, "n1").is_ready
    view = broker_of(world, "n2").partition
    assert view is not None
    assert ("n2" in view.isr, health(world, "n2").store_answers) == (store, store)


def test_follower_knows_when_it_has_not_joined() -> None:
    """Goal: a store that still names a small ISR after the follower caught up is believed.

    Method: set the time of the last reply. With n2 the ISR would be large enough, then not.
    """
    world = joined(store=False)
    follower = broker_of(world, "n2")
    assert follower.partition is not None
    assert follower.partition.isr == ("n1",)
    follower.session.replied_at = follower.follower.caught_up_at + SLACK
    assert health(world, "n2").is_ready
    follower.session.replied_at = follower.follower.caught_up_at + 5 * SLACK
    found = health(world, "n2")
    assert (found.is_ready, "min ISR is 2" in found.reason) == (False, True)
    follower.session.replied_at = follower.follower.caught_up_at
    follower.partition = replace(follower.partition, min_isr=3)
    assert not health(world, "n2").is_ready
    follower.partition = replace(follower.partition, min_isr=2)
    assert health(world, "n2").is_ready
    follower.follower.on_isr(("n1", "n2"))
    assert not health(world, "n2").is_ready, "it was a member, and was removed"


def test_follower_without_messages_of_its_leader_is_not_ready() -> None:
    """Goal: a follower that is cut off cannot know that the cluster works."""
    world = world_of()
    world.transit.disconnected["n1", "n3"] = None
    cut_the_store(world, "n3")
    advance(world, 2 * SECOND)
    assert health(world, "n3").is_ready
    advance(world, 2 * SECOND)
    found = health(world, "n3")
    assert (found.is_ready, "n1" in found.reason) == (False, True)


def test_start_and_stop_are_not_ready() -> None:
    """Method: a broker that cannot register, and one that was asked to stop."""
    world = world_of()
    world.crash("n2")
    world.held["n2", STORE] = None
    world.start("n2")
    assert (health(world, "n2").phase, health(world, "n2").is_ready) == (Phase.REGISTERING, False)
    world.request_stop("n3", SECOND)
    assert (health(world, "n3").phase, health(world, "n3").is_ready) == (Phase.STOPPING, False)


def test_reason_for_no_leader_names_who_may_lead() -> None:
    """Goal: a candidate, a broker that is not one, and a state without any candidate."""
    state = replace(led(isr=("n1", "n2")), leader=None)
    assert "campaigns" in why_no_leader(state, "n1")
    assert "n1, n2" in why_no_leader(state, "n3")
    without_isr = replace(state, isr=(), elr=(), last_known_eligible=("n1", "n3"))
    assert "n1, n3" in why_no_leader(without_isr, "n1")


def test_follower_without_a_leader_has_the_reason() -> None:
    """Method: both other brokers are down, and the state has no leader."""
    world = world_of()
    broker = broker_of(world, "n3")
    assert broker.partition is not None
    broker.partition = replace(broker.partition, leader=None, isr=("n1", "n2"))
    broker.context.hint = replace(broker.context.hint, leader=None)
    found = health(world, "n3")
    assert (found.is_ready, "n1, n2" in found.reason) == (False, True)
    broker.partition = replace(broker.partition, leader="n1")
    assert not health(world, "n3").is_ready
