"""GET /v1/cluster/stream of real brokers: the state of all, while a leader is killed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from tests.net.brokers import post
from tests.net.chaos import NODES, ChaosCluster, until
from tests.net.sse_tools import Event, Events
from yak_net.metadata.embedded import EmbeddedMetadata

PATH = "/v1/cluster/stream"
RECORD = {"records": [{"value": "a"}]}


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChaosCluster]:
    """Yield three running brokers."""
    metadata = EmbeddedMetadata()
    metadata.start()
    cluster = ChaosCluster(tmp_path_factory.mktemp("stream"), metadata.url)
    try:
        for node in NODES:
            cluster.start(node)
        yield cluster
    finally:
        cluster.close()
        metadata.stop()


def row(state: dict[str, Any], node: str) -> dict[str, Any]:
    """Return the row of a broker."""
    found: dict[str, Any] = next(one for one in state["brokers"] if one["id"] == node)
    return found


async def log_end(brokers: ChaosCluster) -> int:
    """Wait for a leader with all followers in sync; return its log end."""
    await brokers.wait_until_in_sync()
    leader = await brokers.wait_for_leader()
    return int(row(brokers.view(leader), leader)["leo"])


def is_whole(event: Event, leo: int) -> bool:
    """Return whether a state has a report of each broker, with these log ends."""
    rows = event.data.get("brokers", [])
    return event.name == "state" and [one["leo"] for one in rows if one["up"]] == [leo] * 3


async def test_a_failover_is_seen_through_a_follower(brokers: ChaosCluster) -> None:
    """Goal: a page of one broker shows all. Method: watch a follower, kill the leader, restart."""
    assert await log_end(brokers) == 0
    leader = brokers.leader()
    watched = next(node for node in NODES if node != leader)
    async with (
        aiohttp.ClientSession() as session,
        Events(await session.get(brokers.urls[watched] + PATH)) as events,
    ):
        answer = events.answer
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        assert "Access-Control-Allow-Origin" not in answer.headers
        first, second = await events.take(2)
        assert (first.name, second.name) == ("timeline", "state")
        assert [one["leader"] for one in first.data["elections"]] == [leader]
        state = (await events.until(lambda event: is_whole(event, 0))).data
        assert (state["leader"], state["isr"], state["min_isr"]) == (leader, list(NODES), 2)
        assert (state["node"], state["cluster"]) == (watched, "yak")

        assert (await asyncio.to_thread(post, f"{brokers.urls[leader]}/produce", RECORD))[0] == 200
        state = (await events.until(lambda event: is_whole(event, 1))).data
        assert row(state, leader)["role"] == "leader"
        assert {one["url"] for one in state["brokers"]} == set(brokers.urls.values())
        await events.until(
            lambda event: (
                event.name == "state"
                and [(one["hw"], one["lag_records"], one["lag_ms"])
                     for one in event.data["brokers"]] == [(1, 0, 0)] * 3
            )
        )  # fmt: skip

        killed_at = time.monotonic()
        brokers.kill(leader)
        state = (await events.until(
            lambda event: event.name == "state" and row(event.data, leader)["up"] is False
        )).data  # fmt: skip
        assert time.monotonic() - killed_at < 5
        assert row(state, leader)["leo"] == 1, "its last report stays"
        state = (await events.until(
            lambda event: event.name == "state" and event.data["leader"] not in (None, leader)
        )).data  # fmt: skip
        new = state["leader"]
        assert (await asyncio.to_thread(post, f"{brokers.urls[new]}/produce", RECORD))[0] == 200
        timeline = (await events.until(
            lambda event: event.name == "timeline"
            and event.data["elections"][-1]["first_ack_ms"] is not None
            and event.data["elections"][-1]["leader"] == new
        )).data  # fmt: skip
        election = timeline["elections"][-1]
        assert election["epoch"] == state["epoch"]
        assert election["detect_ms"] > 500, "the lease of the test is 1 s"
        assert election["elect_ms"] >= 0
        happened = [(one["node"], one["event"]) for one in timeline["events"]]
        assert happened.index((new, "campaigned")) < happened.index((new, "elected"))
        times = [one["at_ms"] for one in timeline["events"]]
        assert times == sorted(times)

        brokers.start(leader)
        await events.until(
            lambda event: is_whole(event, 2) and event.data["isr"] == list(NODES), 40
        )


async def test_updates_are_few_and_the_newest(brokers: ChaosCluster) -> None:
    """Goal: at most ten states a second, and the last one is that of the end.

    Method: a load of single records, watched by two clients of the leader; one reads at the end.
    """
    end = await log_end(brokers)
    leader = brokers.leader()
    url = brokers.urls[leader]
    async with (
        aiohttp.ClientSession() as session,
        Events(await session.get(url + PATH)) as one,
        Events(await session.get(url + PATH)) as two,
    ):
        stop = time.monotonic() + 1.5

        async def load() -> int:
            sent = 0
            while time.monotonic() < stop:
                async with session.post(f"{url}/produce", json=RECORD) as answer:
                    sent += answer.status == 200
            return sent

        loading = asyncio.create_task(load())
        began, states = time.monotonic(), 0
        while not loading.done():
            event = await one.next()
            states += event is not None and event.name == "state"
        took = time.monotonic() - began
        sent = await loading
        assert sent > 0
        assert states <= 10 * took + 2
        for events in (one, two):
            await events.until(lambda event: is_whole(event, end + sent))
        for refused in ("?scope=x", "?scope=broker&scope=broker", "?offset=1"):
            async with session.get(url + PATH + refused) as answer:
                assert answer.status == 400
        async with Events(await session.get(f"{url}{PATH}?scope=broker")) as own:
            timeline, report = await own.take(2)
        assert (timeline.name, report.name, report.data["id"]) == ("timeline", "report", leader)
        assert [one["leo"] for one in report.data["replicas"]] == [end + sent] * 3


async def test_a_silent_broker_is_not_up(brokers: ChaosCluster) -> None:
    """Goal: a stopped process counts as down after its last report is 3 s old."""
    end = await log_end(brokers)
    leader = brokers.leader()
    other = next(node for node in NODES if node != leader)
    async with (
        aiohttp.ClientSession() as session,
        Events(await session.get(brokers.urls[leader] + PATH)) as events,
    ):
        await events.until(lambda event: is_whole(event, end))
        brokers.freeze(other)
        try:
            state = (await events.until(
                lambda event: event.name == "state" and row(event.data, other)["up"] is False
            )).data  # fmt: skip
            assert row(state, other)["age_ms"] >= 2_000
        finally:
            brokers.thaw(other)
        await events.until(
            lambda event: event.name == "state" and row(event.data, other)["up"] is True
        )
    await until(lambda: brokers.brokers[other].up, "the broker runs on")
