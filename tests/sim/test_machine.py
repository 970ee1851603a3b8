"""Processes on a machine: start, crash (also within a step), pause, stop, calls.

Method: puppets, their events and the results of their effects.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.sim.echo_nodes import at_start, batch_at, idle, numbered_message, numbers_received, stage
from yak_core.contract.client_calls import Poll
from yak_core.contract.effects import (
    Answer,
    AnswerLog,
    AppendLog,
    Effect,
    Exit,
    FlushLog,
    Halt,
    SaveState,
    Send,
    SetTimer,
)
from yak_core.contract.events import (
    Called,
    DiskDone,
    Event,
    Received,
    Started,
    StopAsked,
    TimerFired,
)
from yak_core.contract.messages import (
    DescribeRequest,
    FetchResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ProduceRequest,
)
from yak_core.errors import ErrorCode
from yak_core.ids import CallId, Epoch, LogGeneration, Micros, OpId
from yak_sim.physics.kinds import Loss

APPEND = AppendLog(OpId(1), LogGeneration(0), (batch_at(0, b"a"),))
NOTHING_FOUND = FetchResponse(1, ErrorCode.NONE, (), 1, 0, "n1", Epoch(1))


def test_a_start_recovers_durable_state_with_a_fresh_nonce() -> None:
    """Method: crash, start, compare."""

    def act(_now: Micros, event: Event) -> list[Effect]:
        if isinstance(event, Started) and event.recovered.leo == 0:
            return [APPEND, FlushLog(OpId(2), LogGeneration(0)), SaveState(OpId(3), "k", b"v")]
        return []

    world = stage({"n1": act})
    machine = world.engine.machines["n1"]
    world.engine.run_for(10_000)
    assert machine.crash(Loss.UNSYNCED) == 0
    assert not machine.up
    assert machine.node is None
    machine.start()
    first, second = (puppet.seen[0][1] for puppet in world.puppets["n1"])
    assert isinstance(first, Started)
    assert isinstance(second, Started)
    assert first.nonce != second.nonce
    assert second.nonce < 1 << 128
    assert (first.recovered.leo, second.recovered.leo) == (0, 1)
    assert second.recovered.saved == (("k", b"v"),)
    assert machine.starts == 2


def test_a_pause_holds_messages_and_disk_back_in_their_order() -> None:
    """Goal: no events during a pause, then all. Method: messages and a completion."""
    world = stage({"n1": idle, "n2": at_start(APPEND)})
    machine, link = world.engine.machines["n2"], world.engine.network.link("n1", "n2")
    machine.pause()
    link.send(Received("n1", numbered_message(1)), -1)
    world.engine.run_for(1_000)
    link.send(Received("n1", numbered_message(2)), -1)
    machine.ask(DescribeRequest(7), lambda _result, _step: None)
    world.engine.run_for(1_000)
    puppet = world.puppet("n2")
    assert len(puppet.seen) == 1
    machine.resume()
    kinds = [type(event) for _, event in puppet.seen[1:]]
    assert kinds == [Received, DiskDone, Called, Received]
    assert {now for now, _ in puppet.seen[1:]} == {2_000}


def test_a_crash_drops_what_a_pause_held() -> None:
    """Goal: held events belong to the old process. Method: crash while paused, start, resume."""
    world = stage({"n1": idle, "n2": idle})
    machine = world.engine.machines["n2"]
    machine.pause()
    world.engine.network.link("n1", "n2").send(Received("n1", numbered_message(1)), -1)
    world.engine.run_for(1_000)
    machine.crash(Loss.NOTHING)
    machine.start()
    machine.resume()
    assert not machine.paused
    assert [numbers_received(puppet) for puppet in world.puppets["n2"]] == [[], []]


@pytest.mark.parametrize("effects", range(6))
def test_a_fuse_crashes_between_any_two_effects(effects: int) -> None:
    """Goal: effects before the crash are issued, later ones never. Method: crash after each."""
    orders = (
        Send("n2", numbered_message(1)),
        Send("n2", numbered_message(2)),
        SaveState(OpId(1), "k", b"v"),
        Send("n2", numbered_message(3)),
    )

    def act(_now: Micros, event: Event) -> list[Effect]:
        if isinstance(event, Started):
            return [SetTimer("go", 50, 50)]
        return list(orders) if isinstance(event, TimerFired) else []

    world = stage({"n1": act, "n2": idle})
    machine = world.engine.machines["n1"]
    machine.crash_after_effects(effects, Loss.NOTHING)
    world.engine.run_for(10_000)
    sent = [1, 2, 3][: sum(isinstance(order, Send) for order in orders[:effects])]
    assert numbers_received(world.puppet("n2")) == sent
    assert machine.disk.image.saved == ({"k": b"v"} if effects > 2 else {})
    assert world.ended == ([("n1", "crash_point", "0")] if effects < 5 else [])
    assert machine.up == (effects == 5)


def test_a_removed_fuse_does_nothing() -> None:
    """Goal: healing ends planned crashes. Method: remove the fuse before the step."""
    world = stage({"n1": at_start(SetTimer("go", 50, 50))})
    machine = world.engine.machines["n1"]
    machine.crash_after_effects(0, Loss.NOTHING)
    machine.cancel_crash()
    world.engine.run_for(1_000)
    assert machine.up
    assert world.puppet("n1").seen_of(TimerFired)


@pytest.mark.parametrize(
    ("order", "how", "reason"),
    [(Exit(True), "exit", "clean"), (Exit(False), "exit", "not clean"), (Halt("no"), "halt", "no")],
)
def test_exit_and_halt_end_the_process_and_complete_its_effects(
    order: Effect, how: str, reason: str
) -> None:
    """Goal: no further event, no lost effect. Method: end with effects in flight."""

    def act(_now: Micros, event: Event) -> list[Effect]:
        last = Send("n2", numbered_message(1))
        return [APPEND, order, last] if isinstance(event, StopAsked) else []

    world = stage({"n1": act, "n2": idle})
    machine = world.engine.machines["n1"]
    machine.request_stop(1_000_000)
    assert not machine.up
    world.engine.run_for(10_000)
    assert world.ended == [("n1", how, reason)]
    assert machine.disk.image.leo == 1
    assert not world.puppet("n1").seen_of(DiskDone)
    assert numbers_received(world.puppet("n2")) == []


def test_a_client_asks_over_the_network_and_gets_its_answers() -> None:
    """Goal: Send becomes Called with a fresh id, Answer and AnswerLog become Received."""

    def broker(_now: Micros, event: Event) -> list[Effect]:
        if isinstance(event, Started):
            return [APPEND]
        if isinstance(event, Called) and isinstance(event.request, ListOffsetsRequest):
            answer = ListOffsetsResponse(
                event.request.correlation, ErrorCode.NONE, 5, Epoch(1), "n1", Epoch(1)
            )
            return [Answer(event.call, answer)]
        if isinstance(event, Called):
            return [AnswerLog(event.call, NOTHING_FOUND, 0, 1, 100)]
        return []

    asking = at_start(
        Send("n1", ListOffsetsRequest(41, -1)),
        Send("n1", ListOffsetsRequest(42, -1)),
        Send("n1", DescribeRequest(43)),
    )
    world = stage({"n1": broker, "c1": asking})
    world.engine.run_for(10_000)
    calls = [event for _, event in world.puppet("n1").seen if isinstance(event, Called)]
    assert [call.call for call in calls] == [1, 2, 3]
    assert {type(call.wall_ms) for call in calls} == {int}
    answers: list[Any] = [
        event.message for _, event in world.puppet("c1").seen if isinstance(event, Received)
    ]
    assert [answer.correlation for answer in answers] == [41, 42, 1]
    assert answers[2].batches == APPEND.batches
    assert world.engine.machines["c1"].last_src == "n1"


def test_a_batch_is_sealed_when_it_leaves_its_client() -> None:
    """Goal: the bytes in flight have producer fields and CRC. Method: an unsealed handle."""
    unsealed = batch_at(0, b"a")
    unsealed = type(unsealed)(0, Epoch(-1), 1, 77, 3, 5, 0, unsealed.size, 0, unsealed.data)
    asking = at_start(Send("n1", ProduceRequest(1, Epoch(1), -1, 1_000, unsealed)))
    world = stage({"n1": idle, "p1": asking})
    world.engine.run_for(1_000)
    ((_, called),) = world.puppet("n1").seen_of(Called)
    assert isinstance(called, Called)
    assert isinstance(called.request, ProduceRequest)
    batch = called.request.batch
    assert batch.crc != 0
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (77, 3, 5)


def test_each_call_gets_its_own_answer() -> None:
    """Method: two calls, answered in reverse."""
    waiting: list[int] = []

    def act(_now: Micros, event: Event) -> list[Effect]:
        if isinstance(event, Called):
            waiting.append(event.call)
            if len(waiting) == 2:
                listed = ListOffsetsResponse(0, ErrorCode.NONE, 0, Epoch(0), None, Epoch(0))
                return [Answer(CallId(call), listed) for call in reversed(waiting)]
        return []

    world = stage({"c1": act})
    got: list[str] = []
    machine = world.engine.machines["c1"]
    machine.ask(Poll(), lambda _result, _step: got.append("first"))
    machine.ask(Poll(), lambda _result, _step: got.append("second"))
    assert got == ["second", "first"]


def test_a_second_answer_to_a_call_raises() -> None:
    """Method: a node that answers twice."""
    listed = ListOffsetsResponse(0, ErrorCode.NONE, 0, Epoch(0), None, Epoch(0))

    def act(_now: Micros, event: Event) -> list[Effect]:
        return [Answer(event.call, listed)] * 2 if isinstance(event, Called) else []

    world = stage({"c1": act})
    with pytest.raises(AssertionError, match="not pending"):
        world.engine.machines["c1"].ask(Poll(), lambda _result, _step: None)
