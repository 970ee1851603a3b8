"""Links: delay, loss, duplicates, order, one-way disconnects, clogs, slow links.

Method: two or three puppets that send each other numbers.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.sim.echo_nodes import (
    SURE,
    Stage,
    at_start,
    batch_at,
    idle,
    numbered_message,
    numbers_received,
    stage,
)
from yak_core.contract.effects import Send
from yak_core.contract.events import Received
from yak_core.contract.messages import Replicate
from yak_core.ids import Epoch
from yak_sim.physics.kinds import LinkFault
from yak_sim.physics.network import NetworkFault
from yak_sim.physics.topology import BROKERS, EVERYONE, STORE, LinkSpec


def send(world: Stage, src: str, dst: str, *numbers: int) -> None:
    """Send numbered messages over a link."""
    for number in numbers:
        world.engine.network.link(src, dst).send(Received(src, numbered_message(number)), -1)


def three(link: LinkSpec = SURE.peer_link) -> Stage:
    """Return three idle brokers."""
    topology = replace(SURE, peer_link=link)
    return stage({"n1": idle, "n2": idle, "n3": idle}, topology=topology)


def test_a_message_takes_the_least_delay_at_least() -> None:
    """Goal: a delay is the minimum plus a random part. Method: the times of many messages."""
    world = three(LinkSpec(delay_min_us=500, delay_mean_us=1_000))
    send(world, "n1", "n2", *range(300))
    world.engine.run_for(1_000_000)
    times = [now for now, event in world.puppet("n2").seen if isinstance(event, Received)]
    assert len(times) == 300
    assert min(times) >= 500
    assert max(times) > 2_000


def test_fifo_keeps_the_order_and_without_it_messages_overtake() -> None:
    """Method: the same draws with and without FIFO."""
    kept = three(LinkSpec(delay_mean_us=1_000))
    free = three(LinkSpec(delay_mean_us=1_000, fifo=False))
    for world in (kept, free):
        send(world, "n1", "n2", *range(50))
        world.engine.run_for(1_000_000)
    assert numbers_received(kept.puppet("n2")) == list(range(50))
    assert sorted(numbers_received(free.puppet("n2"))) == list(range(50))
    assert numbers_received(free.puppet("n2")) != list(range(50))


def test_loss_and_repeats_are_counted() -> None:
    """Goal: some messages are lost, some are duplicated later. Method: many messages."""
    world = three(LinkSpec(loss=(1, 4), duplicate=(1, 4)))
    send(world, "n1", "n2", *range(400))
    world.engine.run_for(10_000_000)
    got = numbers_received(world.puppet("n2"))
    link = world.engine.network.link("n1", "n2")
    assert 250 < len(set(got)) < 350
    assert 40 < len(got) - len(set(got)) < 120
    assert link.sent == 400
    assert link.lost == 400 - len(set(got))
    assert world.engine.network.counts() == (400, link.lost, len(got))


def test_a_disconnect_is_one_way_and_drops_messages_in_flight() -> None:
    """Method: disconnect with a message in flight."""
    world = three()
    network = world.engine.network
    send(world, "n1", "n2", 1)
    send(world, "n2", "n1", 1)
    fault = NetworkFault(LinkFault.DISCONNECT, ("n1",), ("n2",))
    network.add(fault)
    send(world, "n1", "n2", 2)
    send(world, "n1", "n3", 2)
    send(world, "n2", "n1", 2)
    world.engine.run_for(1_000)
    assert network.remove(fault)
    assert not network.remove(fault)
    send(world, "n1", "n2", 3)
    world.engine.run_for(1_000)
    assert numbers_received(world.puppet("n2")) == [3]
    assert numbers_received(world.puppet("n3")) == [2]
    assert numbers_received(world.puppet("n1")) == [1, 2]


def test_two_faults_on_a_link_both_have_to_end() -> None:
    """Goal: healing one keeps the other. Method: overlapping disconnects, one of them two-way."""
    world = three()
    network = world.engine.network
    both = NetworkFault(LinkFault.DISCONNECT, ("n1",), ("n2", "n3"), two_way=True)
    one = NetworkFault(LinkFault.DISCONNECT, (BROKERS,), ("n2",))
    network.add(both)
    network.add(one)
    network.remove(both)
    send(world, "n1", "n2", 1)
    send(world, "n2", "n1", 2)
    world.engine.run_for(1_000)
    network.remove(one)
    send(world, "n1", "n2", 3)
    world.engine.run_for(1_000)
    assert numbers_received(world.puppet("n2")) == [3]
    assert numbers_received(world.puppet("n1")) == [2]


def test_a_fault_holds_for_links_that_are_used_later() -> None:
    """Goal: faults apply to unused links too. Method: a first message."""
    world = three()
    world.engine.network.add(NetworkFault(LinkFault.DISCONNECT, (EVERYONE,), ("n3",)))
    send(world, "n1", "n3", 1)
    send(world, "n1", "n2", 1)
    world.engine.run_for(1_000)
    assert numbers_received(world.puppet("n3")) == []
    assert numbers_received(world.puppet("n2")) == [1]


def test_a_clog_keeps_everything_and_then_delivers_it_in_order() -> None:
    """Goal: no loss, only delay. Method: clog and unclog; disconnect a clogged link."""
    world = three()
    network = world.engine.network
    fault = NetworkFault(LinkFault.CLOG, ("n1",), ("n2",))
    send(world, "n1", "n2", 1)
    network.add(fault)
    send(world, "n1", "n2", 2, 3)
    world.engine.run_for(1_000)
    assert numbers_received(world.puppet("n2")) == []
    network.remove(fault)
    world.engine.run_for(1)
    assert numbers_received(world.puppet("n2")) == [1, 2, 3]
    network.add(fault)
    send(world, "n1", "n2", 4)
    world.engine.run_for(1_000)
    cut = NetworkFault(LinkFault.DISCONNECT, ("n1",), ("n2",))
    network.add(cut)
    network.remove(fault)
    world.engine.run_for(1_000)
    assert numbers_received(world.puppet("n2")) == [1, 2, 3]


@pytest.mark.parametrize(("delay_us", "bytes_per_s"), [(5_000, 0), (0, 100_000), (5_000, 100_000)])
def test_a_slow_link_has_delay_and_bandwidth(
    delay_us: int, bytes_per_s: int
) -> None:
    """Goal: the arrival times follow from delay and bytes. Method: two large messages at once."""
    batch = batch_at(0, b"x" * 10_000)
    header = Replicate(Epoch(1), "n1", 0, 0, Epoch(-1), (batch,), 0, 0, 1)
    world = stage({"n1": at_start(Send("n2", header), Send("n2", header)), "n2": idle}, start=False)
    fault = NetworkFault(
        LinkFault.SLOW, ("n1",), ("n2",), delay_us=delay_us, bytes_per_s=bytes_per_s
    )
    world.engine.network.add(fault)
    for machine in reversed(world.engine.machines.values()):
        machine.start()
    world.engine.run_for(1_000_000)
    took = (batch.size + 100) * 1_000_000 // bytes_per_s if bytes_per_s else 0
    times = [now for now, event in world.puppet("n2").seen if isinstance(event, Received)]
    assert times == [10 + delay_us + took, 10 + delay_us + 2 * took]


def test_a_reset_drops_only_messages_in_flight() -> None:
    """Goal: a broken connection is replaced. Method: reset with a message in flight."""
    world = three()
    send(world, "n1", "n2", 1)
    send(world, "n2", "n1", 1)
    world.engine.network.reset("n1", "n2")
    send(world, "n1", "n2", 2)
    world.engine.run_for(1_000)
    assert numbers_received(world.puppet("n2")) == [2]
    assert numbers_received(world.puppet("n1")) == []


def test_the_store_and_clients_are_ends_of_links_too() -> None:
    """Goal: a leader can be disconnected from the store alone. Method: names of links."""
    network = three().engine.network
    assert network.knows(STORE)
    assert network.is_in("n1", BROKERS)
    assert not network.is_in(STORE, BROKERS)
    assert not network.knows("n9")
    with pytest.raises(KeyError):
        network.link("n1", "n9")


def test_a_message_to_an_unknown_node_is_lost() -> None:
    """Method: send to an unknown node."""
    world = stage({"n1": at_start(Send("n9", numbered_message(1)))})
    world.engine.run_for(1_000)
    assert world.engine.network.counts() == (0, 0, 0)
