"""Calls of the metadata store: results, outages, lost answers; each call ends once.

Method: puppets that call the store and record their replies.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.sim.echo_nodes import SURE, Stage, at_start, idle, stage
from yak_core.contract.effects import CallMeta, Effect
from yak_core.contract.events import MetaReply
from yak_core.ids import BrokerEpoch, CallId, Micros
from yak_core.metadata.partition_state import PartitionState
from yak_core.metadata.store_calls import (
    Cas,
    MetaRequest,
    Read,
    Refused,
    RenewLease,
    StoreOk,
    Unknown,
)
from yak_core.metadata.transitions import create, register
from yak_sim.physics.kinds import LinkFault, Loss, StoreKind
from yak_sim.physics.machine_shared import Listener
from yak_sim.physics.network import NetworkFault
from yak_sim.physics.store import CAS
from yak_sim.physics.topology import STORE

FIRST = create(store_id="s", attempt="a", node="n1", url="", replicas=("n1", "n2"), min_isr=2)
CREATE = Cas(None, FIRST, None)


def replies(world: Stage, node: str) -> list[tuple[Micros, int, type]]:
    """Return (time, call, type of outcome) of the replies to a puppet."""
    return [
        (now, event.call, type(event.outcome))
        for now, event in world.puppet(node).seen
        if isinstance(event, MetaReply)
    ]


def calls(*requests: MetaRequest) -> list[Effect]:
    return [CallMeta(CallId(number), request) for number, request in enumerate(requests)]


@pytest.mark.parametrize("kind", StoreKind)
def test_a_call_is_carried_out_and_answered(kind: StoreKind) -> None:
    """Goal: both executors agree. Method: create twice, read, renew a lease; check the store."""
    numbers_received: list[PartitionState] = []
    listener = Listener()
    listener.on_state = numbers_received.append
    act = at_start(*calls(CREATE, CREATE, Read(), RenewLease("n1", BrokerEpoch(1), FIRST.stamp)))
    world = stage({"n1": act}, topology=replace(SURE, store=kind), listener=listener)
    world.engine.run_for(5_000)
    assert replies(world, "n1") == [
        (20, 0, StoreOk),
        (20, 1, Refused),
        (20, 2, StoreOk),
        (20, 3, StoreOk),
    ]
    assert numbers_received == [FIRST]
    assert world.engine.store.state == FIRST
    assert world.engine.store.executed == 4


def test_without_an_answer_a_call_ends_as_unknown_once() -> None:
    """Goal: one reply, after 500 ms. Method: the store is out of reach."""
    world = stage({"n1": at_start(*calls(CREATE))})
    world.engine.store.down = True
    world.engine.run_for(5_000_000)
    assert replies(world, "n1") == [(500_000, 0, Unknown)]
    assert world.engine.store.state is None
    assert world.engine.store.requests_lost == 1


def test_a_late_answer_is_dropped() -> None:
    """Goal: Unknown is final for the call. Method: an answer later than the timeout."""
    world = stage({"n1": at_start(*calls(CREATE))})
    slow = NetworkFault(LinkFault.SLOW, (STORE,), ("n1",), delay_us=600_000)
    world.engine.network.add(slow)
    world.engine.run_for(5_000_000)
    assert replies(world, "n1") == [(500_000, 0, Unknown)]
    assert world.engine.store.state == FIRST, "the call took effect"


def test_a_call_may_take_effect_after_it_ended_as_unknown() -> None:
    """Goal: unknown includes later. Method: a request that is in flight for a second."""
    world = stage({"n1": at_start(*calls(CREATE))}, start=False)
    world.engine.network.add(NetworkFault(LinkFault.SLOW, ("n1",), (STORE,), delay_us=1_000_000))
    world.engine.machines["n1"].start()
    world.engine.run_for(600_000)
    assert replies(world, "n1") == [(500_000, 0, Unknown)]
    assert world.engine.store.state is None
    world.engine.run_for(600_000)
    assert len(replies(world, "n1")) == 1
    assert world.engine.store.state == FIRST


@pytest.mark.parametrize("lost", ["request", "reply"])
def test_a_request_or_a_reply_is_lost_on_demand(lost: str) -> None:
    """Goal: both kinds end as unknown. Method: one lost, the next is not."""
    world = stage({"n1": at_start(*calls(CREATE, Read())), "n2": idle}, start=False)
    store = world.engine.store
    if lost == "request":
        store.lose_requests("n1", 1)
    else:
        store.lose_replies("n1", 1)
    world.engine.machines["n1"].start()
    world.engine.run_for(5_000_000)
    assert replies(world, "n1") == [(20, 1, StoreOk), (500_000, 0, Unknown)]
    assert store.state == (None if lost == "request" else FIRST)
    assert (store.requests_lost, store.replies_lost) == ((1, 0) if lost == "request" else (0, 1))


def test_a_fault_may_apply_to_writes_only() -> None:
    """Goal: other calls do not use up a fault for a cas. Method: reads before it."""
    world = stage({"n1": at_start(*calls(Read(), Read(), CREATE))}, start=False)
    world.engine.store.lose_replies("n1", 1, CAS)
    world.engine.machines["n1"].start()
    world.engine.run_for(5_000_000)
    assert replies(world, "n1") == [(20, 0, StoreOk), (20, 1, StoreOk), (500_000, 2, Unknown)]


def test_no_answer_reaches_the_next_process() -> None:
    """Goal: call ids belong to one start. Method: both starts use the same call id."""
    world = stage({"n1": at_start(*calls(Read()))})
    machine = world.engine.machines["n1"]
    machine.crash(Loss.NOTHING)
    machine.start()
    world.engine.run_for(5_000_000)
    assert world.engine.store.executed == 2
    assert [len(puppet.seen_of(MetaReply)) for puppet in world.puppets["n1"]] == [0, 1]


def test_observers_get_each_state_before_the_reply() -> None:
    """Method: record both in one list."""
    order: list[object] = []
    listener = Listener()
    listener.on_state = lambda record: order.append(record.partition_epoch)
    second = register(FIRST, attempt="b", node="n2", clean=True, url="")
    assert isinstance(second, PartitionState)

    def watch(*step: object) -> None:
        if isinstance(step[2], MetaReply):
            order.append(step[2].call)

    act = at_start(*calls(CREATE, Cas(FIRST.stamp, second, None)))
    world = stage({"n1": act}, listener=listener, watch=watch)
    world.engine.run_for(1_000)
    assert order == [1, 2, 0, 1]
