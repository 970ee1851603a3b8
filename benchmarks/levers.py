"""Benchmark of single measures for speed: each with and without, in the same run.

    python -m benchmarks.levers [--quick] [--rounds N] [--seconds S] [--lever NAME]

A round measures all variants in turn. "Ours" is the project as it is. The peer is the same code
without one lever, in the brokers and in the client:

- ``loop_writes``: with flush=os the event loop writes a small append; without, the disk thread
  writes all. With flush=batch the thread writes all, and the peer is a loop that writes;
- ``idle_outbox``: an idle outbox sends a frame at once; without, its task sends each frame.

The rows, each the median over the rounds; ``ours / theirs`` below 1 is better for times:

- ``append_us``: one append on one disk, from the call to its completion, without a cluster;
- ``ack_p50_us``: latency with one record of 100 B in flight, linger 0, on three brokers;
- ``batch_produce_records_per_s``, ``..._per_cpu_s``: whole batches of 64 KiB with records of 100 B;
- ``stalled_loop_ms``: the longest time for which the event loop does not run while appends arrive
  and each tenth write to the disk takes 200 ms. Without the policy of ``loop_writes``, the loop
  would wait for each of these writes; the peer is the disk thread alone.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final
from unittest.mock import patch

import yak_net.storage.disk as disk
from benchmarks.common import Row, parse_options, show
from benchmarks.own_cluster import BATCH_BYTES, own_cluster
from benchmarks.servers import module_command
from yak_core.batch import Batch, Builder, placed, seal
from yak_core.config import FlushMode
from yak_core.contract.events import DiskResult
from yak_core.ids import LogGeneration, OpId
from yak_net.runtime.outbox import Outbox
from yak_net.storage import BrokerDisk, LoopWrites, System, open_storage

SECONDS: Final = 3.0
QUICK_SECONDS: Final = 0.3
SENT_BYTES_MAX: Final = 256_000_000
VALUE: Final = os.urandom(50).hex().encode()
APPENDS: Final = 1000
STALL_S: Final = 0.2
STALLED_EACH: Final = 10
NOTHING: Final = "nothing"
LOOP_WRITES: Final = "loop_writes"


def _queued(outbox: Outbox, frame: bytes) -> bool:
    """Leave a frame to the task of its outbox."""
    outbox._frames.append(frame)
    outbox._count(len(frame))
    return False


@contextmanager
def _other_loop_writes() -> Iterator[None]:
    """Let the loop write with flush=batch, and nowhere else."""

    def of(flush: FlushMode) -> LoopWrites:
        return LoopWrites() if flush == "batch" else LoopWrites(0)

    with (
        patch.object(disk, "LoopWrites", partial(LoopWrites, 0)),
        patch.object(LoopWrites, "of", staticmethod(of)),
    ):
        yield


WITHOUT: Final[dict[str, Callable[[], AbstractContextManager[object]]]] = {
    NOTHING: nullcontext,
    LOOP_WRITES: _other_loop_writes,
    "idle_outbox": lambda: patch.object(Outbox, "_sent_at_once", _queued),
}
"""How to run this process without a lever."""
LEVERS: Final = tuple(WITHOUT)[1:]


class Figures:
    """The measured values by figure, setting and the lever that was missing."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str], list[float]] = {}

    def add(self, figure: str, setting: str, missing: str, value: float) -> None:
        """Add a value."""
        self._found.setdefault((figure, setting, missing), []).append(value)

    def rows(self) -> Iterator[Row]:
        """Return a row for each figure, setting and lever."""
        for (figure, setting, missing), values in self._found.items():
            if missing != NOTHING:
                ours = median(self._found[figure, setting, NOTHING])
                added = missing == LOOP_WRITES and setting.endswith("flush=batch")
                lever = f"{'with' if added else 'without'} {missing}"
                peer = lever if missing in LEVERS else missing
                yield Row(figure, peer, setting, ours, median(values))


async def measure_cluster(figures: Figures, missing: str, seconds: float) -> None:
    """Measure a cluster whose brokers and client lack a lever."""
    command = (*module_command("benchmarks.levers"), "--broker", missing, "broker")
    for flush in ("os", "batch"):
        async with own_cluster(flush, command) as cluster:
            found = await cluster.latencies(VALUE, seconds)
            setting = f"100 B, one in flight, flush={flush}"
            figures.add("ack_p50_us", setting, missing, found.p50_us)
            flow = await cluster.produce_batches(VALUE, BATCH_BYTES, seconds, SENT_BYTES_MAX)
            setting = f"100 B, 64 KiB batches, flush={flush}"
            figures.add("batch_produce_records_per_s", setting, missing, flow.records_per_s)
            figures.add("batch_produce_records_per_cpu_s", setting, missing, flow.records_per_cpu_s)


