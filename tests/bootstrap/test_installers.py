"""The wrapper on hosts that lack this or that; must never install into the host."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from tests import require
from tests.bootstrap.project import Project, make_host
from tests.tidy.tree import ROOT


def script(path: Path, text: str) -> Path:
    """An executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def listing(folder: Path) -> list[str]:
    """Every path below a folder, but for what compiling leaves."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    return sorted(path for path in found if "__pycache__" not in path)


def test_the_first_start_shows_each_command_and_passes_the_words(project: Project) -> None:
    """A newcomer sees what happens; method: start a tiny project with odd words."""
    done = project.start("demo", "--input", "a b", "", "*", "--")
    assert done.returncode == 0, done.stderr
    assert '"argv": ["yak", "demo", "--input", "a b", "", "*", "--"]' in done.stdout
    assert done.stdout.count("\n") == 1, "stdout belongs to the command"
    for words in ("-m venv --without-pip", "-m pip --python", "--editable . --constraint"):
        assert words in done.stderr
    assert "--break-system-packages" not in (ROOT / "yak").read_text()
    assert list((project.venv / "lib").glob("*/site-packages/pip")) == []


def test_exit_code_folder_and_environment_are_the_commands_own(
    quick: Project, tmp_path: Path
) -> None:
    """The wrapper leaves no trace in what it starts; method: look from inside."""
    report = quick.report("sim", cwd=tmp_path)
    env = report["env"]
    assert isinstance(env, dict)
    assert report["cwd"] == str(tmp_path)
    assert report["prefix"] == str(quick.venv)
    assert env["MPLCONFIGDIR"] == str(quick.venv / "matplotlib")
    assert "YAK_RESTARTED" not in env
    path = report["path"]
    assert isinstance(path, list)
    assert not {"", str(tmp_path)} & set(path), "a module of this folder could be taken for ours"
    assert quick.start("fail").returncode == 7


def test_any_folder_name_will_do(tmp_path: Path, host: str) -> None:
    """A path with spaces works; method: a folder with more than that in its name."""
    project = Project(tmp_path / "a path with spaces, 'quotes\", $HOME and grün", host)
    assert project.report()["prefix"] == str(project.venv)


def test_a_host_without_ensurepip(tmp_path: Path) -> None:
    """Debian without python3-venv works through its pip; method: a host without the module."""
    project = Project(tmp_path / "p", make_host(tmp_path / "host", without=("ensurepip",)))
    assert project.report()["prefix"] == str(project.venv)


@pytest.mark.long
def test_a_host_without_pip(tmp_path: Path) -> None:
    """ensurepip serves where pip is missing; method: a host without pip."""
    project = Project(tmp_path / "p", make_host(tmp_path / "host", without=("pip",)))
    project.env["PATH"] = "/nowhere"
    done = project.start()
    assert done.returncode == 0, done.stderr
    assert "-m ensurepip" in done.stderr


def test_an_externally_managed_host(tmp_path: Path) -> None:
    """PEP 668 is respected: nothing goes into the host; method: compare its files."""
    folder = tmp_path / "host"
    project = Project(tmp_path / "p", make_host(folder, managed=True))
    before = listing(folder)
    assert project.report()["prefix"] == str(project.venv)
    assert listing(folder) == before


@pytest.mark.parametrize("without", [("pip", "ensurepip"), ("venv",), ("venv", "pip")])
def test_a_host_with_nothing_is_told_what_to_install(
    without: tuple[str, ...], tmp_path: Path
) -> None:
    """One sentence names the package; method: a host that cannot install."""
    project = Project(tmp_path / "p", make_host(tmp_path / "host", without=without))
    project.env["PATH"] = "/nowhere"
    done = project.start("demo")
    assert done.returncode == 2
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert "install the package python3-venv" in line
    assert not project.venv.exists()


def test_uv_that_fails_gives_way_to_pip_once(project: Project, tmp_path: Path) -> None:
    """uv reads none of pip's settings, so pip gets a chance; method: a uv that cannot install."""
    uv = script(tmp_path / "uv", 'echo "$@" >> "$0.log"\n[ "$1" = --version ] && echo uv 1.0')
    project.env["YAK_UV"] = str(uv)
    done = project.start()
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("uv failed: trying pip") == 1
    tries = (tmp_path / "uv.log").read_text().splitlines()
    assert sum(line.startswith("pip install") for line in tries) == 1


def test_settings_that_would_mislead_pip_are_kept_from_it(
    project: Project, tmp_path: Path
) -> None:
    """An install always goes into .venv; method: settings that send it elsewhere."""
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "yak").mkdir(parents=True)
    project.env |= {"PIP_TARGET": str(elsewhere), "PIP_USER": "1", "PYTHONPATH": str(elsewhere)}
    assert project.report()["prefix"] == str(project.venv)
    assert listing(elsewhere) == ["yak"]


def test_only_caches_are_written_outside(project: Project, tmp_path: Path) -> None:
    """The home folder stays as it is but for caches; method: an empty home."""
    # pip asks any rustc on the PATH for its version, and some of those write settings.
    project.env["PATH"] = "/usr/bin:/bin"
    project.report("demo")
    assert project.start("test").returncode == 0
    written = [path for path in listing(project.home) if not path.startswith((".cache", "Library"))]
    assert written == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["project", "project-home"]


def test_a_home_that_cannot_be_written(project: Project, tmp_path: Path) -> None:
    """No cache, no matter; method: a home below a file."""
    (tmp_path / "file").write_text("")
    project.env["HOME"] = str(tmp_path / "file" / "home")
    assert project.start().returncode == 0


def test_a_home_on_a_read_only_mount(project: Project) -> None:
    """The same for whom permissions do not bind; method: a mount of this one start."""
    unshare = require.executable("mountns", "unshare")
    mount = 'mount -t tmpfs -o ro none "$HOME" && exec "$@"'
    prefix = (unshare, "--mount", "sh", "-c", mount, "sh")
    if os.geteuid() != 0:
        require.missing("mountns", "only root may mount")
    done = project.start(prefix=prefix)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr.lower()


def test_the_wrapper_can_be_started_by_its_name(project: Project) -> None:
    """`./yak` works; method: see that it may be executed and names no fixed Python."""
    path = project.folder / "yak"
    assert path.stat().st_mode & stat.S_IXUSR
    assert path.read_text().startswith("#!/usr/bin/env python3\n")
    assert sys.version_info >= (3, 11)
