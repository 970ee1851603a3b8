"""The wrapper under a Python that is too old for the project.

The old Python is a script that runs the wrapper under our Python with another ``sys.version_info``.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.bootstrap.project import HOST, Project, script
from tests.tidy.tree import ROOT

OLD = f"""exec '{HOST}' -c '
import runpy, sys
sys.version_info = (3, 8, 18)
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
' "$@"
"""
NEW = f"exec '{HOST}' \"$@\""


@pytest.fixture
def old(quick: Project, tmp_path: Path) -> Project:
    """Return a tiny project that an old Python starts, with empty folders of newer Pythons."""
    quick.env |= {"PYENV_ROOT": str(tmp_path / "pyenv"), "PATH": str(tmp_path / "path")}
    quick.python = script(tmp_path / "old", OLD)
    return quick


def test_the_wrapper_parses_under_python_3_8() -> None:
    """Old Pythons can read the wrapper, and the shell finds a Python for it."""
    text = (ROOT / "yak").read_text(encoding="utf-8")
    assert ast.parse(text, feature_version=(3, 8)).body
    assert text.startswith("#!/usr/bin/env python3\n")


PYENV = "pyenv/versions/3.12.9/bin/python3.12"


@pytest.mark.parametrize("place", ["path/python3.11", pytest.param(PYENV, marks=pytest.mark.long)])
def test_an_old_python_starts_a_newer_one(place: str, old: Project, tmp_path: Path) -> None:
    """Shims without a Python, which fail or print text, are passed over."""
    script(tmp_path / "path" / "python3.13", 'echo "python3.13: command not found"; exit 127')
    script(tmp_path / "path" / "python3.12", "echo no Python at all")
    script(tmp_path / place, NEW)
    assert old.report("demo", "a b")["argv"] == ["yak", "demo", "a b"]


def test_python_of_the_venv_is_preferred(old: Project, tmp_path: Path) -> None:
    """An old Python uses the .venv that exists, also if the PATH has another new Python."""
    old_python, old.python = old.python, HOST
    assert old.start("demo").returncode == 0
    old.python = old_python
    script(tmp_path / "path" / "python3.13", "echo True")
    assert old.report("demo")["prefix"] == str(old.venv)
    assert old.installs == 1


def test_old_python_alone_names_the_required_version(old: Project) -> None:
    """The error is one sentence with both versions."""
    done = old.start("demo")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    for value in ("3.11", "3.8", "install"):
        assert value in done.stderr
