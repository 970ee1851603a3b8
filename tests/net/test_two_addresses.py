"""Brokers with one address for clients and another one for brokers."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.net.brokers import BrokerProcess, brokers, get, post, until
from tests.net.chaos import NODES, QUICK, ChaosCluster
from yak_net.client.consumer import Consumer
from yak_net.client.producer import Producer
from yak_net.metadata.embedded import EmbeddedMetadata

OUTSIDE, INSIDE = "http://outside.example:18080", "http://inside.example:8080"


class Seeded(ChaosCluster):
    """Brokers configured by the seven variables of the original YAK, and by two addresses.

    The name of the loopback is the address for brokers, its number that for clients.
    """

    def __init__(self, folder: Path, redis_url: str) -> None:
        super().__init__(folder, redis_url)
        self.redis_url = redis_url

    def start(self, node: str) -> None:
        """Start the broker; n1 has the role of the leader."""
        host, _, port = self.urls[node].removeprefix("http://").rpartition(":")
        env = {
            "YAK_ROLE": "leader" if node == "n1" else "follower",
            "YAK_NODE_ID": node,
            "YAK_HOST": host,
            "YAK_PORT": port,
            "YAK_REDIS_URL": self.redis_url,
            "YAK_DATA_DIR": str(self.folder / node),
            "YAK_ADVERTISED_URL": self.urls[node],
            "YAK_PEER_URL": self.peer_url(node),
            "YAK_REUSE_PORT": "1",
        }
        if node == "n1":
            env["YAK_FOLLOWERS"] = ",".join(self.peer_url(each) for each in NODES[1:])
        words = [word for pair in QUICK for word in ("--config", pair)]
        self.brokers[node] = BrokerProcess(self.folder / f"{node}.log", *words, env=env)

    def peer_url(self, node: str) -> str:
        """Return the address for brokers."""
        return self.urls[node].replace("127.0.0.1", "localhost")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Seeded]:
    """Yield three brokers; the leader starts before the followers that it waits for."""
    with EmbeddedMetadata() as metadata:
        cluster = Seeded(tmp_path, metadata.url)
        try:
            for node in NODES:
                cluster.start(node)
            yield cluster
        finally:
            cluster.close()


async def test_clients_and_brokers_get_their_own_addresses(cluster: Seeded) -> None:
    """Goal: brokers find each other by the peer URLs, clients get the others; after a failover."""
    assert await cluster.wait_for_leader() == "n1", "the role decides who leads first"
    await cluster.wait_until_in_sync()
    for node, broker in cluster.brokers.items():
        until(partial(names_all, cluster, node), f"{node} knows {cluster.urls}")
        peers = {f"peer={one} url={cluster.peer_url(one)}" for one in NODES if one != node}
        until(partial(has_connected, broker, peers), f"{node} has connected to {peers}")
    status, problem = post(f"{cluster.urls['n2']}/v1/records", {"records": [{"value": "a"}]})
    assert (status, problem["leader"]) == (421, {"id": "n1", "url": cluster.urls["n1"]})
    assert location(f"{cluster.urls['n2']}/v1/records?offset=0&redirect=1").startswith(
        cluster.urls["n1"]
    )
    async with Producer(cluster.peer_url("n2").removeprefix("http://")) as producer:
        assert (await producer.send_and_wait(b"first")).offset == 0
    cluster.kill("n1")
    await cluster.wait_for_leader(other_than="n1")
    async with Producer(cluster.servers[1:]) as producer:
        assert (await producer.send_and_wait(b"second")).offset == 1
    async with Consumer(cluster.servers[1:], auto_offset_reset="earliest") as consumer:
        assert [(await anext(consumer)).value for _ in range(2)] == [b"first", b"second"]


def names_all(cluster: Seeded, node: str) -> bool:
    """Return whether a broker's view has all addresses; a follower may learn them last."""
    return {row["id"]: row["url"] for row in cluster.view(node)["brokers"]} == cluster.urls


def has_connected(broker: BrokerProcess, peers: set[str]) -> bool:
    """Return whether the log of a broker names these peers, which may be later than the ISR."""
    text = " ".join(broker.output.split())
    return set(re.findall(r"connected to peer (peer=\S+ url=\S+)", text)) == peers


def location(url: str) -> str:
    """Return where a GET is redirected to."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: object) -> None:
            return None

    with pytest.raises(urllib.error.HTTPError) as answer:
        urllib.request.build_opener(Stay).open(url, timeout=5)
    with answer.value as found:
        assert found.code == 307
        return str(found.headers["Location"])


def status_for(url: str, host: str) -> int:
    """Return the status of a request with this Host."""
    request = urllib.request.Request(f"{url}/fetch", headers={"Host": host})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_broker_answers_to_the_names_of_both_addresses(tmp_path: Path) -> None:
    """Goal: the Host allow-list covers both. Method: one broker, requests with other names."""
    with EmbeddedMetadata() as metadata, brokers() as start:
        words = ["--listen", "127.0.0.1:0", "--redis", metadata.url]
        words += ["--advertised-url", OUTSIDE, "--peer-url", INSIDE]
        broker = start(tmp_path / "log", *words, "--data-dir", str(tmp_path / "data"))
        until(lambda: " port=" in broker.output, "the broker listens")
        port = broker.output.split(" port=")[1].split()[0]
        url = f"http://127.0.0.1:{port}"
        until(lambda: get(f"{url}/health")[0] == 200, "healthy")
        names = ("outside.example", "inside.example:8080", "other.example", f"localhost:{port}")
        assert [status_for(url, name) for name in names] == [200, 200, 421, 200]
        assert get(f"{url}/v1/cluster")[1]["brokers"][0]["url"] == OUTSIDE
