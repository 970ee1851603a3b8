"""A producer whose producer epochs are used up in an outage goes on with a new producer id.

Method: three real brokers are stopped with SIGSTOP. Each record that is sent meanwhile ends its
producer epoch, because it may be written. The header of a batch has 16 bits for the epoch.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import pytest

from tests.net.chaos import NODES, ChaosCluster, read_all
from tests.net.test_chaos import cluster_in
from yak_core.batch import Batch, scan
from yak_core.clients.session import PRODUCER_EPOCH_MAX
from yak_net.client.errors import YakError
from yak_net.client.producer import Producer

EPOCHS = PRODUCER_EPOCH_MAX + 1
"""The producer epochs of one producer id: 0 to 32,767."""

DELIVERY_MS = 15


class Outcomes:
    """Sends one record at a time, and keeps the value of each record with its outcome."""

    def __init__(self, producer: Producer) -> None:
        self.producer = producer
        self.numbers = count()
        self.sent: list[tuple[bytes, str]] = []

    async def send(self) -> str:
        """Send the next record; return its outcome."""
        value = b"%d" % next(self.numbers)
        handle = await self.producer.send(value)
        try:
            await handle
        except YakError:
            assert handle.outcome in ("unknown", "not_written")
        self.sent.append((value, str(handle.outcome)))
        return self.sent[-1][1]

    async def send_until_written(self, within_s: float) -> None:
        """Send records until one of them is confirmed."""
        deadline = time.monotonic() + within_s
        while await self.send() != "written":
            assert time.monotonic() < deadline, f"no record confirmed in {within_s} s"

    def check(self, read: list[bytes | None]) -> None:
        """Compare the records read with the outcomes."""
        held = set(read)
        assert len(held) == len(read), "a record is duplicated"
        assert read == sorted(read, key=lambda value: int(value or b"-1")), "the order is not kept"
        lost = [value for value, outcome in self.sent if outcome == "written" and value not in held]
        assert not lost, "confirmed records are lost"
        made_up = [value for value, how in self.sent if how == "not_written" and value in held]
        assert not made_up, "records that were reported as not written are in the log"


@asynccontextmanager
async def stopped(cluster: ChaosCluster) -> AsyncIterator[None]:
    """Stop all brokers with SIGSTOP, and continue them at the end."""
    for node in NODES:
        cluster.freeze(node)
    try:
        yield
    finally:
        for node in NODES:
            cluster.thaw(node)


def batches_of(cluster: ChaosCluster, node: str) -> list[Batch]:
    """Return the batches of the log on the disk of a broker."""
    [path] = (cluster.folder / node).glob("*.log")
    return list(scan(path.read_bytes()))


async def use_up(cluster: ChaosCluster, epochs: int) -> tuple[Outcomes, float]:
    """Let this number of records end as unknown; return the outcomes, and the seconds it took."""
    async with Producer(
        cluster.servers,
        linger_ms=0,
        request_timeout_ms=10,
        retry_backoff_ms=5,
        delivery_timeout_ms=DELIVERY_MS,
    ) as producer:
        load = Outcomes(producer)
        await load.send_until_written(20)
        began = time.monotonic()
        async with stopped(cluster):
            wanted = producer.unknown + epochs
            while producer.unknown < wanted:
                await load.send()
        took = time.monotonic() - began
        await cluster.wait_until_in_sync()
        await load.send_until_written(60)
    return load, took


@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_a_producer_outlives_its_epochs(tmp_path: Path) -> None:
    """Goal: sending goes on after the last epoch, and each outcome is true.

    The first batch in the log has the first producer id; the last one has another producer id and
    one of its first epochs.
    """
    with cluster_in(tmp_path) as cluster:

        async def play() -> tuple[Outcomes, float]:
            await cluster.wait_for_leader()
            await cluster.wait_until_in_sync()
            load, took = await use_up(cluster, EPOCHS)
            load.check(await read_all(cluster.servers))
            return load, took

        load, took = asyncio.run(play())
        first, *_, last = batches_of(cluster, cluster.leader())
    outcomes = Counter(outcome for _, outcome in load.sent)
    print(f"\n{dict(outcomes)} in {took:.0f} s; last epoch {last.producer_epoch}")
    assert (first.producer_epoch, last.producer_id != first.producer_id) == (0, True)
    assert last.producer_epoch < 1_000
