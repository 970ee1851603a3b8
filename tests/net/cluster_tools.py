"""Clusters for tests, with a mark in the environment that finds leftover processes."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from tests.net.brokers import CLEAN, ROOT, until
from yak_net.cluster.supervisor import ClusterSpec

FAKE = (sys.executable, "-S", str(Path(__file__).with_name("cluster_broker.py")))
MARK = "CLUSTER_TEST_MARK"
PATIENCE_S = 60.0
P = ParamSpec("P")
T = TypeVar("T")


async def wait_for(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition while the loop runs."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)
    assert condition(), what


def spec_of(folder: Path, **fields: Any) -> ClusterSpec:
    """Return a cluster of fake brokers with its data in a folder."""
    return dataclasses.replace(ClusterSpec(data_dir=folder / "data", command=FAKE), **fields)


def is_running(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


class Marked:
    """Processes with a mark in their environment, by which they are found."""

    def __init__(self) -> None:
        self.mark = uuid.uuid4().hex
        self.started: list[subprocess.Popen[str]] = []

    def env(self, **extra: str) -> dict[str, str]:
        """Return the environment with the mark, and of YAK's variables only free ports."""
        return {**CLEAN, "YAK_PORT": "0", **extra, MARK: self.mark}

    def start(self, words: list[str], cwd: Path, **env: str) -> subprocess.Popen[str]:
        """Start a marked process."""
        process = subprocess.Popen(
            words, cwd=cwd, env=self.env(**env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.started.append(process)
        return process

    def yak(
        self, cwd: Path, *words: str, stdin: str = "", **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a yak command to its end."""
        return subprocess.run(
            [sys.executable, "-P", "-m", "yak_cli", *words], cwd=cwd, env=self.env(**env),
            input=stdin, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip

    def left(self) -> dict[int, str]:
        """Return the running marked processes: process id and command line."""
        wanted = f"{MARK}={self.mark}".encode()
        found: dict[int, str] = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with suppress(OSError):
                    if wanted in (folder / "environ").read_bytes().split(b"\0"):
                        words = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                        found[int(folder.name)] = words.decode()
        return found

    def all_gone(self, within_s: float = PATIENCE_S) -> None:
        """Wait until no process has the mark."""
        until(lambda: not self.left(), f"still running: {self.left()}", within_s)


@contextmanager
def marked() -> Iterator[Marked]:
    """Yield marked processes, and kill those that still run at the end."""
    processes = Marked()
    try:
        yield processes
    finally:
        for pid in processes.left():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in processes.started:
            process.communicate(timeout=PATIENCE_S)


def drive(
    processes: Marked, cwd: Path, spec: ClusterSpec, detach: bool = False, **env: str
) -> subprocess.Popen[str]:
    """Start ``yak cluster up`` with fake brokers."""
    plain = dataclasses.asdict(spec) | {"data_dir": str(spec.data_dir)}
    words = [sys.executable, "-P", str(Path(__file__).with_name("cluster_up.py"))]
    words += [json.dumps(plain), "detach" if detach else ""]
    return processes.start(words, cwd, PYTHONPATH=str(ROOT), **env)
