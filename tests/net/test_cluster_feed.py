"""The task that makes the events of a stream of the cluster: its start, its end, its next start."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from msgspec import Struct

from yak_net.http import cluster_stream
from yak_net.http.cluster_stream import Feed
from yak_net.http.reports import Timeline
from yak_net.http.sse import EventStream

LIMIT_S = 10.0


class Counted(Struct):
    """A state that differs each time."""

    count: int


class Client:
    """Takes the events of a feed, and notes what is sent to it."""

    def __init__(self, feed: Feed) -> None:
        self.got: asyncio.Queue[bytes] = asyncio.Queue()
        self.ended = False
        serving = feed.serve(cast("EventStream", self), lambda: self.ended)
        self.task = asyncio.create_task(serving)

    async def send(self, events: bytes) -> None:
        """Note the events."""
        self.got.put_nowait(events)

    async def next(self) -> bytes:
        """Return the next events."""
        async with asyncio.timeout(LIMIT_S):
            return await self.got.get()

    async def leave(self) -> None:
        """Close the connection."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


class Source:
    """What a feed shows; ``calls`` are its starts and stops, in order."""

    def __init__(self) -> None:
        self.count = 0
        self.calls: list[str] = []
        self.may_stop = asyncio.Event()
        self.may_stop.set()
        self.stopping = asyncio.Event()
        self.feed = Feed(
            "state", self.make, lambda: Timeline([], []), lambda: self.calls.append("start"),
            self.stop,
        )  # fmt: skip

    def make(self) -> Counted:
        """Return the next state."""
        self.count += 1
        if self.count < 0:
            raise RuntimeError("no state")
        return Counted(self.count)

    async def stop(self) -> None:
        """Stop when this is allowed."""
        self.stopping.set()
        await self.may_stop.wait()
        self.calls.append("stop")
        self.stopping.clear()

    async def until_stopped(self) -> None:
        """Wait until the task has ended, because there was no client."""
        async with asyncio.timeout(LIMIT_S):
            while self.calls[-1] != "stop":
                await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_stream, "LINGER_S", 0.05)
    monkeypatch.setattr(cluster_stream, "PERIOD_S", 0.01)


async def test_client_after_a_pause_gets_a_new_state() -> None:
    """Goal: the loop stays free, and no old state is sent. Method: a client after the end."""
    source = Source()
    first = Client(source.feed)
    assert b"timeline" in await first.next()
    await first.leave()
    await source.until_stopped()
    made = source.count
    second = Client(source.feed)
    events = await second.next()
    assert b"timeline" in events
    assert int(events.split(b'"count":')[1].split(b"}")[0]) > made
    assert source.calls == ["start", "stop", "start"]
    await second.leave()


async def test_client_during_the_end_is_served_after_it() -> None:
    """Goal: the stop of the old task does not stop the new one. Method: a slow stop."""
    source = Source()
    source.may_stop.clear()
    first = Client(source.feed)
    await first.next()
    await first.leave()
    async with asyncio.timeout(LIMIT_S):
        await source.stopping.wait()
    made = source.count
    second = Client(source.feed)
    await asyncio.sleep(0)
    assert source.calls == ["start"]
    source.may_stop.set()
    events = await second.next()
    assert int(events.split(b'"count":')[1].split(b"}")[0]) > made
    assert source.calls == ["start", "stop", "start"]
    await second.leave()


async def test_error_ends_the_streams() -> None:
    """Goal: a client is not left waiting, and a later one gets events again."""
    source = Source()
    client = Client(source.feed)
    await client.next()
    source.count = -10
    async with asyncio.timeout(LIMIT_S):
        await client.task
    assert source.calls == ["start", "stop"]
    source.count = 0
    later = Client(source.feed)
    assert b"state" in await later.next()
    await later.leave()
