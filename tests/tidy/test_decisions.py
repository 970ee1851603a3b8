"""The pages in docs/decisions: numbers, dates, status, sections, and a complete index."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import pytest

from tests.tidy.tree import ROOT

FOLDER = ROOT / "docs" / "decisions"
NAME = re.compile(r"(\d{4})-[a-z0-9-]+\.md")
OPENING = re.compile(
    r"# (?P<number>\d{4}): (?P<title>\S.*)\n\n"
    r"Status: (?P<status>accepted|superseded by (?P<later>\d{4}))\n\n"
    r"Date: (?P<date>\d{4}-\d{2}-\d{2})\n\n## "
)
SECTIONS = ["Context", "Decision", "Consequences", "Rejected alternatives"]
COLUMNS_MAX = 100


def faults_of(pages: dict[str, str], index: str) -> list[str]:
    """Return what is wrong with pages, by file name, and with their index."""
    faults = []
    rows = []
    dates: list[str] = []
    for position, (name, text) in enumerate(sorted(pages.items()), 1):
        opening = OPENING.match(text)
        if opening is None or NAME.fullmatch(name) is None:
            faults.append(f"{name}: wrong name or opening")
            continue
        number = opening["number"]
        if not name.startswith(f"{number}-") or int(number) != position:
            faults.append(f"{name}: number {number}, expected {position:04}")
        later = opening["later"]
        if later and not any(other.startswith(later) and other > name for other in pages):
            faults.append(f"{name}: superseded by {later}, which is not a later page")
        faults += [f"{name}: {fault}" for fault in _faults_of_body(text)]
        dates.append(opening["date"])
        link = f"[{opening['title']}]({name})"
        rows.append(f"| {number} | {opening['date']} | {link} | {opening['status']} |")
    if dates != sorted(dates):
        faults.append("the dates are not in ascending order")
    if [line for line in index.splitlines() if re.match(r"\| \d", line)] != rows:
        faults.append("the index differs from the pages; expected:\n" + "\n".join(rows))
    return faults


def _faults_of_body(text: str) -> list[str]:
    faults = []
    if re.findall(r"^## (.*)$", text, re.MULTILINE) != SECTIONS:
        faults.append(f"the sections are not {', '.join(SECTIONS)}")
    if any(not part.strip() for part in re.split(r"^## .*$", text, flags=re.MULTILINE)):
        faults.append("a section is empty")
    try:
        dt.date.fromisoformat(re.findall(r"^Date: (.*)$", text, re.MULTILINE)[0])
    except ValueError as error:
        faults.append(str(error))
    lines = [line for line in text.splitlines() if not line.startswith("|")]
    if any(len(line) > COLUMNS_MAX for line in lines):
        faults.append(f"a line has more than {COLUMNS_MAX} columns")
    return faults


def pages_of(folder: Path) -> tuple[dict[str, str], str]:
    """Return the text of each page by its name, and the index."""
    pages = {path.name: path.read_text("utf-8") for path in folder.glob("*.md")}
    return pages, pages.pop("README.md")


def test_each_decision_has_its_parts_and_is_listed() -> None:
    """Numbers have no gap, pages have date, status and sections; method: read all of them."""
    pages, index = pages_of(FOLDER)
    assert len(pages) >= 13
    assert faults_of(pages, index) == []
    assert "append-only" in index


PAGE = (
    "# 0001: Count from one\n\nStatus: accepted\n\nDate: 2026-11-22\n\n## Context\n\nA.\n\n"
    "## Decision\n\nB.\n\n## Consequences\n\nC.\n\n## Rejected alternatives\n\nD.\n"
)
ROW = "| 0001 | 2026-11-22 | [Count from one](0001-a.md) | accepted |\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0001", "0002"),
        ("accepted", "superseded by 0002"),
        ("accepted", "proposed"),
        ("2026-11-22", "2026-11-32"),
        ("Date: 2026-11-22\n\n", ""),
        ("## Rejected alternatives\n\nD.\n", ""),
        ("\nB.\n", ""),
        ("B.", "B" * 101),
        ("Count from one", "Count from zero"),
    ],
)
def test_a_wrong_page_is_noticed(old: str, new: str) -> None:
    """Each fault is found; method: change one part of a correct page."""
    assert faults_of({"0001-a.md": PAGE}, ROW) == []
    assert faults_of({"0001-a.md": PAGE.replace(old, new)}, ROW)
    assert faults_of({}, ROW)
