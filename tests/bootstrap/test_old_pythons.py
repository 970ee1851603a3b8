"""The wrapper under Pythons that are too old for the project; must never depend on having them."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from tests import require
from tests.bootstrap.project import Project, quick_project
from tests.bootstrap.test_installers import script
from tests.tidy.tree import ROOT

OLD = ("2.7", "3.6", "3.10")


@pytest.fixture
def project(tmp_path: Path, host: str) -> Project:
    """A tiny project whose start finds `host` only where the test puts it."""
    project = quick_project(tmp_path / "project", host)
    project.env |= {"PYENV_ROOT": str(tmp_path / "pyenv"), "PATH": str(tmp_path / "path")}
    (tmp_path / "path").mkdir()
    return project


def test_the_wrapper_is_written_for_old_parsers() -> None:
    """Each old Python can read it; method: no syntax that came after 2.7, but for type comments."""
    tree = ast.parse((ROOT / "yak").read_text(encoding="utf-8"))
    modern = ast.AnnAssign | ast.AsyncFunctionDef | ast.JoinedStr | ast.Match | ast.NamedExpr
    modern |= ast.Nonlocal | ast.Starred | ast.YieldFrom
    for node in ast.walk(tree):
        assert not isinstance(node, modern), ast.unparse(node)
        if isinstance(node, ast.FunctionDef):
            every = [*node.args.args, *node.args.kwonlyargs, *node.args.posonlyargs]
            assert node.returns is None
            assert not node.args.kwonlyargs
            assert not node.args.posonlyargs
            assert all(argument.annotation is None for argument in every)
        if isinstance(node, ast.Raise):
            assert node.cause is None
    assert (ROOT / "yak").read_text(encoding="utf-8").isascii()


@pytest.mark.parametrize("version", OLD)
def test_an_old_python_starts_a_newer_one(version: str, project: Project, tmp_path: Path) -> None:
    """`env python3` may be too old; method: a shim that runs nothing, then one that runs."""
    new, project.python = project.python, require.python(version)
    script(tmp_path / "path" / "python3.13", 'echo "python3.13: command not found"; exit 127')
    script(tmp_path / "path" / "python3.12", "echo no Python at all")
    script(tmp_path / "path" / "python3.11", f'exec "{new}" "$@"')
    report = project.report("demo", "a b")
    assert report["argv"] == ["yak", "demo", "a b"]
    assert report["version"] == f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.mark.parametrize("version", OLD)
def test_an_old_python_alone_is_told_what_to_install(version: str, project: Project) -> None:
    """One sentence names the package; method: no newer Python anywhere."""
    project.python = require.python(version)
    done = project.start("demo")
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert f"found only {version}: install the package python3.11" in line


def test_a_python_below_pyenv_is_found(project: Project, tmp_path: Path) -> None:
    """Shims fail where pyenv names no version, but it has versions; method: a folder of one."""
    new, project.python = project.python, require.python("3.6")
    script(tmp_path / "pyenv" / "versions" / "3.11.9" / "bin" / "python3.11", f'exec "{new}" "$@"')
    assert project.start("demo").returncode == 0


def test_the_environments_own_python_comes_first(project: Project, tmp_path: Path) -> None:
    """An old Python does not make .venv anew with another; method: start, then start with 3.6."""
    assert project.start("demo").returncode == 0
    project.python = require.python("3.6")
    script(tmp_path / "path" / "python3.13", f'exec "{require.python("3.12")}" "$@"')
    done = project.start("demo")
    assert (done.returncode, done.stderr) == (0, "")
    assert project.installs == 1


def test_a_newer_python_that_turns_out_old_ends_it(project: Project, tmp_path: Path) -> None:
    """No endless chain of restarts; method: a candidate that lies about its version."""
    project.python = require.python("3.6")
    lie = f'[ "$1" = -c ] && echo True && exit; exec "{project.python}" "$@"'
    script(tmp_path / "path" / "python3.13", lie)
    done = project.start("demo")
    assert done.returncode == 2
    assert "needs Python 3.11" in done.stderr
