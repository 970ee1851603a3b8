"""The view of a broker: what a leader knows of its followers, and a follower of itself."""

from __future__ import annotations

from tests.core.brokers import broker_of, produce
from tests.core.test_health import world_of
from yak_core.broker.phases import Phase, Role
from yak_core.broker.view import BrokerView, ReplicaView, view_of
from yak_core.config import MS, SECOND
from yak_core.contract.messages import FetchRequest
from yak_core.ids import NO_EPOCH, Epoch, NodeId
from yak_core.manual.run import advance, settle
from yak_core.manual.world import Manual


def view(world: Manual, node: NodeId) -> BrokerView:
    """Return the view of a broker at its own time."""
    return view_of(broker_of(world, node), world.nodes[node].clock)


def replica(world: Manual, node: NodeId, other: NodeId) -> ReplicaView:
    """Return what ``node`` knows of ``other``."""
    return next(row for row in view(world, node).replicas if row.node == other)


def test_a_leader_sees_each_replica_a_follower_sees_itself() -> None:
    """Method: one committed record, seen by the leader and by a follower."""
    world = world_of()
    produce(world, "n1", b"a")
    advance(world, SECOND)
    leader, follower = view(world, "n1"), view(world, "n2")
    assert (leader.role, leader.phase, leader.leader) == (Role.LEADER, Phase.RUNNING, "n1")
    assert (leader.epoch, leader.isr, leader.min_isr) == (1, ("n1", "n2", "n3"), 2)
    ends = (leader.log_start, leader.hw, leader.leo, leader.appended_end, leader.flushed_end)
    assert ends == (0, 1, 1, 1, 1)
    assert [(row.node, row.leo, row.lag_records, row.lag_us) for row in leader.replicas] == [
        ("n1", 1, 0, 0),
        ("n2", 1, 0, 0),
        ("n3", 1, 0, 0),
    ]
    assert leader.replicas[0].hw == 1
    assert leader.replicas[1].hw is None
    assert leader.lease_us is not None
    assert 2 * SECOND < leader.lease_us <= 3 * SECOND
    assert leader.silent_us is None
    assert (follower.role, follower.leader, follower.lease_us) == (Role.FOLLOWER, "n1", None)
    assert follower.silent_us is not None
    assert follower.silent_us <= 200 * MS
    assert [(row.node, row.leo, row.lag_records) for row in follower.replicas] == [
        ("n1", None, None),
        ("n2", 1, None),
        ("n3", None, None),
    ]


def test_the_lag_of_a_silent_follower_grows_in_records_and_time() -> None:
    """Goal: lag counts from the moment at which the follower last had all records."""
    world = world_of()
    world.transit.disconnected["n3", "n1"] = None
    produce(world, "n1", b"a")
    produce(world, "n1", b"b")
    settle(world)
    advance(world, SECOND)
    row = replica(world, "n1", "n3")
    assert (row.leo, row.lag_records, row.in_isr) == (0, 2, True)
    assert row.lag_us is not None
    assert SECOND <= row.lag_us < 1_300 * MS
    assert row.heard_us is not None
    assert row.heard_us >= SECOND
    advance(world, 3 * SECOND)
    row = replica(world, "n1", "n3")
    assert (row.in_isr, row.in_elr) == (False, False)
    assert row.lag_us is not None
    assert row.lag_us >= 4 * SECOND


def test_a_follower_without_an_ack_in_this_epoch_has_no_known_end() -> None:
    """Method: the leader is new, and cannot hear one replica, which is not in the ISR."""
    world = world_of()
    world.transit.disconnected["n3", "n1"] = None
    produce(world, "n1", b"a")
    advance(world, 4 * SECOND)
    world.transit.disconnected["n3", "n2"] = None
    world.crash("n1")
    leads = lambda: broker_of(world, "n2").leading is not None  # noqa: E731
    assert advance(world, 20 * SECOND, leads)
    row = replica(world, "n2", "n3")
    assert (row.leo, row.lag_records, row.lag_us, row.in_isr) == (None, None, None, False)


def test_pending_requests_are_counted() -> None:
    """Method: a long poll, and a produce request that no follower acknowledges."""
    world = world_of()
    world.transit.disconnected["n2", "n1"] = None
    world.transit.disconnected["n3", "n1"] = None
    world.call("n1", FetchRequest(0, 0, NO_EPOCH, Epoch(-1), 1, 30 * SECOND))
    produce(world, "n1", b"a")
    found = view(world, "n1")
    assert (found.waiting_produce, found.waiting_fetch) == (1, 1)
    assert found.pending_bytes > 0
    assert (found.leo, found.appended_end, found.hw) == (1, 0, 0)
    settle(world)
    found = view(world, "n1")
    assert (found.pending_bytes, found.appended_end, found.flushed_end, found.hw) == (0, 1, 1, 0)
