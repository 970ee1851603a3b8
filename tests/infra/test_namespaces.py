"""The compose file at work: its services as processes in network namespaces."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.infra.compose import BROKERS
from tests.infra.containers import Containers
from tests.net.brokers import until

pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]
SERVERS = ",".join(f"127.0.0.1:{port}" for port in BROKERS.values())


@pytest.fixture
def containers(tmp_path: Path) -> Iterator[Containers]:
    """Yield the network with all services of the plain command, healthy."""
    found = Containers(tmp_path)
    try:
        found.make_network()
        found.start("redis")
        until(lambda: found.is_healthy("redis"), "redis is healthy")
        for name in BROKERS:
            found.start(name)
        found.publish()
        for name in BROKERS:
            until(partial(found.is_healthy, name), name, 60)
        yield found
    finally:
        found.close()


def test_clients_on_the_machine_reach_every_broker_through_a_failover(
    containers: Containers,
) -> None:
    """Goal: brokers use the service names, clients the published ports, before and after a kill."""
    env = {"YAK_BOOTSTRAP_SERVERS": SERVERS}
    view = json.loads(containers.on_host("curl", "-s", "http://127.0.0.1:8081/v1/cluster"))
    assert view["leader"] == "leader"
    urls = {row["id"]: row["url"] for row in view["brokers"]}
    assert urls == {name: f"http://127.0.0.1:{port}" for name, port in BROKERS.items()}
    assert "url=http://follower-2:8082" in containers.output("follower-1")
    containers.on_host("produce", env=env, data="one\ntwo\n")
    containers.kill("leader")
    assert not containers.is_healthy("leader")
    containers.on_host("produce", env=env, data="three\n")
    read = containers.on_host("consume", "--from-beginning", "-e", env=env)
    assert read.splitlines() == ["one", "two", "three"]
    assert "warning" not in containers.output("follower-1").split("connected to peer")[0]
    containers.start("leader")
    until(lambda: containers.is_healthy("leader"), containers.output("leader"), 60)


def test_names_resolve_only_inside_the_network(containers: Containers) -> None:
    """Goal: the test runs in the private network. Method: the page of the leader by its name."""
    inside = containers.on_host("curl", "-s", "http://leader:8080/livez")
    assert json.loads(inside)["live"] is True
    assert "leader" not in Path("/etc/hosts").read_text().split()
