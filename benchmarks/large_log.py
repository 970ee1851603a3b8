"""Measurements of a cluster whose log is large, beside the same cluster with a small log.

Nothing in the cost of a batch should depend on the length of the log. The log is first filled to
``SMALL_BYTES``, then to a given size; at both sizes whole batches are produced, the newest records
are read, and a follower is killed and started again.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from typing import Final

from benchmarks.net import BULK_BYTES, Figures, value_of
from benchmarks.own_cluster import BATCH_BYTES, BROKERS, own_cluster

SMALL_BYTES: Final = 10_000_000
MEASURED_BYTES: Final = 32_000_000
"""Bytes of values per measurement at most, so that the small log stays small."""
READ_BYTES: Final = 8_000_000
VALUE_BYTES: Final = 100
RECOVERIES: Final = 3
SPACE: Final = 1.5
"""Bytes on disk for each byte of the values, with a reserve."""


def too_little_space(large_bytes: int) -> str:
    """Return why the log cannot be that large; empty if it can."""
    needed = int(BROKERS * large_bytes * SPACE)
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free >= needed:
        return ""
    return f"{tempfile.gettempdir()} has {free:,} bytes free, {needed:,} are needed"


async def measure_large_log(figures: Figures, large_bytes: int, seconds: float) -> None:
    """Measure one round, with flush=os."""
    value = value_of(VALUE_BYTES)
    async with own_cluster("os") as cluster:
        await cluster.produce_batches(value, BULK_BYTES, sys.maxsize, SMALL_BYTES)
        filled = SMALL_BYTES
        for name, size in (("small", SMALL_BYTES), ("large", large_bytes)):
            if size > filled:
                await cluster.produce_batches(value, BULK_BYTES, sys.maxsize, size - filled)
            flow = await cluster.produce_batches(value, BATCH_BYTES, seconds, MEASURED_BYTES)
            figures.add_flow(f"{name} log produce", flow)
            kept = await cluster.produce(value, seconds, READ_BYTES)
            figures.add_flow(f"{name} log read", await cluster.read(value, seconds))
            filled = size + (flow.records + kept.records) * VALUE_BYTES
            for _ in range(RECOVERIES):
                figures.add(f"{name} log recovery", await cluster.recovery_s())
