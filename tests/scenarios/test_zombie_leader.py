"""zombie_leader, looked at from outside: it was heard by clients only, and it harmed nobody."""

from __future__ import annotations

import pytest

from tests.scenarios.scenario_runs import assert_sound, each_seed, load, log_values, notes, run
from yak_core.contract.notes import (
    BecameLeader,
    FencedPeer,
    HighWatermarkAdvanced,
    SteppedDown,
    StoreUnknown,
    Truncated,
)
from yak_core.ids import Micros, NodeId
from yak_sim import RunResult, run_scenario, seconds


def cut_off(result: RunResult) -> tuple[NodeId, Micros, Micros]:
    """(the zombie, when it was cut off, when it was heard again)."""
    [store] = [fault for fault in result.faults if fault.kind == "partition"]
    heals = [fault.at_us for fault in result.faults if fault.kind == "heal"]
    return store.target.partition("|")[0], store.at_us, min(heals)


@each_seed
def test_two_led_at_the_same_time(seed: int) -> None:
    """Goal: there was a zombie, for two seconds. Method: when brokers led, from the trace."""
    result = run("zombie_leader", seed)
    assert_sound(result)
    zombie, cut_us, heard_us = cut_off(result)
    led = [(at, node, note.epoch) for at, node, note in notes(result, BecameLeader)]
    assert [(node == zombie, epoch) for _, node, epoch in led] == [(True, 1), (False, 2)]
    assert cut_us < led[1][0] < heard_us
    assert heard_us - led[1][0] >= seconds(2)
    [(down_us, node, note)] = list(notes(result, SteppedDown))
    assert (node, note.epoch, note.seen_epoch) == (zombie, 1, 2)
    assert heard_us < down_us < heard_us + seconds(0.5)


@each_seed
def test_the_store_and_the_peers_did_not_hear_it(seed: int) -> None:
    """Goal: the fault is the one that the story tells. Method: what was delivered meanwhile."""
    result = run("zombie_leader", seed)
    zombie, cut_us, heard_us = cut_off(result)
    settled_us = cut_us + seconds(0.5)  # what was under way and what a store call waits
    steps = list(result.trace)
    between = [step for step in steps if settled_us < step.t_us < heard_us]
    peers = set(result.world.brokers) - {zombie}
    for step in between:
        if step.cause >= 0 and step.node in peers:
            assert steps[step.cause].node != zombie
        if step.cause >= 0 and step.node == zombie:
            assert steps[step.cause].node not in peers
    unknown = [at for at, _, _ in notes(result, StoreUnknown, zombie)]
    assert len([at for at in unknown if at < heard_us]) > 5
    assert any(step.node == zombie for step in between)


@each_seed
def test_it_appended_and_confirmed_nothing(seed: int) -> None:
    """Goal: acks=all means it. Method: its high watermark, and every answer that named epoch 1."""
    result = run("zombie_leader", seed)
    zombie, cut_us, _ = cut_off(result)
    raised = [at for at, _, note in notes(result, HighWatermarkAdvanced, zombie) if note.hw <= 10]
    later = [at for at, _, _ in notes(result, HighWatermarkAdvanced, zombie) if at > cut_us]
    [(down_us, _, _)] = list(notes(result, SteppedDown))
    assert raised
    assert all(at > down_us for at in later)
    answered = [s for p in result.world.producers for s in p.acked if s.epoch == 1]
    assert answered
    assert all(sent.resolved_us <= cut_us for sent in answered)
    assert result.figures["appended_by_the_zombie"] > 0


@each_seed
def test_it_was_fenced_and_truncated_that_and_no_more(seed: int) -> None:
    """Goal: peers refused it, then it cut its own tail. Method: their remarks, the one cut."""
    result = run("zombie_leader", seed)
    zombie, _, heard_us = cut_off(result)
    fenced = list(notes(result, FencedPeer))
    assert fenced
    for at, node, note in fenced:
        assert at > heard_us
        assert node != zombie
        assert (note.peer, note.epoch) == (zombie, 1)
    cuts = [
        (node, note.end_before - note.end)
        for _, node, note in notes(result, Truncated)
        if note.end < note.end_before
    ]
    assert cuts == [(zombie, result.figures["appended_by_the_zombie"])]


@each_seed
def test_all_that_was_sent_is_there_once(seed: int) -> None:
    """Goal: clients of the zombie lose nothing. Method: decode the logs, sort out the late one."""
    result = run("zombie_leader", seed)
    wanted = [b"record %d" % number for number in range(80)]
    logs = [log_values(result, node) for node in result.world.brokers]
    assert logs[0] == logs[1] == logs[2]
    assert [value for value in logs[0] if value != b"to the zombie"] == wanted
    assert len(logs[0]) == 81
    assert result.world.consumers[0].values == logs[0]


@pytest.mark.parametrize("count", [1, 2, 11, 300])
def test_it_takes_other_records(count: int) -> None:
    """Goal: `--input` works here too. Method: few and many lines of its own."""
    lines = [b"%d" % number for number in range(count)]
    result = run_scenario(load("zombie_leader"), values=lines)
    assert_sound(result)
    assert [v for v in log_values(result, "n1") if v != b"to the zombie"] == lines
