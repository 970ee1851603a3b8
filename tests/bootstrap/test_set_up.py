"""What a start makes of the .venv that it finds."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bootstrap.project import HOST, MADE, UPDATED, Project, quick_project

LONG = pytest.mark.long


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a tiny project that is set up for `demo`, and again after each test."""
    project = quick_project(tmp_path_factory.mktemp("shared") / "project")
    assert project.start().returncode == 0
    return project


def test_the_command_gets_its_folder_and_its_environment(shared: Project, tmp_path: Path) -> None:
    """The command runs in .venv and in the caller's folder, and its exit code is returned."""
    report = shared.report("sim", cwd=tmp_path)
    assert (report["cwd"], report["prefix"]) == (str(tmp_path), str(shared.venv))
    assert report["plots"] == str(shared.venv / "matplotlib")
    assert not {"", str(tmp_path)} & set(report["path"]), "modules of this folder must not shadow"
    assert shared.start("fail").returncode == 7


def test_bytecode_is_kept_where_the_environment_allows_it(
    shared: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: modules are compiled once, and with PYTHONDONTWRITEBYTECODE not beside the sources."""
    assert shared.report()["bytecode"] is None
    shutil.rmtree(shared.folder / "__pycache__")
    monkeypatch.setitem(shared.env, "PYTHONDONTWRITEBYTECODE", "1")
    assert shared.report()["bytecode"] == str(shared.venv / "bytecode")
    assert list(shared.venv.glob("bytecode/**/yak_cli.*.pyc"))
    assert not (shared.folder / "__pycache__").exists()
    monkeypatch.setitem(shared.env, "PYTHONPYCACHEPREFIX", str(shared.folder / "own"))
    assert shared.report()["bytecode"] == str(shared.folder / "own")


STREAMS = """
import os, sys
def main():
    modes = ["%s %d" % (os.readlink(f"/proc/self/fd/{fd}"), os.get_blocking(fd)) for fd in range(3)]
    open("streams", "w").write(" ".join(modes))
    return 0
"""


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", "2>&-", ">&- 2>/dev/full"])
def test_closed_streams_are_opened_before_anything_else(closed: str, quick: Project) -> None:
    """The set-up writes nothing to a file that got the number of a closed stream."""
    (quick.folder / "yak_cli.py").write_text(STREAMS)
    command = f'exec "$0" ./yak demo {closed}'
    env = {**os.environ, **quick.env, "PYTHONPATH": ""}
    done = subprocess.run(
        ["bash", "-c", command, quick.python], cwd=quick.folder, env=env, check=False,
        stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    streams = (quick.folder / "streams").read_text().split()[::2]
    for fd, word in enumerate(("<&-", ">&-", "2>&-")):
        assert (streams[fd] == os.devnull) or word not in closed.split()
    assert quick.installs == 1


@LONG
def test_each_command_gets_the_extras_that_it_needs(quick: Project) -> None:
    """Extras add up, so that commands in turn install nothing; a question for help installs none.

    Method: the command lines of the installer.
    """
    quick.start("demo")
    found = []
    for words in (("lab", "--help"), ("lab", "1"), ("test",), ("demo",), ("test", "--all")):
        err = quick.start(*words).stderr
        found += re.findall(r"--editable (\S+)", err)
    assert found == ["'.[lab]'", "'.[dev,lab]'"]
    assert quick.installs == 3


@LONG
def test_an_extra_that_cannot_be_installed_leaves_the_rest(quick: Project) -> None:
    """Without a network, `lab` fails and `demo` goes on; method: installers that fail."""
    assert quick.start("demo").returncode == 0
    (quick.folder / "broken").write_text("")
    quick.env["PIP_TIMEOUT"] = "invalid"
    assert quick.start("lab").returncode == 2
    done = quick.start("demo")
    assert (done.returncode, done.stderr) == (0, "")


def test_changed_requirements_are_installed_into_the_same_venv(shared: Project) -> None:
    """A change of either file causes one install; other files in .venv stay."""
    before = shared.installs
    (shared.venv / "lib" / "ours").write_text("")
    for number, name in enumerate(("pyproject.toml", "requirements.lock"), before + 1):
        with (shared.folder / name).open("a") as file:
            file.write("# changed\n")
        assert UPDATED in shared.start().stderr
        assert shared.installs == number
    assert (shared.venv / "lib" / "ours").exists()


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


@pytest.mark.parametrize("kill", [False, pytest.param(True, marks=LONG)])
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


@pytest.mark.parametrize(
    "target", ["another", pytest.param("nothing", marks=LONG), pytest.param("fits", marks=LONG)]
)
def test_a_link_in_place_of_venv_is_refused(target: str, quick: Project, tmp_path: Path) -> None:
    """What a link points to is left alone, also a .venv of the right Python that has no stamp."""
    other = tmp_path / "elsewhere"
    if target == "fits":
        subprocess.run([HOST, "-m", "venv", "--without-pip", other], check=True)
    elif target == "another":
        for name in ("bin", "lib"):
            (other / name).mkdir(parents=True)
            (other / name / "theirs").write_text("")
    before = sorted(other.rglob("*"))
    quick.venv.symlink_to(other)
    done = quick.start("demo")
    assert (done.returncode, done.stdout, quick.installs) == (2, "", 0)
    assert str(quick.venv) in done.stderr
    assert str(other) in done.stderr
    assert sorted(other.rglob("*")) == before
    quick.venv.unlink()
    assert quick.start("demo").returncode == 0


OTHERS = [pytest.param(state, marks=LONG) for state in ("older", "activated")]


@pytest.mark.parametrize("state", ["broken", "by hand", "moved", *OTHERS])
def test_a_venv_is_kept_only_if_it_fits(state: str, shared: Project) -> None:
    """A .venv without a stamp is kept if its Python is the right one and runs."""
    python, stamp = shared.venv / "bin" / "python", shared.venv / "yak.stamp"
    if state == "by hand":
        shutil.rmtree(shared.venv)
        subprocess.run([HOST, "-m", "venv", "--without-pip", shared.venv], check=True)
    elif state == "broken":
        python.unlink()
        python.symlink_to(shared.folder / "gone")
    elif state == "moved":
        shared.folder = shared.folder.rename(shared.folder.with_name("moved"))
    elif state == "older":
        stamp.write_text(stamp.read_text().replace("python-3", "python-2"))
    elif state == "activated":
        stamp.write_text("unfinished")
        shared.python = str(python)
    done = shared.start("demo")
    shared.python = HOST
    assert done.returncode == 0, done.stderr
    assert (UPDATED if state == "by hand" else MADE) in done.stderr
    assert shared.start("demo").stderr == ""
