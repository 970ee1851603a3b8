"""``yak top``: in a pipe, as JSON, on a terminal, and while the broker that it reads from dies."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import termios
import time
from collections.abc import Iterator
from typing import TypeAlias

import pytest
from click.testing import CliRunner

from tests.net.brokers import CLEAN, ROOT, YAK, post
from tests.net.chaos import NODES, ChaosCluster, until
from yak_net.metadata.embedded import EmbeddedMetadata
from yak_net.observe.cli_top import top

Process: TypeAlias = "subprocess.Popen[bytes]"
RECORD = {"records": [{"value": "a"}]}
_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChaosCluster]:
    """Yield three running brokers."""
    metadata = EmbeddedMetadata()
    metadata.start()
    cluster = ChaosCluster(tmp_path_factory.mktemp("top"), metadata.url)
    try:
        for node in NODES:
            cluster.start(node)
        yield cluster
    finally:
        cluster.close()
        metadata.stop()


def start(*words: str, stdin: int | None = None, stdout: int, stderr: int | None = None) -> Process:
    """Start ``yak top``."""
    env = {**CLEAN, "TERM": "xterm", "COLUMNS": "120", "LINES": "40", "PYTHONPATH": str(ROOT)}
    command = [*YAK, "top", *words]
    return subprocess.Popen(command, cwd=ROOT, env=env, stdin=stdin, stdout=stdout, stderr=stderr)


@pytest.mark.long
async def test_tables_json_and_a_broker_that_dies(brokers: ChaosCluster) -> None:
    """Goal: a failover in one JSON stream. Method: read from the leader, kill it, print a table."""
    await brokers.wait_until_in_sync()
    leader = await brokers.wait_for_leader()
    assert post(f"{brokers.urls[leader]}/produce", RECORD)[0] == 200
    at = brokers.urls[leader].removeprefix("http://")
    with start("-b", at, "--json", "-d", "100ms", stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        assert (first["live"], first["ready"], first["source"]) == (True, True, leader)
        assert first["state"]["isr"] == list(NODES)
        assert {row["leo"] for row in first["state"]["brokers"]} == {1}
        assert first["lost"] is None
        brokers.kill(leader)
        deadline = time.monotonic() + 40
        seen_stale = False
        while True:
            assert time.monotonic() < deadline
            found = json.loads(process.stdout.readline())
            seen_stale |= not found["live"]
            assert found["live"] or (found["ready"] is None and found["age_ms"] >= 0)
            if found["live"] and found["state"]["leader"] not in (None, leader):
                break
        assert seen_stale
        assert found["lost"] == leader
        assert found["source"] != leader
        down = next(row for row in found["state"]["brokers"] if row["id"] == leader)
        assert (down["up"], down["leo"]) == (False, 1), "its last report stays"
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(30) == 0

    new = await brokers.wait_for_leader(leader)
    other = next(node for node in NODES if node not in (new, leader))
    at = brokers.urls[other].removeprefix("http://")
    with start("-b", at, "--once", stdout=subprocess.PIPE) as process:
        text = process.communicate(timeout=30)[0].decode()
    assert process.returncode == 0, text
    assert f"Leader: {new}" in text
    assert re.search(rf"^{leader} .* down *$", text, re.MULTILINE)
    assert f"{leader} is down" in text
    assert re.search(rf"{new} leads +detect \d+ ms, elect \d+ ms", text)
    brokers.start(leader)
    await brokers.wait_until_in_sync()


@pytest.mark.parametrize("end", ["q", pytest.param("SIGINT", marks=pytest.mark.long)])
async def test_a_terminal_is_redrawn_and_left_clean(brokers: ChaosCluster, end: str) -> None:
    """Goal: q and Ctrl-C end with 0, and the terminal has its modes back."""
    await until(lambda: brokers.leader(), "a leader")
    keyboard, screen = pty.openpty()
    before = termios.tcgetattr(screen)
    at = brokers.urls["n1"].removeprefix("http://")
    try:
        with start("-b", at, "-d", "50ms", stdin=screen, stdout=screen) as process:
            shown = b""
            while shown.count(b"quit") < 2:
                assert select.select([keyboard], [], [], 30)[0], shown
                shown += os.read(keyboard, 65536)
            text = _CODES.sub("", shown.decode(errors="replace"))
            assert "REPLICA" in text
            assert "FAILOVERS" in text
            if end == "q":
                os.write(keyboard, b"q")
            else:
                process.send_signal(signal.SIGINT)
            while process.poll() is None:
                if select.select([keyboard], [], [], 0.05)[0]:
                    shown += os.read(keyboard, 65536)
            while select.select([keyboard], [], [], 0)[0]:
                shown += os.read(keyboard, 65536)
            assert process.returncode == 0
            assert b"\x1b[?1049l" in shown, "the alternate screen is left"
            assert b"\x1b[?25h" in shown, "the cursor is shown"
            assert termios.tcgetattr(screen) == before
    finally:
        os.close(keyboard)
        os.close(screen)


def test_no_broker_and_wrong_options() -> None:
    """Goal: exit code 1 if no broker answers, 2 for options that cannot be."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        at = f"127.0.0.1:{held.getsockname()[1]}"
        for words, code in ((["--once"], 1), (["-d", "0s"], 2), (["-n", "0"], 2)):
            done = CliRunner().invoke(top, ["-b", at, *words])
            assert (done.exit_code, done.stdout) == (code, "")
            assert code != 1 or at in done.stderr
