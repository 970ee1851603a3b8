"""Graders of the exercises in the lessons: a student's rule on cases, and in a cluster.

The expected answer of a case comes from the fact that the rule states, for example from a search
over all histories, and not from the protocol's function. A rule that calls the protocol's code is
refused. In a cluster, the rule decides for the brokers, and each decision is compared with that of
the protocol.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

from yak_core.rules import Rules
from yak_sim.run.scenario import Scenario, Setting, run_scenario


@dataclass(frozen=True, slots=True)
class Case:
    """Arguments of a rule, and the expected answer.

    ``situation`` describes the arguments as the beginning of a sentence, such as "With the high
    watermark 4". ``reason`` explains the expected answer, and can depend on the wrong answer.
    """

    arguments: tuple[Any, ...]
    expected: Any
    situation: str
    reason: str | Callable[[Any], str]


def grade(rule: Callable[..., Any], cases: Iterable[Case]) -> bool:
    """Return whether a rule gives all expected answers; print the first wrong answer.

    A rule that calls a function of yak_core fails. The rule gets copies of the arguments. Raise
    ValueError if there are no cases.
    """
    first, wrong, count = "", 0, 0
    for case in cases:
        count += 1
        try:
            with _core_calls() as called:
                answer = rule(*deepcopy(case.arguments))
        except Exception as error:
            print(f"{case.situation}, your rule raised {type(error).__name__}: {error}.")
            return False
        if called:
            print(f"Your rule calls {called[0]}. Write the rule without the protocol's code.")
            return False
        if type(answer) is not type(case.expected):
            kind = type(case.expected).__name__
            print(f"{case.situation}, your rule returned {answer!r}, expected a value of {kind}.")
            return False
        if answer != case.expected:
            wrong += 1
            reason = case.reason if isinstance(case.reason, str) else case.reason(answer)
            answers = f"your rule returned {answer}, expected {case.expected}"
            first = first or f"{case.situation}, {answers}: {reason}."
    if not count:
        raise ValueError("expected at least one case, got none")
    if wrong:
        print(f"{wrong} of {count} answers are wrong. The first: {first}")
        return False
    print(f"All {count} answers are correct.")
    return True


def grade_in_cluster(
    scenario: Scenario,
    rule: str,
    decide: Callable[..., Any],
    *,
    settings: Mapping[str, Setting] | None = None,
) -> bool:
    """Run a scenario with ``decide`` as this rule of the brokers; print and return the verdict.

    ``rule`` is a field of Rules. The verdict is true if the run is valid, the brokers used the rule
    and each decision equals that of the protocol. Raise TypeError for an unknown rule.
    """
    protocol = getattr(Rules(), rule, None)
    if protocol is None:
        raise TypeError(f"unknown rule {rule!r}; expected a field of Rules")
    calls = different = 0

    def decided(*arguments: Any) -> Any:
        nonlocal calls, different
        calls += 1
        answer = decide(*arguments)
        different += answer != protocol(*arguments)
        return answer

    rules: Rules = replace(Rules(), **{rule: decided})
    result = run_scenario(scenario, settings=settings, rules=rules)
    print(f"{scenario.name}: valid: {result.valid} - {result.reason or 'no violation'}")
    print(f"  {calls} decisions by your rule, {different} of them differ from the protocol")
    return result.valid is True and calls > 0 and not different


@contextmanager
def _core_calls() -> Iterator[list[str]]:
    """Collect the names of the functions of yak_core that are called in this block."""
    called: list[str] = []

    def note(frame: FrameType, event: str, argument: object) -> None:
        module = str(frame.f_globals.get("__name__", ""))
        if event == "call" and module.partition(".")[0] == "yak_core":
            called.append(f"{module}.{frame.f_code.co_name}")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield called
    finally:
        sys.setprofile(before)
