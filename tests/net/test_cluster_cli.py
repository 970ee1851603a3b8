"""Commands that ``yak cluster`` refuses, and requests that the control server refuses."""

from __future__ import annotations

import asyncio
import http.client
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.net.cluster_tools import spec_of
from tests.net.test_cluster_files import STATE
from yak_net.cluster.cli import cluster
from yak_net.cluster.cli_common import NotRunning
from yak_net.cluster.control import ControlServer
from yak_net.cluster.supervisor import Supervisor
from yak_net.cluster.supervisor_calls import call
from yak_net.runtime.state_file import state_path, write_state


def yak(*words: str) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(cluster, list(words))


@pytest.mark.parametrize(
    ("words", "code", "noun"),
    [
        ("up --nodes 0", 2, "--nodes"),
        ("up --nodes 2 --min-isr 3", 2, "min-isr"),
        ("up --port 65535", 2, "65535"),
        ("up --cluster {x}", 2, "name"),
        ("up --redis http://user:secret@x", 2, "Redis"),
        ("up --redis redis://127.0.0.1:1/0", 1, "reached"),
        ("up --data-dir /proc/yak", 2, "/proc/yak"),
        ("up --data-dir /dev/null", 2, "/dev/null"),
        ("logs -n -1", 2, "--lines"),
        ("status", 1, "yak cluster up"),
        ("status --json", 1, "yak cluster up"),
        ("health -w -e", 1, "yak cluster up"),
        ("kill n1", 1, "yak cluster up"),
        ("logs", 1, "yak cluster up"),
    ],
)
def test_refusals(folder: Path, words: str, code: int, noun: str) -> None:
    """Goal: an exit code, a message on standard error, and no state file."""
    done = yak(*words.split())
    assert (done.exit_code, done.stdout) == (code, "")
    assert noun in done.stderr
    assert "secret" not in done.output
    assert not state_path().exists()


def test_down_without_a_cluster(folder: Path) -> None:
    """Goal: success."""
    assert yak("down").exit_code == 0


def test_state_file_of_an_ended_supervisor(folder: Path) -> None:
    """Goal: commands report no cluster, and down removes the file."""
    write_state(state_path(), replace(STATE, control="127.0.0.1:1", supervisor=1 << 30))
    done = yak("status")
    assert (done.exit_code, "yak cluster up" in done.stderr) == (1, True)
    assert str(1 << 30) in done.stderr
    assert yak("down").exit_code == 0
    assert not state_path().exists()


@pytest.mark.parametrize("verb", ["status", "down", "logs"])
def test_damaged_state_file(folder: Path, verb: str) -> None:
    """Goal: one message, no traceback."""
    write_state(state_path(), STATE)
    state_path().write_text("{")
    done = yak(verb)
    assert (done.exit_code, "damaged" in done.stderr) == (1, True)


def test_logs_of_a_stopped_cluster(folder: Path) -> None:
    """Goal: the logs stay readable after a failure."""
    data = folder / ".yak" / "data"
    data.mkdir(parents=True)
    for number in (1, 2):
        (data / f"n{number}.log").write_text(f"first\nlast of {number}\n")
    assert yak("logs", "-n", "1").stdout == "n1 | last of 1\nn2 | last of 2\n"
    assert yak("logs", "n2").stdout == "first\nlast of 2\n"
    done = yak("logs", "n3")
    assert (done.exit_code, "n1, n2" in done.stderr) == (2, True)


def status_of(address: str, method: str, path: str, **headers: str) -> int:
    """Send a request; return the HTTP status."""
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request(method, path, headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status


async def test_control_server_needs_the_token(tmp_path: Path) -> None:
    """Goal: every request without the token is refused with 401."""
    downs: list[int] = []
    async with Supervisor(spec_of(tmp_path, nodes=1)) as supervisor:
        await supervisor.wait_until_ready()
        control = ControlServer(supervisor, lambda: downs.append(1))
        address = await control.start()
        state = replace(STATE, control=address, token=control.token)
        requests = [("GET", "/status"), ("POST", "/down"), ("POST", "/nodes/n1/kill"), ("GET", "/")]
        for headers in ({}, {"Authorization": "Bearer tok\xe9n"}, {"Authorization": control.token}):
            for method, path in requests:
                assert await asyncio.to_thread(status_of, address, method, path, **headers) == 401
        with pytest.raises(NotRunning):
            await asyncio.to_thread(call, replace(state, token="x"), "GET", "/status")
        assert (list(supervisor.pids), downs) == (["n1"], [])
        assert (await asyncio.to_thread(call, state, "GET", "/status"))["leader"] == "n1"
        assert await asyncio.to_thread(call, state, "POST", "/down") == {}
        assert downs == [1]
        await control.close()
        with pytest.raises(NotRunning):
            await asyncio.to_thread(call, state, "GET", "/status")
