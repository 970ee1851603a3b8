"""The link gate of a broker, and the faults that a supervisor sends it.

Goal: messages are dropped, delayed and limited as the fault says, in order, and a lost store call
is Unknown. Method: the gate on one end of a socket pair, links and a store that record.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from yak_core.contract.messages import Fenced, PeerMessage
from yak_core.ids import Epoch, Micros, NodeId
from yak_core.metadata.store_calls import MetaOutcome, MetaRequest, Read, Unknown
from yak_net.broker.link_gate import GatedPeers, GatedStore, LinkGate, gated
from yak_net.cluster.faults import FaultKind, LinkFault, links_of
from yak_net.cluster.link_channel import LinkChannel

PATIENCE_S = 30.0
TIMEOUT_US = Micros(150_000)


def message(number: int) -> Fenced:
    return Fenced(Epoch(number), None)


class Links:
    """Links that record what is sent, with the time."""

    def __init__(self) -> None:
        self.sent: list[tuple[NodeId, int]] = []
        self.times: list[float] = []
        self.changed = asyncio.Event()

    def send(self, dst: NodeId, message: PeerMessage) -> bool:
        assert isinstance(message, Fenced)
        self.sent.append((dst, message.epoch))
        self.times.append(asyncio.get_running_loop().time())
        self.changed.set()
        return True

    async def until(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.sent) < count:
                self.changed.clear()
                await self.changed.wait()


class Store:
    """A store that records its calls and answers Unknown with a mark."""

    def __init__(self) -> None:
        self.calls: list[MetaRequest] = []
        self.answer = Unknown()

    async def call(self, request: MetaRequest) -> MetaOutcome:
        self.calls.append(request)
        return self.answer


@asynccontextmanager
async def gate_of() -> AsyncIterator[tuple[LinkGate, LinkChannel]]:
    """Yield a gate and the supervisor's end of its channel."""
    channel = LinkChannel()
    fd = socket.socket(fileno=channel.child).detach()
    gate = LinkGate(fd)
    try:
        yield gate, channel
    finally:
        gate.close()
        channel._other.detach()
        channel.close()


def fault(target: str, **fields: Any) -> LinkFault:
    """Return a fault from its target in a plan; it drops unless it slows."""
    sign = "|" if "|" in target else ">"
    one, _, other = target.partition(sign)
    kind = FaultKind.SLOW_LINK if fields else FaultKind.PARTITION
    return LinkFault(kind, tuple(one.split(",")), tuple(other.split(",")), sign == "|", **fields)


async def test_a_dropped_message_is_lost_in_one_direction() -> None:
    """Goal: only the links of the fault; method: n1>n2, then healed."""
    async with gate_of() as (gate, channel):
        links = Links()
        peers = GatedPeers("n1", links, gate)
        assert await channel.send(links_of("n1", [fault("n1>n2")]))
        assert peers.send("n2", message(1))
        assert peers.send("n3", message(2))
        assert links.sent == [("n3", 2)]
        # The other direction is dropped at n2, where it is sent.
        assert [link["src"] for link in links_of("n2", [fault("n1>n2")])] == ["n1"]
        assert await channel.send([])
        peers.send("n2", message(3))
        assert links.sent[1:] == [("n2", 3)]


async def test_delayed_messages_stay_in_order() -> None:
    """Goal: each is late, and none overtakes; method: heal while messages are held."""
    async with gate_of() as (gate, channel):
        links = Links()
        peers = GatedPeers("n1", links, gate)
        assert await channel.send(links_of("n1", [fault("n1|n2", delay_us=100_000)]))
        began = asyncio.get_running_loop().time()
        for number in range(3):
            peers.send("n2", message(number))
        assert links.sent == []
        assert await channel.send([])
        peers.send("n2", message(3))
        peers.send("n3", message(9))
        await links.until(5)
        assert links.sent == [("n3", 9), *(("n2", number) for number in range(4))]
        assert links.times[1] - began >= 0.1


