"""One store, three executors: the same calls get equal answers and leave equal state.

Method: Hypothesis draws calls; the pure model is the oracle; the Lua runs on fakeredis and on a
real redis-server of our own (a socket in a temporary folder, so no port is taken).
"""

from __future__ import annotations

import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.conformance.store_calls import FIRST, KINDS, OPS, Op, kind_of, request_of
from tests.core.metadata_records import led, ok
from tests.net.redis_server import redis_server
from yak_core.fork import fork_of
from yak_core.ids import BrokerEpoch
from yak_core.metadata.partition_state import PartitionStateError, encode_partition_state
from yak_core.metadata.redis_scripts import keys_of
from yak_core.metadata.store_calls import (
    Cas,
    MetaRequest,
    Publish,
    Read,
    Refused,
    RenewLease,
    StoreOk,
    Unknown,
)
from yak_core.metadata.transitions import register
from yak_core.model.store import StoreModel
from yak_sim.physics.lua_store import LuaStore

# The executors


@dataclass
class Server:
    """A Redis with a client of it; ``socket`` is None for the fake one."""

    client: Any
    socket: Path | None


@pytest.fixture(scope="module")
def real_server() -> Iterator[Server]:
    """A redis-server of our own, without persistence."""
    with redis_server("--appendonly", "no") as running, running.client() as client:
        yield Server(client, running.socket)


def connect(path: Path) -> redis.Redis:
    """A client that repeats nothing by itself."""
    return redis.Redis(unix_socket_path=str(path), retry=Retry(NoBackoff(), 0), socket_timeout=10)


@pytest.fixture(params=["fakeredis", "redis-server"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Both places where the Lua runs, emptied."""
    if request.param == "fakeredis":
        with fakeredis.FakeRedis() as client:
            yield Server(client, None)
        return
    real: Server = request.getfixturevalue("real_server")
    real.client.flushall()
    real.client.script_flush()
    yield real


def assert_same_state(model: StoreModel, store: LuaStore, client: Any, cluster: str) -> None:
    """Equal as read through the API, and equal byte by byte as it lies in Redis."""
    assert store.state == model.state
    assert store.renewals == model.renewals
    assert store.status == model.status
    assert store.history == model.history
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
    no_expiry, no_key = -1, -2
    for key in (keys.state, keys.renewals, keys.status):
        assert client.ttl(key) in (no_expiry, no_key)


def test_model_and_scripts_agree_on_every_answer_and_all_state(server: Server) -> None:
    seen: Counter[str] = Counter()
    clusters = iter(range(10**9))

    @settings(
        max_examples=120,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(st.lists(OPS, min_size=8, max_size=40))
    def run(ops: list[Op]) -> None:
        cluster = f"c{next(clusters)}"
        model, store = StoreModel(), LuaStore(server.client, cluster)
        for number, op in enumerate(ops):
            if op[0] == "flush":
                server.client.script_flush()
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
        assert_same_state(model, store, server.client, cluster)

    run()
    families = tuple(b"}:" + name for name in (b"record", b"beats", b"view"))
    assert all(key.endswith(families) for key in server.client.scan_iter("*"))
    for kind in KINDS:
        assert seen[kind] >= 20, seen


def test_script_flush_in_mid_sequence_loses_no_call(server: Server) -> None:
    """A restarted server knows no script (NOSCRIPT); each call must still happen exactly once."""
    store, model = LuaStore(server.client, "c"), StoreModel()
    state = led()
    calls: list[MetaRequest] = [
        Read(),
        Cas(None, state, None),
        RenewLease("n1", BrokerEpoch(1), state.stamp),
        RenewLease("n1", BrokerEpoch(1), None),
        Publish((("leader", "n1"),)),
    ]
    for call in calls:
        server.client.script_flush()
        assert store.apply(call) == model.apply(call)
        assert store.apply(call) == model.apply(call)
    assert_same_state(model, store, server.client, "c")
    assert store.renewals == {"n1": (1, 4)}


def test_clusters_on_one_server_do_not_see_each_other(server: Server) -> None:
    one, other = LuaStore(server.client, "one"), LuaStore(server.client, "other")
    one.apply(Cas(None, FIRST, None))
    one.apply(RenewLease("n1", BrokerEpoch(1), None))
    one.apply(Publish((("leader", "n1"),)))
    assert (other.state, other.renewals, other.status) == (None, {}, {})


def test_beats_are_exact_far_beyond_any_run(server: Server) -> None:
    """Lua counts in floating point and by itself prints from 10**14 on with an exponent."""
    store = LuaStore(server.client, "c")
    server.client.hset(keys_of("c").renewals, "n1", f"4:{2**53 - 2}")
    assert store.apply(RenewLease("n1", BrokerEpoch(5), None)) == store.apply(Read())
    assert store.renewals == {"n1": (5, 2**53 - 1)}


@pytest.mark.parametrize("damage", ["version", "attempt", "value", "no value", "no stamp", "beat"])
def test_damaged_store_is_reported_and_not_written_to(server: Server, damage: str) -> None:
    store, keys = LuaStore(server.client, "c"), keys_of("c")
    store.apply(Cas(None, FIRST, None))
    store.apply(RenewLease("n1", BrokerEpoch(1), None))
    if damage == "no value":
        server.client.hdel(keys.state, "value")
    elif damage == "no stamp":
        server.client.hdel(keys.state, "version", "attempt")
    elif damage == "beat":
        server.client.hset(keys.renewals, "n1", "1:one")
    else:
        server.client.hset(keys.state, damage, "9")
    held = server.client.hgetall(keys.state), server.client.hgetall(keys.renewals)
    calls: list[MetaRequest] = [Read(), Cas(None, FIRST, None), Cas(FIRST.stamp, FIRST, ("n1", 1))]
    calls += [RenewLease("n1", BrokerEpoch(1), None)] if damage == "beat" else []
    for call in calls if damage in ("beat", "version", "attempt") else calls[:2]:
        with pytest.raises(PartitionStateError):
            store.apply(call)
    assert (server.client.hgetall(keys.state), server.client.hgetall(keys.renewals)) == held


def test_one_of_many_contending_writers_wins(real_server: Server) -> None:
    """Eight clients propose from one record at once, forty times; each time one is Done."""
    real_server.client.flushall()
    assert real_server.socket is not None
    path, rounds, writers = real_server.socket, 40, 8
    base = LuaStore(real_server.client, "c")
    base.apply(Cas(None, FIRST, None))
    start = threading.Barrier(writers)
    wins: list[tuple[int, int]] = []

    def contend(writer: int) -> None:
        with connect(path) as client:
            store = LuaStore(client, "c")
            for turn in range(rounds):
                start.wait(60)
                state = store.state
                assert state is not None
                grown = register(state, attempt=f"{writer}.{turn}", node="n1", clean=True, url="")
                start.wait(60)
                if isinstance(store.apply(Cas(state.stamp, ok(grown), None)), StoreOk):
                    wins.append((turn, writer))

    threads = [threading.Thread(target=contend, args=(writer,)) for writer in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(turn for turn, _ in wins) == list(range(rounds))
    final = base.state
    assert final is not None
    assert final.partition_epoch == 1 + rounds


def test_lost_connection_is_unknown() -> None:
    """Nobody can say whether the call happened, so nobody may (F18)."""
    with tempfile.TemporaryDirectory(prefix="yak-redis-") as folder:
        with connect(Path(folder, "nobody.sock")) as client:
            store = LuaStore(client, "c")
            assert store.apply(Read()) == Unknown()
            assert store.apply(Cas(None, FIRST, None)) == Unknown()
            assert store.history == []
