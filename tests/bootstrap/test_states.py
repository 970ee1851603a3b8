"""What a start finds in .venv and makes of it; must never wait for a time, only for an event."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import require
from tests.bootstrap.project import Project, base_python
from tests.tidy.tree import ROOT

QUIET = ""
MADE = "making"
RENEWED = "bringing"
# Imports that the quick way must not pay for, and the project's own code after it would.
SLOW = ("json", "re", "shutil", "subprocess", "tempfile", "venv")


def installer_at_the_gate(project: Project) -> contextlib.AbstractContextManager[None]:
    """Until the block ends, the install that is under way waits inside the build backend."""
    gate = project.folder / "gate"

    @contextlib.contextmanager
    def wait() -> Iterator[None]:
        # Opening blocks until the backend opens the other end: it has come to the gate.
        with gate.open("w"):
            gate.unlink()
            yield

    return wait()


def close_gate(project: Project) -> None:
    """Make the next install wait."""
    os.mkfifo(project.folder / "gate")


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit code and the rest of the error output."""
    _, err = process.communicate()
    return process.returncode, err


def test_the_second_start_does_nothing(quick: Project) -> None:
    """A good stamp costs nothing; method: the second start has neither installer nor PATH."""
    assert MADE in quick.start("demo").stderr
    assert "dev" not in (quick.venv / "yak.stamp").read_text()
    quick.env["PATH"] = ""
    done = quick.start("demo")
    assert (done.returncode, done.stderr) == (0, QUIET)
    assert quick.installs == 1


def test_extras_are_added_once_and_stay(quick: Project) -> None:
    """`demo` needs less than `test`; method: demo, test, demo, test."""
    installs = []
    for word in ("demo", "test", "demo", "test"):
        assert quick.start(word).returncode == 0
        installs.append(quick.installs)
    assert installs == [1, 2, 2, 2]


