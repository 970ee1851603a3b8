"""A project outside this repository finds broken rules with ``yak_sim.testing``.

Goal: the failure report alone says what happened: what the run claimed, which guarantee broke, at
which broker, after which faults, and where the run is saved.

Method: a temporary folder with a test file of its own; pytest in a process of its own, which finds
the packages by PYTHONPATH only.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT = Path(__file__).parents[2]

HEAD: Final = """
from dataclasses import replace
from hypothesis import HealthCheck, Phase, given, settings
from yak_sim.testing import Rules, assert_valid, plans, run_plan

PHASES = [Phase.generate]
SETTINGS = settings(
    max_examples=150, deadline=None, database=None, derandomize=True, phases=PHASES,
    suppress_health_check=list(HealthCheck),
)
"""

BROKEN: Final = {
    "anyone_joins_the_isr": "may_join=lambda *facts: True",
    "truncate_to_the_hw": (
        "truncation_point=lambda epochs, leo, hw, first, message: hw if first else leo"
    ),
    "hw_is_the_largest_leo": (
        "advance_high_watermark=lambda hw, committed, maximal, leos, min_isr: "
        "max(hw, *leos.values())"
    ),
}
"""The name of the test -> the broken rule."""

FIRST: Final = "hw_is_the_largest_leo"
"""The rule that every plan breaks; it is the sample of the commit tier."""


def report_of(name: str, folder: Path) -> str:
    """Run the property test of a broken rule in a project of its own; return its output."""
    test = f"{HEAD}\n@SETTINGS\n@given(plans())\ndef test_{name}(plan):\n"
    test += f"    assert_valid(run_plan(plan, rules=replace(Rules(), {BROKEN[name]})))\n"
    (folder / "test_rules.py").write_text(test, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_rules.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def check(report: str, folder: Path) -> None:
    """Check that the report has the run, the guarantee, the place, the faults and the folder."""
    lines = [re.sub(r"^E\s*", "", line) for line in report.splitlines() if line.startswith("E ")]
    told = "\n".join(lines)
    assert "RunNotValid" in told
    assert re.search(r"t=\d+\.\d+s n\d .+leader", told), "the end of the narrative"
    assert re.search(r"^rule: .+ \(step \d+ of the trace\)$", told, re.MULTILINE), told
    assert re.search(r"^failed: .+", told, re.MULTILINE), told
    saved = re.search(r"^run folder: (.+)$", told, re.MULTILINE)
    assert saved, told
    assert {path.name for path in (folder / saved[1]).iterdir()} >= {
        "trace.jsonl", "verdict.json", "watermarks.svg",
    }  # fmt: skip


@pytest.mark.long
def test_a_project_outside_finds_a_broken_rule(tmp_path: Path) -> None:
    """Method: a leader that commits what one replica has."""
    check(report_of(FIRST, tmp_path), tmp_path)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [name for name in BROKEN if name != FIRST])
def test_a_project_outside_finds_rare_broken_rules(name: str, tmp_path: Path) -> None:
    """Method: rules that break a guarantee only after some faults, which the report lists."""
    report = report_of(name, tmp_path)
    check(report, tmp_path)
    assert re.search(r"^E\s+faults:\nE\s+t=\d", report, re.MULTILINE), report
