"""The tables of the invariants and of the claims of a run, and an example of a violation."""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Iterable, Iterator
from typing import Final

from docs.tables.markdown import code, plain, sentence, table
from docs.tables.rules import NUMBER
from docs.tables.sources import ROOT
from scenarios.leader_failover import leader_failover
from tests.mutants import MUTANTS, PRODUCER_MUTANTS
from yak_core.invariants import RULES
from yak_sim.run.scenario import run_scenario
from yak_sim.world.expect import Expect

EXAMPLE: Final = "truncate by HW"
"""The mutant of the example; its followers truncate to their high watermark."""

CHECKERS: Final = ROOT / "yak_core" / "invariants"
KEYS: Final = re.compile(r"(?P<keys>[A-Z][A-Z0-9, and\-]*): ")
RULE: Final = re.compile(r"(?<![\w-])R\d+\b")


def split(text: str) -> tuple[tuple[str, ...], str]:
    """Return the numbers of the rules at the beginning of a description, and the sentence."""
    keys = KEYS.match(text)
    if keys is None:
        return (), sentence(text)
    return tuple(RULE.findall(keys["keys"])), sentence(text[keys.end() :])


def checked_in() -> dict[str, list[str]]:
    """Return the modules of yak_core/invariants that check each invariant."""
    places: dict[str, list[str]] = {name: [] for name in RULES}
    for path in sorted(CHECKERS.glob("*.py")):
        if path.name == "violation.py":
            continue
        for name in dict.fromkeys(_strings(path.read_text(encoding="utf-8"))):
            if name in places:
                places[name].append(path.name)
    return places


def _strings(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Constant(value=str(value)):
                yield value


def guarded_by(name: str) -> list[str]:
    """Return the mutants that an invariant detects."""
    broken = [(title, mutant.invariants) for title, mutant in MUTANTS.items()]
    broken += [(title, mutant.caught_by) for title, mutant in PRODUCER_MUTANTS.items()]
    return [title for title, names in broken if name in names]


def flaws_of(name: str) -> list[str]:
    """Return the flaws in the description of an invariant and of the mutants that it detects."""
    found = [*NUMBER.findall(RULES[name])]
    for title in guarded_by(name):
        found += (MUTANTS.get(title) or PRODUCER_MUTANTS[title]).flaws
    return sorted(set(found))


def invariant_table() -> str:
    """Return a row for each invariant, in the order of the rules."""
    places = checked_in()
    rows = []
    for name, text in RULES.items():
        rules, said = split(text)
        rows.append(
            (
                code(name),
                said,
                ", ".join(rules),
                ", ".join(flaws_of(name)),
                ", ".join(_link(file) for file in places[name]),
                _lines(guarded_by(name)),
            )
        )
    titles = ("invariant", "what it says", "rules", "flaws", "checked in", "mutants")
    return table(titles, rows)


def _link(file: str) -> str:
    return f"[{file}](../yak_core/invariants/{file})"


def _lines(texts: Iterable[str]) -> str:
    return "<br>".join(texts)


def example() -> str:
    """Return how a violation looks: the message of a run, and its fields in verdict.json."""
    result = run_scenario(leader_failover, 7, rules=MUTANTS[EXAMPLE].variant)
    (violation,) = result.violations
    message = textwrap.fill(
        str(result.error), 96, break_long_words=False, break_on_hyphens=False
    )
    fields = json.dumps(violation, indent=2)
    return f"```\n{message}\n```\n\n```json\n{fields}\n```\n"


def claims() -> str:
    """Return a row for each claim that a scenario can make about its run."""
    rows = []
    for name, method in vars(Expect).items():
        if inspect.isfunction(method) and not name.startswith("_"):
            rows.append((code(f"world.expect.{name}"), plain(method.__doc__)))
    return table(("claim", "what it checks"), rows)


