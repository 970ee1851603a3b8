"""Graders of exercises: what they refuse, what they print, what they compare in a cluster."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from yak_core import Rules
from yak_core.rules import follower_high_watermark
from yak_sim import Case, Script, World, grade, grade_in_cluster, scenario, seconds


def sums() -> Iterator[Case]:
    """Yield the sums of small numbers."""
    for one in range(3):
        yield Case(([one], 2), one + 2, f"With {one}", lambda answer: f"{answer} is no sum")


def by_the_protocol(numbers: list[int], other: int) -> int:
    """Give the right sum, with a call of the protocol."""
    return numbers[0] + other + follower_high_watermark(0, 0, 0, 0)


def greedy(numbers: list[int], other: int) -> int:
    """Give the right sum and change the argument."""
    return numbers.pop() + other


WRONG: dict[str, tuple[Callable[..., Any], str]] = {
    "all": (lambda numbers, other: 9, "3 of 3 .* With 0, .* 9, expected 2: 9 is no sum"),
    "one": (lambda numbers, other: 2 + min(numbers[0], 1), "1 of 3 .* With 2, .* 3, expected 4"),
    "none": (lambda numbers, other: None, "With 0, .*None, .*int"),
    "a float": (lambda numbers, other: numbers[0] + 2.0, "With 0, .*2.0, .*int"),
    "raises": (lambda numbers, other: numbers[1], "With 0, .*IndexError"),
    "the protocol": (by_the_protocol, "yak_core.rules.follower_high_watermark"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_rule_fails_with_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The first error is explained. Method: rules with one mistake each."""
    rule, pattern = WRONG[name]
    assert grade(rule, sums()) is False
    output = capsys.readouterr().out
    assert output.count("\n") == 1
    assert re.search(pattern, output)


def test_a_right_rule_passes_and_may_change_its_arguments() -> None:
    """The grader keeps its own values. Method: a rule that empties its argument."""
    before = sys.getprofile()
    assert grade(greedy, sums()) is True
    assert sys.getprofile() is before


def test_no_cases_are_an_error() -> None:
    """A grader without cases cannot pass. Method: an empty sequence."""
    with pytest.raises(ValueError, match="none"):
        grade(greedy, [])


@scenario(seed=7, brokers=3)
def short_run(world: World) -> Script:
    """A few records."""
    yield world.until_ready()
    producer = world.producer(values=5)
    yield world.until(lambda: producer.finished, within=seconds(10))
    yield world.until_converged(within=seconds(5))


DECISIONS: dict[str, tuple[Callable[..., int], bool]] = {
    "the protocol": (follower_high_watermark, True),
    "never": (lambda hw, leader, verified, leo: min(hw, 0) - 1 + leader * 0, False),
    "too high": (lambda hw, leader, verified, leo: leo + 1, False),
}


@pytest.mark.parametrize("name", DECISIONS)
def test_a_cluster_compares_each_decision(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A run can be valid by chance. Method: rules that the brokers follow."""
    decide, expected = DECISIONS[name]
    assert grade_in_cluster(short_run, "follower_high_watermark", decide) is expected
    assert " 0 of them differ" in capsys.readouterr().out or not expected


def test_a_rule_that_the_run_never_needs_does_not_pass() -> None:
    """Method: the rule on restarts, in a run without one."""
    assert grade_in_cluster(short_run, "diverged", Rules().diverged) is False


def test_an_unknown_rule_is_an_error() -> None:
    """Method: a name that Rules does not have."""
    with pytest.raises(TypeError, match="'follow'"):
        grade_in_cluster(short_run, "follow", Rules().diverged)
