"""All executors of the store give equal answers and equal state for equal calls.

Method: Hypothesis draws calls; the pure model is the oracle. The simulator's Lua runs on fakeredis
and on a real redis-server, the brokers' store over a socket to either. One event loop makes the
calls over a socket, so connections stay open between examples.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import fakeredis
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.conformance.store_calls import FIRST, KINDS, OPS, Op, kind_of, request_of
from tests.net.redis_server import redis_server
from yak_core.fork import fork_of
from yak_core.ids import BrokerEpoch
from yak_core.metadata.partition_state import PartitionStateError, encode_partition_state
from yak_core.metadata.redis_scripts import keys_of
from yak_core.metadata.store_calls import (
    Cas,
    MetaOutcome,
    MetaRequest,
    Publish,
    Read,
    Refused,
    RenewLease,
    Unknown,
)
from yak_core.model.store import StoreModel
from yak_net.metadata.embedded import EmbeddedMetadata
from yak_net.metadata.redis_store import RedisStore
from yak_sim.physics.lua_store import LuaStore

LONG_US = 30_000_000


class Store(Protocol):
    """The common interface of the executors."""

    def apply(self, request: MetaRequest) -> MetaOutcome: ...


class OverSocket:
    """The brokers' store behind the common interface."""

    def __init__(self, runner: asyncio.Runner, url: str, cluster: str) -> None:
        self.runner = runner
        self.store = RedisStore(url, cluster, LONG_US)

    def apply(self, request: MetaRequest) -> MetaOutcome:
        return self.runner.run(self.store.call(request))

    def close(self) -> None:
        self.runner.run(self.store.close())


@dataclass
class Place:
    """A Redis: its client, and a function that makes a cluster's store on it."""

    client: Any
    make: Callable[[str], Store]


LUA = ["lua on fakeredis", "lua on redis-server"]
SOCKET = ["socket to embedded", "socket to redis-server"]
TCP = pytest.param("socket to redis-server on tcp", marks=pytest.mark.long)


