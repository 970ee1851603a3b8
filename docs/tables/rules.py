"""The tables of the protocol's rules: decisions, flaws, golden scripts."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Final, NamedTuple

from docs.table_text import BY_ENTRY, RULE_TITLES, UNNUMBERED
from docs.tables.markdown import code, plain, sentence, table
from docs.tables.sources import ROOT, core_sources
from yak_core import rules

GOLDEN: Final = ROOT / "tests" / "golden" / "scripts"
NUMBER: Final = re.compile(r"\bF\d\d\b")


class Golden(NamedTuple):
    """A golden script: its name, and the rule and the flaws that its first line names."""

    name: str
    rule: str
    flaws: tuple[str, ...]


def goldens() -> list[Golden]:
    """Return the golden scripts by name; the first line of each is like ``# R3 (F10): ...``."""
    found = []
    for path in sorted(GOLDEN.glob("*.golden")):
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        match = re.match(r"# (R\d+)\b([^:]*)", first)
        if match is not None:
            numbers = tuple(NUMBER.findall(match.group(2)))
            found.append(Golden(path.stem, match.group(1), numbers))
    return found


def decisions() -> list[tuple[str, str, str]]:
    """Return (rule, entry, docstring) of each entry of ``Rules``, in the order of the rules."""
    found = []
    for entry in dataclasses.fields(rules.Rules):
        doc = inspect.getdoc(getattr(rules, entry.name)) or ""
        rule, _, rest = doc.partition(": ")
        assert rule in RULE_TITLES, f"the docstring of rules.{entry.name} begins with no rule"
        found.append((rule, entry.name, rest))
    return sorted(found, key=lambda item: int(item[0][1:]))


def flaws() -> dict[str, tuple[str, str]]:
    """Return the schedule and source of each flaw by its number, from docs/flaws.md."""
    text = (ROOT / "docs" / "flaws.md").read_text(encoding="utf-8")
    rows = re.finditer(r"^\| (F\d\d) \| (.+) \| (.+) \|$", text, re.MULTILINE)
    return {match[1]: (match[2], match[3]) for match in rows}


def flaw_numbers(entry: str, doc: str) -> tuple[str, ...]:
    """Return the numbers of the flaws that an entry of ``Rules`` prevents, each once."""
    return tuple(dict.fromkeys([*NUMBER.findall(doc), *BY_ENTRY.get(entry, ())]))


def stopped(entry: str, doc: str) -> str:
    """Return the table cell with the flaws that an entry of ``Rules`` prevents."""
    known = flaws()
    lines = [said(number, *known[number]) for number in flaw_numbers(entry, doc)]
    if entry in UNNUMBERED:
        lines.append(said("", *UNNUMBERED[entry]))
    return "<br>".join(lines)


def said(number: str, schedule: str, source: str) -> str:
    """Return the text of one flaw for a table cell."""
    return f"{f'**{number}** ' if number else ''}{schedule} *({source})*"


def shown_by(rule: str, numbers: tuple[str, ...], is_first: bool) -> list[str]:
    """Return the golden scripts of a row: those of its flaws.

    The first row of a rule also has the scripts whose flaws belong to no entry.
    """
    of_rule = [golden for golden in goldens() if golden.rule == rule]
    claimed = {n for r, e, doc in decisions() if r == rule for n in flaw_numbers(e, doc)}
    return [
        golden.name
        for golden in of_rule
        if any(n in numbers for n in golden.flaws)
        or (is_first and not any(n in claimed for n in golden.flaws))
    ]


def rule_table() -> str:
    """Return a row for each replaceable decision, by rule."""
    rows = []
    seen: dict[str, None] = {}
    for rule, entry, doc in decisions():
        names = shown_by(rule, flaw_numbers(entry, doc), rule not in seen)
        seen[rule] = None
        links = "<br>".join(f"[{n}](../tests/golden/scripts/{n}.golden)" for n in names)
        rows.append((rule, code(entry), sentence(plain(doc)), stopped(entry, doc), links))
    rows += [(rule, "", "No entry.", "", "") for rule in RULE_TITLES if rule not in seen]
    rows.sort(key=lambda cells: int(cells[0][1:]))
    titles = ("rule", "entry of `Rules`", "what it says", "what happens without it", "golden")
    named = ((f"**{rule}** {RULE_TITLES[rule]}", *rest) for rule, *rest in rows)
    return table(titles, named)


def other_flaws() -> str:
    """Return the flaws that only modules other than rules.py name, with these modules."""
    in_rules = {n for _, entry, doc in decisions() for n in flaw_numbers(entry, doc)}
    known = flaws()
    where: dict[str, list[str]] = {}
    for name, text in core_sources().items():
        for number in dict.fromkeys(NUMBER.findall(text)):
            where.setdefault(number, []).append(name)
    return table(
        ("flaw", "what happens", "named in"),
        (
            (number, said("", *known[number]), ", ".join(map(code, where[number])))
            for number in sorted(where)
            if number not in in_rules
        ),
    )
