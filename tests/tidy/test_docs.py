"""The pages in docs/ say what the code says: generated tables, links, files, flaws.

The last tests show that the first ones would notice.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import pytest

from docs import generate
from docs.table_text import (
    BY_ENTRY,
    ERROR_MEANINGS,
    KAFKA_NAMES,
    RULE_TITLES,
    UNDOCUMENTED,
    UNNUMBERED,
)
from docs.tables import invariants, states, values
from docs.tables import rules as rule_tables
from docs.tables import sources as read
from tests.tidy.tree import ROOT, sources
from yak_core import config, errors, rules
from yak_core.invariants import RULES

PAGES = generate.pages()
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
SPOKEN_OF = re.compile(
    r"`((?:yak_core|yak_sim|docs|scenarios|tests)/[\w/.-]+\.(?:py|md|golden|txt))`"
)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def slug(heading: str) -> str:
    """The anchor that a heading gets on the usual sites."""
    words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", words).replace(" ", "-")


def anchors(text: str) -> set[str]:
    return {slug(line.lstrip("#")) for line in FENCE.sub("", text).splitlines() if line[:1] == "#"}


def broken_links(folder: Path, text: str) -> Iterator[str]:
    """The relative links of a page that lead nowhere, or out of the project."""
    for link in LINK.findall(FENCE.sub("", text)):
        path, _, anchor = link.partition("#")
        if not re.match(r"[a-z]+:", link) and not _leads_to(folder, path, anchor, text):
            yield link


def _leads_to(folder: Path, path: str, anchor: str, text: str) -> bool:
    target = (folder / path).resolve()
    if path and not (target.exists() and target.is_relative_to(ROOT)):
        return False
    return not anchor or anchor in anchors(target.read_text("utf-8") if path else text)


def missing_files(text: str) -> list[str]:
    """The files of the project that a page speaks of and that are not there."""
    return [path for path in SPOKEN_OF.findall(text) if not (ROOT / path).exists()]


# The gallery runs all scenarios, whose digests the commit tier compares.
SLOW = "docs/scenario-gallery.md"


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.long] if name(page) == SLOW else [], id=name(page))
        for page in generate.pages()
    ],
)
def test_generated_tables_are_what_the_code_says(page: Path) -> None:
    """No table is stale; method: write each anew and compare."""
    stale = generate.stale(name(page), page.read_text("utf-8"))
    assert not stale, f"run `python docs/generate.py`: {stale}"


def test_every_block_is_shown() -> None:
    """No generator is forgotten, no block is unknown; method: collect the names of all pages."""
    shown = {n for page in generate.pages() for n in generate.names_in(page.read_text("utf-8"))}
    assert shown == set(generate.BLOCKS)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_and_files_exist(page: Path) -> None:
    """Whoever follows a page gets somewhere; method: resolve links, anchors and file names."""
    text = page.read_text("utf-8")
    assert list(broken_links(page.parent, text)) == []
    assert missing_files(text) == []


def test_every_named_flaw_has_its_schedule() -> None:
    """A number in a comment means something; method: look up each number in the tree."""
    places = {
        number: source.name
        for source in sources()
        if source.top in {"yak_core", "yak_sim", "scenarios", "docs", "tests"}
        and source.name.endswith((".py", ".golden", ".md"))
        for number in rule_tables.NUMBER.findall(source.text)
    }
    known = rule_tables.flaws()
    assert list(known) == sorted(known)
    unknown = {number: place for number, place in places.items() if number not in known}
    assert unknown == {}
    assert len(places) > 40


def test_every_rule_says_what_it_stops() -> None:
    """No row of the table lacks a part; method: each entry names a flaw, each rule has a row."""
    decisions = rule_tables.decisions()
    assert sorted(entry for _, entry, _ in decisions) == sorted(
        field.name for field in dataclasses.fields(rules.Rules)
    )
    for _, entry, doc in decisions:
        assert rule_tables.stopped(entry, doc), entry
    table = rule_tables.rule_table()
    for number in range(18):
        assert f"| **R{number}** {RULE_TITLES[f'R{number}']} |" in table
    entries = {entry for _, entry, _ in decisions}
    assert set(BY_ENTRY) | set(UNNUMBERED) <= entries


def test_every_golden_script_is_in_the_table() -> None:
    """A script about a rule can be found from the rule; method: look for each name."""
    table = rule_tables.rule_table()
    ours = [golden for golden in rule_tables.goldens() if golden.rule in RULE_TITLES]
    assert ours
    assert [golden.name for golden in ours if f"scripts/{golden.name}.golden)" not in table] == []


def test_every_invariant_has_a_sentence_and_a_checker() -> None:
    """Each row of the table is complete; method: read its parts."""
    for name, modules in invariants.checked_in().items():
        assert modules, name
        assert re.fullmatch(r"[A-Z].*\.", invariants.split(RULES[name])[1]), name


def test_the_rules_of_an_invariant_are_split_off() -> None:
    """Only numbers of rules are taken as such; method: a sample with rules, one without."""
    assert invariants.split("R3 and R4: no step counts.") == (("R3", "R4"), "No step counts.")
    assert invariants.split("Flushed: still there.") == ((), "Flushed: still there.")


CONFIGS = (config.BrokerConfig, config.ProducerConfig, config.ConsumerConfig)


def test_every_error_code_has_a_meaning() -> None:
    assert [*ERROR_MEANINGS] == [error.name for error in errors.ErrorCode if error]


def test_no_word_is_left_of_what_the_code_no_longer_has() -> None:
    """Hand-written words fit the settings; method: compare their names, and look for doubles."""
    owners = Counter(field.name for one in CONFIGS for field in dataclasses.fields(one))
    assert set(owners) >= {*KAFKA_NAMES, *UNDOCUMENTED}
    documented = Counter(name for one in CONFIGS for name in read.attribute_docs(one))
    assert [name for name in UNDOCUMENTED if owners[name] <= documented[name]] == []


# That the tests above would notice.


def test_a_changed_table_is_stale() -> None:
    """One changed figure is enough; method: change the lease on a copy of the page."""
    page = ROOT / "docs" / "protocol.md"
    text = page.read_text("utf-8")
    changed = text.replace("| `lease_us` | 3 s |", "| `lease_us` | 4 s |")
    assert changed != text
    assert generate.stale("protocol.md", changed) == [("protocol.md", "broker-settings")]
    assert generate.regenerated(changed) == text


def test_words_around_a_table_stay() -> None:
    """Only tables are written; method: regenerate a page of one emptied table and prose."""
    before = "Above.\n\n<!-- generated: fixed-limits -->\n<!-- end: fixed-limits -->\n\nBelow.\n"
    after = generate.regenerated(before)
    assert after.startswith("Above.\n\n<!-- generated: fixed-limits -->\n")
    assert after.endswith("<!-- end: fixed-limits -->\n\nBelow.\n")
    assert values.fixed() in after


def test_a_lost_marker_is_noticed() -> None:
    """A table without its end would never be compared; method: take one marker away."""
    with pytest.raises(ValueError, match="one lacks its partner"):
        generate.names_in("<!-- generated: rules -->\n")


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("[a](protocol.md)", []),
        ("[a](protocol.md#the-rules)", []),
        ("## A `b` c\n[a](#a-b-c)", []),
        ("[a](https://example.org/none)", []),
        ("```\n[a](none.md)\n```", []),
        ("![a](images/failover.svg)", []),
        ("[a](none.md)", ["none.md"]),
        ("![a](images/none.svg)", ["images/none.svg"]),
        ("[a](protocol.md#none)", ["protocol.md#none"]),
        ("[a](#none)", ["#none"]),
        ("[a](../../outside.md)", ["../../outside.md"]),
    ],
)
def test_a_broken_link_is_noticed(text: str, broken: list[str]) -> None:
    """Links into nothing are found and others are not; method: one sample each."""
    assert list(broken_links(ROOT / "docs", text)) == broken


def test_a_missing_file_is_noticed() -> None:
    """A page cannot speak of a file that is gone; method: one that is there, one that is not."""
    assert missing_files("`yak_core/rules.py` and `yak_core/none.py`") == ["yak_core/none.py"]


@pytest.mark.long
def test_the_command_writes_nothing_when_it_checks(capsys: pytest.CaptureFixture[str]) -> None:
    """``--check`` reports by its exit code; method: run it, and compare all pages."""
    before = {page: page.read_bytes() for page in generate.pages()}
    assert (generate.main(["--check"]), capsys.readouterr().out) == (0, "")
    assert {page: page.read_bytes() for page in generate.pages()} == before


def test_the_command_refuses_other_words(capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong word writes nothing, and is not taken for no word."""
    assert generate.main(["--chekc"]) == 2
    assert capsys.readouterr().err.startswith("usage: ")


def test_a_state_diagram_has_every_transition_of_its_table() -> None:
    """Only the table is drawn, with start and end; method: three states, one of them final."""
    table = {Sample.NEW: (Sample.OPEN,), Sample.OPEN: (Sample.CLOSED,), Sample.CLOSED: ()}
    drawn = states.diagram(Sample, table)
    arrows = re.findall(r"    (\S+) --> (\S+)\n", drawn)
    assert arrows == [("[*]", "new"), ("new", "open"), ("open", "closed"), ("closed", "[*]")]
    assert "| `open` | Usable. |" in drawn


class Sample(StrEnum):
    NEW = "new"
    """Not opened yet."""
    OPEN = "open"
    """Usable."""
    CLOSED = "closed"
    """At the end."""
