"""What ``yak cluster`` refuses, and how it says so; and what the control server refuses."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.net.cluster_tools import run, spec_of
from tests.net.test_cluster_files import STATE
from yak_net.cluster.cli import cluster
from yak_net.cluster.control import ControlServer, NotRunning, call
from yak_net.cluster.statefile import lock_path, state_path, write_state
from yak_net.cluster.supervisor import Supervisor


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, in which nothing is configured."""
    monkeypatch.chdir(tmp_path)
    for name in tuple(os.environ):
        if name.startswith("YAK_") and name != "YAK_REQUIRE":
            monkeypatch.delenv(name)
    return tmp_path


def yak(*words: str) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(cluster, list(words))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("up", "--nodes", "0"), "0 is not in the range"),
        (("up", "--nodes", "three"), "not a valid integer"),
        (("up", "--nodes", "2", "--min-isr", "3"), "min-isr is 3"),
        (("up", "--port", "70000"), "70000 is not in the range"),
        (("up", "--port", "65535"), "65535"),
        (("up", "--cluster", "{x}"), "a cluster's name is"),
        (("up", "--flush", "never"), "flush"),
        (("up", "--redis", "http://user:secret@x"), "address of Redis"),
        (("up", "--timeout", "0"), "timeout"),
        (("up", "--data-dir", "/proc/yak"), "cannot make the folder /proc/yak"),
        (("up", "--bogus"), "No such option"),
        (("kill",), "Missing argument"),
        (("logs", "-n", "-1"), "-1 is not in the range"),
        (("bogus",), "No such command"),
    ],
)
def test_bad_words_are_refused(folder: Path, words: tuple[str, ...], sentence: str) -> None:
    """Goal: exit code 2 and a sentence; nothing is started and no state file is left."""
    done = yak(*words)
    assert done.exit_code == 2, done.output
    assert sentence in done.stderr
    assert "secret" not in done.output
    assert done.stdout == ""
    assert not state_path().exists()


@pytest.mark.parametrize(
    "words", [("status",), ("status", "--json"), ("kill", "n1"), ("resume", "n1"), ("logs",)]
)
def test_commands_without_a_cluster(folder: Path, words: tuple[str, ...]) -> None:
    """Goal: exit code 1, and the next step."""
    done = yak(*words)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "yak cluster up" in done.stderr


def test_down_without_a_cluster(folder: Path) -> None:
    """Goal: what is wanted is the case already, so that it succeeds."""
    done = yak("down")
    assert (done.exit_code, done.output) == (0, "no cluster runs here\n")


def test_state_file_of_a_supervisor_that_is_gone(folder: Path) -> None:
    """Goal: said to be so, wherever its port may lead now; down removes it."""
    write_state(state_path(), replace(STATE, control="127.0.0.1:1", supervisor=1 << 30))
    done = yak("status")
    assert (done.exit_code, "yak cluster up" in done.stderr) == (1, True)
    assert str(1 << 30) in done.stderr
    assert yak("down").exit_code == 0
    assert not state_path().exists()


def test_state_file_that_is_damaged(folder: Path) -> None:
    """Goal: a sentence that names it, not a traceback."""
    write_state(state_path(), STATE)
    state_path().write_text("{")
    for words in (("status",), ("down",), ("logs",)):
        done = yak(*words)
        assert (done.exit_code, "is damaged" in done.stderr) == (1, True)


def test_data_of_another_cluster_is_refused(folder: Path) -> None:
    """Goal: the two ways out are named. Method: a data directory without its metadata."""
    (folder / ".yak" / "data" / "n1").mkdir(parents=True)
    (folder / ".yak" / "data" / "n1" / "identity.json").write_text("{}")
    done = yak("up")
    assert done.exit_code == 2
    assert "--data-dir" in done.stderr
    assert "--redis" in done.stderr
    assert sorted(path.name for path in (folder / ".yak" / "data").iterdir()) == ["lock", "n1"]
    assert not lock_path(state_path()).read_text().startswith("0")


def test_logs_of_a_cluster_that_does_not_run(folder: Path) -> None:
    """Goal: after a failure they can still be read."""
    data = folder / ".yak" / "data"
    data.mkdir(parents=True)
    for number in (1, 2):
        (data / f"n{number}.log").write_text(f"first\nlast of {number}\n")
    assert yak("logs", "-n", "1").stdout == "n1 | last of 1\nn2 | last of 2\n"
    assert yak("logs", "n2").stdout == "first\nlast of 2\n"
    done = yak("logs", "n3")
    assert (done.exit_code, "there are n1, n2" in done.stderr) == (2, True)


def test_control_server_serves_who_has_the_token(tmp_path: Path) -> None:
    """Goal: without the token nothing is told and nothing happens, whatever is asked for."""

    def raw(address: str, method: str, path: str, **headers: str) -> int:
        connection = http.client.HTTPConnection(address, timeout=10)
        connection.request(method, path, headers=headers)
        status = connection.getresponse().status
        connection.close()
        return status

    async def story() -> None:
        downs: list[int] = []
        async with Supervisor(spec_of(tmp_path, nodes=1)) as supervisor:
            await supervisor.wait_until_ready()
            control = ControlServer(supervisor, "token", lambda: downs.append(1))
            address = await control.start()
            state = replace(STATE, control=address, token="token")
            for headers in ({}, {"Authorization": "Bearer tok\xe9n"}, {"Authorization": "token"}):
                for method, path in (("GET", "/status"), ("POST", "/down"), ("GET", "/nothing")):
                    assert await asyncio.to_thread(raw, address, method, path, **headers) == 401
                path = "/nodes/n1/kill"
                assert await asyncio.to_thread(raw, address, "POST", path, **headers) == 401
            assert list(supervisor.pids) == ["n1"]
            assert downs == []
            with pytest.raises(NotRunning, match="somebody else"):
                await asyncio.to_thread(call, replace(state, token="x"), "GET", "/status")
            status = await asyncio.to_thread(call, state, "GET", "/status")
            assert json.loads(json.dumps(status))["leader"] == "n1"
            with pytest.raises(Exception, match="no command 'dance'"):
                await asyncio.to_thread(call, state, "POST", "/nodes/n1/dance")
            assert await asyncio.to_thread(call, state, "POST", "/down") == {}
            assert downs == [1]
            await control.close()
            with pytest.raises(NotRunning, match="does not answer"):
                await asyncio.to_thread(call, state, "GET", "/status")

    run(story())
