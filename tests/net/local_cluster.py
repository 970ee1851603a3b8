"""A cluster of three real brokers, started with ``yak cluster up``, for tests of commands on it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from tests.net import client_commands
from tests.net.brokers import CLEAN, until
from tests.net.cluster_tools import Marked, marked
from yak_cli import main


class LocalCluster:
    """The running cluster; commands find it through its state file."""

    def __init__(self, folder: Path, processes: Marked) -> None:
        self.folder = folder
        self.data = folder / ".yak" / "data"
        self.env = {**CLEAN, "YAK_CLUSTER_FILE": str(folder / ".yak" / "cluster.json")}
        self._processes = processes

    def start(self, *words: str) -> None:
        """Start three brokers and wait for their leader."""
        up = ("cluster", "up", "--detach", "--port", "0", *words)
        done = self._processes.yak(self.folder, *up)
        assert done.returncode == 0, done.stderr

    def stop(self) -> None:
        """Stop the brokers; the processes have ended then."""
        done = self.yak("cluster", "down")
        assert done.returncode == 0, done.stderr
        self._processes.all_gone()

    def yak(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end: those that use descriptors forked, others in this process."""
        if words[0] in ("produce", "consume"):
            return client_commands.yak(*words, env=self.env)
        env = {name: self.env.get(name) for name in {*os.environ, *self.env}}
        done = CliRunner().invoke(main, words, env=env)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return subprocess.CompletedProcess(
            words, done.exit_code, done.stdout_bytes, done.stderr_bytes
        )

    def describe(self) -> dict[str, Any]:
        """Return the object of ``yak describe --json``."""
        found: dict[str, Any] = json.loads(self.yak("describe", "--json").stdout)
        return found

    def servers(self) -> dict[str, str]:
        """Return host:port of each broker."""
        state = json.loads(Path(self.env["YAK_CLUSTER_FILE"]).read_text())
        return {row["id"]: row["url"].removeprefix("http://") for row in state["brokers"]}

    def until_in_sync(self, *nodes: str) -> dict[str, Any]:
        """Wait until the ISR has exactly these nodes, and all are at the leader's log end."""
        found: dict[str, Any] = {}

        def reached() -> bool:
            nonlocal found
            found = self.describe()
            rows = [row for row in found["replicas"] if row["id"] in nodes]
            ready = found["ready"] and found["isr"] == sorted(nodes)
            return ready and all(row["up"] and row["lag"] == 0 for row in rows)

        until(reached, f"ISR {nodes}", within_s=60.0)
        return found


@contextmanager
def local_cluster(folder: Path, *words: str) -> Iterator[LocalCluster]:
    """Yield a running cluster with its files in ``folder``; no process is left at the end."""
    with marked() as processes:
        cluster = LocalCluster(folder, processes)
        cluster.start(*words)
        yield cluster
        cluster.stop()
