"""The tests of the net: each broken rule must be caught by an invariant that has a name.

A slip of the code, which no rule is about, is noticed by the broker's own checks instead, before
any promise to the outside is broken.
"""

from __future__ import annotations

import pytest
from hypothesis import Phase, given, seed, settings

from tests.mutants import MUTANTS
from tests.property.openings import Opening
from tests.property.slips import SLIPS, is_own_check
from tests.property.walks import Shape, moves, openings, run, shapes
from tests.property.watch import Counts
from yak_core.invariants import InvariantViolated
from yak_core.rules import Rules

WALKS_MAX = 300
SEED = 18
"""Of the first 45 seeds the one that catches all mutants soonest.

With some others the log's own assertion on its high watermark stops a broker under ``no epoch
fencing`` before an invariant judges it.
"""

CAUGHT = [name for name, mutant in MUTANTS.items() if mutant.invariants]


def first_failure(rules: Rules) -> tuple[int, Exception | None]:
    """(how many walks it took, what the first walk that failed raised)."""
    walked = 0
    raised: list[Exception] = []

    @settings(max_examples=WALKS_MAX, phases=(Phase.generate,))
    @seed(SEED)
    @given(shape=shapes, opening=openings, data=moves)
    def walks(shape: Shape, opening: Opening, data: bytes) -> None:
        nonlocal walked
        if not raised:
            walked += 1
            try:
                run(rules, shape, opening, data, Counts())
            except Exception as error:
                raised.append(error)

    walks()
    return walked, raised[0] if raised else None


@pytest.mark.parametrize("name", CAUGHT)
def test_each_mutant_is_caught_by_name(name: str) -> None:
    """Goal: the net has no hole here. Method: walk until something is raised; print when.

    A wrong decision breaks a promise, not a field's bounds: no assertion may notice it first.
    """
    walked, failure = first_failure(MUTANTS[name].variant)
    assert isinstance(failure, InvariantViolated), f"{name}: {failure!r} in {walked} walks"
    print(f"\n{name:32} {failure.invariant:22} after {walked:4} walks")
    assert failure.invariant in MUTANTS[name].invariants, str(failure)


@pytest.mark.parametrize("name", SLIPS)
def test_each_slip_is_noticed_first_by_the_broker(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: an own check fires before an invariant. Method: walk until something is raised."""
    slip = SLIPS[name]
    monkeypatch.setattr(slip.owner, slip.method, slip.wrong)
    walked, failure = first_failure(Rules())
    assert isinstance(failure, AssertionError), f"{name}: {failure!r} in {walked} walks"
    assert is_own_check(failure), str(failure)
    assert slip.sentence in str(failure)


@pytest.mark.long
def test_a_failing_walk_shrinks_to_a_story() -> None:
    """Goal: a student can read what went wrong. Method: let Hypothesis shrink one mutant's walk."""
    stories: list[list[str]] = []

    @settings(max_examples=100, phases=(Phase.generate, Phase.shrink), report_multiple_bugs=False)
    @seed(0)
    @given(shape=shapes, opening=openings, data=moves)
    def walks(shape: Shape, opening: Opening, data: bytes) -> None:
        try:
            run(MUTANTS["truncate by HW"].variant, shape, opening, data, Counts())
        except InvariantViolated as violation:
            stories.append([*violation.__notes__[0].splitlines(), str(violation)])
            raise

    with pytest.raises(InvariantViolated):
        walks()
    print("\n" + "\n".join(stories[-1]))
    assert len(stories[-1]) <= 8, "configuration, opening, a few moves, and the sentence"
