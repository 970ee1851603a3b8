"""The tests of the net: each broken rule must be caught by an invariant that has a name."""

from __future__ import annotations

import pytest
from hypothesis import Phase, given, seed, settings

from tests.mutants import MUTANTS
from tests.property.openings import Opening
from tests.property.slips import is_own_check
from tests.property.walks import Shape, moves, openings, run, shapes
from tests.property.watch import Counts
from yak_core.invariants import InvariantViolated
from yak_core.rules import Rules

EXAMPLES_MAX = 300

CAUGHT = [name for name, mutant in MUTANTS.items() if mutant.invariants]


class _Hunt:
    """Counts the walks until a rule's first violation."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.walks = 0
        self.asserted = 0
        self.slips: list[str] = []
        self.found: InvariantViolated | None = None

    def walk(self, shape: Shape, opening: Opening, data: bytes) -> None:
        if self.found is not None:
            return
        self.walks += 1
        try:
            run(self.rules, shape, opening, data, Counts())
        except InvariantViolated as violation:
            self.found = violation
        except AssertionError as error:
            # The node, or the end of the walk, noticed by itself; the net has to notice too.
            self.asserted += 1
            if is_own_check(error):
                self.slips.append(str(error))


def _hunt(rules: Rules, examples: int) -> _Hunt:
    hunt = _Hunt(rules)

    @settings(max_examples=examples, phases=(Phase.generate,))
    @seed(0)
    @given(shape=shapes, opening=openings, data=moves)
    def walks(shape: Shape, opening: Opening, data: bytes) -> None:
        hunt.walk(shape, opening, data)

    walks()
    return hunt


@pytest.mark.parametrize("name", CAUGHT)
def test_each_mutant_is_caught_by_name(name: str) -> None:
    """Goal: the net has no hole here. Method: walk until an invariant breaks; print when."""
    hunt = _hunt(MUTANTS[name].variant, EXAMPLES_MAX)
    assert hunt.found is not None, (
        f"{name}: no invariant broke in {hunt.walks} walks ({hunt.asserted} assertions)"
    )
    print(f"\n{name:32} {hunt.found.invariant:22} after {hunt.walks:4} walks")
    assert hunt.found.invariant in MUTANTS[name].invariants, str(hunt.found)
    assert not hunt.slips, "a wrong decision is no slip: it breaks a promise, not a field's bounds"


def test_the_protocol_itself_is_not_caught() -> None:
    """Goal: no false alarm in as many walks. Method: the same hunt, with the rules as they are."""
    hunt = _hunt(Rules(), 50)
    assert hunt.found is None, str(hunt.found)
    assert (hunt.walks, hunt.asserted) == (50, 0)


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
