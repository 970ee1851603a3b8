"""The real project from an empty folder: set up with the network, then used without.

These tests install everything, so only `./yak test --all` runs them.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import require
from tests.bootstrap.project import HOST
from tests.net.brokers import CLEAN
from tests.tidy.tree import ROOT

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

TEST = ("test", "tests/tidy/test_samples.py")


def output(folder: Path, *command: str, **env: str) -> tuple[str, str]:
    """Run a command that must succeed; return its stdout and stderr."""
    done = subprocess.run(
        command, cwd=folder, env={**CLEAN, **env}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout, done.stderr


def copy_tree(folder: Path) -> None:
    """Copy the project's files, as they are now, into a new git repository."""
    listed, _ = output(ROOT, "git", "ls-files", "-z", "-co", "--exclude-standard")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() or (ROOT / name).is_symlink():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    git = ["git", "-c", "core.hooksPath=/dev/null", "-c", "user.name=t", "-c", "user.email=t@t"]
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "-m", "all"]):
        output(folder, *git, *words)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a copy of the project that pip set up for `demo` and for `test`."""
    folder = tmp_path_factory.mktemp("whole") / "a clone"
    copy_tree(folder)
    output(folder, HOST, "yak", "demo", YAK_UV="0")
    output(folder, HOST, "yak", *TEST, YAK_UV="0")
    yield folder
    shutil.rmtree(folder)


def test_a_clean_clone_runs_and_stays_clean(clone: Path) -> None:
    """git sees no new file, and the console script works."""
    assert output(clone, "git", "status", "--porcelain") == ("", "")
    assert "yak" in output(clone, ".venv/bin/yak", "--version")[0]


def test_later_starts_need_no_network_and_no_home(clone: Path) -> None:
    """`demo` and `test` work with a loopback only and with a home that cannot exist."""
    command = [*require.no_network(), HOST, "yak"]
    env = {"HOME": str(clone / "LICENSE" / "home"), "PIP_INDEX_URL": "http://127.0.0.1:9/"}
    assert "yak: " not in output(clone, *command, "demo", **env)[1]
    out, err = output(clone, *command, *TEST, **env)
    assert "pip" not in err
    assert " passed" in out.splitlines()[-1]


def test_uv_sets_it_up_too(tmp_path: Path) -> None:
    """A first start with the real uv."""
    uv = require.executable("uv")
    copy_tree(tmp_path)
    out, err = output(tmp_path, HOST, "yak", "--version", YAK_UV=uv)
    assert f"+ {uv} pip install" in err
    assert "uv failed" not in err
    assert "yak" in out
