"""Real processes and signals: confirmed records survive, once and in order."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.net.chaos import QUICK, ChaosCluster, Load, read_all, until
from tests.net.redis_server import redis_server
from yak_core.trace.replay import replay_lines
from yak_net.client.errors import NoBrokersAvailable
from yak_net.client.producer import Producer, Resolved
from yak_net.metadata.embedded import EmbeddedMetadata

pytestmark = pytest.mark.timeout(300)


@contextmanager
def cluster_in(
    folder: Path, redis_url: str = "", *words: str, config: tuple[str, ...] = QUICK
) -> Iterator[ChaosCluster]:
    """Yield a cluster, with its own metadata server unless a store is named."""
    with EmbeddedMetadata() as metadata:
        cluster = ChaosCluster(folder, redis_url or metadata.url, *words, config=config)
        try:
            for node in cluster.urls:
                cluster.start(node)
            yield cluster
        finally:
            cluster.close()


def run(
    cluster: ChaosCluster,
    scenario: Callable[[ChaosCluster, Load], Awaitable[None]],
    rate_per_s: int = 1500,
) -> Load:
    """Run a scenario under load, then compare the log with the outcomes that the clients got."""

    async def play() -> Load:
        await cluster.wait_for_leader()
        await cluster.wait_until_in_sync()
        load = Load(cluster.servers, rate_per_s)
        await load.start()
        await load.wait_for_confirmed(100)
        await scenario(cluster, load)
        await load.wait_for_confirmed(100)
        await load.stop()
        read = await read_all(cluster.servers)
        load.check(read)
        assert set(load.outcomes) == {"written"}, "every record is confirmed"
        assert len(read) == load.sent
        return load

    load = asyncio.run(play())
    cluster.close()
    replayed(cluster.folder)
    return load


def replayed(folder: Path) -> None:
    """Check that each start of each broker replays to the same effects."""
    traces = sorted(folder.glob("*.jsonl"))
    assert len(traces) >= 3
    for path in traces:
        with path.open("rb") as lines:
            result = replay_lines(lines)
        assert result.identical, (path, result)


async def one_round(cluster: ChaosCluster, load: Load) -> tuple[int, float]:
    """Kill the leader under load, wait for the next one, restart it, wait for a full ISR."""
    leader = await cluster.wait_for_leader()
    under_way, moment = await load.kill_while_in_flight(lambda: cluster.kill(leader))
    assert under_way >= 1
    gap = await load.ack_gap_after(moment)
    assert await cluster.wait_for_leader(other_than=leader) != leader
    cluster.start(leader)
    await cluster.wait_until_in_sync()
    return (under_way, gap)


def test_killed_leader_loses_nothing(tmp_path: Path) -> None:
    """Goal: after SIGKILL of the leader no record is lost, duplicated or reordered."""

    async def scenario(cluster: ChaosCluster, load: Load) -> None:
        await one_round(cluster, load)

    with cluster_in(tmp_path) as cluster:
        run(cluster, scenario)


@pytest.mark.parametrize("rounds", [1, pytest.param(10, marks=pytest.mark.long)])
def test_all_brokers_killed_with_flush_os_lose_nothing(tmp_path: Path, rounds: int) -> None:
    """Goal: SIGKILL of all at once loses nothing that was written, so each start is clean."""

    async def scenario(cluster: ChaosCluster, load: Load) -> None:
        for _ in range(rounds):
            await load.kill_while_in_flight(lambda: cluster.kill(*cluster.urls))
            for node in cluster.urls:
                cluster.start(node)
            await cluster.wait_for_leader()
            await cluster.wait_until_in_sync()
        starts = [broker.output.count("Registered") for broker in cluster.brokers.values()]
        clean = [broker.output.count("clean=True") for broker in cluster.brokers.values()]
        assert sum(starts) - sum(clean) == 2, "only the first start of the joining brokers"

    with cluster_in(tmp_path, "", "--flush", "os", "--verbose") as cluster:
        run(cluster, scenario)


@pytest.mark.long
def test_twenty_rounds_of_sigkill(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Goal: the same twenty times on one log with default periods; print the gaps."""
    gaps: list[float] = []

    async def scenario(cluster: ChaosCluster, load: Load) -> None:
        for _ in range(20):
            under_way, gap = await one_round(cluster, load)
            gaps.append(gap)
            print(f"round {len(gaps)}: {under_way} unconfirmed, gap {gap:.2f} s")

    with cluster_in(tmp_path, config=()) as cluster:
        load = run(cluster, scenario)
    summary = f"{load.sent} records; gap p50 {statistics.median(gaps):.2f} s, max {max(gaps):.2f} s"
    record_property("gaps", summary)
    print(summary)


