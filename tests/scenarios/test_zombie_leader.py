"""zombie_leader, checked from its trace: only clients reached it, and it committed nothing."""

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


def isolation(result: RunResult) -> tuple[NodeId, Micros, Micros]:
    """Return (the zombie, start of its isolation, end of its isolation)."""
    [store] = [fault for fault in result.faults if fault.kind == "partition"]
    heals = [fault.at_us for fault in result.faults if fault.kind == "heal"]
    return store.target.partition("|")[0], store.at_us, min(heals)


@each_seed
def test_two_led_at_the_same_time(seed: int) -> None:
    """Goal: two leaders for two seconds. Method: the leaders in the trace."""
    result = run("zombie_leader", seed)
    assert_sound(result)
    zombie, cut_us, heard_us = isolation(result)
    led = [(at, node, note.epoch) for at, node, note in notes(result, BecameLeader)]
    assert [(node == zombie, epoch) for _, node, epoch in led] == [(True, 1), (False, 2)]
    assert cut_us < led[1][0] < heard_us
    assert heard_us - led[1][0] >= seconds(2)
    [(down_us, node, note)] = list(notes(result, SteppedDown))
    assert (node, note.epoch, note.seen_epoch) == (zombie, 1, 2)
    assert heard_us < down_us < heard_us + seconds(0.5)


@each_seed
def test_the_zombie_did_not_reach_store_and_peers(seed: int) -> None:
    """Method: the messages delivered during the isolation."""
    result = run("zombie_leader", seed)
    zombie, cut_us, heard_us = isolation(result)
    settled_us = cut_us + seconds(0.5)  # messages in flight and the timeout of a store call
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
def test_the_zombie_confirmed_nothing(seed: int) -> None:
    """Goal: acks=all. Method: its high watermark, and every answer with epoch 1."""
    result = run("zombie_leader", seed)
    zombie, cut_us, _ = isolation(result)
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
def test_the_zombie_was_fenced_and_truncated_its_tail(seed: int) -> None:
    """Method: the notes of its peers, and the one truncation."""
    result = run("zombie_leader", seed)
    zombie, _, heard_us = isolation(result)
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
def test_every_sent_record_is_in_the_log_once(seed: int) -> None:
    """Goal: clients of the zombie lose nothing. Method: decode the logs."""
    result = run("zombie_leader", seed)
    wanted = [b"record %d" % number for number in range(80)]
    logs = [log_values(result, node) for node in result.world.brokers]
    assert logs[0] == logs[1] == logs[2]
    assert [value for value in logs[0] if value != b"to the zombie"] == wanted
    assert len(logs[0]) == 81
    assert result.world.consumers[0].values == logs[0]


@pytest.mark.parametrize("count", [1, 2, 11, 300])
def test_it_takes_other_records(count: int) -> None:
    """Method: `--input` with few and many lines."""
    lines = [b"%d" % number for number in range(count)]
    result = run_scenario(load("zombie_leader"), values=lines)
    assert_sound(result)
    assert [v for v in log_values(result, "n1") if v != b"to the zombie"] == lines
