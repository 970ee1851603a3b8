"""The manual world: exact moves, forks, and errors for invalid moves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.core.brokers import BROKERS, cluster, isr, produce
from yak_core.batch import Builder
from yak_core.broker.node import build_broker
from yak_core.broker.roles import Broker
from yak_core.clients.producer import build_producer
from yak_core.config import SECOND, BrokerConfig, ProducerConfig
from yak_core.contract.client_calls import SendBatch, SendResult
from yak_core.contract.messages import ProduceResponse
from yak_core.errors import Outcome
from yak_core.manual.backend import ManualError
from yak_core.manual.run import advance, settle
from yak_core.manual.world import DISK, STORE, Manual, nonce_of
from yak_core.metadata.store_calls import Cas, Read


def picture(world: Manual) -> list[object]:
    """Return all state that a fork must not change."""
    shown: list[object] = [world.store.state, dict(world.store.renewals)]
    shown += [tuple(world.transit.flights.values()), tuple(world.transit.calls.values())]
    for place in world.nodes.values():
        shown += [place.clock, place.starts, tuple(place.timers.values()), tuple(place.disk.queue)]
        shown += [tuple(place.disk.image.batches), tuple(place.disk.tail.batches)]
        shown.append(None if place.host is None else place.host.node.snapshot())
    return shown


def test_a_fork_is_independent_and_deterministic() -> None:
    """Fork with messages in flight: the original is unchanged; equal moves give equal worlds."""
    world = cluster()
    produce(world, "n1", b"a")
    world.crash_within("n3", 1)
    world.deliver(next(iter(world.transit.flights)))
    before = picture(world)
    fork = world.fork()
    assert picture(fork) == before

    def go_on(one: Manual) -> None:
        advance(one, SECOND)
        one.crash("n1")
        one.start("n1")
        advance(one, 5 * SECOND)

    go_on(fork)
    assert picture(fork) != before
    assert picture(world) == before
    assert not fork.is_up("n3"), "the crash point was forked too"
    go_on(world)
    assert picture(world) == picture(fork)


def test_a_crash_can_fall_between_execution_and_completion() -> None:
    """Perform an append and its flush and crash before their completions: they are durable."""
    world = cluster()
    produce(world, "n1", b"a")
    world.disk_perform("n1")
    world.disk_perform("n1")
    world.crash("n1")
    assert world.nodes["n1"].disk.image.leo == 1
    world.start("n1")
    assert world.nodes["n1"].disk.queue == []


@pytest.mark.parametrize(
    ("performed", "kept", "left"), [(0, 0, 0), (2, 0, 0), (2, 1, 1), (2, 9, 2)]
)
def test_a_crash_keeps_a_prefix_of_what_was_written(performed: int, kept: int, left: int) -> None:
    """Write two batches without a flush and crash: the given number is left."""
    world = Manual()
    world.add("n1", BrokerConfig(("n1",), 1, flush="os"), build_broker())
    world.start("n1")
    advance(world, SECOND)
    produce(world, "n1", b"a")
    produce(world, "n1", b"b")
    for _ in range(performed):
        world.disk_perform("n1")
    world.crash("n1", kept)
    assert world.nodes["n1"].disk.image.leo == left


def test_an_unknown_call_may_still_happen_or_not() -> None:
    """Time out a registration in each way: the node retries, and the state shows the result."""
    for lost in (False, True):
        world = cluster()
        world.crash("n2")
        world.start("n2")
        world.held["n2", STORE] = None
        world.meta_complete(call_of(world, "n2", Read))
        settle(world, ("n2",))
        world.held.clear()
        number = call_of(world, "n2", Cas)
        assert world.store.state is not None
        partition_epoch = world.store.state.partition_epoch
        world.meta_unknown(number, lose_request=lost)
        if not lost:
            world.meta_execute(number)
        assert world.store.state.partition_epoch == (
            partition_epoch if lost else partition_epoch + 1
        )
        assert number not in world.transit.calls
        advance(world, SECOND)
        assert isr(world) == BROKERS
        assert world.store.state.partition_epoch == partition_epoch + 1, (
            "the registration happened once"
        )


def call_of(world: Manual, node_id: str, kind: type) -> int:
    return next(
        number
        for number, call in world.transit.calls.items()
        if call.node == node_id and isinstance(call.request, kind)
    )


def test_disconnected_links_lose_and_held_links_wait() -> None:
    """Disconnect one link, hold another, a disk and a store link: settle leaves exactly these."""
    world = cluster()
    world.transit.disconnected["n1", "n2"] = None
    world.held["n1", "n3"] = None
    world.held["n1", DISK] = None
    world.held["n1", STORE] = None
    produce(world, "n1", b"a")
    world.fire("n1", "lease-renewal")
    lost = world.transit.lost
    settle(world)
    assert [(f.src, f.dst) for f in world.transit.flights.values()] == [("n1", "n3")]
    assert [call.node for call in world.transit.calls.values()][:1] == ["n1"]
    assert len(world.nodes["n1"].disk.queue) >= 2
    assert lost == 1
    world.held.clear()
    settle(world)
    assert world.transit.flights == {}
    assert world.transit.calls == {}


def test_a_response_reaches_only_the_start_of_its_request() -> None:
    """Restart a producer while its answer is in flight: the new start does not get it."""
    world = cluster()
    world.add("p1", ProducerConfig(BROKERS), build_producer)
    world.start("p1")
    builder = Builder()
    builder.append(b"a", timestamp_ms=0)
    first = world.call("p1", SendBatch(builder.build()))
    settle(world, ("p1", "n1"))
    settle(world, BROKERS)
    answers = [f for f in world.transit.flights.values() if f.dst == "p1"]
    assert [type(f.message) for f in answers] == [ProduceResponse]
    late = world.duplicate(answers[0].number)
    world.deliver(answers[0].number)
    result = world.transit.answers[first]
    assert isinstance(result, SendResult)
    assert result.outcome == Outcome.WRITTEN
    world.crash("p1")
    world.start("p1")
    lost = world.transit.lost
    world.deliver(late)
    assert world.transit.lost == lost + 1


def test_clocks_are_independent() -> None:
    """Advance one node, then all: first only its clock moves, then all by the same time."""
    world = cluster()
    clocks = {node_id: place.clock for node_id, place in world.nodes.items()}
    advance(world, SECOND, among=("n2",))
    assert world.nodes["n2"].clock == clocks["n2"] + SECOND
    assert world.nodes["n1"].clock == clocks["n1"]
    advance(world, SECOND)
    assert world.nodes["n1"].clock == clocks["n1"] + SECOND
    assert world.nodes["n2"].clock == clocks["n2"] + 2 * SECOND


def test_endless_messages_raise() -> None:
    """Settle with a limit below the number of moves: it raises."""
    world = cluster()
    produce(world, "n1", b"a")
    with pytest.raises(ManualError, match=r"not idle after \d+ moves"):
        settle(world, moves_max=2)


def test_nonces_differ_where_ids_are_taken_from_them() -> None:
    """Nonces of nodes and starts differ in their upper 62 bits, which become producer ids."""
    names = ("n1", "n2", "n11", "p1", "a-long-name-of-a-producer-1", "a-long-name-of-a-producer-2")
    nonces = [nonce_of(name, start) for name in names for start in range(1, 20)]
    assert len({nonce >> 66 for nonce in nonces}) == len(nonces)
    assert all(0 <= nonce < 1 << 128 for nonce in nonces)


MISTAKES: list[tuple[Callable[[Manual], object], str]] = [
    (lambda w: w.add("n1", BrokerConfig(BROKERS), build_broker()), "n1 exists"),
    (lambda w: w.start("n1"), "n1 is already running"),
    (lambda w: w.start("n9"), "node n9; .*n1, n2, n3, p1"),
    (lambda w: w.deliver(999), "message 999"),
    (lambda w: w.drop(999), "message 999"),
    (lambda w: w.fire("n1", "alarm"), "n1 has no timer 'alarm'"),
    (lambda w: w.disk_complete("n1"), "n1 has no pending disk effect"),
    (lambda w: w.disk_perform("n1"), "n1 has no pending disk effect"),
    (lambda w: w.disk_report("n1"), "n1 has no performed disk effect"),
    (lambda w: w.ship("n1"), "n1 has no pending SendLog"),
    (lambda w: w.meta_execute(999), "metadata call 999"),
    (lambda w: w.crash("p1"), "p1 is down"),
]


@pytest.mark.parametrize(("mistake", "pattern"), MISTAKES, ids=[pattern for _, pattern in MISTAKES])
def test_an_impossible_move_is_an_error(
    mistake: Callable[[Manual], object], pattern: str
) -> None:
    """Make an impossible move: ManualError has the reason."""
    world = cluster()
    world.add("p1", ProducerConfig(BROKERS), build_producer)
    with pytest.raises(ManualError, match=pattern):
        mistake(world)


def test_store_moves_are_made_in_order() -> None:
    """Make store moves out of order: each is refused with its reason."""
    world = cluster()
    world.fire("n1", "lease-renewal")
    number = next(iter(world.transit.calls))
    with pytest.raises(ManualError, match="executed"):
        world.meta_reply(number)
    world.meta_execute(number)
    with pytest.raises(ManualError, match="executed"):
        world.meta_execute(number)
    with pytest.raises(ManualError, match="node"):
        world.meta_drop(number)
    copy = world.meta_repeat(number)
    with pytest.raises(ManualError, match="timed out"):
        world.meta_unknown(copy)
    world.meta_drop(copy)
    world.meta_reply(number)
    assert number not in world.transit.calls


def test_a_cancelled_call_gets_no_answer() -> None:
    """Cancel a waiting produce: the record commits, and no answer is kept."""
    world = cluster()
    kept, gone = produce(world, "n1", b"a"), produce(world, "n1", b"b")
    world.cancel(gone)
    settle(world)
    assert list(world.transit.answers) == [kept]
    node = world.host("n1").node
    assert isinstance(node, Broker)
    assert node.hw == 2
    with pytest.raises(ManualError, match="not pending"):
        world.cancel(kept)


def test_a_second_crash_within_a_step_replaces_the_first() -> None:
    """Goal: one planned crash at a time. Method: two, and an event with three effects."""
    world = cluster()
    world.crash_within("n1", 1)
    world.crash_within("n1", 2)
    world.fire("n1", "lease-renewal")
    assert not world.is_up("n1")
    world.start("n1")
    assert world.is_up("n1")
