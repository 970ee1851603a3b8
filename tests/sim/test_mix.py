"""Random seeds of a mix of crashes and partitions break no invariant, and reach all situations.

Method: each seed draws a cluster, a load and a plan of faults; invariants are checked after every
step; then all faults heal, and the logs must converge without a lost acknowledged record.
"""

from __future__ import annotations

import pytest

from yak_sim import RandomChoices, Situation
from yak_sim.search.swarm import FAULTS_END, draw_swarm, run_swarm

LEAST = {
    Situation.SECOND_LEADER_ELECTED: 0.30,
    Situation.SUFFIX_TRUNCATED: 0.10,
    Situation.STORE_UNKNOWN: 0.10,
    Situation.UNFLUSHED_CRASH: 0.05,
}
"""Situation -> share of 500 seeds that must reach it."""


@pytest.mark.parametrize(
    "seeds", [15, pytest.param(500, marks=[pytest.mark.long, pytest.mark.timeout(900)])]
)
def test_many_seeds_are_valid_and_reach_every_situation(seeds: int) -> None:
    """Goal: no violation, and each situation is reached. Method: run the seeds."""
    reached = dict.fromkeys(LEAST, 0)
    for seed in range(seeds):
        result = run_swarm(seed)
        assert result.valid is True, (seed, result.reason)
        for situation in LEAST:
            reached[situation] += result.goals[situation] > 0
    shares = {situation: count / seeds for situation, count in reached.items()}
    least = LEAST if seeds >= 500 else dict.fromkeys(LEAST, 1 / seeds)
    assert all(shares[situation] >= least[situation] for situation in LEAST), shares


def test_plans_stay_within_the_fault_budget() -> None:
    """Goal: a failed seed is a bug. Method: check many plans."""
    seen: set[str] = set()
    flush: set[str] = set()
    kept = 0
    for seed in range(300):
        mix = draw_swarm(RandomChoices(seed))
        kinds = [fault.kind for fault in mix.plan]
        seen.update(kinds)
        flush.add(mix.flush)
        assert all(0 < fault.at_us < FAULTS_END for fault in mix.plan)
        if mix.flush == "os":
            losses = [dict(fault.details).get("lose", "nothing") for fault in mix.plan]
            lossy = len(losses) - losses.count("nothing")
            assert lossy <= mix.topology.min_isr - 1
            kept += kinds.count("crash") > lossy
    assert kept > 0, "with flush=os, no crash that loses nothing was drawn"
    assert flush == {"batch", "os"}
    assert {
        "crash",
        "crash_within_step",
        "stop",
        "pause",
        "isolate",
        "disconnect",
        "partition",
    } <= seen
    assert {"store_outage", "lose_reply", "clog", "slow_link", "stall_disk", "reset"} <= seen


def test_a_seed_draws_the_same_mix_each_time() -> None:
    """Method: draw twice; other seeds differ."""
    mixes = [draw_swarm(RandomChoices(seed)) for seed in range(20)]
    assert mixes == [draw_swarm(RandomChoices(seed)) for seed in range(20)]
    assert len({mix.plan for mix in mixes if mix.plan}) > 15
