"""A late, lost or truncated reply ends its call as Unknown and never answers another call.

Each call renews the lease of another node, so the reply to an earlier call lacks that renewal. A
proxy between the store and a real server injects the faults.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest

from tests.core.metadata_records import first
from tests.net.redis_proxy import Proxy, proxy_to
from tests.net.redis_server import RedisServer, redis_server
from yak_core.ids import BrokerEpoch
from yak_core.metadata.store_calls import (
    Cas,
    MetaOutcome,
    MetaValue,
    Publish,
    Read,
    RenewLease,
    StoreOk,
    Unknown,
)
from yak_net.metadata.redis_store import RedisStore

SHORT_US = 500_000
LONG_US = 30_000_000
PATIENCE_S = 30.0
RECORD = first()


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server("--appendfsync", "no") as running:
        yield running


def beat(node: str) -> RenewLease:
    return RenewLease(node, BrokerEpoch(1), None)


def value_of(outcome: MetaOutcome) -> MetaValue:
    assert isinstance(outcome, StoreOk), outcome
    return outcome.value


def with_proxy(
    server: RedisServer, timeout_us: int, play: Callable[[Proxy, RedisStore], Awaitable[None]]
) -> None:
    """Run on a server with one partition state and the scripts, through a proxy."""
    with server.client() as client:
        client.flushall()

    async def main() -> None:
        near = RedisStore(server.url, "c", LONG_US)
        assert await near.call(Cas(None, RECORD, None)) == StoreOk(MetaValue(RECORD, False, ()))
        value_of(await near.call(beat("before")))
        await near.close()
        async with proxy_to(str(server.socket)) as proxy:
            store = RedisStore(proxy.url, "c", timeout_us)
            try:
                await play(proxy, store)
            finally:
                await store.close()
            await proxy.until_left()

    asyncio.run(main())


def test_a_late_reply_does_not_answer_the_next_call(server: RedisServer) -> None:
    """Method: hold the reply in the proxy until its call has ended, then release it."""

    async def play(proxy: Proxy, store: RedisStore) -> None:
        assert value_of(await store.call(Read())).state == RECORD
        for turn in range(3):
            proxy.holding = True
            assert await store.call(beat(f"late{turn}")) == Unknown()
            assert "within 0.5 s" in store.problem
            assert proxy.release() > 0
            assert await store.call(Publish((("leader", "n1"),))) == StoreOk(
                MetaValue(None, True, ())
            )
            found = value_of(await store.call(beat(f"next{turn}")))
            assert (found.renewals_of(f"next{turn}"), found.renewals_of(f"late{turn}")) == (1, 1)
            assert store.problem == ""

    with_proxy(server, SHORT_US, play)


def test_a_cancelled_call_leaves_no_reply(server: RedisServer) -> None:
    """Method: cancel once the reply is in the proxy; several calls at once."""

    async def play(proxy: Proxy, store: RedisStore) -> None:
        value_of(await store.call(Read()))
        for turn in range(5):
            proxy.holding = True
            before = proxy.replies_seen
            calls = [asyncio.create_task(store.call(beat(f"{turn}.{i}"))) for i in range(4)]
            await proxy.until_replies(before + 4)
            for call in calls:
                call.cancel()
            ends = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(end, asyncio.CancelledError) for end in ends)
            proxy.release()
            after = await asyncio.gather(*(store.call(beat(f"{turn}+{i}")) for i in range(4)))
            for i, outcome in enumerate(after):
                assert value_of(outcome).renewals_of(f"{turn}+{i}") == 1

    with_proxy(server, LONG_US, play)


def test_each_answer_belongs_to_its_own_call(server: RedisServer) -> None:
    """Method: random late, lost and truncated replies, random cancellations, four tasks."""
    draw = random.Random(7)
    seen = {"done": 0, "unknown": 0, "cancelled": 0}

    async def one(proxy: Proxy, store: RedisStore, node: str) -> None:
        call = asyncio.create_task(store.call(beat(node)))
        if draw.random() < 0.2:
            await asyncio.wait([call], timeout=draw.random() * 0.02)
            call.cancel()
        if draw.random() < 0.05:
            proxy.cut()
        try:
            outcome = await call
        except asyncio.CancelledError:
            seen["cancelled"] += 1
            return
        seen["unknown" if outcome == Unknown() else "done"] += 1
        if outcome != Unknown():
            found = value_of(outcome)
            assert found.renewals_of(node) == 1
            assert found.state == RECORD

    async def play(proxy: Proxy, store: RedisStore) -> None:
        def fate() -> float | None:
            return draw.choice([0.0, 0.0, 0.0, 0.0, 0.005, 0.01, 0.02, 0.03, None])

        async def worker(number: int) -> None:
            for turn in range(60):
                await one(proxy, store, f"{number}.{turn}")

        proxy.reply_fate = fate
        await asyncio.gather(*(worker(number) for number in range(4)))
        proxy.reply_fate = lambda: 0.0
        deadline = time.monotonic() + PATIENCE_S
        while await store.call(beat("last")) == Unknown():
            assert time.monotonic() < deadline, store.problem

    with_proxy(server, 20_000, play)
    assert min(seen.values()) > 0, seen
    with server.client() as client:
        assert client.hlen("yak:{c}:beats") >= seen["done"] + 2


def test_a_reset_connection_is_unknown_and_the_next_call_works(server: RedisServer) -> None:
    async def play(proxy: Proxy, store: RedisStore) -> None:
        value_of(await store.call(Read()))
        for turn in range(3):
            proxy.holding = True
            before = proxy.replies_seen
            call = asyncio.create_task(store.call(beat(f"cut{turn}")))
            await proxy.until_replies(before + 1)
            proxy.cut()
            assert await call == Unknown()
            assert "reached" in store.problem
            proxy.release()
            assert value_of(await store.call(Read())).renewals_of(f"cut{turn}") == 1

    with_proxy(server, LONG_US, play)


def test_a_reset_idle_connection_costs_no_call(server: RedisServer) -> None:
    """Method: wait for the end of the connection; the next call uses another one."""

    async def play(proxy: Proxy, store: RedisStore) -> None:
        value_of(await store.call(Read()))
        proxy.cut()
        await proxy.until_left()
        assert value_of(await store.call(beat("n1"))).renewals_of("n1") == 1
        assert proxy.connections_seen == 2

    with_proxy(server, LONG_US, play)


def test_calls_in_flight_are_unknown_at_once_when_the_store_closes(server: RedisServer) -> None:
    async def play(proxy: Proxy, store: RedisStore) -> None:
        value_of(await store.call(Read()))
        proxy.holding = True
        before = proxy.replies_seen
        calls = [asyncio.create_task(store.call(beat(f"n{i}"))) for i in range(3)]
        await proxy.until_replies(before + 3)
        async with asyncio.timeout(PATIENCE_S / 2):  # Well below the timeout of a call.
            await store.close()
        assert await asyncio.gather(*calls) == [Unknown()] * 3
        assert await store.call(Read()) == Unknown()
        assert "closed" in store.problem

    with_proxy(server, LONG_US, play)


def test_many_calls_at_once_all_happen_once(server: RedisServer) -> None:
    async def play(proxy: Proxy, store: RedisStore) -> None:
        outcomes = await asyncio.gather(*(store.call(beat("n1")) for _ in range(30)))
        counts = [value_of(outcome).renewals_of("n1") for outcome in outcomes]
        assert sorted(counts) == list(range(1, 31))
        assert proxy.connections_seen > 1

    with_proxy(server, LONG_US, play)
