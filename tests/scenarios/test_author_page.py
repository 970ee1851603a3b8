"""docs/scenarios.md: its scenarios run, and its table is what its command prints."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.scenarios.scenario_runs import command
from tests.tidy.tree import ROOT
from yak_sim import RunResult, load_scenario, run_scenario

PAGE = (ROOT / "docs" / "scenarios.md").read_text(encoding="utf-8")
PROGRAMS = {
    match[1]: text
    for text in re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    if (match := re.search(r"^@scenario.*?^def (\w+)", text, re.MULTILINE | re.DOTALL))
}
TABLE = re.compile(
    r"^(./yak sim sweep cost_of_min_isr.*?)\n```.*?^```text\n(.*?)^```", re.MULTILINE | re.DOTALL
)


def run(name: str, folder: Path) -> RunResult:
    """Run a scenario of the page from a file of its own."""
    file = folder / f"{name}.py"
    file.write_text(PROGRAMS[name], encoding="utf-8")
    return run_scenario(load_scenario(str(file)))


def test_the_scenarios_of_the_page_run(tmp_path: Path) -> None:
    """Goal: what an author copies works; method: run each program of the page."""
    assert sorted(PROGRAMS) == ["cost_of_min_isr", "follower_restart", "one_after_the_other"]
    for name in PROGRAMS:
        result = run(name, tmp_path)
        assert result.valid is True, result.reason


def test_the_rolling_restart_never_stops_a_broker_without_a_leader(tmp_path: Path) -> None:
    """Goal: the waits are those that a rolling restart needs; method: read the narrative."""
    lines = [str(line) for line in run("one_after_the_other", tmp_path).narrative]
    stops = [line for line in lines if "stop requested for" in line]
    assert len(stops) == 3
    assert all("[leader n" in line for line in stops)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_table_is_what_the_command_prints(tmp_path: Path) -> None:
    """Goal: the figures are true; method: run the command of the page."""
    found = TABLE.search(PAGE)
    assert found is not None
    (tmp_path / "cost_of_min_isr.py").write_text(PROGRAMS["cost_of_min_isr"], encoding="utf-8")
    done = command("-m", "yak_cli", *shlex.split(found[1].replace("\\\n", ""))[1:], folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == found[2].split()