async def test_a_limited_link_sends_at_its_rate() -> None:
    """Goal: bytes per second; method: frames of a known size at a rate that takes 0.2 s."""
    async with gate_of() as (gate, channel):
        links = Links()
        peers = GatedPeers("n1", links, gate)
        assert await channel.send(links_of("n1", [fault("n1>n2", bytes_per_s=100)]))
        began = asyncio.get_running_loop().time()
        for number in range(3):
            peers.send("n2", message(number))
        await links.until(3)
        size = 7  # type, version, epoch, no leader
        assert links.times[2] - began >= 3 * size / 100


@pytest.mark.parametrize(("target", "executed"), [("n1>store", 0), ("store>n1", 1)])
async def test_a_lost_store_call_is_unknown_after_the_timeout(target: str, executed: int) -> None:
    """Goal: a dropped request is not executed, a dropped reply is; method: both, with a timer."""
    async with gate_of() as (gate, channel):
        store = Store()
        gated_store = GatedStore("n1", store, gate, TIMEOUT_US)
        assert await channel.send(links_of("n1", [fault(target)]))
        began = asyncio.get_running_loop().time()
        outcome = await gated_store.call(Read())
        assert isinstance(outcome, Unknown)
        assert outcome is not store.answer
        assert asyncio.get_running_loop().time() - began >= TIMEOUT_US / 1e6 * 0.99
        assert len(store.calls) == executed
        assert await channel.send([])
        assert await gated_store.call(Read()) is store.answer


async def test_a_slow_store_call_is_executed_later() -> None:
    """Goal: Unknown at the timeout, executed afterwards; method: a delay above the timeout."""
    async with gate_of() as (gate, channel):
        store = Store()
        gated_store = GatedStore("n1", store, gate, TIMEOUT_US)
        assert await channel.send(links_of("n1", [fault("n1|store", delay_us=20_000)]))
        assert await gated_store.call(Read()) is store.answer
        assert await channel.send(links_of("n1", [fault("n1>store", delay_us=250_000)]))
        outcome = await gated_store.call(Read())
        assert isinstance(outcome, Unknown)
        assert len(store.calls) == 1
        async with asyncio.timeout(PATIENCE_S):
            while len(store.calls) < 2:
                await asyncio.sleep(0.01)


async def test_faults_that_were_sent_before_the_start_are_in_force() -> None:
    """Goal: a broker that starts in a partition is in it; method: send before the gate opens."""
    channel = LinkChannel()
    channel.send_first(links_of("n1", [fault("n1|n2")]))
    gate = LinkGate(socket.socket(fileno=channel.child).detach())
    try:
        assert gate.rule("n1", "n2").drop
        assert gate.rule("n2", "n1").drop
        assert not gate.rule("n1", "n3").drop
        assert await channel.send([]), "the first confirmation is skipped"
        assert not gate.rule("n1", "n2").drop
    finally:
        gate.close()
        assert not await channel.send([]), "nobody confirms any more"
        channel._other.detach()
        channel.close()


async def test_without_a_gate_nothing_is_in_the_way() -> None:
    """Goal: no cost for other brokers; method: the objects are the same."""
    links, store = Links(), Store()
    assert gated("n1", links, store, None, TIMEOUT_US) == (links, store)


def test_faults_on_one_link_are_merged() -> None:
    """Goal: delays add up, the lowest rate counts, a drop wins; method: overlapping faults."""
    faults = [
        fault("n1>n2,n3", delay_us=10, bytes_per_s=500),
        fault("n1|n2", delay_us=5, bytes_per_s=100),
        fault("n1>n3"),
    ]
    found = {(link["src"], link["dst"]): link for link in links_of("n1", faults)}
    assert set(found) == {("n1", "n2"), ("n1", "n3"), ("n2", "n1")}
    assert found["n1", "n2"] == {
        "src": "n1", "dst": "n2", "drop": False, "delay_us": 15, "bytes_per_s": 100,
    }  # fmt: skip
    assert found["n1", "n3"]["drop"]
    assert links_of("n4", faults) == []
    json.dumps(list(found.values()))
