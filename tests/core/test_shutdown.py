"""A stop that comes before the registration loses nothing: the clean marker is put back."""

from __future__ import annotations

from yak_core.broker.node import build_broker
from yak_core.config import SECOND, BrokerConfig
from yak_core.manual.run import advance, settle
from yak_core.manual.world import STORE, Manual

IDS = ("n1", "n2", "n3")


def stopped_cleanly() -> Manual:
    """Three brokers with flush=os, of which n2 has stopped in good order."""
    world = Manual()
    for node in IDS:
        world.add(node, BrokerConfig(replicas=IDS, flush="os"), build_broker())
        world.start(node)
    advance(world, 2 * SECOND)
    world.ask_stop("n2", SECOND)
    settle(world)
    assert world.place("n2").exited_clean is True
    return world


def test_a_stop_before_the_registration_puts_the_clean_marker_back() -> None:
    """Goal: the start after next is a clean one; method: stop n2 while it waits for the store."""
    world = stopped_cleanly()
    world.held[("n2", STORE)] = None
    world.start("n2")
    settle(world)
    assert "clean" not in world.place("n2").disk.image.saved
    world.ask_stop("n2", SECOND)
    settle(world)
    assert world.place("n2").exited_clean is True
    world.held.clear()
    world.start("n2")
    settle(world)
    assert world.store.state is not None
    entry = world.store.state.node("n2")
    assert entry is not None
    assert entry.clean


def test_without_a_marker_a_stop_before_the_registration_is_not_clean() -> None:
    """Goal: no marker appears from nowhere; method: the same after a crash."""
    world = stopped_cleanly()
    world.held[("n2", STORE)] = None
    world.start("n2")
    settle(world)
    world.crash("n2")
    world.start("n2")
    settle(world)
    world.ask_stop("n2", SECOND)
    settle(world)
    assert world.place("n2").exited_clean is False
    assert "clean" not in world.place("n2").disk.image.saved
