"""State file, locks, ports and logs of a local cluster."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.net.brokers import ROOT, until
from yak_net.client.options import servers_of
from yak_net.cluster.errors import CannotStart
from yak_net.cluster.ports import HOST, PORT_MAX, reserve_port, reserve_ports
from yak_net.cluster.process import last_line, read_logs, tail
from yak_net.runtime import state_file as statefile
from yak_net.runtime.state_file import (
    ClusterState,
    InUse,
    StateError,
    bootstrap_servers,
    holder_of,
    take_lock,
)

STATE = ClusterState(
    cluster="yak",
    supervisor=os.getpid(),
    control="127.0.0.1:4000",
    token="secret",
    brokers=(("n1", "http://127.0.0.1:4001"), ("n2", "http://127.0.0.1:4002")),
    bootstrap_servers=("127.0.0.1:4001", "127.0.0.1:4002"),
    redis_url="redis://127.0.0.1:4003/0",
    data_dir="/data",
    log_dir="/logs",
)
SCHEMA_1 = """
{"schema": 1, "kind": "yak-cluster", "cluster": "yak", "supervisor": 4711, "token": "secret",
 "control": "127.0.0.1:4000", "brokers": [{"id": "n1", "url": "http://127.0.0.1:4001"},
 {"id": "n2", "url": "http://127.0.0.1:4002"}], "redis_url": "redis://127.0.0.1:4003/0",
 "bootstrap_servers": ["127.0.0.1:4001", "127.0.0.1:4002"], "data_dir": "/data", "log_dir": "/logs"}
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of the state file in an empty folder without configuration."""
    monkeypatch.chdir(tmp_path)
    for name in ("YAK_CLUSTER_FILE", "YAK_BOOTSTRAP_SERVERS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / ".yak" / "cluster.json"


def ended_pid() -> int:
    """Return the id of an ended process."""
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


def port_of(bound: socket.socket) -> int:
    """Return the port of a socket."""
    port: int = bound.getsockname()[1]
    return port


def test_state_is_read_as_it_was_written(path: Path) -> None:
    """Goal: an exact round trip, mode 600, and no other file."""
    assert statefile.state_path() == path
    assert statefile.read_state(path) is None
    statefile.write_state(path, STATE)
    assert statefile.read_state(path) == STATE
    statefile.write_state(path, replace(STATE, token="other"))
    assert statefile.read_state(path) == replace(STATE, token="other")
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["cluster.json"]


def test_state_of_schema_1_can_be_read(path: Path) -> None:
    """Goal: files of the first version stay readable."""
    path.parent.mkdir()
    path.write_text(SCHEMA_1)
    assert statefile.read_state(path) == replace(STATE, supervisor=4711)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "damaged"),
        ("[]", "damaged"),
        ("{}", "damaged"),
        ('{"schema": 2, "kind": "yak-cluster"}', "schema 1"),
        ('{"schema": 1, "kind": "other"}', "schema 1"),
        ('{"schema": 1, "kind": "yak-cluster"}', "damaged"),
    ],
)
def test_damaged_state_is_refused(path: Path, text: str, sentence: str) -> None:
    """Goal: the error names the file, and is a ValueError for clients."""
    path.parent.mkdir()
    path.write_text(text)
    for read in (lambda: statefile.read_state(path), bootstrap_servers):
        with pytest.raises(StateError, match=sentence) as error:
            read()
        assert str(path) in str(error.value)
        assert isinstance(error.value, ValueError)


def test_clients_find_the_brokers(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: the running cluster first, then the environment, then the default port."""
    assert bootstrap_servers() == ("127.0.0.1:8080",)
    monkeypatch.setenv("YAK_BOOTSTRAP_SERVERS", "a:1, b:2,")
    assert bootstrap_servers() == ("a:1", "b:2")
    statefile.write_state(path, STATE)
    assert bootstrap_servers() == STATE.bootstrap_servers
    statefile.write_state(path, replace(STATE, supervisor=ended_pid()))
    assert bootstrap_servers() == ("a:1", "b:2")
    other = path.parent / "other.json"
    statefile.write_state(other, replace(STATE, bootstrap_servers=("c:3",)))
    for name in (str(other), f"{other}\r\n"):
        monkeypatch.setenv("YAK_CLUSTER_FILE", name)
        assert bootstrap_servers() == ("c:3",)


