"""Five hundred random seeds of a crash-and-partition mix break no promise, and are not vacuous.

Method: each seed draws a cluster, a load and a plan of faults; every invariant is looked at after
every step; afterwards everything is healed and must agree, with nothing acknowledged lost.
"""

from __future__ import annotations

import pytest

from yak_sim import RandomChoices
from yak_sim.search.swarm import FAULTS_END, WATCHED, draw_swarm, run_swarms

SEEDS = 500

LEAST = dict(zip(WATCHED, (0.30, 0.10, 0.10, 0.05), strict=True))
"""Situation -> the part of the seeds that must reach it."""


@pytest.mark.timeout(900)
def test_many_seeds_hold_and_reach_what_matters(capsys: pytest.CaptureFixture[str]) -> None:
    """Goal: no violation, no vacuity. Method: SEEDS runs; the counts are printed."""
    tally = run_swarms(range(SEEDS))
    with capsys.disabled():
        print(f"\n{tally.seeds} seeds of the mix in {tally.cpu_s:.0f} CPU s:", end="")
        for situation, least in LEAST.items():
            share = tally.share(situation)
            print(f" {situation} {share:.1%} (least {least:.0%});", end="")
        print(f" {tally.messages} messages")
    assert not tally.failed, [(f.seed, f.reason) for f in tally.failed]
    assert tally.seeds == SEEDS
    short = {s: tally.share(s) for s, least in LEAST.items() if tally.share(s) < least}
    assert not short, f"too few seeds reach these: {short}"


def test_plans_stay_within_the_promise() -> None:
    """Goal: a red seed is a bug and not a broken budget. Method: look at many plans."""
    seen: set[str] = set()
    flush: set[str] = set()
    for seed in range(300):
        mix = draw_swarm(RandomChoices(seed))
        kinds = [fault.kind for fault in mix.plan]
        seen.update(kinds)
        flush.add(mix.flush)
        assert all(0 < fault.at_us < FAULTS_END for fault in mix.plan)
        if mix.flush == "os":
            assert sum(kind.startswith("crash") for kind in kinds) <= mix.topology.min_isr - 1
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
    """Goal: seeds can be named in a report. Method: draw twice; neighbours differ."""
    mixes = [draw_swarm(RandomChoices(seed)) for seed in range(20)]
    assert mixes == [draw_swarm(RandomChoices(seed)) for seed in range(20)]
    assert len({mix.plan for mix in mixes if mix.plan}) > 15