def test_the_quick_way_imports_next_to_nothing(quick: Project) -> None:
    """The second start is quick; method: see what is loaded when the command takes over."""
    assert quick.start().returncode == 0
    code = (
        "import sys, os, importlib.machinery as m, importlib.util as u\n"
        f"loader = m.SourceFileLoader('wrapper', {str(quick.folder / 'yak')!r})\n"
        "before = set(sys.modules)\n"
        "wrapper = u.module_from_spec(u.spec_from_loader('wrapper', loader))\n"
        "loader.exec_module(wrapper)\n"
        "os.execve = lambda *_: print(*sorted(set(sys.modules) - before))\n"
        "wrapper.main(['demo'])\n"
    )
    done = subprocess.run(
        [quick.python, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    loaded = done.stdout.split()
    assert "hashlib" in loaded
    assert not set(SLOW) & set(loaded)


def test_a_changed_project_is_installed_on_top(quick: Project) -> None:
    """New requirements need no new .venv; method: touch each input and look for a file of ours."""
    assert quick.start().returncode == 0
    (quick.venv / "ours").write_text("")
    for number, name in enumerate(("pyproject.toml", "requirements.lock"), 2):
        with (quick.folder / name).open("a") as file:
            file.write("# changed\n")
        assert RENEWED in quick.start().stderr
        assert quick.installs == number
    assert (quick.venv / "ours").exists()


def test_an_install_killed_half_way_is_repaired(project: Project) -> None:
    """Nobody knows what half an install left, so it is made anew; method: kill all of it."""
    close_gate(project)
    process = project.popen("demo")
    with installer_at_the_gate(project):
        (project.venv / "left over").write_text("")
        os.killpg(process.pid, signal.SIGKILL)
    assert finish(process)[0] == -signal.SIGKILL
    done = project.start("demo")
    assert (done.returncode, project.installs) == (0, 2)
    assert "its last install was cut off" in done.stderr
    assert not (project.venv / "left over").exists()
    assert project.start("demo").stderr == QUIET


def test_an_installer_that_outlives_its_wrapper_is_waited_for(project: Project) -> None:
    """Two installers never work at once; method: kill the wrapper alone, start another."""
    close_gate(project)
    first = project.popen("demo")
    with installer_at_the_gate(project):
        first.kill()
        second = project.popen("demo")
        assert second.stderr is not None
        assert "waiting for it" in second.stderr.readline()
    # The installer of the first still holds its end of the pipe: read it only now.
    assert finish(first)[0] == -signal.SIGKILL
    code, err = finish(second)
    assert (code, project.installs) == (0, 2), err
    assert "its last install was cut off" in err


def test_two_starts_at_once_install_once(quick: Project) -> None:
    """The second waits, says so, and finds the work done; method: hold the first at the gate."""
    close_gate(quick)
    first = quick.popen("demo")
    with installer_at_the_gate(quick):
        second = quick.popen("demo")
        assert second.stderr is not None
        assert "waiting for it" in second.stderr.readline()
    assert finish(first)[0] == 0
    assert finish(second) == (0, QUIET)
    assert quick.installs == 1


def test_an_install_that_fails_by_itself_is_tried_again_on_top(quick: Project) -> None:
    """A lost network costs no .venv; method: a backend that breaks, then one that works."""
    (quick.folder / "broken").write_text("")
    done = quick.start("demo")
    assert (done.returncode, done.stdout) == (2, "")
    assert "yak: the install failed (see above); the next start tries again" in done.stderr
    (quick.folder / "broken").unlink()
    done = quick.start("demo")
    assert done.returncode == 0
    assert RENEWED in done.stderr


def test_an_environment_made_by_hand_is_taken_over(quick: Project) -> None:
    """A reader's own .venv is kept; method: make one, with a file in it."""
    subprocess.run([quick.python, "-m", "venv", "--without-pip", quick.venv], check=True)
    (quick.venv / "ours").write_text("")
    done = quick.start("demo")
    assert done.returncode == 0
    assert RENEWED in done.stderr
    assert (quick.venv / "ours").exists()


@pytest.mark.parametrize("kind", ["dangling", "empty", "file", "link"])
def test_a_broken_environment_is_made_anew(kind: str, quick: Project, tmp_path: Path) -> None:
    """What does not run is replaced; method: four things that are no environment."""
    if kind == "dangling":
        (quick.venv / "bin").mkdir(parents=True)
        (quick.venv / "bin" / "python").symlink_to(tmp_path / "gone")
    elif kind == "empty":
        quick.venv.mkdir()
    elif kind == "file":
        quick.venv.write_text("")
    else:
        quick.venv.symlink_to(tmp_path / "gone")
    done = quick.start("demo")
    assert done.returncode == 0, done.stderr
    assert MADE in done.stderr


def test_a_moved_folder_is_set_up_again(quick: Project, tmp_path: Path) -> None:
    """An environment knows its place; method: rename the folder."""
    assert quick.start("demo").returncode == 0
    moved = quick.folder.rename(tmp_path / "moved")
    quick.folder = moved
    done = quick.start("demo")
    assert done.returncode == 0
    assert "it was made in another place" in done.stderr


def test_another_python_gets_another_environment(quick: Project) -> None:
    """Whoever names a Python gets it; method: start with two versions in turn."""
    other = require.python("3.12")
    assert quick.start("demo").returncode == 0
    quick.python = other
    report = quick.report("demo")
    assert report["version"] == "3.12"


def test_a_start_from_within_the_environment(quick: Project) -> None:
    """With .venv activated, `env python3` is .venv's; method: start with it, quick and slow."""
    assert quick.start("demo").returncode == 0
    quick.python = str(quick.venv / "bin" / "python")
    assert quick.start("demo").stderr == QUIET
    (quick.venv / "yak.stamp").write_text("state=unfinished\n")
    done = quick.start("demo")
    assert done.returncode == 0, done.stderr
    assert MADE in done.stderr


def test_git_sees_nothing_of_it(quick: Project) -> None:
    """A clone stays clean; method: `git status` after demo and test."""
    git = ["git", "-C", str(quick.folder), "-c", "user.name=t", "-c", "user.email=t@t"]
    shutil.copy(ROOT / ".gitignore", quick.folder)
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "--quiet", "--no-verify", "-m", "all"], check=True)
    assert quick.start("demo").returncode == 0
    assert quick.start("test").returncode == 0
    status = subprocess.run([*git, "status", "--porcelain"], capture_output=True, check=True)
    assert status.stdout == b""


def test_the_tests_own_python_is_found() -> None:
    """The helpers start from the Python below .venv; method: look where it is."""
    assert not base_python().startswith(str(ROOT))
