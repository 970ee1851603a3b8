"""Which installer the wrapper uses, and what it does when one fails."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.bootstrap.project import HOST, MADE, UPDATED, Project, script


@pytest.mark.parametrize("uv", [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_first_start_installs(uv: bool, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The arguments arrive unchanged, and settings that redirect pip have no effect."""
    project: Project = request.getfixturevalue("quick" if uv else "project")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    project.env |= {"PIP_TARGET": str(elsewhere), "PIP_USER": "1", "PYTHONPATH": str(elsewhere)}
    done = project.start("demo", "--input", "a b", "", "*", "--")
    assert done.returncode == 0, done.stderr
    assert '"argv": ["yak", "demo", "--input", "a b", "", "*", "--"]' in done.stdout
    assert done.stdout.count("\n") == 1, "stdout belongs to the command"
    for words in (MADE, "-m venv --without-pip", "--editable . --constraint requirements.lock"):
        assert words in done.stderr
    assert list(elsewhere.iterdir()) == []
    project.env["PATH"] = ""
    assert (project.start("demo").stderr, project.installs) == ("", 1)


@pytest.mark.long
def test_a_failed_install_is_retried_in_the_same_venv(quick: Project) -> None:
    """uv fails, then pip fails because of an invalid setting."""
    (quick.folder / "broken").write_text("")
    quick.env["PIP_TIMEOUT"] = "invalid"
    done = quick.start("demo")
    assert (done.returncode, done.stdout) == (2, "")
    assert "uv failed" in done.stderr
    assert "failed" in done.stderr.splitlines()[-1]
    (quick.folder / "broken").unlink()
    done = quick.start("demo")
    assert done.returncode == 0
    assert UPDATED in done.stderr


def test_no_installer_follows_a_killed_one(quick: Project, tmp_path: Path) -> None:
    """The state of .venv is unknown after a kill, so the next start makes it anew."""
    good, quick.env["YAK_UV"] = quick.env["YAK_UV"], script(tmp_path / "uv", "kill -9 $$")
    done = quick.start("demo")
    assert done.returncode == 2
    assert "uv" in done.stderr.splitlines()[-1]
    assert "-m pip" not in done.stderr
    quick.env["YAK_UV"] = good
    assert MADE in quick.start("demo").stderr


@pytest.fixture
def old_pip(project: Project, tmp_path: Path) -> Project:
    """Return a project whose host has a pip without --python, in a .venv made by hand."""
    (tmp_path / "pip.py").write_text("__version__ = '22.2.1'")
    project.env["PYTHONPATH"] = str(tmp_path)
    subprocess.run([HOST, "-m", "venv", "--without-pip", project.venv], check=True)
    return project


@pytest.mark.long
def test_ensurepip_replaces_an_old_pip(old_pip: Project) -> None:
    """A pip of its own is installed into .venv."""
    done = old_pip.start("demo")
    assert done.returncode == 0, done.stderr
    assert "-m ensurepip" in done.stderr


@pytest.mark.long
def test_without_any_installer_the_error_has_the_packages(old_pip: Project) -> None:
    """The Python of .venv cannot import ensurepip."""
    [site] = old_pip.venv.glob("lib/*/site-packages")
    (site / "hide.pth").write_text("import sys; sys.modules['ensurepip'] = None\n")
    done = old_pip.start("demo")
    assert (done.returncode, done.stdout) == (2, "")
    last = done.stderr.splitlines()[-1]
    for noun in ("pip 22.3", "ensurepip", "python3-venv"):
        assert noun in last
