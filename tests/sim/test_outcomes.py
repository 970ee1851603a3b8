"""Producers report true outcomes through timeouts, stalls, expiries and forgetting.

Method: seeds of a mix of faults (outcomes.py). At the end of each, the content of the logs is
compared with what was reported: ``not_written`` is in no log, ``written`` is in the log, and
nothing is there twice or out of order. Producers with one wrong decision fail this comparison, or
break an invariant.
"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.mutants import PRODUCER_MUTANTS
from tests.sim.outcomes import run
from yak_core.clients.producer import build_producer_on_connections
from yak_sim import RunResult
from yak_sim.world import world as world_module

NEEDED = ("WRITTEN", "NOT_WRITTEN", "UNKNOWN", "never sent", "forgotten", "new epoch")
SEEDS_MAX = 40


@pytest.mark.parametrize("requests_once", [False, True])
@pytest.mark.parametrize(
    "seeds", [3, pytest.param(1_000, marks=[pytest.mark.long, pytest.mark.timeout(3_600)])]
)
def test_each_outcome_is_true(
    seeds: int, requests_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: no report is a guess. Method: the seeds; together they reach each kind of outcome.

    Producers may rely on links without copies only if the links make none.
    """
    if requests_once:
        monkeypatch.setattr(world_module, "build_producer", build_producer_on_connections)
    reached: Counter[str] = Counter()
    for seed in range(seeds):
        result = run(seed, copies=not requests_once)
        assert result.valid is True, (seed, result.reason)
        reached.update({name: result.figures[name] for name in NEEDED if name in result.figures})
    print("\n", dict(reached))
    assert [name for name in NEEDED if not reached[name]] == []


def fails_by_name(result: RunResult, name: str) -> bool:
    """Return whether the run failed; check that the failure is one that the mutant is known for."""
    if result.valid is True:
        return False
    assert any(word in result.reason for word in PRODUCER_MUTANTS[name].caught_by), result.reason
    return True


@pytest.mark.parametrize("name", PRODUCER_MUTANTS)
def test_a_wrong_producer_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: valid seeds are evidence. Method: seeds until a failure, first that of the table."""
    mutant = PRODUCER_MUTANTS[name]
    monkeypatch.setattr(mutant.owner, mutant.name, mutant.wrong)
    assert fails_by_name(run(mutant.seed), name)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", PRODUCER_MUTANTS)
def test_a_wrong_producer_is_caught_in_a_few_seeds(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: the mix reaches the schedule often. Method: count the seeds that fail."""
    mutant = PRODUCER_MUTANTS[name]
    monkeypatch.setattr(mutant.owner, mutant.name, mutant.wrong)
    caught = [seed for seed in range(SEEDS_MAX) if fails_by_name(run(seed), name)]
    print(f"\n{name}: caught by {len(caught)} of {SEEDS_MAX} seeds, first by {caught[:1]}")
    assert len(caught) >= SEEDS_MAX // 8
