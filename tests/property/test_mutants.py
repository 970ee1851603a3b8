"""Each mutant of the rules is caught by a named invariant.

A coding error outside of the rules is detected by the broker's own checks instead, before an
invariant breaks.
"""

from __future__ import annotations

import os
import traceback
from contextlib import suppress

import pytest
from hypothesis import Phase, given, seed, settings

from tests.mutants import MUTANTS
from tests.property.openings import Opening
from tests.property.slips import SESSION_SLIPS, SLIPS, is_own_check
from tests.property.walks import Shape, moves, openings, run, shapes
from tests.property.watch import Counts
from yak_core.invariants import InvariantViolated
from yak_core.rules import Rules

WALKS_MAX = 300
SEED = 18
"""The seed of the first 45 that catches all mutants in the fewest walks."""

CAUGHT = [name for name, mutant in MUTANTS.items() if mutant.invariants]


class Found(Exception):
    """The first failed walk was found: Hypothesis generates no more."""


def failures(rules: Rules, walks_max: int, *, first: bool) -> list[tuple[int, Exception]]:
    """Return (number, exception) of each failed walk, or of the first only."""
    walked = 0
    raised: list[tuple[int, Exception]] = []

    @settings(max_examples=walks_max, phases=(Phase.generate,))
    @seed(SEED)
    @given(shape=shapes, opening=openings, data=moves)
    def walks(shape: Shape, opening: Opening, data: bytes) -> None:
        nonlocal walked
        if not (raised and first):
            walked += 1
            try:
                run(rules, shape, opening, data, Counts())
            except Exception as error:
                raised.append((walked, error))
        if raised and first:
            raise Found

    with suppress(Found):
        walks()
    return raised


def first_failure(rules: Rules) -> tuple[int, Exception | None]:
    """Return the first failed walk, or the number of all walks and None."""
    found = failures(rules, WALKS_MAX, first=True)
    return found[0] if found else (WALKS_MAX, None)


@pytest.mark.parametrize("walks", [2, pytest.param(40, marks=pytest.mark.long)])
def test_no_mutant_fails_an_assertion_of_the_core(walks: int) -> None:
    """Goal: assertions of the core cover only facts that no rule decides. Method: all mutants."""
    for name, mutant in MUTANTS.items():
        for _, error in failures(mutant.variant, walks, first=False):
            place = traceback.extract_tb(error.__traceback__)[-1].filename
            in_core = f"{os.sep}yak_core{os.sep}" in place
            assert isinstance(error, InvariantViolated) or not in_core, f"{name}: {error!r}"


@pytest.mark.parametrize("name", CAUGHT)
def test_each_mutant_is_caught_by_name(name: str) -> None:
    """Goal: an invariant catches each mutant. Method: walk until an exception; print the number.

    A wrong decision breaks an invariant, not the bounds of a field: no assertion fails first.
    """
    walked, failure = first_failure(MUTANTS[name].variant)
    assert isinstance(failure, InvariantViolated), f"{name}: {failure!r} in {walked} walks"
    print(f"\n{name:32} {failure.invariant:22} after {walked:4} walks")
    assert failure.invariant in MUTANTS[name].invariants, str(failure)


@pytest.mark.parametrize("name", SLIPS)
def test_each_coding_error_is_detected_by_the_broker(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: an own check fails before an invariant. Method: walk until an exception."""
    slip = SLIPS[name]
    monkeypatch.setattr(slip.owner, slip.method, slip.wrong)
    walked, failure = first_failure(Rules())
    assert isinstance(failure, AssertionError), f"{name}: {failure!r} in {walked} walks"
    assert is_own_check(failure), str(failure)
    assert slip.sentence in str(failure)


@pytest.mark.parametrize("name", SESSION_SLIPS)
def test_a_session_that_vouches_for_lost_records_is_caught(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: R17's storage session is checked by an invariant. Method: walk until an exception."""
    monkeypatch.setattr(*SESSION_SLIPS[name])
    walked, failure = first_failure(Rules())
    assert isinstance(failure, InvariantViolated), f"{name}: {failure!r} in {walked} walks"
    assert failure.invariant == "UncleanExclusion", str(failure)


@pytest.mark.long
def test_a_failing_walk_shrinks_to_a_few_moves() -> None:
    """Goal: a readable failure. Method: let Hypothesis shrink one mutant's walk."""
    reports: list[list[str]] = []

    @settings(max_examples=100, phases=(Phase.generate, Phase.shrink), report_multiple_bugs=False)
    @seed(0)
    @given(shape=shapes, opening=openings, data=moves)
    def walks(shape: Shape, opening: Opening, data: bytes) -> None:
        try:
            run(MUTANTS["truncate by HW"].variant, shape, opening, data, Counts())
        except InvariantViolated as violation:
            reports.append([*violation.__notes__[0].splitlines(), str(violation)])
            raise

    with pytest.raises(InvariantViolated):
        walks()
    print("\n" + "\n".join(reports[-1]))
    assert len(reports[-1]) <= 8, "configuration, opening, a few moves, and the message"
