"""Benchmark of a real cluster, compared with Redis Streams.

    python -m benchmarks.net [--quick] [--rounds N] [--seconds S]

Ours: three brokers as processes, an idempotent producer with acks=all, all brokers in the ISR. The
peer: Redis Streams with a primary, two replicas and WAIT 2, without any write to disk. Everything
runs on loopback, and the clients run in this process. A rate therefore includes the work of the
client. Times are wall time. Rates count acknowledged records; MB are millions of bytes of values.
Each measurement lasts S seconds (4), or until 512 MB are sent.

Each row is the median over the rounds; a round measures all subjects in turn. ``flush=os`` has the
durability of the peer. ``flush=batch`` acknowledges only what is flushed on three disks; it is
compared with the same figures of the peer. The rows:

- ``batch_produce_...``: whole batches of 64 and 256 KiB, each record encoded by the client. Peer:
  XADD in pipelines of 500, with redis-py;
- ``produce_...``: the same records with ``Producer.send``, one call and one handle per record, in
  batches of 64 KiB, from the first call to the last acknowledgement;
- ``read_...``: the records of ``produce_...``, read with ``Consumer.getmany`` and decoded. Peer:
  XREAD with COUNT 1000;
- ``..._records_per_cpu_s``: records per CPU second of the client and all three servers; other load
  on the machine distorts it less;
- ``ack_p50_us``, ``ack_p99_us``: latency with one record of 100 B in flight, linger 0;
- ``flush_batch_over_os``: batch_produce_records_per_s of flush=batch, compared with flush=os;
- ``broker_idle_mib``, ``broker_peak_mib``: peak resident memory (VmHWM) of the median and of the
  largest broker, before and after all produce measurements;
- ``send_records_per_s``: ``Producer.send`` with a runtime that acknowledges each batch immediately;
- ``other_load_cores``: average CPU use of all other processes, by subject. If it is high or differs
  between subjects, the rows in wall time are not reliable.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from benchmarks.common import Row, parse_options, show
from benchmarks.own_cluster import BATCH_BYTES, OwnCluster, own_cluster, produce_alone
from benchmarks.procs import Flow, Latencies, peaks
from benchmarks.redis_peer import PROGRAM, installed, redis_streams

PEER: Final = "Redis Streams, WAIT 2"
SECONDS: Final = 4.0
QUICK_SECONDS: Final = 0.5
SENT_BYTES_MAX: Final = 512_000_000
"""Limit per measurement: ten measurements on three brokers write at most 15 GB."""
SMALL: Final = 100
SIZES: Final = {SMALL: "100 B", 1024: "1 KiB"}
BULK_BYTES: Final = 256 * 1024
FLUSHES: Final = ("os", "batch")
SUBJECTS: Final = {
    "send": "the producer alone",
    "redis": PEER,
    **{flush: f"flush={flush}" for flush in FLUSHES},
}
MIB: Final = 1024 * 1024


@dataclass
class Figures:
    """The measured values by name; the first word of a name is the subject."""

    found: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        """Add a value of a figure."""
        self.found.setdefault(name, []).append(value)

    def add_flow(self, name: str, flow: Flow) -> None:
        """Add the three rates of a flow."""
        self.add(f"{name.split(maxsplit=1)[0]} others", flow.cost.other_cores)
        self.add(f"{name} records_per_s", flow.records_per_s)
        self.add(f"{name} mb_per_s", flow.mb_per_s)
        self.add(f"{name} records_per_cpu_s", flow.records_per_cpu_s)

    def add_latencies(self, name: str, latencies: Latencies) -> None:
        """Add the two percentiles."""
        self.add(f"{name.split(maxsplit=1)[0]} others", latencies.cost.other_cores)
        self.add(f"{name} p50_us", latencies.p50_us)
        self.add(f"{name} p99_us", latencies.p99_us)

    def get(self, name: str) -> float | None:
        """Return the median of a figure, None if it was not measured."""
        values = self.found.get(name)
        return median(values) if values else None

    def range(self, name: str) -> tuple[float, float] | None:
        """Return the smallest and the largest value of a figure, None if it was not measured."""
        values = self.found.get(name)
        return (min(values), max(values)) if values else None


def value_of(size: int) -> bytes:
    """Return ``size`` random bytes, which cannot be compressed well."""
    return os.urandom(size // 2).hex().encode()[:size]


def measure_redis(figures: Figures, seconds: float) -> None:
    """Measure one round of the peer."""
    with redis_streams() as peer:
        for size in SIZES:
            value = value_of(size)
            figures.add_flow(f"redis produce {size}", peer.produce(value, seconds, SENT_BYTES_MAX))
            figures.add_flow(f"redis read {size}", peer.read(value, seconds))
            peer.delete(value)
        figures.add_latencies("redis ack", peer.latencies(value_of(SMALL), seconds))


async def measure_ours(figures: Figures, flush: str, seconds: float) -> None:
    """Measure one round of our cluster."""
    async with own_cluster(flush) as cluster:
        add_memory(figures, f"{flush} idle", cluster)
        values = {size: value_of(size) for size in SIZES}
        for size, value in values.items():
            for batch_bytes in (BATCH_BYTES, BULK_BYTES):
                flow = await cluster.produce_batches(value, batch_bytes, seconds, SENT_BYTES_MAX)
                figures.add_flow(f"{flush} batch_produce {size} {batch_bytes}", flow)
            flow = await cluster.produce(value, seconds, SENT_BYTES_MAX)
            figures.add_flow(f"{flush} produce {size}", flow)
        add_memory(figures, f"{flush} peak", cluster)
        if flush == FLUSHES[0]:  # the flush mode does not affect reads
            for size, value in values.items():
                figures.add_flow(f"{flush} read {size}", await cluster.read(value, seconds))
        figures.add_latencies(f"{flush} ack", await cluster.latencies(values[SMALL], seconds))


def add_memory(figures: Figures, name: str, cluster: OwnCluster) -> None:
    """Add the peak memory of the brokers, in MiB."""
    found = peaks(cluster.pids)
    figures.add(f"{name} median", median(found) / MIB)
    figures.add(f"{name} largest", found[-1] / MIB)


def measure(seconds: float, rounds: int) -> Figures:
    """Measure all subjects in turn, in reverse order in every second round."""
    figures = Figures()

    def measure_send() -> None:
        figures.add_flow("send", asyncio.run(produce_alone(value_of(SMALL), seconds)))

    def ours(flush: str) -> Callable[[], None]:
        return lambda: asyncio.run(measure_ours(figures, flush, seconds))

    work = {
        "send": measure_send,
        "redis": lambda: measure_redis(figures, seconds),
        **{flush: ours(flush) for flush in FLUSHES},
    }
    subjects = [subject for subject in SUBJECTS if subject != "redis" or installed()]
    for number in range(rounds):
        for subject in subjects if number % 2 == 0 else reversed(subjects):
            if sys.stderr.isatty():
                print(f"round {number + 1} of {rounds}: {SUBJECTS[subject]}", file=sys.stderr)
            work[subject]()
    return figures


def rows_of(figures: Figures) -> Iterator[Row]:
    """Return all rows. Without the peer, return our figures and rows with ``skipped``."""

    def with_peer(figure: str, setting: str, ours: str, theirs: str) -> Iterator[Row]:
        value, peer = figures.get(ours), figures.get(theirs)
        if peer is None:
            yield Row(figure, None, setting, value)
            yield Row(figure, PEER, setting, skipped=f"{PROGRAM} is not on the PATH")
        else:
            yield Row(figure, PEER, setting, value, peer)

    def rates(figure: str, setting: str, ours: str, theirs: str) -> Iterator[Row]:
        for unit in ("records_per_s", "mb_per_s", "records_per_cpu_s"):
            yield from with_peer(f"{figure}_{unit}", setting, f"{ours} {unit}", f"{theirs} {unit}")

    for flush in FLUSHES:
        for size in SIZES:
            theirs = f"redis produce {size}"
            for batch_bytes in (BATCH_BYTES, BULK_BYTES):
                name = f"{flush} batch_produce {size} {batch_bytes}"
                setting = f"{SIZES[size]}, {batch_bytes // 1024} KiB batches, flush={flush}"
                yield from rates("batch_produce", setting, name, theirs)
            setting = f"{SIZES[size]}, {BATCH_BYTES // 1024} KiB batches, flush={flush}"
            yield from rates("produce", setting, f"{flush} produce {size}", theirs)
    for size in SIZES:
        name = f"{FLUSHES[0]} read {size}"
        yield from rates("read", SIZES[size], name, f"redis read {size}")
    for flush in FLUSHES:
        for unit in ("p50_us", "p99_us"):
            setting = f"{SIZES[SMALL]}, one in flight, flush={flush}"
            yield from with_peer(f"ack_{unit}", setting, f"{flush} ack {unit}", f"redis ack {unit}")
    yield from own_rows(figures)


def own_rows(figures: Figures) -> Iterator[Row]:
    """Return the rows without a peer."""
    for size in SIZES:
        synced, written = (
            figures.get(f"{flush} batch_produce {size} {BATCH_BYTES} records_per_s")
            for flush in reversed(FLUSHES)
        )
        setting = f"{SIZES[size]}, {BATCH_BYTES // 1024} KiB batches"
        yield Row("flush_batch_over_os", "flush=os", setting, synced, written)
    for flush in FLUSHES:
        for when in ("idle", "peak"):
            for which in ("median", "largest"):
                value = figures.get(f"{flush} {when} {which}")
                yield Row(f"broker_{when}_mib", None, f"{which} of 3, flush={flush}", value)
    setting = f"{SIZES[SMALL]}, no cluster"
    yield Row("send_records_per_s", None, setting, figures.get("send records_per_s"))
    for subject, name in SUBJECTS.items():
        other_cores = figures.get(f"{subject} others")
        if other_cores is not None:
            yield Row("other_load_cores", None, f"{name}, of {os.cpu_count()} cores", other_cores)


def main() -> None:
    """Measure and print all rows."""
    parser = argparse.ArgumentParser(description="Benchmark of a real cluster.")
    options = parse_options(parser, "seconds", SECONDS, QUICK_SECONDS, "seconds per measurement")
    # The default action of SIGTERM would not delete the folders of the brokers.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    show("Real cluster", rows_of(measure(options.seconds, options.rounds)))


if __name__ == "__main__":
    main()
