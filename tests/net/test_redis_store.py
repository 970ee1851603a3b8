"""The store on a real redis-server: restarts, pauses, refusals, damage and contention."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest
from redis.asyncio.connection import DefaultParser
from redis.utils import HIREDIS_AVAILABLE

from tests.core.metadata_records import first, ok
from tests.net.canned_server import canned_server
from tests.net.redis_server import RedisServer, redis_server
from yak_core.ids import BrokerEpoch
from yak_core.metadata.partition_state import PartitionState
from yak_core.metadata.redis_scripts import keys_of
from yak_core.metadata.store_calls import (
    NO_VALUE,
    Cas,
    MetaRequest,
    MetaValue,
    Publish,
    Read,
    Refusal,
    Refused,
    RenewLease,
    StoreOk,
    Unknown,
)
from yak_core.metadata.transitions import register
from yak_net.metadata.redis_store import RedisStore, StoreError
from yak_net.metadata.store_findings import findings_of

LONG_US = 30_000_000
SHORT_US = 200_000
PATIENCE_S = 20.0
RECORD = first()
KEYS = keys_of("c")
WRITE = Cas(None, RECORD, None)
ALL_CALLS: tuple[MetaRequest, ...] = (
    Read(),
    WRITE,
    RenewLease("n1", BrokerEpoch(1), None),
    Publish(()),
)


@pytest.fixture(scope="module")
def running() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def server(running: RedisServer) -> RedisServer:
    """Return the module's server, emptied."""
    with running.client() as client:
        client.flushall()
        client.script_flush()
    return running


def with_store(
    url: str, timeout_us: int, play: Callable[[RedisStore], Awaitable[None]], cluster: str = "c"
) -> None:
    async def main() -> None:
        store = RedisStore(url, cluster, timeout_us)
        try:
            await play(store)
        finally:
            await store.close()

    asyncio.run(main())


async def notes_of(store: RedisStore) -> tuple[str, ...]:
    return tuple(str(finding) for finding in await findings_of(store))


async def done(store: RedisStore, request: MetaRequest) -> MetaValue:
    outcome = await store.call(request)
    assert isinstance(outcome, StoreOk), (outcome, store.problem)
    return outcome.value


async def done_after_retries(store: RedisStore, request: MetaRequest) -> MetaValue:
    """Repeat an idempotent call until it succeeds."""
    deadline = time.monotonic() + PATIENCE_S
    while (outcome := await store.call(request)) == Unknown():
        assert time.monotonic() < deadline, store.problem
    assert isinstance(outcome, StoreOk)
    return outcome.value


def test_the_parser_in_c_is_used_where_it_is_installed() -> None:
    """Goal: hiredis parses replies."""
    assert HIREDIS_AVAILABLE
    assert "Hiredis" in DefaultParser.__name__


@pytest.mark.parametrize("tcp", [False, True])
def test_completed_writes_survive_a_killed_server(tcp: bool) -> None:
    """Method: kill -9 and a start on the same data; the old connections are closed."""

    async def play(server: RedisServer, store: RedisStore) -> None:
        held = await done(store, WRITE)
        for start in range(1, 4):
            held = await done_after_retries(store, RenewLease("n1", BrokerEpoch(1), None))
            server.kill()
            assert await store.call(Read()) == Unknown()
            assert "reached" in store.problem
            server.start()
            assert await done(store, Read()) == held
            assert held.renewals_of("n1") == start
            assert held.state == RECORD
        server.kill()
        server.wipe()
        server.start()
        assert (await done_after_retries(store, Read())).state is None

    with redis_server(tcp=tcp) as server:
        with_store(server.url, LONG_US, lambda store: play(server, store))


def test_calls_to_a_paused_server_time_out_as_unknown() -> None:
    """Method: SIGSTOP, calls on open and new connections, SIGCONT; count lease renewals."""

    async def prepare(store: RedisStore) -> None:
        await done(store, WRITE)

    async def play(server: RedisServer, store: RedisStore) -> None:
        for turn in range(3):
            server.pause()
            calls = [store.call(RenewLease(f"{turn}.{i}", BrokerEpoch(1), None)) for i in range(3)]
            start = time.monotonic()
            assert await asyncio.gather(*calls) == [Unknown()] * 3
            assert time.monotonic() - start < SHORT_US / 1e6 + 5
            assert "within 0.2 s" in store.problem
            server.resume()
            found = await done_after_retries(store, Read())
            assert found.state == RECORD
            found = await done_after_retries(store, RenewLease(f"{turn}+", BrokerEpoch(1), None))
            assert found.renewals_of(f"{turn}+") >= 1
            # A call in flight was executed once or not at all.
            assert all(found.renewals_of(f"{turn}.{i}") in (0, 1) for i in range(3))

    with redis_server() as server:
        with_store(server.url, LONG_US, prepare)
        with_store(server.url, SHORT_US, lambda store: play(server, store))


