"""What a broker logs about its links: nothing during a start, the reason if it lasts longer."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from structlog.testing import capture_logs

from tests.net.brokers import brokers, until
from tests.net.cluster_tools import marked, wait_for
from tests.net.redis_server import free_port, redis_server
from yak_net.broker.peers import QUIET_S, Peers
from yak_net.runtime.wire import CLUSTER_HEADER, NODE_HEADER, PEER_PATH

Lines = list[MutableMapping[str, Any]]


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Yield the log lines."""
    with capture_logs() as found:
        yield found


def peers_of(node: str, clock: Clock) -> Peers:
    """Return the links of a broker that drops all messages."""
    return Peers(node, "yak", lambda *_: None, lambda _: None, clock)


def failures(lines: Lines) -> list[str]:
    """Return the reasons of the failed links that were logged."""
    return [str(line["reason"]) for line in lines if line["log_level"] == "warning"]


async def test_peer_that_starts_later_is_not_logged(lines: Lines) -> None:
    """Goal: silence while it does not listen, then one line without library words.

    Method: dial a closed port, and move the clock.
    """
    port = free_port()
    clock, dialled = Clock(), 0
    peers = peers_of("n1", clock)
    original = peers._receive_from

    async def counted(node: str, url: str) -> bool:
        nonlocal dialled
        dialled += 1
        return await original(node, url)

    peers._receive_from = counted  # type: ignore[method-assign]
    peers.update_urls({"n2": f"http://127.0.0.1:{port}"})
    await peers.start()
    try:
        await wait_for(lambda: dialled >= 4, "several attempts")
        clock.now += QUIET_S - 1
        before = dialled
        await wait_for(lambda: dialled >= before + 2, "further attempts")
        assert failures(lines) == []
        clock.now += 1
        await wait_for(lambda: failures(lines), "the reason")
        before = dialled
        await wait_for(lambda: dialled >= before + 2, "further attempts")
        assert failures(lines) == [f"cannot connect to 127.0.0.1:{port}: connection refused"]
    finally:
        await peers.close()


async def test_rejected_peer_is_logged_if_it_stays_unknown(lines: Lines) -> None:
    """Goal: a member that is not known yet is no alarm; a stranger is, later; a wrong name at once.

    Method: ask for a link as n7, before and after the quiet time.
    """
    clock = Clock()
    peers = peers_of("n1", clock)
    app = web.Application()
    app.router.add_get(PEER_PATH, peers.serve)
    async with TestClient(TestServer(app)) as client:

        async def ask(node: str, cluster: str) -> None:
            headers = {NODE_HEADER: node, CLUSTER_HEADER: cluster}
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await client.ws_connect(PEER_PATH, headers=headers)
            assert refused.value.status == 403

        await ask("n7", "yak")
        assert failures(lines) == []
        clock.now += QUIET_S
        for _ in range(2):
            await ask("n7", "yak")
        assert len(failures(lines)) == 1
        assert "n7" in failures(lines)[0]
        await ask("n2", "other")
        assert "other" in failures(lines)[1]


@pytest.mark.long
def test_first_start_has_no_warning(tmp_path: Path) -> None:
    """Goal: no alarming line in a normal first start. Method: `cluster up`, and its broker logs."""
    with marked() as processes:
        up = processes.yak(tmp_path, "cluster", "up", "-d")
        assert up.returncode == 0, up.stderr
        assert processes.yak(tmp_path, "cluster", "down").returncode == 0
        for log in (tmp_path / ".yak" / "data").glob("n*.log"):
            text = log.read_text()
            assert "listening" in text
            assert "warning" not in text
            assert "error" not in text


def test_start_by_role_has_no_warning_about_links(tmp_path: Path) -> None:
    """Goal: the same for brokers that find each other. Method: the leader first, then followers."""
    ports = [free_port() for _ in range(3)]
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    with redis_server() as server, brokers() as start:
        started = []
        for number, port in enumerate(ports, 1):
            role = "leader" if number == 1 else "follower"
            env = {"YAK_ROLE": role, "YAK_NODE_ID": f"n{number}", "YAK_PORT": str(port)}
            env |= {"YAK_REDIS_URL": server.url, "YAK_DATA_DIR": str(tmp_path / f"n{number}")}
            if number == 1:
                env["YAK_FOLLOWERS"] = ",".join(urls[1:])
            started.append(start(tmp_path / f"n{number}.log", env=env))
        for broker in started:
            broker.wait_until_ready()
        until(lambda: all("connected to peer" in each.output for each in started), "all links")
        for broker in started:
            assert "link failed" not in broker.output
