"""``yak cluster`` with real brokers: a sequence of commands and their exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.net.brokers import until
from tests.net.cluster_tools import is_running, marked

Yak: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]
pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def yak(tmp_path: Path) -> Iterator[Yak]:
    """Yield a function that runs ``yak`` in an empty folder; stop the cluster at the end."""
    with marked() as processes:
        yield partial(processes.yak, tmp_path)
        assert processes.yak(tmp_path, "cluster", "down").returncode == 0
        assert processes.left() == {}


def status(yak: Yak) -> dict[str, Any]:
    """Return the output of ``status --json``."""
    found: dict[str, Any] = json.loads(yak("cluster", "status", "--json").stdout)
    return found


@pytest.mark.long
def test_every_command_of_a_cluster(yak: Yak, tmp_path: Path) -> None:
    """Goal: up, status, kill, restart, pause, resume, logs, down, and up again with its data."""
    up = yak("cluster", "up", "--detach")
    assert up.returncode == 0, up.stderr
    assert "not durable" in up.stderr
    assert up.stdout.count("http://127.0.0.1:") == 3
    assert (tmp_path / ".yak/cluster.json").stat().st_mode & 0o777 == 0o600
    second = yak("cluster", "up", "--detach")
    assert second.returncode != 0
    assert "already running" in second.stderr

    seen = status(yak)
    assert (seen["ready"], seen["reason"]) == (True, "")
    assert all((row["up"], row["ready"]) == (True, True) for row in seen["brokers"])
    assert [row["id"] for row in seen["brokers"]] == ["n1", "n2", "n3"]
    lines = "".join(f"line {number}\n" for number in range(100))
    assert yak("produce", stdin=lines).returncode == 0

    leader = seen["leader"]
    assert yak("cluster", "kill", leader).returncode == 0
    again = yak("cluster", "kill", leader)
    assert (again.returncode, "was killed" in again.stderr) == (1, True)
    sent = yak("produce", "--message", "after the kill")
    assert sent.returncode == 0, sent.stderr
    assert status(yak)["leader"] not in (leader, None)
    assert yak("cluster", "restart", leader).returncode == 0
    until(lambda: status(yak)["isr"] == ["n1", "n2", "n3"], "a full ISR")
    assert "listening" in yak("cluster", "logs", leader, "-n", "50").stdout

    follower = next(row["id"] for row in status(yak)["brokers"] if row["role"] == "follower")
    assert yak("cluster", "pause", follower).returncode == 0
    assert "paused" in yak("cluster", "status").stdout
    assert yak("cluster", "resume", follower).returncode == 0
    wrong = yak("cluster", "kill", "n9")
    assert (wrong.returncode, "n1, n2, n3" in wrong.stderr) == (2, True)

    pids = [row["pid"] for row in status(yak)["brokers"]]
    assert yak("cluster", "down").returncode == 0
    assert not [pid for pid in pids if is_running(pid)]
    assert not (tmp_path / ".yak/cluster.json").exists()
    gone = yak("cluster", "status")
    assert (gone.returncode, "yak cluster up" in gone.stderr) == (1, True)

    assert yak("cluster", "up", "--detach").returncode == 0
    read = yak("consume", "--from-beginning", "-e")
    assert read.stdout == lines + "after the kill\n"


@pytest.mark.long
def test_no_leader_is_exit_code_ten(yak: Yak) -> None:
    """Goal: the exit code shows that no leader is ready; the client reports the outcome."""
    assert yak("cluster", "up", "--detach").returncode == 0
    leader = status(yak)["leader"]
    others = [node for node in ("n1", "n2", "n3") if node != leader]
    for node in (*others, leader):
        assert yak("cluster", "kill", node).returncode == 0
    seen = yak("cluster", "status")
    assert (seen.returncode, "no leader" in seen.stdout) == (10, True)
    sent = yak("produce", "--message", "x", "--timeout", "1")
    assert sent.returncode == 1
    assert "no broker" in sent.stderr


@pytest.mark.long
def test_killed_supervisor_leaves_no_broker(yak: Yak, tmp_path: Path) -> None:
    """Goal: SIGKILL of the supervisor ends its brokers, and its state file is ignored."""
    assert yak("cluster", "up", "--detach").returncode == 0
    pids = [row["pid"] for row in status(yak)["brokers"]]
    state = json.loads((tmp_path / ".yak/cluster.json").read_text())
    os.kill(state["supervisor"], signal.SIGKILL)
    until(lambda: not [pid for pid in pids if is_running(pid)], "the ends of the brokers")
    seen = yak("cluster", "status")
    assert (seen.returncode, "yak cluster up" in seen.stderr) == (1, True)
