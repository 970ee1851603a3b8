"""A fork equals its original slot by slot and shares no mutable state with it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import pytest

from tests.core.brokers import BROKERS, cluster
from yak_core.batch import Builder
from yak_core.clients.consumer import build_consumer
from yak_core.clients.producer import build_producer
from yak_core.config import SECOND, ConsumerConfig, ProducerConfig
from yak_core.contract.client_calls import Poll, SendBatch
from yak_core.contract.node import Node
from yak_core.fork import fork_of, is_state, slots_of
from yak_core.manual.run import advance, settle
from yak_core.manual.world import Manual

NODES = (*BROKERS, "p1", "c1")


def world() -> Manual:
    """Make three brokers with a leader, a producer with batches in flight, a polling consumer."""
    made = cluster()
    made.add("p1", ProducerConfig(BROKERS), build_producer)
    made.add("c1", ConsumerConfig(BROKERS), build_consumer)
    made.start("p1")
    made.start("c1")
    advance(made, SECOND)
    for number in range(3):
        builder = Builder()
        builder.append(b"%d" % number, timestamp_ms=0)
        made.call("p1", SendBatch(builder.build()))
        if number == 0:
            settle(made)
    made.call("c1", Poll())
    for number in list(made.transit.flights)[:2]:
        made.deliver(number)
    return made


def parts(one: object, other: object, path: str) -> Iterator[tuple[str, object, object]]:
    """Yield all pairs of parts at the same path of two nodes."""
    yield path, one, other
    if is_state(type(one)):
        for slot in slots_of(type(one)):
            yield from parts_of_slot(one, other, slot, path)
    elif isinstance(one, list | deque) and isinstance(other, list | deque):
        for at, (mine, its) in enumerate(zip(one, other, strict=True)):
            yield from parts(mine, its, f"{path}[{at}]")
    elif isinstance(one, dict) and isinstance(other, dict):
        assert list(one) == list(other), path
        for key in one:
            yield from parts(one[key], other[key], f"{path}[{key!r}]")


SEEN_BY_OTHERS = ("owner", "context", "log", "session")
"""Slots by which parts of a node refer to each other: followed from the node only."""


def parts_of_slot(
    one: object, other: object, slot: str, path: str
) -> Iterator[tuple[str, object, object]]:
    """Yield the parts of a slot, unless it refers back to a part of the node."""
    mine, its = getattr(one, slot), getattr(other, slot)
    if slot in SEEN_BY_OTHERS and path.count("."):
        yield f"{path}.{slot}", mine, its
    else:
        yield from parts(mine, its, f"{path}.{slot}")


@pytest.fixture(scope="module")
def nodes() -> dict[str, Node]:
    """Return live nodes by name."""
    made = world()
    return {name: made.host(name).node for name in NODES}


@pytest.mark.parametrize("name", NODES)
def test_a_fork_equals_its_original_and_shares_nothing_mutable(
    nodes: dict[str, Node], name: str
) -> None:
    """Goal: no slot is missing. Method: walk both copies slot by slot."""
    node = nodes[name]
    copy = node.fork()
    found = list(parts(node, copy, name))
    assert len(found) > 10
    states = [(path, one, other) for path, one, other in found if is_state(type(one))]
    assert states[0][1] is node
    for path, one, other in found:
        assert type(one) is type(other), path
        if is_state(type(one)) or isinstance(one, list | dict | deque):
            assert one is not other, path
        else:
            assert one == other, path
    pairs = {id(one): id(other) for _, one, other in states}
    assert all(pairs[id(one)] == id(other) for _, one, other in states), "a part was copied twice"
    assert copy.snapshot() == node.snapshot()


def test_the_parts_of_a_fork_refer_to_each_other() -> None:
    """Goal: no part writes into the original. Method: identities in the leader's fork."""
    made = world()
    leaders = [made.host(name).node for name in BROKERS]
    [leader] = [one.fork() for one in leaders if one.snapshot().get("role") == "leader"]
    context = leader.context  # type: ignore[attr-defined]
    assert leader.leading.context is context  # type: ignore[attr-defined]
    assert leader.session.owner is leader  # type: ignore[attr-defined]
    assert leader.log is leader.leading.log


class Pair:
    """Two slots."""

    __slots__ = ("one", "two")


def test_a_state_that_is_reached_twice_is_copied_once() -> None:
    """Method: a pair whose slots both hold another pair, which holds the first."""
    outer, inner = Pair(), Pair()
    outer.one = outer.two = inner  # type: ignore[attr-defined]
    inner.one, inner.two = outer, [inner]  # type: ignore[attr-defined]
    copy = fork_of(outer)
    assert copy.one is copy.two is copy.one.two[0]  # type: ignore[attr-defined]
    assert copy.one is not inner  # type: ignore[attr-defined]
    assert copy.one.one is copy  # type: ignore[attr-defined]
