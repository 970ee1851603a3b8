"""A pulled cable, a killed leader, a restarted store: the cluster says so, and loses nothing.

The cluster is that of docs/distributed-deployment.md, on fast links and with the default profile.
A producer sends during all faults. For each fault, four observers are asked again and again: the
stream that the dashboard reads, ``/readyz``, ``/metrics`` and ``yak doctor``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from tests.infra.guide import blocks
from tests.infra.machines import SYSTEMS, Machines
from tests.net.brokers import until

N1, N2 = (f"{SYSTEMS[system]}:8080" for system in ("system-1", "system-2"))
SERVERS: Final = f"{N1},{N2}"
SAYS_WITHIN_S: Final = 5.0
WELL_WITHIN_S: Final = 60.0
OBSERVER: Final = "system-4"
PRODUCER: Final = f"""
i=0; while [ ! -e stop ]; do i=$((i+1)); echo "record $i"; echo "record $i" >> sent; sleep 0.04
done | yak produce -b {SERVERS} > produced 2>&1; echo $? > code
"""

Says = Callable[[], bool]


class Cluster:
    """The running cluster of the page, and what is seen of it at system 4."""

    def __init__(self, machines: Machines) -> None:
        self.machines = machines
        wanted = ("System 3: Redis", "Systems 1 and 2: brokers")
        for block in [each for each in blocks() if each.section in wanted]:
            for system in block.systems:
                machines.run(system, block.script.replace("YAK_PROFILE=wan ", ""))

    def ask(self, *words: str) -> str:
        """Return the output of a command on system 4; what it could not say is missing there."""
        return self.machines.capture(OBSERVER, words)

    def state(self, broker: str) -> dict[str, Any]:
        """Return the newest state that the stream of a broker sends within a second."""
        text = self.ask("curl", "-sN", "-m", "1", f"http://{broker}/v1/cluster/stream")
        found: dict[str, Any] = {}
        for event in text.split("\n\n"):
            lines = dict(line.partition(": ")[::2] for line in event.splitlines())
            if lines.get("event") == "state" and "data" in lines:
                found = json.loads(lines["data"])
        return found

    def readiness(self, broker: str) -> dict[str, Any]:
        """Return what ``/readyz`` says."""
        text = self.ask("curl", "-s", "-m", "1", f"http://{broker}/readyz")
        found: dict[str, Any] = json.loads(text) if text else {}
        return found

    def metric(self, broker: str, name: str) -> float | None:
        """Return the value of a metric without labels."""
        text = self.ask("curl", "-s", "-m", "1", f"http://{broker}/metrics")
        values = [line.split()[1] for line in text.splitlines() if line.startswith(f"{name} ")]
        return float(values[0]) if values else None

    def problems(self) -> list[dict[str, Any]]:
        """Return what ``yak doctor`` finds wrong."""
        text = self.ask("yak", "doctor", "--json", "-q", "-b", SERVERS)
        return [json.loads(line) for line in text.splitlines()]

    def is_well(self) -> bool:
        """Return whether all observers see a cluster without a fault."""
        states = [self.state(broker) for broker in (N1, N2)]
        return (
            all(
                sorted(state.get("isr", ())) == ["n1", "n2"]
                and all(row["up"] and row["ready"] for row in state["brokers"])
                for state in states
            )
            and all(self.readiness(each) == {"ready": True, "reason": ""} for each in (N1, N2))
            and all(self.metric(each, "yak_store_answers") == 1 for each in (N1, N2))
            and all(problem["severity"] == "note" for problem in self.problems())
        )

    def wait_until_well(self) -> None:
        """Wait until all observers see a cluster without a fault."""
        until(self.is_well, "the cluster is well again", WELL_WITHIN_S)

    def all_say(self, began: float, observers: dict[str, Says]) -> None:
        """Wait until each observer says what is wrong; each must do so in time."""

        def seconds_until(says: Says) -> float:
            while True:
                asked = time.monotonic() - began
                if says():
                    return asked
                assert asked < WELL_WITHIN_S

        with ThreadPoolExecutor(len(observers)) as threads:
            took = dict(zip(observers, threads.map(seconds_until, observers.values()), strict=True))
        print({name: round(seconds, 1) for name, seconds in took.items()})
        assert all(seconds <= SAYS_WITHIN_S for seconds in took.values()), took


def row_of(state: dict[str, Any], node: str) -> dict[str, Any]:
    """Return what the stream says of a broker."""
    return next((row for row in state.get("brokers", ()) if row["id"] == node), {})


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Yield the cluster, while a producer sends 25 records a second."""
    machines = Machines(tmp_path, slow=())
    try:
        found = Cluster(machines)
        found.wait_until_well()
        with machines.started(OBSERVER, PRODUCER):
            yield found
    finally:
        machines.close()


