"""Each command in README is run by a test.

tests/scenarios/test_demo_real.py compares the output that README shows with what the demo prints.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from yak_cli import main

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"<!-- demo-output -->\n```\n(.*?)```\n", re.DOTALL)
BLOCKS = re.compile(r"```\n(.*?)```", re.DOTALL)
REAL_BLOCK = re.compile(r"<!-- demo-real-output -->\n```\n(.*?)```\n", re.DOTALL)

RUN_BY = {
    "./yak demo": "tests/bootstrap",
    "./yak test": "tests/bootstrap",
    "./yak sim list": "test_a_command_of_the_readme_works",
    "./yak sim run zombie_leader --seed 7": "test_a_command_of_the_readme_works",
    "./yak sim run slow_follower --seed 7 --set brokers=5": "test_a_command_of_the_readme_works",
    "./yak sim digest out/zombie_leader/7/trace.jsonl": "test_a_command_of_the_readme_works",
    "./yak cluster up --detach": "test_the_cluster_of_the_readme_works",
    "./yak cluster status": "test_the_cluster_of_the_readme_works",
    './yak produce --message "Hello YAK"': "test_the_cluster_of_the_readme_works",
    "./yak consume --from-beginning -e": "test_the_cluster_of_the_readme_works",
    '.venv/bin/python -m yak_net.client.producer --message "Hello YAK"': "the same",
    ".venv/bin/python -m yak_net.client.consumer --from-beginning -e": "the same",
    "./yak cluster kill n1": "test_the_cluster_of_the_readme_works",
    "./yak cluster restart n1": "test_the_cluster_of_the_readme_works",
    "./yak cluster down": "test_the_cluster_of_the_readme_works",
    ".venv/bin/python notebooks/01_first_plot.py": "tests/notebooks",
    'pip install -e ".[dev]"': "tests/bootstrap, which installs as the wrapper does",
    "python -m pytest": "this is it",
}
"""Each command in a block of README, and which test runs it."""


def test_each_command_of_the_readme_is_run_by_a_test() -> None:
    """Goal: every command is tested. Method: compare the code blocks with the table above."""
    blocks = BLOCKS.findall(REAL_BLOCK.sub("", BLOCK.sub("", README)))
    lines = [line.split("   #")[0].strip() for block in blocks for line in block.splitlines()]
    named = [line for line in lines if line]
    assert named
    assert sorted(dict.fromkeys(named)) == sorted(RUN_BY)


def test_a_command_of_the_readme_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: the commands of the simulator work in their order."""
    monkeypatch.chdir(tmp_path)
    mine = [line for line, test in RUN_BY.items() if test == "test_a_command_of_the_readme_works"]
    for line in mine:
        ran = CliRunner().invoke(main, line.split()[1:])
        assert ran.exit_code == 0, f"{line}: {ran.output}"


def test_the_cluster_of_the_readme_works(tmp_path: Path) -> None:
    """Method: run the block line by line in an empty folder."""
    block = next(each for each in BLOCKS.findall(README) if each.startswith("./yak cluster up"))
    lines = [shlex.split(line) for line in block.splitlines()]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("YAK_")}
    outputs: list[str] = []
    try:
        for words in lines:
            ran = subprocess.run(
                [sys.executable, "-m", "yak_cli", *words[1:]],
                cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=90, check=False,
            )  # fmt: skip
            assert ran.returncode == 0, (words, ran.stdout, ran.stderr)
            outputs.append(ran.stdout)
            if words[1] == "produce":
                module = [sys.executable, "-m", "yak_net.client.producer", *words[2:]]
                subprocess.run(module, cwd=tmp_path, env=clean, timeout=60, check=True)
    finally:
        down = [sys.executable, "-m", "yak_cli", "cluster", "down"]
        subprocess.run(down, cwd=tmp_path, env=clean, timeout=90, check=True)
    assert outputs[3] == "Hello YAK\nHello YAK\n"