def test_invalid_servers_of_the_environment_name_the_variable(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: white space is ignored; an error about the default servers names the variable."""
    assert not path.exists()
    monkeypatch.setenv("YAK_BOOTSTRAP_SERVERS", "a:1 ,b:2\r")
    assert servers_of(None) == ("http://a:1", "http://b:2")
    monkeypatch.setenv("YAK_BOOTSTRAP_SERVERS", "a:1,b:0")
    with pytest.raises(ValueError, match=r"'b:0'.*YAK_BOOTSTRAP_SERVERS"):
        servers_of(None)
    with pytest.raises(ValueError, match="'c d'") as refused:
        servers_of("c d")
    assert "YAK_" not in str(refused.value)


def test_lock_is_held_by_one(tmp_path: Path) -> None:
    """Goal: the holder is known, and the lock is free after its release."""
    path = tmp_path / "folder" / "lock"
    assert holder_of(path) is None
    lock = take_lock(path)
    assert holder_of(path) == os.getpid()
    with pytest.raises(InUse) as busy:
        take_lock(path)
    assert busy.value.holder == os.getpid()
    os.close(lock)
    assert holder_of(path) is None
    os.close(take_lock(path))


def test_lock_ends_with_its_holder(tmp_path: Path) -> None:
    """Goal: SIGKILL frees the lock, though a child of the holder still runs."""
    path = tmp_path / "lock"
    code = (
        "import pathlib, subprocess, sys; from yak_net.runtime.state_file import take_lock; "
        "take_lock(pathlib.Path(sys.argv[1])); "
        "print(subprocess.Popen(['sleep', '600']).pid, flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        assert holder_of(path) == holder.pid
        holder.kill()
        holder.wait()
        until(lambda: holder_of(path) is None, "the lock is free")
        os.kill(child, signal.SIGKILL)  # Raises if the child had ended.


def test_port_is_kept_while_its_broker_is_down() -> None:
    """Goal: other programs cannot bind it, its broker can, and a connection is refused at once."""
    with reserve_port() as held, reserve_port() as other:
        port = port_of(held)
        assert port != port_of(other)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HOST, port), timeout=5)
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind((HOST, port))
        for _ in range(2):  # the broker and its successor
            with socket.socket() as broker:
                broker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                broker.bind((HOST, port))
                broker.listen()
                # Each connection reaches the broker, not the socket that keeps the port.
                for _ in range(20):
                    with socket.create_connection((HOST, port), timeout=5):
                        broker.accept()[0].close()


def test_port_of_another_program_is_refused() -> None:
    """Method: a port of a cluster, one of another program, and one out of range."""
    with reserve_port() as held:
        port = port_of(held)
        with pytest.raises(CannotStart, match=f"port {port} .* --port"):
            reserve_port(port)
    with reserve_port(port) as again:
        assert port_of(again) == port
    with socket.create_server((HOST, 0)) as server, pytest.raises(CannotStart, match="--port"):
        reserve_port(port_of(server))
    with pytest.raises(CannotStart, match="65535"):
        reserve_port(65_536)


def append(path: Path, data: bytes) -> None:
    """Append to a log file."""
    with path.open("ab") as file:
        file.write(data)


def test_tail_of_a_log(tmp_path: Path) -> None:
    """Goal: the last lines, with or without a newline at the end."""
    path = tmp_path / "log"
    assert tail(path, 3) == []
    path.write_bytes(b"one\ntwo\n")
    assert (tail(path, 1), tail(path, 9), tail(path, 0)) == (["two"], ["one", "two"], [])
    append(path, b"\nlast \xff words\n\n")
    assert last_line(path) == "last \ufffd words"
    assert tail(path, 5, since=8) == ["", "last \ufffd words", ""]
    path.write_text("no newline")
    assert tail(path, 5) == ["no newline"]


def test_logs_are_followed(tmp_path: Path) -> None:
    """Goal: the last lines, then each added line once it is whole."""
    logs = {node: tmp_path / node for node in ("n1", "n2")}
    logs["n1"].write_text("one\ntwo\n")
    found = read_logs(logs, 1, follow=True)
    assert next(found) == ("n1", "two")
    logs["n2"].write_text("three\n")
    assert next(found) == ("n2", "three")
    append(logs["n2"], b"fo")
    append(logs["n1"], b"five\n")
    assert next(found) == ("n1", "five")
    append(logs["n2"], b"ur\n")
    assert next(found) == ("n2", "four")


def free_range(count: int) -> int:
    """Return the first of consecutive ports that are free now."""
    while True:
        with reserve_port() as found:
            first = port_of(found)
        if first + count <= PORT_MAX:
            with suppress(CannotStart):
                for each in reserve_ports(count, first):
                    each.close()
                return first


def test_preferred_ports_are_used_if_all_are_free() -> None:
    """Goal: 8080, 8081, 8082 in this order, or free ports and the reason; method: another base."""
    first, notes = free_range(3), list[str]()
    sockets = reserve_ports(3, 0, first, notes.append)
    assert [port_of(each) for each in sockets] == [first, first + 1, first + 2]
    assert notes == []
    others = reserve_ports(3, 0, first, notes.append)
    assert not {port_of(each) for each in others} & {first, first + 1, first + 2}
    assert [str(first) in note for note in notes] == [True]
    for each in (sockets[0], sockets[1], *others):
        each.close()
    others = reserve_ports(3, 0, first, notes.append)
    assert str(first + 2) in notes[1]
    with pytest.raises(CannotStart, match=str(first + 2)):
        reserve_ports(3, first, first)
    with reserve_port(first):  # what was reserved before the failure is free again
        pass
    for each in (*sockets, *others):
        each.close()


def test_two_starts_do_not_share_a_port() -> None:
    """Goal: of clusters that start together, one gets the port; method: threads that race."""
    first = free_range(1)
    gate = threading.Barrier(4)
    found: list[list[socket.socket]] = []

    def start() -> None:
        gate.wait()
        for _ in range(50):
            sockets = reserve_ports(1, 0, first)
            found.append(sockets)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 200
    assert [port_of(each) for [each] in found].count(first) <= 1
    for [each] in found:
        each.close()
