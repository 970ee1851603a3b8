"""The net as a whole: every invariant is tested both ways, and tells what happened in words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.core.invariants_stage import Stage
from yak_core.invariants import RULES, InvariantViolated

TESTS = "".join(
    path.read_text() for path in sorted(Path(__file__).parent.glob("test_invariants_*.py"))
)


@pytest.mark.parametrize("name", RULES)
def test_each_invariant_is_seen_to_break_and_to_hold(name: str) -> None:
    """Goal: no invariant is without teeth or too eager. Method: look for both tests of it."""
    assert f'with broken("{name}"):' in TESTS, "no test breaks it by hand"
    assert f'with near_miss("{name}"):' in TESTS, "no test comes close to it"


def test_each_rule_is_a_sentence_with_its_number() -> None:
    """Goal: a student knows where to read on. Method: check the shape of the sentences."""
    for rule in RULES.values():
        assert re.match(r"(R\d+|INV-[A-Z]\d)[^:]*: [a-z].*\.( [A-Z].*)?$", rule), rule


def test_a_violation_says_what_was_expected_and_what_happened(stage: Stage) -> None:
    """Goal: the sentence stands alone. Method: break one invariant and read it."""
    with pytest.raises(InvariantViolated) as caught:
        stage.raise_hw("n1", 3)
    message = str(caught.value)
    assert message.startswith("HwSound was broken by n1 at event 7: expected a high watermark ")
    assert "; but it is 3. R3 and R5" in message
