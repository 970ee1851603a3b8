"""Each mutant of the rules is caught by a named invariant of the simulator, in a few seeds.

Method: the mix of faults with one rule replaced: first the seed in the table, then seed after seed
until an invariant breaks.
"""

from __future__ import annotations

import pytest

from tests.mutants import MUTANTS
from yak_core.invariants import RULES
from yak_sim import RunResult
from yak_sim.physics.disk import SimDisk
from yak_sim.physics.kinds import Loss
from yak_sim.search.swarm import run_swarm

SEEDS_MAX = 200
CAUGHT = [name for name, mutant in MUTANTS.items() if mutant.invariants]


def hunt(name: str) -> tuple[int, RunResult | None]:
    """Return (seed, first run with a violation)."""
    mutant = MUTANTS[name]
    for seed in (mutant.seed, *range(SEEDS_MAX)):
        result = run_swarm(seed, rules=mutant.variant)
        if result.violations:
            return seed, result
    return SEEDS_MAX, None


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", CAUGHT)
def test_each_broken_rule_is_caught_by_name(name: str) -> None:
    """Goal: valid seeds are evidence. Method: seeds until a violation; print the last.

    A failed assertion of the core would violate NoException, which no mutant may do.
    """
    seed, caught = hunt(name)
    assert caught is not None, f"{name}: nothing was violated in {seed} seeds"
    (found,) = caught.violations
    print(f"\n{name:32} {found['invariant']:22} by seed {seed:3}")
    assert caught.valid is False
    assert found["invariant"] in MUTANTS[name].invariants
    assert str(found["invariant"]) in caught.reason
    assert found["node"]
    assert found["rule"] == RULES[str(found["invariant"])]


def test_a_disk_that_keeps_its_session_after_a_loss_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Goal: the simulator's storage session is checked. Method: seeds until a violation."""
    crash = SimDisk.crash

    def keep_session(disk: SimDisk, lose: Loss) -> None:
        session = disk.session
        crash(disk, lose)
        disk.session = session

    monkeypatch.setattr(SimDisk, "crash", keep_session)
    seeds = (MUTANTS["any storage session is the same"].seed, *range(SEEDS_MAX))
    violations = (run_swarm(seed).violations for seed in seeds)
    (found,) = next(each for each in violations if each)
    assert found["invariant"] == "UncleanExclusion"