def test_one_of_many_contending_writers_wins(server: RedisServer) -> None:
    """Method: eight stores write from the same state at once, repeatedly."""
    rounds = 20

    async def propose(store: RedisStore, base: PartitionState, attempt: str) -> bool:
        record = ok(register(base, attempt=attempt, node="n1", clean=True, url=""))
        outcome = await store.call(Cas(base.stamp, record, None))
        if isinstance(outcome, StoreOk):
            return True
        assert isinstance(outcome, Refused), store.problem
        assert outcome.reason == Refusal.STAMP
        return False

    async def play(store: RedisStore) -> None:
        base: PartitionState | None = (await done(store, WRITE)).state
        writers = [RedisStore(server.url, "c", LONG_US) for _ in range(8)]
        for turn in range(rounds):
            assert base is not None
            tries = (propose(one, base, f"{turn}.{i}") for i, one in enumerate(writers))
            assert sum(await asyncio.gather(*tries)) == 1
            base = (await done(store, Read())).state
        assert base is not None
        assert base.partition_epoch == 1 + rounds
        for one in writers:
            await one.close()

    with_store(server.url, LONG_US, play)


@pytest.mark.parametrize("damage", ["value", "version", "beat"])
def test_damage_is_an_error_and_not_unknown(server: RedisServer, damage: str) -> None:
    """Method: overwrite a part; every call that reads it must raise and write nothing."""

    async def play(store: RedisStore) -> None:
        await done(store, WRITE)
        await done(store, RenewLease("n1", BrokerEpoch(1), None))
        with server.client() as client:
            if damage == "beat":
                client.hset(KEYS.renewals, "n1", "1:one")
            else:
                client.hset(KEYS.state, damage, "9")
            held = client.hgetall(KEYS.state), client.hgetall(KEYS.renewals)
            for request in (Read(), WRITE):
                with pytest.raises(StoreError, match=r"cluster c .* damaged"):
                    await store.call(request)
            assert (client.hgetall(KEYS.state), client.hgetall(KEYS.renewals)) == held

    with_store(server.url, LONG_US, play)


def test_a_replica_and_a_full_server_refuse_writes_as_unknown(server: RedisServer) -> None:
    """Method: REPLICAOF an absent server, then a maxmemory below the usage; then undo both."""

    async def play(store: RedisStore) -> None:
        with server.client() as client:
            await done(store, WRITE)
            try:
                client.replicaof("127.0.0.1", 1)
                assert await store.call(RenewLease("n1", BrokerEpoch(1), None)) == Unknown()
                assert "replica" in store.problem
                warning = (await notes_of(store))[0]
                assert "replica" in warning
            finally:
                client.replicaof("NO", "ONE")
            try:
                client.config_set("maxmemory", 1)
                assert await store.call(RenewLease("n1", BrokerEpoch(1), None)) == Unknown()
                assert "maxmemory" in store.problem
            finally:
                client.config_set("maxmemory", 0)
            assert (await done(store, RenewLease("n1", BrokerEpoch(1), None))).renewals_of(
                "n1"
            ) == 1
            assert store.problem == ""

    with_store(server.url, LONG_US, play)


CANNED = {
    b"-LOADING Redis is loading the dataset in memory\r\n": "loading",
    b"-CLUSTERDOWN The cluster is down\r\n": "Redis Cluster",
    b"-MOVED 3999 127.0.0.1:6381\r\n": "Redis Cluster",
    b"-MASTERDOWN Link with MASTER is down\r\n": "replica",
    b"-NOAUTH Authentication required.\r\n": "access",
    b"-NOPERM this user has no permissions\r\n": "access",
    b"-MISCONF Errors writing to the AOF file\r\n": "disk",
    b"-BUSY Redis is busy running a script\r\n": "SCRIPT KILL",
    b"-WRONGTYPE Operation against a key\r\n": "other data",
    b"-NOSCRIPT No matching script\r\n": "scripts",
    b"-ERR unknown command 'EVALSHA'\r\n": "scripts",
    b"-MOVED somewhere\r\n": "scripts",
    b"-\xff\xfe\r\n": "scripts",
    b"+OK\r\n": "list",
    b":1\r\n": "list",
    b"$-1\r\n": "list",
    b"HTTP/1.1 400 Bad Request\r\n\r\n": "scripts",
}


@pytest.mark.parametrize("reply", CANNED)
async def test_an_error_reply_is_unknown_with_its_cause(reply: bytes) -> None:
    """Method: a server with one reply every every command."""

    async with canned_server(reply) as where:
        store = RedisStore(f"redis://{where}", "c", LONG_US)
        for request in ALL_CALLS:
            assert await store.call(request) == Unknown()
            assert CANNED[reply] in store.problem
            assert where in store.problem
            assert not store.problem.endswith(".")
        await store.close()


async def test_a_malformed_list_is_damage() -> None:
    async with canned_server(b"*1\r\n$4\r\ndone\r\n") as where:
        store = RedisStore(f"redis://{where}", "c", LONG_US)
        assert await store.call(Publish(())) == StoreOk(NO_VALUE)
        with pytest.raises(StoreError):
            await store.call(Read())
        await store.close()