@pytest.fixture(params=[*LUA, *SOCKET, TCP])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Yield each Redis, empty."""
    with ExitStack() as stack:
        if request.param == LUA[0]:
            fake = stack.enter_context(fakeredis.FakeRedis())
            yield Place(fake, lambda cluster: LuaStore(fake, cluster))
            return
        if "embedded" in request.param:
            url = stack.enter_context(EmbeddedMetadata()).url
        else:
            tcp = request.param.endswith("tcp")
            url = stack.enter_context(redis_server("--appendonly", "no", tcp=tcp)).url
        client = stack.enter_context(redis.Redis.from_url(url, protocol=2))
        if request.param in LUA:
            yield Place(client, lambda cluster: LuaStore(client, cluster))
            return
        runner = stack.enter_context(asyncio.Runner())

        def make(cluster: str) -> OverSocket:
            store = OverSocket(runner, url, cluster)
            stack.callback(store.close)
            return store

        yield Place(client, make)


only_lua = pytest.mark.parametrize("place", LUA, indirect=True)


def assert_same_state(model: StoreModel, store: Store, client: Any, cluster: str) -> None:
    """Check that the bytes in Redis and the state read by the API equal the model."""
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
    no_expiry, no_key = -1, -2
    for key in (keys.state, keys.renewals, keys.status):
        assert client.ttl(key) in (no_expiry, no_key)
    if isinstance(store, LuaStore):
        assert (store.state, store.renewals) == (model.state, model.renewals)
        assert (store.status, store.history) == (model.status, model.history)


@pytest.mark.parametrize("examples", [40, pytest.param(120, marks=pytest.mark.long)])
def test_model_and_scripts_agree_on_every_answer_and_all_state(place: Place, examples: int) -> None:
    """SCRIPT FLUSH drops the scripts: each call must still take effect exactly once."""
    seen: Counter[str] = Counter()
    clusters = iter(range(10**9))

    @settings(max_examples=examples, database=None)
    @given(st.lists(OPS, min_size=8, max_size=40))
    def run(ops: list[Op]) -> None:
        cluster = f"c{next(clusters)}"
        model, store = StoreModel(), place.make(cluster)
        for number, op in enumerate(ops):
            if op[0] == "flush":
                place.client.script_flush()
                seen["flush"] += 1
                continue
            request = request_of(model, op, number)
            before = fork_of(model)
            answer = model.apply(request)
            assert store.apply(request) == answer
            seen[kind_of(request, answer)] += 1
            if isinstance(answer, Refused):
                assert (model.state, model.renewals, model.status) == (
                    before.state,
                    before.renewals,
                    before.status,
                )
        assert_same_state(model, store, place.client, cluster)

    run()
    families = tuple(b"}:" + name for name in (b"record", b"beats", b"view"))
    assert all(key.endswith(families) for key in place.client.scan_iter("*"))
    for kind in KINDS:
        assert seen[kind] >= examples // 6, seen


def test_clusters_on_one_server_do_not_see_each_other(place: Place) -> None:
    one, other = place.make("one"), place.make("other")
    one.apply(Cas(None, FIRST, None))
    one.apply(RenewLease("n1", BrokerEpoch(1), None))
    one.apply(Publish((("leader", "n1"),)))
    assert other.apply(Read()) == StoreModel().apply(Read())
    assert_same_state(StoreModel(), other, place.client, "other")


@only_lua
def test_lease_counters_are_exact(place: Place) -> None:
    """Lua counts in floating point and prints numbers from 10**14 with an exponent."""
    store, renewals = place.make("c"), keys_of("c").renewals
    place.client.hset(renewals, "n1", f"4:{2**53 - 2}")
    assert store.apply(RenewLease("n1", BrokerEpoch(5), None)) == store.apply(Read())
    assert place.client.hget(renewals, "n1") == f"5:{2**53 - 1}".encode()


@only_lua
@pytest.mark.parametrize("damage", ["version", "attempt", "value", "no value", "no stamp", "beat"])
def test_damaged_store_is_reported_and_not_written_to(place: Place, damage: str) -> None:
    store, keys = place.make("c"), keys_of("c")
    store.apply(Cas(None, FIRST, None))
    store.apply(RenewLease("n1", BrokerEpoch(1), None))
    if damage == "no value":
        place.client.hdel(keys.state, "value")
    elif damage == "no stamp":
        place.client.hdel(keys.state, "version", "attempt")
    elif damage == "beat":
        place.client.hset(keys.renewals, "n1", "1:one")
    else:
        place.client.hset(keys.state, damage, "9")
    held = place.client.hgetall(keys.state), place.client.hgetall(keys.renewals)
    calls: list[MetaRequest] = [Read(), Cas(None, FIRST, None), Cas(FIRST.stamp, FIRST, ("n1", 1))]
    calls += [RenewLease("n1", BrokerEpoch(1), None)] if damage == "beat" else []
    for call in calls if damage in ("beat", "version", "attempt") else calls[:2]:
        with pytest.raises(PartitionStateError):
            store.apply(call)
    assert (place.client.hgetall(keys.state), place.client.hgetall(keys.renewals)) == held


def connect(path: Path) -> redis.Redis:
    """Return a client without retries."""
    return redis.Redis(unix_socket_path=str(path), retry=Retry(NoBackoff(), 0), socket_timeout=10)


def test_lost_connection_is_unknown() -> None:
    """The call may have taken effect, so it is not Refused (F18)."""
    with tempfile.TemporaryDirectory(prefix="yak-redis-") as folder, asyncio.Runner() as runner:
        path = Path(folder, "none.sock")
        with connect(path) as client:
            lua = LuaStore(client, "c")
            socket = OverSocket(runner, f"unix://{path}", "c")
            for store in (lua, socket):
                assert store.apply(Read()) == Unknown()
                assert store.apply(Cas(None, FIRST, None)) == Unknown()
            assert lua.history == []
            socket.close()
