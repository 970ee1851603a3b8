"""Faults of real clusters, healed by the commands of docs/runbook.md alone.

Method: a fault, then the healer (healer.py), which reads the message of YAK, looks it up in the
page, and runs the commands of its section. Then all records are there, and new ones are written.
"""

from __future__ import annotations

import random
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.net.cluster_tools import Marked, marked
from tests.net.healer import SECTIONS, Healer
from tests.net.redis_server import RedisServer, redis_server

NODES: Final = ("n1", "n2", "n3")
LOG: Final = "00000000000000000000.log"
SAVED: Final = ("claims", "hw", "record")
Fault = Callable[[Healer, random.Random], str]


@pytest.fixture
def processes() -> Iterator[Marked]:
    """Yield marked processes; none have ended after the test."""
    with marked() as found:
        yield found


# -- faults: each returns the output that an operator sees -----------------------------------------


def data_of(healer: Healer, node: str) -> Path:
    """Return the data directory of a broker."""
    return healer.cwd / ".yak" / "data" / node


def flip(path: Path, at: int) -> None:
    """Change one byte of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def failed(healer: Healer, *words: str) -> str:
    """Run a command that must fail; return its error."""
    done = healer.yak("cluster", *words)
    assert done.returncode, done.stdout
    return done.stderr


def kill(healer: Healer, nodes: list[str]) -> None:
    """Kill brokers with SIGKILL."""
    for node in nodes:
        assert healer.yak("cluster", "kill", node).returncode == 0


def stop(healer: Healer) -> None:
    """Stop the cluster."""
    assert healer.yak("cluster", "down").returncode == 0


def emptied_metadata(healer: Healer, rng: random.Random) -> str:
    """The embedded store is empty, and a data directory is missing."""
    stop(healer)
    (healer.cwd / ".yak/data/metadata.json").unlink()
    shutil.rmtree(data_of(healer, rng.choice(NODES)))
    return failed(healer, "up", "--detach")


def damaged_saved_value(healer: Healer, rng: random.Random) -> str:
    """A byte of a saved value has changed."""
    node = rng.choice(NODES)
    kill(healer, [node])
    path = rng.choice(sorted((data_of(healer, node) / "saved").iterdir()))
    flip(path, rng.randrange(path.stat().st_size))
    return failed(healer, "restart", node)


def damaged_identity(healer: Healer, rng: random.Random) -> str:
    """The identity of a data directory is truncated."""
    node = rng.choice(NODES)
    kill(healer, [node])
    (data_of(healer, node) / "identity.json").write_text("{")
    return failed(healer, "restart", node)


def wrong_cluster(healer: Healer, rng: random.Random) -> str:
    """The cluster is started with another name."""
    stop(healer)
    return failed(healer, "up", "--detach", "--cluster", f"other{rng.randrange(100)}")


def taken_port(healer: Healer, rng: random.Random) -> str:
    """Another process listens on a port of a broker."""
    stop(healer)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        return failed(healer, "up", "--detach", "--port", str(other.getsockname()[1]))


def other_directory(healer: Healer, rng: random.Random) -> str:
    """A data directory is a copy of another one."""
    stop(healer)
    copied, replaced = rng.sample(NODES, 2)
    shutil.rmtree(data_of(healer, replaced))
    shutil.copytree(data_of(healer, copied), data_of(healer, replaced))
    return failed(healer, "up", "--detach")


def killed_brokers(healer: Healer, rng: random.Random) -> str:
    """Fewer than min ISR brokers run."""
    kill(healer, rng.sample(NODES, 2))
    return healer.wait_for_problem()


def deleted_directories(healer: Healer, rng: random.Random) -> str:
    """Fewer than min ISR brokers run, and the others have lost their data."""
    nodes = rng.sample(NODES, 2)
    kill(healer, nodes)
    for node in nodes:
        shutil.rmtree(data_of(healer, node))
    return healer.wait_for_problem()


def damaged_logs(healer: Healer, rng: random.Random) -> str:
    """Fewer than min ISR brokers run, and a byte in each other log has changed."""
    nodes = rng.sample(NODES, 2)
    kill(healer, nodes)
    for node in nodes:
        path = data_of(healer, node) / LOG
        flip(path, rng.randrange(path.stat().st_size))
    return healer.wait_for_problem()


BROKERS_DOWN: Final = ("ISR below min ISR", "Broker that is down")
FAULTS: Final[dict[Fault, tuple[str, ...]]] = {
    emptied_metadata: ("Metadata that cannot be rebuilt",),
    damaged_saved_value: ("Damaged saved value",),
    damaged_identity: ("Unusable data directory",),
    wrong_cluster: ("Data folder of another cluster",),
    taken_port: ("Address in use",),
    other_directory: ("Directory of another broker",),
    killed_brokers: BROKERS_DOWN,
    deleted_directories: BROKERS_DOWN,
    damaged_logs: BROKERS_DOWN,
}
"""Fault -> the sections of which one heals it: the messages that an operator may see first."""


def emptied_redis(healer: Healer, server: RedisServer) -> str:
    """Redis has lost everything."""
    with server.client() as client:
        client.flushall()
    return healer.wait_for_problem()


def restored_redis(healer: Healer, server: RedisServer) -> str:
    """Redis has an older partition state than the brokers."""
    with server.client() as client:
        [key] = (each for each in client.scan_iter() if client.hexists(each, "value"))
        older = client.dump(key)
        assert older is not None
        version = client.hget(key, "version")
        for node in NODES:
            assert healer.yak("cluster", "restart", node).returncode == 0
        assert client.hget(key, "version") != version
        client.restore(key, 0, older, replace=True)
    return healer.wait_for_problem()


REDIS_FAULTS: Final[dict[Callable[[Healer, RedisServer], str], str]] = {
    emptied_redis: "Emptied metadata store",
    restored_redis: "Store behind its brokers",
}
NOT_RUN: Final = {
    "ulimit -n 1024": "it changes the limits of a shell",
    "yak cluster logs NODE": "it repairs nothing; tests/net/test_cluster_cli.py runs it",
    "yak cluster logs": "the same",
    "yak describe": "it repairs nothing; tests/net/test_observe.py runs it",
}
"""Command of the page -> why no test of this file runs it."""


# -- the tests -------------------------------------------------------------------------------------


def check_records(healer: Healer, sent: list[str], more: list[str]) -> None:
    """Write ``more``; then the cluster has all records in their order."""
    done = healer.yak("produce", stdin="".join(f"{each}\n" for each in more))
    assert done.returncode == 0, done.stderr
    sent += more
    done = healer.yak("consume", "--from-beginning", "-e")
    assert (done.returncode, done.stdout.splitlines()) == (0, sent), done.stderr


def run_faults(processes: Marked, cwd: Path, faults: list[Fault], rng: random.Random) -> set[str]:
    """Start a cluster, and heal one fault after the other; return the commands that were run."""
    healer = Healer(processes, cwd)
    up = healer.yak("cluster", "up", "--detach")
    assert up.returncode == 0, up.stderr
    sent: list[str] = []
    try:
        healer.wait_until_well()
        check_records(healer, sent, [f"start.{at}" for at in range(20)])
        for number, fault in enumerate(faults):
            titles = healer.heal(fault(healer, rng))
            assert any(title in titles for title in FAULTS[fault]), (fault.__doc__, titles)
            print(f"{number + 1} of {len(faults)} healed: {fault.__name__}, by {titles}")
            shutil.rmtree(cwd / "kept", ignore_errors=True)  # all brokers are in the ISR
            check_records(healer, sent, [f"{number}.{at}" for at in range(5)])
    finally:
        healer.yak("cluster", "down")
    processes.all_gone()
    return set(healer.ran)


@pytest.mark.long
def test_a_fault_is_healed(processes: Marked, tmp_path: Path) -> None:
    """Goal: the commands of the page repair the cluster, and no confirmed record is lost."""
    run_faults(processes, tmp_path, [damaged_saved_value], random.Random(7))


@pytest.mark.long
def test_three_faults_are_healed(processes: Marked, tmp_path: Path) -> None:
    """Goal: the same for more faults, one after the other."""
    rng = random.Random(7)
    run_faults(processes, tmp_path, rng.sample(list(FAULTS), 3), rng)


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_twenty_faults_are_healed(processes: Marked, tmp_path: Path) -> None:
    """Goal: the same for each kind of fault at least twice, in any order."""
    rng = random.Random(20)
    faults = [*FAULTS, *FAULTS, *rng.choices(list(FAULTS), k=2)]
    rng.shuffle(faults)
    run_faults(processes, tmp_path, faults, rng)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_faults_of_redis_are_healed(processes: Marked, tmp_path: Path) -> None:
    """Goal: the commands of the page rebuild the store, and no confirmed record is lost."""
    with redis_server(tcp=True) as server:
        healer = Healer(processes, tmp_path, YAK_REDIS_URL=server.url)
        up = healer.yak("cluster", "up", "--detach")
        assert up.returncode == 0, up.stderr
        sent: list[str] = []
        try:
            healer.wait_until_well()
            check_records(healer, sent, ["a", "b"])
            for fault, title in REDIS_FAULTS.items():
                output, url = fault(healer, server), server.url
                assert title in healer.heal(output, URL=url, PRIMARY=url)
                check_records(healer, sent, [title])
        finally:
            healer.yak("cluster", "down")
    processes.all_gone()


def test_each_command_is_run_by_a_test() -> None:
    """Goal: no command of the page is wrong; method: those of the sections that heal a fault."""
    titles = {title for each in FAULTS.values() for title in each} | {*REDIS_FAULTS.values()}
    healing = {line for each in SECTIONS if each.title in titles for line in each.commands}
    others = {line for each in SECTIONS for line in each.commands} - healing
    assert others == set(NOT_RUN)
