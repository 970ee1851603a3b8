"""The code of an earlier commit, for tests of an upgrade with processes of both versions."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path
from signal import SIGKILL
from typing import IO

from tests.net.brokers import CLEAN, ROOT, BrokerProcess
from tests.require import executable, missing

ONE_ADDRESS = "9f7ea3a"
"""The last commit whose brokers know one address and read only schema 1."""


def checked_out(commit: str, folder: Path) -> Path:
    """Write the packages of ``commit`` to ``folder``; skip the test without the git history."""
    git = executable("git")
    paths = ("yak_cli.py", "yak_core", "yak_net", "yak_sim")
    words = [git, "-C", str(ROOT), "archive", "--format=tar", commit, *paths]
    found = subprocess.run(words, capture_output=True, check=False)
    if found.returncode != 0:
        missing("git-history", f"commit {commit} is not in this clone: {found.stderr.decode()}")
    with tarfile.open(fileobj=io.BytesIO(found.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


class EarlierBroker(BrokerProcess):
    """A ``yak broker`` process that runs the code in ``code``."""

    def __init__(self, code: Path, log: Path, *words: str, env: dict[str, str]) -> None:
        self.log = log
        command = [sys.executable, "-P", "-m", "yak_cli", "broker", *words]
        out: IO[bytes]
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                command, cwd=code, env={**CLEAN, **env, "PYTHONPATH": str(code)},
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip

    def close(self) -> None:
        """Kill the process if it still runs."""
        if self.up:
            self.process.send_signal(SIGKILL)
        self.process.wait()
