"""Three brokers configured by seven variables replicate a record, and each consumer reads it.

This file also runs by itself: ``python tests/net/test_replication_smoke.py``.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if __name__ == "__main__":  # the imports below need the project's folder on the path, as in pytest
    sys.exit(pytest.main([__file__]))

from tests.net.brokers import CLEAN, ROOT, BrokerProcess, brokers, get, until
from yak_net.metadata.embedded import EmbeddedMetadata


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[dict[str, BrokerProcess]]:
    """Yield three brokers in sync; the first preference is ``leader``."""
    with EmbeddedMetadata() as metadata, brokers() as start:

        def started(node: str, **more: str) -> BrokerProcess:
            env = {"YAK_NODE_ID": node, "YAK_HOST": "127.0.0.1", "YAK_PORT": "0"}
            env |= {"YAK_REDIS_URL": metadata.url, "YAK_DATA_DIR": str(tmp_path / node), **more}
            return start(tmp_path / f"{node}.log", env=env)

        found = {node: started(node, YAK_ROLE="follower") for node in ("follower-1", "follower-2")}
        followers = ",".join(broker.url for broker in found.values())
        found["leader"] = started("leader", YAK_ROLE="leader", YAK_FOLLOWERS=followers)
        until(
            lambda: all(broker.health().get("status") == "ok" for broker in found.values()),
            "all brokers are healthy",
        )
        yield found


def client(module: str, servers: str, *words: str) -> str:
    """Run a client as ``python -m`` and return its output."""
    command = [sys.executable, "-m", f"yak_net.client.{module}", "-b", servers, *words]
    return subprocess.check_output(command, cwd=ROOT, env=CLEAN, text=True, timeout=60)


def test_a_record_is_on_each_replica(cluster: dict[str, BrokerProcess]) -> None:
    """Goal: one record, below the HW of each broker, and read by two consumers.

    Method: the first consumer asks a follower, the second all brokers.
    """
    servers = ",".join(broker.url.removeprefix("http://") for broker in cluster.values())
    client("producer", servers, "--message", "Hello YAK")
    ends = {(1, 1)}
    until(
        lambda: {(b.health()["leo"], b.health()["hw"]) for b in cluster.values()} == ends,
        "LEO and HW are 1 on each broker",
    )
    assert get(f"{cluster['follower-1'].url}/v1/cluster")[1]["leader"] == "leader"
    one = cluster["follower-1"].url.removeprefix("http://")
    for addresses in (one, servers):
        assert client("consumer", addresses, "--from-beginning", "-e") == "Hello YAK\n"
