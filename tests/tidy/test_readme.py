"""README is true: the output it shows is the demo's, and each command it names is run somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from yak_cli import main

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"<!-- demo-output -->\n```\n(.*?)```\n", re.DOTALL)

RUN_BY = {
    "./yak demo": "tests/bootstrap",
    "./yak test": "tests/bootstrap",
    "./yak sim list": "test_a_command_of_the_readme_works",
    "./yak sim run zombie_leader --seed 7": "test_a_command_of_the_readme_works",
    "./yak sim run slow_follower --seed 7 --set brokers=5": "test_a_command_of_the_readme_works",
    "./yak sim digest out/zombie_leader/7/trace.jsonl": "test_a_command_of_the_readme_works",
    ".venv/bin/python notebooks/01_first_plot.py": "tests/notebooks",
    'pip install -e ".[dev]"': "tests/bootstrap, which installs as the wrapper does",
    "python -m pytest": "this is it",
}
"""Each command in a block of README, and which test runs it."""


def test_the_output_shown_is_what_the_demo_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: nobody is shown an output that they will not see; method: run the demo, compare."""
    monkeypatch.chdir(tmp_path)
    ran = CliRunner().invoke(main, ["demo"])
    assert ran.exit_code == 0, ran.output
    shown = BLOCK.search(README)
    assert shown is not None, "README has no block after <!-- demo-output -->"
    assert shown.group(1) == ran.stdout


def test_each_command_of_the_readme_is_run_by_a_test() -> None:
    """Goal: no command rots unseen; method: compare the code blocks with the table above."""
    blocks = re.findall(r"```\n(.*?)```", BLOCK.sub("", README), re.DOTALL)
    lines = [line.split("   #")[0].strip() for block in blocks for line in block.splitlines()]
    named = [line for line in lines if line]
    assert named
    assert sorted(dict.fromkeys(named)) == sorted(RUN_BY)


def test_a_command_of_the_readme_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: the commands to play with work one after the other, as they stand there."""
    monkeypatch.chdir(tmp_path)
    mine = [line for line, test in RUN_BY.items() if test == "test_a_command_of_the_readme_works"]
    for line in mine:
        ran = CliRunner().invoke(main, line.split()[1:])
        assert ran.exit_code == 0, f"{line}: {ran.output}"
