"""Real brokers with flush=os: SIGKILL loses nothing, and a lossy start is named.

A test cannot cut the power of its machine. It removes the key of the storage session instead, which
has the effect of a reboot: the next start does not know that all written records are there.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.net.brokers import brokers, get, post, until
from tests.net.cluster_tools import marked
from yak_net.http.gateway import Health
from yak_net.metadata.embedded import EmbeddedMetadata

PAGE = "docs/runbook.md#no-eligible-replica"


def values(url: str) -> list[str]:
    """Return the committed values."""
    status, found = get(f"{url}/fetch?offset=0")
    return [record["value"] for record in found["records"]] if status == 200 else []


def test_killed_broker_leads_again(metadata: EmbeddedMetadata, tmp_path: Path) -> None:
    """Goal: a single broker with flush=os serves all confirmed records after each SIGKILL."""
    words = ["--listen", "127.0.0.1:0", "--redis", metadata.url, "--flush", "os"]
    words += ["--data-dir", str(tmp_path / "data")]
    sent: list[str] = []
    with brokers() as start:
        for number in range(4):
            broker = start(tmp_path / f"log{number}", *words)
            broker.wait_until_ready()
            assert values(broker.url) == sent
            more = [f"{number}.{at}" for at in range(20)]
            records = [{"value": value} for value in more]
            assert post(f"{broker.url}/produce", {"records": records})[0] == 200
            sent += more
            broker.signal(signal.SIGKILL)
            broker.wait_for_end()


def test_broker_killed_while_it_starts_leads_again(
    metadata: EmbeddedMetadata, tmp_path: Path
) -> None:
    """Goal: a start that is killed before or after its registration changes nothing."""
    words = ["--listen", "127.0.0.1:0", "--redis", metadata.url, "--flush", "os"]
    words += ["--data-dir", str(tmp_path / "data")]
    with brokers() as start:
        broker = start(tmp_path / "log", *words)
        broker.wait_until_ready()
        assert post(f"{broker.url}/produce", {"records": [{"value": "a"}]})[0] == 200
        broker.signal(signal.SIGKILL)
        broker.wait_for_end()
        for moment in ("listening", "recovered", "Registered"):
            early = start(tmp_path / moment, *words, "--verbose")
            until(lambda: moment in early.output, moment)  # noqa: B023 - called in the loop only
            early.signal(signal.SIGKILL)
            early.wait_for_end()
        again = start(tmp_path / "again", *words)
        again.wait_until_ready()
        assert values(again.url) == ["a"]


@pytest.mark.long
def test_status_names_the_page_if_no_replica_is_eligible(tmp_path: Path) -> None:
    """Goal: exit code 10, and /health and status say why there is no leader.

    Method: a cluster of one broker with flush=os, killed and started as after a reboot.
    """
    with marked() as processes:
        up = processes.yak(tmp_path, "cluster", "up", "--nodes", "1", "--flush", "os", "--detach")
        try:
            assert up.returncode == 0, up.stderr
            assert processes.yak(tmp_path, "produce", "--message", "a").returncode == 0
            assert processes.yak(tmp_path, "cluster", "kill", "n1").returncode == 0
            (tmp_path / ".yak/data/n1/storage-session").unlink()
            restart = processes.yak(tmp_path, "cluster", "restart", "n1")
            assert restart.returncode == 0, restart.stderr
            status = processes.yak(tmp_path, "cluster", "status", "--json")
            [row] = json.loads(status.stdout)["brokers"]
            code, health = get(f"{row['url']}/health")
            shown = processes.yak(tmp_path, "cluster", "status")
        finally:
            processes.yak(tmp_path, "cluster", "down")
    assert (code, health["status"], health["leader"]) == (503, Health.DEGRADED, None)
    assert (health["leo"], health["isr"]) == (1, [])
    assert PAGE in health["reason"]
    assert shown.returncode == 10
    assert PAGE in shown.stderr
