"""What `./yak test` runs and in which order; must never run the real checks, which run this."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bootstrap.project import Project, quick_project


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory, host: str) -> Project:
    """A tiny project that is set up; its ruff, mypy and pytest print the words that they get."""
    project = quick_project(tmp_path_factory.mktemp("checked") / "project", host)
    assert project.start("test").returncode == 0
    return project


def test_static_checks_come_first_and_pytest_last(checked: Project, tmp_path: Path) -> None:
    """The last line is pytest's, from any folder; method: tools that print their words."""
    done = checked.start("test", "tests/core", "-k", "a or b", cwd=tmp_path)
    assert done.returncode == 0
    ruff, mypy, pytest_line = done.stdout.splitlines()
    assert (ruff, mypy) == ("ruff check .", "mypy")
    assert pytest_line.startswith("pytest -n ")
    assert pytest_line.endswith(" tests/core -k a or b")
    assert " -m " not in pytest_line
    shown = [line for line in done.stderr.splitlines() if line.startswith("yak: + ")]
    assert [line.split(" -m ")[1].split()[0] for line in shown] == ["ruff", "mypy", "pytest"]


def test_all_lifts_the_mark(checked: Project) -> None:
    """--all runs the long tests too; method: the words that pytest gets."""
    last = checked.start("test", "-x", "--all").stdout.splitlines()[-1]
    assert last.endswith(" -m  -x")
    assert "--all" not in last


@pytest.mark.parametrize("tools", [("ruff",), ("mypy",), ("ruff", "mypy")])
def test_a_failed_check_stops_before_pytest(tools: tuple[str, ...], checked: Project) -> None:
    """Quick checks fail early, both of them shown; method: tools that fail."""
    flags = [checked.folder / f"{tool}.fails" for tool in tools]
    for flag in flags:
        flag.write_text("")
    done = checked.start("test")
    for flag in flags:
        flag.unlink()
    assert done.returncode == 1
    assert done.stdout.splitlines() == ["ruff check .", "mypy"]
    last = done.stderr.splitlines()[-1]
    assert last == f"yak: {' and '.join(tools)} found fault, so pytest was not started"


def test_the_exit_code_is_pytests(checked: Project) -> None:
    """A failed test fails the command; method: a pytest that fails."""
    flag = checked.folder / "pytest.fails"
    flag.write_text("")
    done = checked.start("test")
    flag.unlink()
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("pytest ")
