"""The net of the simulator: each broken rule is caught by a named invariant, in a few seeds.

Method: the mix of faults with one rule replaced, first the seed that caught it last, then seed
after seed, until an invariant breaks.
"""

from __future__ import annotations

import pytest

from tests.mutants import MUTANTS
from yak_core.invariants import RULES
from yak_sim import RunResult
from yak_sim.search.swarm import run_swarm

SEEDS_MAX = 200
CAUGHT = [name for name, mutant in MUTANTS.items() if mutant.invariants]


def hunt(name: str) -> tuple[int, RunResult | None, int]:
    """(the seed, the first violation of a named invariant, runs that failed otherwise)."""
    mutant, otherwise = MUTANTS[name], 0
    for seed in (mutant.seed, *range(SEEDS_MAX)):
        result = run_swarm(seed, rules=mutant.variant)
        if result.violations and result.violations[0]["invariant"] in RULES:
            return seed, result, otherwise
        otherwise += result.valid is not True
    return SEEDS_MAX, None, otherwise


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", CAUGHT)
def test_each_broken_rule_is_caught_by_name(name: str) -> None:
    """Goal: good seeds mean something. Method: as many seeds as it takes; print the last."""
    seed, caught, otherwise = hunt(name)
    assert caught is not None, f"{name}: no invariant broke in {seed} seeds ({otherwise} failed)"
    (found,) = caught.violations
    print(f"\n{name:32} {found['invariant']:22} by seed {seed:3}")
    assert caught.valid is False
    assert found["invariant"] in MUTANTS[name].invariants
    assert str(found["invariant"]) in caught.reason
    assert found["node"]
    assert found["rule"] == RULES[str(found["invariant"])]
