"""Lesson 1: its text matches the runs, and its grader handles any rule."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.notebooks.lessons import FOLDER, played
from tests.scenarios.scenario_runs import each_seed
from yak_sim import run_scenario

LESSON = FOLDER / "01_first_plot.py"
STUB = "return min(leos.values())"
SOLUTION = "return max(hw, min(leos[node] for node in isr))"

Rule = Callable[[dict[str, int], tuple[str, ...], int], Any]


@pytest.fixture(scope="module")
def handed_out(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """Run the unchanged lesson; return its names and its printed text."""
    return played(LESSON, {}, tmp_path_factory.mktemp("lesson"))


@pytest.fixture
def lesson(handed_out: tuple[dict[str, Any], str]) -> dict[str, Any]:
    """Return the names of the unchanged lesson."""
    return handed_out[0]


@pytest.mark.parametrize(
    "delay_ms", [0, 250, 700, *(pytest.param(d, marks=pytest.mark.long) for d in (50, 100, 400))]
)
def test_the_gap_is_rate_times_delay(lesson: dict[str, Any], delay_ms: int) -> None:
    """The prediction follows from the text. Method: the figures of runs."""
    result = run_scenario(lesson["first_plot"], settings={"delay_ms": delay_ms})
    assert result.valid is True, result.reason
    gap = result.figures["gap"]
    assert abs(gap - lesson["RATE_PER_S"] * delay_ms / 1000) <= 1
    assert result.figures["read"] == result.figures[f"HW of {result.world.leader}"]


@each_seed
def test_the_text_holds_for_other_seeds(lesson: dict[str, Any], seed: int) -> None:
    """A student may change the seed. Method: check the statements of the text on other runs."""
    result = run_scenario(lesson["first_plot"], seed)
    assert result.valid is True, result.reason
    brokers = result.world.brokers
    leader = result.world.leader
    assert leader is not None
    late = [node for node in brokers if node != leader][-1]
    leo = {node: result.figures[f"LEO of {node}"] for node in brokers}
    hw = {node: result.figures[f"HW of {node}"] for node in brokers}
    assert abs(result.figures["gap"] - 10) <= 1
    assert hw[leader] == leo[late] == min(leo.values())
    assert 8 <= leo[late] - hw[late] <= 12
    assert all(hw[node] <= leo[node] for node in brokers)
    assert result.goals["leaders elected"] == 1
    assert result.goals["isr shrunk"] == 0


def test_the_given_rule_is_graded_as_wrong(handed_out: tuple[dict[str, Any], str]) -> None:
    """The notebook shows a helpful grade. Method: the unchanged lesson."""
    names, printed = handed_out
    assert names["passed"] is False
    assert re.search("2003 .*n1=9 n2=9 n3=4.* ISR n1 n2.* 4, .* 9: n3 .*ISR", printed)
    assert "valid: False - The high watermark" in printed
    assert "Equal digests: False" in printed


def test_the_solution_passes_and_runs_the_cluster(tmp_path: Path) -> None:
    """The exercise can be solved. Method: the lesson with a solution and a right guess."""
    changes = {STUB: SOLUTION, "my_guess = 4": "my_guess = 10"}
    names, printed = played(LESSON, changes, tmp_path)
    assert names["passed"] is True
    assert re.search("2003 .*correct", printed)
    assert re.search("10.* 10.*Correct", printed)
    assert "valid: True - no violation\nEqual digests: True\n" in printed


def test_a_wrong_rule_breaks_a_named_invariant(tmp_path: Path) -> None:
    """The extra exercise shows an invariant. Method: the rule that the text proposes."""
    _, printed = played(LESSON, {STUB: "return max(leos.values())"}, tmp_path)
    assert "valid: False - HwJustified" in printed
    assert "Equal digests: False" in printed


def test_the_solution_is_not_in_the_lesson() -> None:
    """Method: find its parts in both files."""
    for path in (LESSON, LESSON.with_suffix(".ipynb")):
        text = path.read_text(encoding="utf-8").replace(" ", "")
        assert "max(hw" not in text
        assert "foroneinisr" not in text
        assert "min(leos[" not in text


def raising(leos: dict[str, int], isr: tuple[str, ...], hw: int) -> int:
    """Raise at the first question."""
    return leos["n9"]


WRONG: dict[str, tuple[Rule, str]] = {
    "the boldest": (
        lambda leos, isr, hw: max(leos.values()),
        " 5, .* 3: n2 .*ISR",
    ),
    "the second of the ISR": (
        lambda leos, isr, hw: max(hw, sorted(leos[n] for n in isr)[-min(2, len(isr))]),
        " 4, .* 3: n2 .*ISR",
    ),
    "all replicas": (
        lambda leos, isr, hw: max(hw, min(leos.values())),
        " 4, .* 9: n3 .* not .*ISR",
    ),
    "back": (
        lambda leos, isr, hw: min(leos[n] for n in isr),
        " 4, .* 5: .*decrease",
    ),
    "never": (
        lambda leos, isr, hw: hw,
        " 0, .* 3: every replica",
    ),
    "one too few": (
        lambda leos, isr, hw: max(hw, min(leos[n] for n in isr) - 1),
        " 2, .* 3: every replica",
    ),
    "the first of the ISR": (
        lambda leos, isr, hw: max(hw, leos[isr[0]]),
        " 5, .* 3: n2 .*ISR",
    ),
    "nothing": (
        lambda leos, isr, hw: None,
        "None, .*integer",
    ),
    "truth": (lambda leos, isr, hw: True, "True, .*integer"),
    "text": (lambda leos, isr, hw: "3", "'3', .*integer"),
    "raises": (raising, "KeyError: 'n9'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_rule_gets_its_reason(
    lesson: dict[str, Any], capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Method: grade rules with likely mistakes."""
    rule, pattern = WRONG[name]
    assert lesson["grade"](rule) is False
    printed = capsys.readouterr().out
    assert re.search(pattern, printed)
    assert printed.count("\n") == 1


def test_a_rule_may_change_its_arguments(lesson: dict[str, Any]) -> None:
    """The grader's own numbers are safe. Method: a right rule that empties its arguments."""

    def greedy(leos: dict[str, int], isr: tuple[str, ...], hw: int) -> int:
        lowest = min(leos[node] for node in isr)
        leos.clear()
        return max(hw, lowest)

    assert lesson["grade"](greedy) is True


def test_the_questions_cover_each_mistake(lesson: dict[str, Any]) -> None:
    """No mistake passes by chance. Method: count the cases for each one."""
    asked = list(lesson["cases"]())
    assert asked == list(lesson["cases"]())
    assert len(asked) == 2003
    outside = [q for q in asked if min(q[0].values()) < min(q[0][node] for node in q[1])]
    back = [q for q in asked if q[2] > min(q[0][node] for node in q[1])]
    alone = [q for q in asked if len(q[1]) == 1]
    assert min(len(outside), len(back), len(alone)) > 300
