"""Every invariant has a test that breaks it and one that almost does, and a clear message."""

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
def test_each_invariant_has_both_tests(name: str) -> None:
    """Goal: no invariant is void or too strict. Method: find both tests of it."""
    assert f'with broken("{name}"):' in TESTS, "no test breaks it"
    assert f'with near_miss("{name}"):' in TESTS, "no test almost breaks it"


def test_each_rule_is_a_sentence_with_its_number() -> None:
    """Goal: the rule can be looked up. Method: check the form of the sentences."""
    for rule in RULES.values():
        assert re.match(r"R\d+( and R\d+)?: [A-Z].*\.$", rule), rule


def test_a_violation_has_expected_and_found_values(stage: Stage) -> None:
    """Method: break one invariant and read its message."""
    with pytest.raises(InvariantViolated) as caught:
        stage.raise_hw("n1", 3)
    message = str(caught.value)
    assert message.startswith("HwSound violated by n1 at event 7: expected a high watermark ")
    assert ", found: it is 3. R3 and R5: " in message
