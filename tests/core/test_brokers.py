"""Start and stop of a broker, and messages that it ignores. Method: the manual world."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.core.brokers import BROKERS, CONFIG, cluster, isr, produce
from yak_core.broker.node import build_broker
from yak_core.broker.roles import Broker
from yak_core.config import SECOND
from yak_core.contract.effects import Observe
from yak_core.contract.events import Received
from yak_core.contract.messages import Replicate
from yak_core.contract.notes import IgnoredMessage, IgnoreReason
from yak_core.ids import Epoch
from yak_core.manual.run import advance, settle
from yak_core.manual.world import STORE, Manual


@pytest.mark.parametrize("named", ["n1", "n3"])
def test_a_replicate_counts_only_from_the_leader_that_it_names(named: str) -> None:
    """Goal: a message from n2 with n1 (the broker itself) or n3 as leader changes nothing."""
    broker = cluster().host("n1").node
    assert isinstance(broker, Broker)
    before = broker.snapshot()
    forged = Replicate(Epoch(broker.epoch + 5), named, 0, 0, Epoch(-1), (), 0, 0, 1)
    effects = broker.step(3 * SECOND, Received("n2", forged))
    assert effects == [Observe(IgnoredMessage("n2", "Replicate", IgnoreReason.NOT_ITS_OWN))]
    assert broker.snapshot() == before


def stopped_cleanly() -> Manual:
    """Make three brokers with flush=os: n2 stopped cleanly, restarted and waits for the store."""
    world = cluster(replace(CONFIG, flush="os"))
    world.request_stop("n2", SECOND)
    settle(world)
    assert world.backend("n2").exited_clean is True
    world.held["n2", STORE] = None
    world.start("n2")
    settle(world)
    assert "clean" not in world.backend("n2").disk.image.saved
    return world


def test_a_stop_before_the_registration_puts_the_clean_marker_back() -> None:
    """Goal: the next start is clean. Method: stop n2 while it waits for the store."""
    world = stopped_cleanly()
    world.request_stop("n2", SECOND)
    settle(world)
    assert world.backend("n2").exited_clean is True
    world.held.clear()
    world.start("n2")
    settle(world)
    assert world.store.state is not None
    entry = world.store.state.node("n2")
    assert entry is not None
    assert entry.clean


def test_without_a_marker_a_stop_before_the_registration_is_not_clean() -> None:
    """Goal: no marker appears. Method: the same after a crash."""
    world = stopped_cleanly()
    world.crash("n2")
    world.start("n2")
    settle(world)
    world.request_stop("n2", SECOND)
    settle(world)
    assert world.backend("n2").exited_clean is False
    assert "clean" not in world.backend("n2").disk.image.saved


def empty_store(world: Manual) -> None:
    world.store.state = None


def forget_record(world: Manual) -> None:
    empty_store(world)
    disk = world.backend("n2").disk
    for image in (disk.image, disk.tail):
        image.saved.clear()


def take_from_replicas(world: Manual) -> None:
    state = world.store.state
    assert state is not None
    world.store.state = replace(
        state,
        partition_epoch=state.partition_epoch + 1,
        attempt="other",
        ancestors=((state.partition_epoch, state.attempt), *state.ancestors),
        replicas=("n1", "n3"),
        isr=("n1",),
        nodes=(),
    )


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (empty_store, "the metadata store was emptied"),
        (forget_record, "the metadata store is empty, but the log end offset is 1"),
        (take_from_replicas, "cannot register n2"),
    ],
)
def test_a_start_that_could_break_a_promise_halts(
    harm: Callable[[Manual], None], reason: str
) -> None:
    """Method: a log with a record, and a store that is empty or another one."""
    world = cluster()
    produce(world, "n1", b"a")
    settle(world)
    world.crash("n2")
    harm(world)
    world.start("n2")
    settle(world, ("n2",))
    assert world.backend("n2").host is None
    assert world.backend("n2").reason.startswith(reason)


def test_a_broker_that_may_not_create_waits_for_the_record() -> None:
    """Method: n2 may not create and starts before n1, which may."""
    world = Manual()
    for node in BROKERS:
        world.add(node, replace(CONFIG, creates=node == "n1"), build_broker())
    for node in ("n2", "n1"):
        world.start(node)
        advance(world, SECOND)
        assert (world.store.state is None) == (node == "n2")
    assert isr(world) == ("n1", "n2")