@pytest.mark.long
@pytest.mark.timeout(400)
def test_each_fault_is_said_and_nothing_is_lost(cluster: Cluster) -> None:
    """Goal: a person who looks five seconds after a fault sees which it is, wherever they look."""
    _pulled_cable(cluster)
    _killed_leader(cluster)
    _restarted_store(cluster)
    home = cluster.machines.home(OBSERVER)
    (home / "stop").touch()
    until((home / "code").exists, "the producer has ended", WELL_WITHIN_S)
    assert (home / "code").read_text().strip() == "0", (home / "produced").read_text()
    sent = (home / "sent").read_text().splitlines()
    read = cluster.ask("yak", "consume", "--from-beginning", "-e", "-b", SERVERS).splitlines()
    assert len(sent) > 500
    assert read == sent


def _pulled_cable(cluster: Cluster) -> None:
    """The cable of the follower; later it is put back."""
    assert cluster.state(N1)["leader"] == "n1"
    cluster.machines.link("system-2", "down")
    name = "kafka_server_replicamanager_underreplicatedpartitions"
    cluster.all_say(time.monotonic(), {
        "stream": lambda: not row_of(cluster.state(N1), "n2").get("up", True),
        "stream, ISR": lambda: cluster.state(N1).get("isr") == ["n1"],
        "readyz": lambda: "n2" in cluster.readiness(N1).get("reason", ""),
        "metrics": lambda: cluster.metric(N1, name) == 1,
        "doctor": lambda: any(N2 in problem["subject"] for problem in cluster.problems()),
    })  # fmt: skip
    cluster.machines.link("system-2", "up")
    cluster.wait_until_well()


def _killed_leader(cluster: Cluster) -> None:
    """The leader gets SIGKILL; later it is started again, and follows."""
    cluster.machines.run("system-1", 'kill -9 "$(cat broker.pid)"')
    cluster.all_say(time.monotonic(), {
        "stream": lambda: row_of(cluster.state(N2), "n1").get("up") is False,
        "readyz": lambda: "n1" in cluster.readiness(N2).get("reason", ""),
        "metrics": lambda: (cluster.metric(N2, "yak_leader_silent_seconds") or 0) > 1,
        "doctor": lambda: any(N1 in problem["subject"] for problem in cluster.problems()),
    })  # fmt: skip
    until(lambda: cluster.state(N2).get("leader") == "n2", "n2 leads", WELL_WITHIN_S)
    cluster.machines.run("system-1", "sh start.sh")
    cluster.wait_until_well()


def _restarted_store(cluster: Cluster) -> None:
    """Redis ends, and is started again when all have said so."""
    cluster.machines.run("system-3", 'kill "$(cat redis.pid)"')
    word = "metadata store"
    cluster.all_say(time.monotonic(), {
        "stream": lambda: word in (row_of(cluster.state(N2), "n2").get("reason") or ""),
        "readyz": lambda: word in cluster.readiness(N2).get("reason", ""),
        "metrics": lambda: cluster.metric(N2, "yak_store_answers") == 0,
        "doctor": lambda: any(word in problem["problem"] for problem in cluster.problems()),
    })  # fmt: skip
    start = "nohup redis-server redis.conf >> redis.log 2>&1 & echo $! > redis.pid"
    cluster.machines.run("system-3", start)
    cluster.wait_until_well()
