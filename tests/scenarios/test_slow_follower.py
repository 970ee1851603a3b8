"""slow_follower, checked from its trace: the ISR shrinks once, the HW advances, the ISR expands."""

from __future__ import annotations

import pytest

from tests.scenarios.scenario_runs import (
    assert_sound,
    each_seed,
    fault,
    load,
    log_values,
    notes,
    run,
)
from yak_core.contract.notes import BecameLeader, HighWatermarkAdvanced, IsrExpanded, IsrShrunk
from yak_core.errors import Outcome
from yak_core.ids import Micros, NodeId
from yak_sim import RunResult, run_scenario, seconds


def ends(result: RunResult) -> tuple[NodeId, NodeId, Micros]:
    """Return (leader, slow follower, time at which its link became slow)."""
    slow = fault(result, "slow_link")
    leader, _, follower = slow.target.partition(">")
    return leader, follower, slow.at_us


def hw_at(result: RunResult, leader: NodeId, at_us: Micros) -> int:
    """Return the leader's high watermark at a time."""
    advances = notes(result, HighWatermarkAdvanced, leader)
    return max((note.hw for at, _, note in advances if at <= at_us), default=0)


@each_seed
def test_the_isr_shrinks_once_by_time_and_grows_back(seed: int) -> None:
    """Goal: removed after a lag of 2 s, added after catching up. Method: the leader's notes."""
    result = run("slow_follower", seed)
    assert_sound(result)
    leader, slow, slow_us = ends(result)
    [shrunk] = [
        (at, note.removed) for at, _, note in notes(result, IsrShrunk, leader) if at > slow_us
    ]
    [grown] = [
        (at, note.added) for at, _, note in notes(result, IsrExpanded, leader) if at > slow_us
    ]
    assert shrunk[1] == grown[1] == (slow,)
    assert seconds(1.9) < shrunk[0] - slow_us < seconds(2.5)
    assert grown[0] > fault(result, "heal").at_us > shrunk[0]
    assert abs(result.figures["out_of_isr_us"] - (grown[0] - shrunk[0])) < seconds(0.1)
    assert result.world.isr == result.world.brokers


@each_seed
def test_the_high_watermark_waits_and_advances(seed: int) -> None:
    """Goal: a slow member delays commits until it leaves the ISR. Method: the HW at four times."""
    result = run("slow_follower", seed)
    leader, _, slow_us = ends(result)
    [shrunk_us] = [at for at, _, _ in notes(result, IsrShrunk, leader) if at > slow_us]
    waiting = hw_at(result, leader, slow_us + seconds(0.5))
    assert 40 <= waiting <= 45
    assert hw_at(result, leader, shrunk_us - 1) == waiting
    assert hw_at(result, leader, shrunk_us + seconds(1)) >= waiting + 40
    assert hw_at(result, leader, result.world.now_us) == result.figures["records_sent"]


@each_seed
def test_no_failover_and_no_loss(seed: int) -> None:
    """Method: one election; every record is confirmed, read and in the log."""
    result = run("slow_follower", seed)
    leader, _, _ = ends(result)
    assert [(node, note.epoch) for _, node, note in notes(result, BecameLeader)] == [(leader, 1)]
    [producer] = result.world.producers
    assert {sent.outcome for sent in producer.sent} == {Outcome.WRITTEN}
    wanted = [b"p1-%06d" % number for number in range(producer.sent_count)]
    for node in result.world.brokers:
        assert log_values(result, node) == wanted
    assert result.world.consumers[0].values == wanted
    assert len(wanted) > 200


@pytest.mark.parametrize("lag_s", [1, 2, 3])
def test_the_lag_that_is_set_decides(lag_s: int) -> None:
    """Goal: `--set replica_lag_us` sets the lag time. Method: measure the time to shrink."""
    result = run_scenario(load("slow_follower"), 7, {"replica_lag_us": str(lag_s * 1_000_000)})
    leader, _, slow_us = ends(result)
    shrunk_us = next(at for at, _, _ in notes(result, IsrShrunk, leader) if at > slow_us)
    assert seconds(lag_s) - seconds(0.1) < shrunk_us - slow_us < seconds(lag_s) + seconds(0.5)
