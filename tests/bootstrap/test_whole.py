"""The real project from an empty folder, with the network and without; must never use our .venv.

These tests install everything, so only `./yak test --all` runs them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests import require
from tests.bootstrap.project import base_python
from tests.tidy.tree import ROOT

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

NO_INDEX = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "HTTPS_PROXY": "http://127.0.0.1:9"}


class Clone:
    """A clone of the tree as it is, committed, in a folder with a space in its name."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith("YAK_")}
        self.env = {**kept, **env}
        listed = subprocess.run(
            ["git", "ls-files", "-z", "-co", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        for name in filter(None, listed.stdout.split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        self.git("init", "--quiet")
        self.git("add", "--all")
        self.git("-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "-m", "all")

    def git(self, *words: str) -> str:
        """Run git in the clone; no hook of the machine's owner takes part."""
        command = ["git", "-c", "core.hooksPath=/dev/null", *words]
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, check=True, env=self.env
        )
        return done.stdout

    def yak(
        self, *words: str, prefix: Sequence[str] = (), **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the clone's wrapper with ``env`` on top; it must succeed."""
        done = subprocess.run(
            [*prefix, base_python(), "yak", *words],
            cwd=self.folder,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A clone that was set up by pip for demo and for test, with a home of its own."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "home").mkdir()
    env = {"HOME": str(folder / "home"), "YAK_UV": "0", "XDG_CACHE_HOME": ""}
    made = Clone(folder / "a clone", env)
    made.yak("demo")
    made.yak("test", "tests/tidy/test_samples.py")
    yield made
    shutil.rmtree(folder)


def test_a_clean_clone_runs_and_stays_clean(clone: Clone) -> None:
    """Two commands are all it takes; method: run them, ask git and the console script."""
    assert clone.git("status", "--porcelain") == ""
    [site] = (clone.folder / ".venv" / "lib").glob("*/site-packages")
    assert list(site.glob("click/__pycache__/*.pyc"))
    assert not list(site.glob("numpy/**/tests/__pycache__/*.pyc"))
    script = clone.folder / ".venv" / "bin" / "yak"
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("yak, version ")


def test_only_the_first_use_needs_a_network(clone: Clone) -> None:
    """Second uses work on a train; method: no network at all for demo and test."""
    prefix = require.no_network()
    assert "yak: " not in clone.yak("demo", prefix=prefix, **NO_INDEX).stderr
    done = clone.yak("test", "tests/tidy/test_samples.py", prefix=prefix, **NO_INDEX)
    assert "pip" not in done.stderr
    assert " passed" in done.stdout.splitlines()[-1]
    assert clone.git("status", "--porcelain") == ""


def test_a_read_only_home_is_enough(clone: Clone) -> None:
    """Nothing needs the home folder; method: a demo and a test with a home that is a file's."""
    home = str(clone.folder / "LICENSE" / "home")
    clone.yak("demo", HOME=home)
    clone.yak("test", "tests/tidy/test_samples.py", HOME=home)


def test_uv_sets_it_up_too(tmp_path: Path) -> None:
    """Where uv is present it is used; method: a clone of its own, with the real uv."""
    uv = require.executable("uv")
    made = Clone(tmp_path / "by uv", {"YAK_UV": uv})
    done = made.yak("--version")
    assert f"+ {uv} pip install --python" in done.stderr
    assert done.stdout.startswith("yak, version ")
