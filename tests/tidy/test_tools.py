"""The tools around the project: spelling, pre-commit hooks, and the workflow that calls .ci/run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests import require
from tests.tidy.tree import ROOT, sources

HIDDEN = (".github/workflows/ci.yml", ".pre-commit-config.yaml")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def spelling(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run codespell in the project's folder, with the settings of pyproject.toml."""
    require.module("codespell", "codespell_lib")
    command = [sys.executable, "-m", "codespell_lib", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def hooks() -> list[dict[str, str]]:
    """Return the pre-commit hooks."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    [repository] = config["repos"]
    assert repository["repo"] == "local"  # other repositories need the network
    found: list[dict[str, str]] = repository["hooks"]
    return found


def test_texts_are_spelled_correctly() -> None:
    """No text has a common misspelling; method: codespell over all files."""
    done = spelling(*[source.name for source in sources()], *HIDDEN)
    assert (done.returncode, done.stdout) == (0, "")


def test_a_misspelling_is_noticed(tmp_path: Path) -> None:
    """The check can fail; method: one wrong word outside the project."""
    (tmp_path / "a.md").write_text("the lead" + "re is " + "recie" + "ved\n", encoding="utf-8")
    done = spelling(tmp_path / "a.md")
    assert done.returncode != 0
    assert "received" in done.stdout


@pytest.mark.parametrize("name", ["ruff", "codespell"])
def test_a_hook_runs(name: str) -> None:
    """The hook's command works on files; method: run it, with this Python, on two files."""
    [hook] = [each for each in hooks() if each["id"] == name]
    python, *words = shlex.split(hook["entry"])
    assert (python, hook["language"]) == (".venv/bin/python", "system")
    require.module(name, words[1])
    command = [sys.executable, *words, "yak_cli.py", "yak_core/rules.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_hook_is_a_tool_of_the_extra_dev() -> None:
    """The hooks need no package of their own; method: compare their names with the extra."""
    dev = [re.split(r"[^\w-]", each)[0] for each in PROJECT["optional-dependencies"]["dev"]]
    locked = (ROOT / "requirements.lock").read_text("utf-8")
    assert hooks()
    for hook in hooks():
        assert hook["id"] in dev
        assert f"\n{hook['id']}==" in locked


def test_the_workflow_calls_the_script_with_each_python() -> None:
    """CI runs what anyone can run; method: compare the workflow with .ci/run and pyproject.toml."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))
    [job] = workflow["jobs"].values()
    pythons = job["strategy"]["matrix"]["python"]
    assert [f"Programming Language :: Python :: {each}" for each in pythons] == [
        each for each in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", each)
    ]
    assert job["env"] == {"CI_PYTHON": "python${{ matrix.python }}"}
    given = [step.get("with", {}) for step in job["steps"]]
    installed = [each["python-version"] for each in given if "python-version" in each]
    assert [each.split() for each in installed] == [pythons]
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert (ROOT / ".ci/run").stat().st_mode & 0o111
