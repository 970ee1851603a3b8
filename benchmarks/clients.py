"""Measurements of any cluster through the clients: produce, consume, end to end.

They need the addresses of brokers only. ``produce`` and ``e2e`` append records to the log.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.common import Row
from yak_net.client.batches import Resolved
from yak_net.client.consumer import Consumer
from yak_net.client.errors import YakError
from yak_net.client.producer import Producer

POLL_MS: Final = 1_000
PERCENTILES: Final = (50, 95, 99, 99.9)
FIRST_S: Final = 30.0
"""Seconds until the first record of a measurement has to arrive."""


class CannotMeasure(Exception):
    """There is nothing to measure; the message says what to do."""


@dataclass(frozen=True)
class Load:
    """What is sent: values of ``size`` bytes for ``seconds``, or ``count`` of them."""

    size: int
    seconds: float
    count: int | None = None
    rate: float | None = None
    acks: str | int = "all"

    def goes_on(self, sent: int, until: float) -> bool:
        """Return whether another record is to be sent."""
        if self.count is not None:
            return sent < self.count
        return not sent or time.perf_counter() < until


async def produce(servers: Sequence[str], load: Load) -> list[Row]:
    """Measure the rate of ``Producer.send``, and the time to the acknowledgement of each record."""
    value = secrets.token_hex(load.size // 2 + 1).encode()[: load.size]
    sent_at: deque[float] = deque()
    latencies_s: list[float] = []

    def on_batch(batch: Resolved) -> None:
        # Batches are resolved in the order of their records.
        now = time.perf_counter()
        for _ in range(min(batch.count, len(sent_at))):
            latencies_s.append(now - sent_at.popleft())

    async with Producer(servers, acks=load.acks, on_batch=on_batch) as producer:
        await producer.send_and_wait(value)
        began = time.perf_counter()
        until, sent = began + load.seconds, 0
        while load.goes_on(sent, until):
            if load.rate is not None:
                await asyncio.sleep(max(0.0, began + sent / load.rate - time.perf_counter()))
            sent_at.append(time.perf_counter())
            await producer.send(value)
            sent += 1
        await producer.flush()
        took_s = time.perf_counter() - began
        failed = producer.not_written + producer.unknown
    if failed:
        raise CannotMeasure(f"{failed} of {sent} records were not confirmed; see yak doctor")
    setting = f"{load.size} B, acks={load.acks}"
    rates = _rates("produce", setting, sent, load.size, took_s)
    return [*rates, *_percentiles("ack", setting, latencies_s)]


async def consume(servers: Sequence[str], seconds: float) -> list[Row]:
    """Measure repeated reads of the log from its first record, decoded to single records."""
    count = size = 0
    async with Consumer(servers, auto_offset_reset="earliest") as consumer:
        begin, end = await consumer.position(), await consumer.end_offset()
        if end <= begin:
            raise CannotMeasure("the log has no records; run yak bench produce before, with -b")
        began = time.perf_counter()
        until = began + seconds
        while not count or time.perf_counter() < until:
            found = await consumer.getmany(POLL_MS)
            count += len(found)
            size += sum(len(record.value or b"") for record in found)
            if await consumer.position() >= end:
                consumer.seek(begin)
        took_s = time.perf_counter() - began
    return _rates("consume", f"{size // count} B on average", count, size / count, took_s)


async def end_to_end(servers: Sequence[str], load: Load) -> list[Row]:
    """Measure the time from the send of a record until a consumer has it, with one in flight."""
    latencies_s: list[float] = []
    mark = secrets.token_hex(8).encode()
    async with (
        Consumer(servers, auto_offset_reset="latest") as consumer,
        Producer(servers, linger_ms=0, acks=load.acks) as producer,
    ):
        until, sent = time.perf_counter() + load.seconds, 0
        while load.goes_on(sent, until):
            value = (b"%s.%d " % (mark, sent)).ljust(load.size, b"x")
            began = time.perf_counter()
            handle = await producer.send(value)
            async with asyncio.timeout(FIRST_S):
                # Another producer may write to the same log.
                while (await consumer.getone()).value != value:
                    continue
            latencies_s.append(time.perf_counter() - began)
            await handle
            sent += 1
            if load.rate is not None:
                await asyncio.sleep(max(0.0, began + 1 / load.rate - time.perf_counter()))
    return _percentiles("e2e", f"{load.size} B, acks={load.acks}, one in flight", latencies_s)


def _rates(figure: str, setting: str, count: int, size: float, took_s: float) -> list[Row]:
    return [
        Row(f"{figure}_records_per_s", None, setting, count / took_s),
        Row(f"{figure}_mb_per_s", None, setting, count * size / took_s / 1e6),
    ]


def _percentiles(figure: str, setting: str, latencies_s: list[float]) -> list[Row]:
    ordered = sorted(latencies_s)
    rows = [Row(f"{figure}_mean_us", None, setting, sum(ordered) / len(ordered) * 1e6)]
    for percent in PERCENTILES:
        at = min(len(ordered) - 1, int(len(ordered) * percent / 100))
        name = f"{figure}_p{f'{percent:g}'.replace('.', '')}_us"
        rows.append(Row(name, None, setting, ordered[at] * 1e6))
    return [*rows, Row(f"{figure}_max_us", None, setting, ordered[-1] * 1e6)]


__all__ = ["CannotMeasure", "Load", "YakError", "consume", "end_to_end", "produce"]