def test_frozen_leader_is_fenced(tmp_path: Path) -> None:
    """Goal: after SIGSTOP for two leases a leader is fenced, truncates, and joins again."""

    async def scenario(cluster: ChaosCluster, load: Load) -> None:
        leader = await cluster.wait_for_leader()
        await load.kill_while_in_flight(lambda: cluster.freeze(leader))
        second = await cluster.wait_for_leader(other_than=leader)
        await load.wait_for_confirmed(500)
        await asyncio.sleep(2.0)  # two leases: the length of the failure, not a wait for a result
        cluster.thaw(leader)
        await cluster.wait_until_in_sync()
        assert await cluster.wait_for_leader() == second
        summary = cluster.brokers[leader].output
        assert "SteppedDown" in summary or "BecameFollower" in summary.split("BecameLeader")[-1]

    with cluster_in(tmp_path) as cluster:
        run(cluster, scenario)


def test_all_killed_at_once(tmp_path: Path) -> None:
    """Goal: after SIGKILL of all brokers and a restart no confirmed record is lost."""

    async def scenario(cluster: ChaosCluster, load: Load) -> None:
        nodes = tuple(cluster.urls)
        await load.kill_while_in_flight(lambda: cluster.kill(*nodes))
        for node in nodes:
            cluster.start(node)
        await cluster.wait_for_leader()
        await cluster.wait_until_in_sync()

    with cluster_in(tmp_path) as cluster:
        run(cluster, scenario)


@pytest.mark.long
def test_follower_rejoins_after_a_pause(tmp_path: Path) -> None:
    """Goal: a killed follower leaves the ISR, commits continue, and it catches up later."""

    async def scenario(cluster: ChaosCluster, load: Load) -> None:
        leader = await cluster.wait_for_leader()
        follower = next(node for node in cluster.urls if node != leader)
        cluster.kill(follower)
        await until(lambda: follower not in cluster.view(leader)["isr"], "a smaller ISR")
        await load.wait_for_confirmed(3000)
        cluster.start(follower)
        await cluster.wait_until_in_sync()

    with cluster_in(tmp_path) as cluster:
        run(cluster, scenario)


@pytest.mark.long
def test_store_killed_and_restarted_with_its_data(tmp_path: Path) -> None:
    """Goal: writes continue without Redis; a failed leader is replaced once Redis is back."""
    with redis_server(tcp=True) as server, cluster_in(tmp_path, server.url) as cluster:

        async def scenario(cluster: ChaosCluster, load: Load) -> None:
            leader = await cluster.wait_for_leader()
            server.kill()
            await load.wait_for_confirmed(3000)
            assert cluster.leader() == leader
            await load.kill_while_in_flight(lambda: cluster.kill(leader))
            server.start()
            assert await cluster.wait_for_leader(other_than=leader) != leader
            cluster.start(leader)
            await cluster.wait_until_in_sync()

        run(cluster, scenario)


@pytest.mark.long
def test_records_without_a_leader_end_as_not_written_or_unknown(tmp_path: Path) -> None:
    """Goal: with one of three brokers up, each record ends as not written or unknown, truly.

    Method: delivery timeouts that pass before the others are back; then read the log.
    """

    async def play(cluster: ChaosCluster) -> list[str]:
        await cluster.wait_until_in_sync()
        leader = await cluster.wait_for_leader()
        others = tuple(node for node in cluster.urls if node != leader)
        resolved: list[Resolved] = []
        async with Producer(
            cluster.servers,
            delivery_timeout_ms=1500,
            request_timeout_ms=300,
            on_batch=resolved.append,
        ) as producer:
            await producer.send_and_wait(b"r-0000000")
            cluster.kill(*others)
            for number in (1, 2):
                await producer.send(b"r-%07d" % number)
                await producer.flush()
        cluster.kill(leader)
        dead = Producer(cluster.servers, bootstrap_timeout_ms=300)
        with pytest.raises(NoBrokersAvailable):
            await dead.start()
        for node in cluster.urls:
            cluster.start(node)
        await cluster.wait_until_in_sync()
        read = await read_all(cluster.servers)
        held = {int((value or b"").removeprefix(b"r-")) for value in read}
        assert 0 in held
        for batch in resolved:
            assert batch.first in held or batch.outcome != "written"
            assert batch.first not in held or batch.outcome != "not_written"
        return [batch.outcome for batch in resolved]

    with cluster_in(tmp_path) as cluster:
        outcomes = asyncio.run(play(cluster))
    assert outcomes[0] == "written"
    assert set(outcomes[1:]) <= {"unknown", "not_written"}


@pytest.mark.long
def test_killed_process_loses_nothing_with_flush_os(tmp_path: Path) -> None:
    """Goal: with flush=os a killed process loses no record: the kernel has the pages."""

    async def scenario(cluster: ChaosCluster, load: Load) -> None:
        await one_round(cluster, load)

    with cluster_in(tmp_path, "", "--flush", "os") as cluster:
        run(cluster, scenario)
