"""A rolling upgrade from brokers with one address to brokers with two, under load.

The brokers of the version before are processes of an earlier commit. Both versions are in one
cluster until the last broker is restarted.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any

import pytest

from tests.net.brokers import BrokerProcess
from tests.net.chaos import NODES, ChaosCluster, Load, read_all, until
from tests.net.earlier_version import ONE_ADDRESS, EarlierBroker, checked_out
from tests.net.redis_server import RedisServer, redis_server

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


class Upgrade(ChaosCluster):
    """Three brokers, each of one of two versions; the new ones have another address for brokers."""

    def __init__(self, folder: Path, server: RedisServer, code: Path) -> None:
        super().__init__(folder, server.url)
        self.server = server
        self.code = code
        self.newer: set[str] = set()

    def start(self, node: str) -> None:
        """Start a broker of the version that it has now."""
        brokers = ",".join(f"{name}={self.peer_url(name)}" for name in self.urls)
        words = [
            "--node-id", node, "--listen", self.urls[node].removeprefix("http://"),
            "--brokers", brokers, "--data-dir", str(self.folder / node), *self._words,
        ]  # fmt: skip
        log, env = self.folder / f"{node}.log", {"YAK_REUSE_PORT": "1"}
        if node in self.newer:
            env |= {"YAK_ADVERTISED_URL": self.urls[node], "YAK_PEER_URL": self.peer_url(node)}
            self.brokers[node] = BrokerProcess(log, *words, env=env)
        else:
            words += ["--advertised-url", self.peer_url(node)]
            self.brokers[node] = EarlierBroker(self.code, log, *words, env=env)

    def peer_url(self, node: str) -> str:
        """Return the address that the brokers use; the same socket has another name."""
        return self.urls[node].replace("127.0.0.1", "localhost")

    def record(self) -> dict[str, Any]:
        """Return the partition state in the store as JSON."""
        with self.server.client() as redis:
            found = json.loads(redis.hget("yak:{yak}:record", "value") or "")
        assert isinstance(found, dict)
        return found

    def addresses(self) -> dict[str, tuple[str, str]]:
        """Return the (URL for clients, URL for brokers) of each broker in the store."""
        nodes = self.record()["nodes"].items()
        return {node: (entry["url"], entry.get("peer_url", "")) for node, entry in nodes}

    async def restart(self, node: str) -> None:
        """Stop a broker cleanly, and start it again."""
        self.brokers[node].process.send_signal(SIGTERM)
        code = await asyncio.to_thread(self.brokers[node].wait_for_end)
        assert code == 0, self.brokers[node].output
        self.start(node)
        await self.wait_until_in_sync()


@pytest.fixture
def upgrade(tmp_path: Path) -> Iterator[Upgrade]:
    """Yield three brokers of the earlier version."""
    code = checked_out(ONE_ADDRESS, tmp_path / "code")
    with redis_server() as server:
        cluster = Upgrade(tmp_path, server, code)
        try:
            for node in NODES:
                cluster.start(node)
            yield cluster
        finally:
            cluster.close()


def test_earlier_version_knows_one_address(tmp_path: Path) -> None:
    """Goal: the other tests run two versions, not one twice."""
    code = checked_out(ONE_ADDRESS, tmp_path)
    words = [sys.executable, "-P", "-m", "yak_cli", "broker", "--help"]
    for folder, known in ((code, False), (Path(__file__).parents[2], True)):
        env = {"PYTHONPATH": str(folder)}
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=True)
        assert ("--peer-url" in done.stdout) is known


def test_rolling_upgrade_loses_no_record(upgrade: Upgrade) -> None:
    """Goal: both versions in one cluster; the record is raised when all brokers can read it.

    Method: restart one broker after another under load, then kill the leader. At last, an older
    broker that is started again changes nothing, and says why.
    """
    asyncio.run(upgrade_all(upgrade))


async def upgrade_all(upgrade: Upgrade) -> None:
    await upgrade.wait_for_leader()
    await upgrade.wait_until_in_sync()
    load = Load(upgrade.servers, rate_per_s=300)
    await load.start()
    await load.wait_for_confirmed(100)
    for node in NODES:
        assert upgrade.record()["schema"] == 1
        upgrade.newer.add(node)
        await upgrade.restart(node)
        assert all(broker.up for broker in upgrade.brokers.values()), upgrade.logs()
        if len(upgrade.newer) < len(NODES):
            expected = {name: (upgrade.peer_url(name), "") for name in NODES}
            assert (upgrade.record()["schema"], upgrade.addresses()) == (1, expected)
        await load.wait_for_confirmed(100)
    expected = {name: (upgrade.urls[name], upgrade.peer_url(name)) for name in NODES}
    await until(lambda: upgrade.addresses() == expected, "all addresses in the store")
    assert upgrade.record()["schema"] == 2
    await until(
        lambda: all(
            {row["id"]: row["url"] for row in upgrade.view(node)["brokers"]} == upgrade.urls
            for node in NODES
        ),
        "clients get the addresses for clients",
    )
    leader = upgrade.leader()
    upgrade.brokers[leader].process.send_signal(SIGKILL)
    await upgrade.wait_for_leader(other_than=leader)
    await load.wait_for_confirmed(100)
    upgrade.brokers[leader].process.wait()
    upgrade.start(leader)
    await upgrade.wait_until_in_sync()
    await load.stop()
    read = await read_all(upgrade.servers)
    load.check(read)
    assert set(load.outcomes) == {"written"}
    assert len(read) == load.sent
    broker = NODES[2]
    upgrade.brokers[broker].process.send_signal(SIGTERM)
    await asyncio.to_thread(upgrade.brokers[broker].wait_for_end)
    before = upgrade.record()["nodes"][broker]
    upgrade.newer.remove(broker)
    upgrade.start(broker)
    assert await asyncio.to_thread(upgrade.brokers[broker].wait_for_end) == 1
    assert "schema 2" in upgrade.brokers[broker].output
    assert upgrade.record()["nodes"][broker] == before
    upgrade.newer.add(broker)
    upgrade.start(broker)
    await upgrade.wait_until_in_sync()


def test_version_can_be_taken_back_without_peer_urls(upgrade: Upgrade) -> None:
    """Goal: an upgrade can be undone until a broker has two addresses.

    Method: restart each broker with this version and one address, then with the earlier version.
    """
    asyncio.run(upgrade_and_return(upgrade))


async def upgrade_and_return(upgrade: Upgrade) -> None:
    await upgrade.wait_for_leader()
    await upgrade.wait_until_in_sync()
    load = Load(upgrade.servers, rate_per_s=100)
    await load.start()
    upgrade.peer_url = lambda node: upgrade.urls[node]  # type: ignore[method-assign]
    for node in NODES:
        upgrade.newer.add(node)
        await upgrade.restart(node)
    assert upgrade.record()["schema"] == 1
    assert [entry["leo"] for entry in upgrade.record()["nodes"].values()] == [2, 2, 2]
    for node in NODES:
        upgrade.newer.remove(node)
        await upgrade.restart(node)
    await load.wait_for_confirmed(50)
    await load.stop()
    load.check(await read_all(upgrade.servers))
    assert set(load.outcomes) == {"written"}
    assert [entry["leo"] for entry in upgrade.record()["nodes"].values()] == [-1, -1, -1]
