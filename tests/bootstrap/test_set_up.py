"""What a start makes of the .venv that it finds."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bootstrap.project import HOST, MADE, UPDATED, Project


def test_the_command_gets_its_folder_and_its_environment(quick: Project, tmp_path: Path) -> None:
    """The command runs in .venv and in the caller's folder, and its exit code is returned."""
    report = quick.report("sim", cwd=tmp_path)
    assert (report["cwd"], report["prefix"]) == (str(tmp_path), str(quick.venv))
    assert report["plots"] == str(quick.venv / "matplotlib")
    assert not {"", str(tmp_path)} & set(report["path"]), "modules of this folder must not shadow"
    assert quick.start("fail").returncode == 7


def test_a_second_start_installs_nothing(quick: Project) -> None:
    """The second start needs no installer and no PATH."""
    assert MADE in quick.start("demo").stderr
    quick.env["PATH"] = ""
    done = quick.start("demo")
    assert (done.returncode, done.stderr, quick.installs) == (0, "", 1)


def test_the_development_tools_are_added_once(quick: Project) -> None:
    """`demo` needs fewer packages than `test`."""
    installs = []
    for word in ("demo", "test", "demo", "test"):
        assert quick.start(word).returncode == 0
        installs.append(quick.installs)
    assert installs == [1, 2, 2, 2]


def test_changed_requirements_are_installed_into_the_same_venv(quick: Project) -> None:
    """A change of either file causes one install; other files in .venv stay."""
    assert quick.start().returncode == 0
    (quick.venv / "lib" / "ours").write_text("")
    for number, name in enumerate(("pyproject.toml", "requirements.lock"), 2):
        with (quick.folder / name).open("a") as file:
            file.write("# changed\n")
        assert UPDATED in quick.start().stderr
        assert quick.installs == number
    assert (quick.venv / "lib" / "ours").exists()


@contextlib.contextmanager
def held_install(project: Project) -> Iterator[subprocess.Popen[str]]:
    """Start a project whose installer waits until the block ends."""
    gate = project.folder / "gate"
    os.mkfifo(gate)
    process = project.popen("demo")
    # Opening the pipe blocks until the installer opens the other end.
    with gate.open("w"):
        gate.unlink()
        yield process


def test_a_killed_install_is_repaired(quick: Project) -> None:
    """After SIGKILL for the wrapper and its installer, the next start makes .venv anew."""
    with held_install(quick) as process:
        (quick.venv / "lib" / "left over").write_text("")
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    done = quick.start("demo")
    assert (done.returncode, quick.installs) == (0, 2)
    assert MADE in done.stderr
    assert not (quick.venv / "lib" / "left over").exists()


@pytest.mark.parametrize("kill", [False, True])
def test_a_start_waits_for_the_installer_of_another(quick: Project, kill: bool) -> None:
    """The second start finds the work done; if the first was killed, it makes .venv anew."""
    with held_install(quick) as first:
        if kill:
            first.kill()
        second = quick.popen("demo")
        assert second.stderr is not None
        assert "waiting for another process" in second.stderr.readline()
    first.communicate()
    _, err = second.communicate()
    assert second.returncode == 0, err
    assert (MADE in err, quick.installs) == (kill, 1 + kill)


@pytest.mark.parametrize("state", ["broken", "empty", "by hand", "moved", "older", "activated"])
def test_a_venv_is_kept_only_if_it_fits(state: str, quick: Project) -> None:
    """A .venv without a stamp is kept if its Python is the right one and runs."""
    python, stamp = quick.venv / "bin" / "python", quick.venv / "yak.stamp"
    if state == "empty":
        quick.venv.mkdir()
    elif state == "by hand":
        subprocess.run([HOST, "-m", "venv", "--without-pip", quick.venv], check=True)
    else:
        assert quick.start().returncode == 0
    if state == "broken":
        python.unlink()
        python.symlink_to(quick.folder / "gone")
    elif state == "moved":
        quick.folder = quick.folder.rename(quick.folder.with_name("moved"))
    elif state == "older":
        stamp.write_text(stamp.read_text().replace("python-3", "python-2"))
    elif state == "activated":
        stamp.write_text("unfinished")
        quick.python = str(python)
    done = quick.start("demo")
    assert done.returncode == 0, done.stderr
    assert (UPDATED if state == "by hand" else MADE) in done.stderr
    assert quick.start("demo").stderr == ""
