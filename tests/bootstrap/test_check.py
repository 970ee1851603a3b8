"""The commands of `./yak test`, with stand-ins for the tools."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bootstrap.project import Project, quick_project


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a tiny project that is set up for `test`."""
    project = quick_project(tmp_path_factory.mktemp("checked") / "project")
    assert project.start("test").returncode == 0
    return project


def test_ruff_and_mypy_run_before_pytest(checked: Project, tmp_path: Path) -> None:
    """pytest gets the words, from any folder; --all alone measures the coverage too."""
    whole = ("--all", "-m  --cov=yak_core --timeout=600")
    for words, end in (("tests/core -k a",) * 2, ("-x --all", "-m  -x"), whole):
        done = checked.start("test", *words.split(), cwd=tmp_path)
        assert done.returncode == 0
        ruff, mypy, last = done.stdout.splitlines()
        assert (ruff, mypy) == ("ruff check .", "mypy")
        assert last.startswith("pytest -n ")
        assert last.endswith(f" --dist worksteal {end}")
        shown = [line for line in done.stderr.splitlines() if line.startswith("yak: + ")]
        assert [line.split(" -m ")[1].split()[0] for line in shown] == ["ruff", "mypy", "pytest"]


@pytest.mark.parametrize("tools", [["ruff", "mypy"], ["pytest"]])
def test_a_failed_check_fails_the_command(
    tools: list[str], checked: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ruff and mypy both run before the command stops; the exit code of pytest is returned."""
    monkeypatch.setenv("FAILING", " ".join(tools))
    done = checked.start("test")
    assert done.returncode == 1
    assert [line.split()[0] for line in done.stdout.splitlines()][:2] == ["ruff", "mypy"]
    stopped = f"{' and '.join(tools)} failed" in done.stderr.splitlines()[-1]
    assert stopped == ("pytest" not in done.stdout)
    assert ("pytest" in done.stdout) == (tools == ["pytest"])
