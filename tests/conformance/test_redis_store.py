"""The store over a socket gives the pure model's answers, on a real server and the embedded one.

Method: Hypothesis draws calls, the model is the oracle; one event loop carries all the calls, so
connections live from one example to the next.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance.store_calls import KINDS, OPS, Op, kind_of, request_of
from tests.net.redis_server import redis_server
from yak_core.metadata.partition_state import encode_partition_state
from yak_core.metadata.redis_scripts import keys_of
from yak_core.metadata.store_calls import Read, Unknown
from yak_core.model.store import StoreModel
from yak_net.metadata.embedded import EmbeddedMetadata
from yak_net.metadata.redis_store import RedisStore

LONG_US = 30_000_000


@pytest.fixture(params=["embedded", "redis-server", "redis-server on tcp"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "embedded":
        with EmbeddedMetadata() as embedded:
            yield embedded.url
        return
    with redis_server("--appendonly", "no", tcp=request.param.endswith("tcp")) as server:
        yield server.url


def assert_same_state(model: StoreModel, client: redis.Redis, cluster: str) -> None:
    """Equal byte by byte as it lies in Redis."""
    keys = keys_of(cluster)
    stored: dict[bytes, bytes] = {}
    if model.state is not None:
        stored = {
            b"version": str(model.state.partition_epoch).encode(),
            b"attempt": model.state.attempt.encode(),
            b"value": encode_partition_state(model.state),
        }
    assert client.hgetall(keys.state) == stored
    assert client.hgetall(keys.renewals) == {
        node.encode(): f"{start}:{count}".encode()
        for node, (start, count) in model.renewals.items()
    }
    assert client.hgetall(keys.status) == {
        name.encode(): value.encode() for name, value in model.status.items()
    }


def test_the_store_over_a_socket_answers_as_the_model(url: str) -> None:
    seen: Counter[str] = Counter()
    clusters = iter(range(10**9))

    async def play(
        store: RedisStore, model: StoreModel, ops: list[Op], client: redis.Redis
    ) -> None:
        for number, op in enumerate(ops):
            if op[0] == "flush":
                client.script_flush()
                seen["flush"] += 1
                continue
            request = request_of(model, op, number)
            answer = model.apply(request)
            assert await store.call(request) == answer, store.problem
            seen[kind_of(request, answer)] += 1

    @settings(
        max_examples=80,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(st.lists(OPS, min_size=8, max_size=40))
    def run(ops: list[Op]) -> None:
        cluster, model = f"c{next(clusters)}", StoreModel()
        store = RedisStore(url, cluster, LONG_US)
        try:
            runner.run(play(store, model, ops, client))
        finally:
            runner.run(store.close())
        assert_same_state(model, client, cluster)

    with asyncio.Runner() as runner, redis.Redis.from_url(url, protocol=2) as client:
        run()
    for kind in KINDS:
        assert seen[kind] >= 20, seen


def test_clusters_on_one_server_do_not_see_each_other(url: str) -> None:
    async def main() -> None:
        stores = [RedisStore(url, name, LONG_US) for name in ("one", "other")]
        model = StoreModel()
        for number, op in enumerate([("cas", 0, 0, 0, ""), ("beat", 0, 0, 0, "")]):
            request = request_of(model, op, number)
            assert await stores[0].call(request) == model.apply(request)
        assert await stores[1].call(Read()) == StoreModel().apply(Read())
        for store in stores:
            await store.close()

    asyncio.run(main())


def test_a_server_that_is_not_there_is_unknown() -> None:
    async def main() -> None:
        embedded = EmbeddedMetadata()
        store = RedisStore(embedded.start(), "c", LONG_US)
        embedded.stop()
        assert await store.call(Read()) == Unknown()
        await store.close()

    asyncio.run(main())