class Appender:
    """A disk without a broker, to which one append after the other is made."""

    def __init__(self, folder: str, system: System | None = None) -> None:
        storage = open_storage(Path(folder, "data"), "n1", system=system)
        self.end = storage.log.end
        self.completed = asyncio.Event()
        self.disk = BrokerDisk(storage, self._on_done, self._on_fatal)

    def _on_done(self, _: OpId, __: LogGeneration, ___: DiskResult) -> None:
        self.completed.set()

    def _on_fatal(self, reason: str) -> None:
        raise RuntimeError(reason)

    async def append(self, batch: Batch) -> None:
        """Append a batch, and wait until it is written."""
        self.completed.clear()
        self.disk.append(OpId(1), LogGeneration(0), (placed(batch, self.end, 1),))
        self.end += batch.count
        await self.completed.wait()


def batch_of(size: int) -> Batch:
    """Return a sealed batch of about ``size`` bytes."""
    builder = Builder(size)
    while builder.append(VALUE, timestamp_ms=1) is not None:
        pass
    return seal(builder.build())


async def measure_appends(figures: Figures, missing: str, count: int) -> None:
    """Measure appends of one record and of a full batch."""
    for name, size in {"100 B": 200, "64 KiB": BATCH_BYTES}.items():
        with tempfile.TemporaryDirectory(prefix="yak-bench-") as folder:
            appender = Appender(folder)
            batch = batch_of(size)
            took: list[float] = []
            for _ in range(count):
                began = time.perf_counter()
                await appender.append(batch)
                took.append(time.perf_counter() - began)
            await asyncio.to_thread(appender.disk.close)
            figures.add("append_us", name, missing, median(took) * 1e6)


async def measure_stall(figures: Figures, missing: str, count: int) -> None:
    """Measure how long the loop does not run while a disk stalls again and again."""
    never = threading.Event()
    writes = [0]

    def write(fd: int, buffers: Sequence[bytes | memoryview], at: int) -> int:
        writes[0] += 1
        if writes[0] % STALLED_EACH == 0:
            never.wait(STALL_S)
        return os.pwritev(fd, buffers, at)

    pauses: list[float] = []
    running = [True]

    async def watch() -> None:
        while running:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            pauses.append(time.perf_counter() - began)

    with tempfile.TemporaryDirectory(prefix="yak-bench-") as folder:
        appender = Appender(folder, System(write=write))
        watcher = asyncio.create_task(watch())
        batch = batch_of(200)
        for _ in range(count):
            await appender.append(batch)
            await asyncio.sleep(0)
        running.clear()
        await watcher
        await asyncio.to_thread(appender.disk.close)
    waits = sum(pause > STALL_S / 2 for pause in pauses)
    stalls = writes[0] // STALLED_EACH
    setting = f"{count} appends, each {STALLED_EACH}th write {STALL_S * 1000:.0f} ms"
    figures.add("stalled_loop_ms", setting, missing, max(pauses) * 1000)
    if missing == NOTHING:
        figures.add("stalled_loop_waits", setting, missing, waits)
        figures.add("stalled_loop_waits", setting, "of all stalls", stalls)


def measure(levers: Sequence[str], seconds: float, rounds: int) -> Figures:
    """Measure all variants in turn, in reverse order in every second round."""
    figures = Figures()
    variants = [NOTHING, *levers]
    for number in range(rounds):
        for missing in variants if number % 2 == 0 else reversed(variants):
            if sys.stderr.isatty():
                print(f"round {number + 1} of {rounds}: without {missing}", file=sys.stderr)
            with WITHOUT[missing]():
                if LOOP_WRITES in levers and missing in (NOTHING, LOOP_WRITES):
                    share = min(1.0, seconds)
                    asyncio.run(measure_appends(figures, missing, int(APPENDS * share)))
                    asyncio.run(measure_stall(figures, missing, int(100 * share)))
                asyncio.run(measure_cluster(figures, missing, seconds))
    return figures


def main() -> None:
    """Measure and print all rows; with ``--broker LEVER broker ...``, run a broker without it."""
    if sys.argv[1:2] == ["--broker"]:
        import yak_cli

        with WITHOUT[sys.argv[2]]():
            sys.argv = ["yak", *sys.argv[3:]]
            yak_cli.main()
        return
    parser = argparse.ArgumentParser(description="Benchmark of single measures for speed.")
    parser.add_argument("--lever", choices=LEVERS, help="measure only this one")
    options = parse_options(parser, "seconds", SECONDS, QUICK_SECONDS, "seconds per measurement")
    # The default action of SIGTERM would not delete the folders of the brokers.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    levers = (options.lever,) if options.lever else LEVERS
    show("Levers", measure(levers, options.seconds, options.rounds).rows())


if __name__ == "__main__":
    main()
