"""A failover of Redis that loses confirmed changes: brokers halt, and the runbook heals them.

Method: a real primary, replica and Sentinel, and a cluster of ``yak cluster up``. The replica keeps
only a snapshot. All members of the ISR have seen later changes when both servers are killed, and
the replica comes back with the snapshot and is promoted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.net.brokers import until
from tests.net.cluster_tools import marked
from tests.net.healer import Healer
from tests.net.redis_sentinel import Watched, watched

NODES: Final = ("n1", "n2", "n3")
VERSION: Final = ("yak:{yak}:record", "version")
LOST: Final = "lost confirmed writes"
HEALING_S: Final = 90.0


def produce(healer: Healer, sent: list[str], *more: str) -> None:
    """Send records; all must be confirmed."""
    done = healer.yak("produce", stdin="".join(f"{each}\n" for each in more))
    assert done.returncode == 0, done.stderr
    sent += more


def fail_over_to_a_snapshot(healer: Healer, servers: Watched, sent: list[str]) -> None:
    """Change the partition state after a snapshot of the replica, then lose the changes."""
    with servers.replica.client() as replica:
        replica.save()
        before = int(replica.hget(*VERSION) or 0)
        for node in NODES:
            assert healer.yak("cluster", "restart", node).returncode == 0
        produce(healer, sent, "after the snapshot")
        until(lambda: int(replica.hget(*VERSION) or 0) > before, "changes on the replica")
    servers.primary.kill()
    servers.replica.kill()
    servers.replica.start()
    servers.sentinel.wait_for_primary(servers.replica.port)
    with servers.replica.client() as promoted:
        assert int(promoted.hget(*VERSION) or 0) == before
    # An empty machine replaces the old primary.
    servers.primary.wipe()
    servers.primary.options = ("--replicaof", "127.0.0.1", str(servers.replica.port))
    servers.primary.start()


@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_failover_that_loses_changes_is_noticed_and_healed(tmp_path: Path) -> None:
    """Goal: nothing confirmed is lost, and no broker serves on the older state (F80, F81)."""
    with watched("redis-server", "--appendonly", "no") as servers, marked() as processes:
        healer = Healer(processes, tmp_path, YAK_REDIS_URL=servers.url)
        up = healer.yak("cluster", "up", "--detach")
        assert up.returncode == 0, up.stderr
        assert "a failover may lose the last change" in up.stderr
        sent: list[str] = []
        try:
            assert healer.heal(healer.problem()) == []
            produce(healer, sent, "a", "b")
            fail_over_to_a_snapshot(healer, servers, sent)
            until(lambda: healer.problem().count(LOST) == len(NODES), "halts", HEALING_S)
            assert healer.status()["leader"] is None
            primary = f"redis://127.0.0.1:{servers.replica.port}/0"
            titles = healer.heal(healer.problem(), URL=servers.url, PRIMARY=primary)
            assert "Store behind its brokers" in titles
            produce(healer, sent, "after the failover")
            done = healer.yak("consume", "--from-beginning", "-e")
            assert (done.returncode, done.stdout.splitlines()) == (0, sent), done.stderr
        finally:
            healer.yak("cluster", "down")
        processes.all_gone()
