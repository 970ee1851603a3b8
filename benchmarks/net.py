"""How fast a real cluster is, beside Redis Streams; must never judge what it measures.

    python -m benchmarks.net [--quick] [--rounds N] [--seconds S]

Ours: three brokers as processes, acks=all with all three in the ISR, idempotent. The peer: Redis
Streams, a primary and two replicas, WAIT 2; nothing of it reaches a disk. All on loopback, clients
in this process, so client and servers share the machine: a rate is what all of them achieve
together, the client's work included. Times are wall time; rates are of records that were confirmed,
MB are millions of bytes of values. Each measurement lasts S seconds (4), or until 512 MB are sent.

Rows, round by round and in turn, as medians of the rounds. ``flush=os`` is what the peer does, too;
``flush=batch`` confirms only what three disks have, and is set beside the same figures of the peer:

- ``batch_produce_...``: whole batches of 64 and 256 KiB, each record encoded by the client; beside
  XADD in pipelines of 500, as redis-py does it;
- ``produce_...``: the same records by ``Producer.send``, a call and a handle each, batches of
  64 KiB, from the first call to the last confirmation;
- ``read_...``: what that wrote, by ``Consumer.getmany``, decoded to single records; beside XREAD
  with COUNT 1000;
- ``..._records_per_cpu_s``: the same by CPU seconds, of the client and of all three servers, which
  a busy machine disturbs less;
- ``ack_p50_us``, ``ack_p99_us``: one record of 100 B under way at a time, linger 0;
- ``flush_batch_over_os``: batch_produce_records_per_s of one beside the other;
- ``broker_idle_mib``, ``broker_peak_mib``: the largest resident memory that a broker has had
  (VmHWM), before and after all the producing, of the median broker and of the largest;
- ``send_records_per_s``: ``Producer.send`` alone, on a runtime that confirms each batch at once;
- ``other_load_cores``: what everything else on the machine used meanwhile, by subject: the nearer
  to the number of cores, and the more unlike, the less the rows by wall time are worth.
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

from benchmarks.common import QUICK_ROUNDS, ROUNDS, Row, show
from benchmarks.own_cluster import BATCH_BYTES, OwnCluster, own_cluster, produce_alone
from benchmarks.procs import Flow, Latencies, peaks
from benchmarks.redis_peer import PROGRAM, installed, redis_streams

PEER: Final = "Redis Streams, WAIT 2"
SECONDS: Final = 4.0
QUICK_SECONDS: Final = 0.5
SENT_BYTES_MAX: Final = 512_000_000
"""Three brokers keep what each of ten measurements of a cluster sends: 15 GB at the very most."""
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
    """What was measured, by name, of which the first word is the subject; gives medians."""

    found: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        """One more value of a figure."""
        self.found.setdefault(name, []).append(value)

    def add_flow(self, name: str, flow: Flow) -> None:
        """The three rates of a flow."""
        self.add(f"{name.split(maxsplit=1)[0]} others", flow.cost.others)
        self.add(f"{name} records_per_s", flow.records_per_s)
        self.add(f"{name} mb_per_s", flow.mb_per_s)
        self.add(f"{name} records_per_cpu_s", flow.records_per_cpu_s)

    def add_latencies(self, name: str, latencies: Latencies) -> None:
        """The two percentiles."""
        self.add(f"{name.split(maxsplit=1)[0]} others", latencies.cost.others)
        self.add(f"{name} p50_us", latencies.p50_us)
        self.add(f"{name} p99_us", latencies.p99_us)

    def get(self, name: str) -> float | None:
        """The median, None if nobody has measured it."""
        values = self.found.get(name)
        return median(values) if values else None


def value_of(size: int) -> bytes:
    """Bytes that no shortcut could be taken with."""
    return os.urandom(size // 2).hex().encode()[:size]


def measure_redis(figures: Figures, seconds: float) -> None:
    """One round of the peer."""
    with redis_streams() as peer:
        for size in SIZES:
            value = value_of(size)
            figures.add_flow(f"redis produce {size}", peer.produce(value, seconds, SENT_BYTES_MAX))
            figures.add_flow(f"redis read {size}", peer.read(value, seconds))
            peer.forget(value)
        figures.add_latencies("redis ack", peer.latencies(value_of(SMALL), seconds))


async def measure_ours(figures: Figures, flush: str, seconds: float) -> None:
    """One round of our own cluster."""
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
        if flush == FLUSHES[0]:  # which makes no difference to a reader
            for size, value in values.items():
                figures.add_flow(f"{flush} read {size}", await cluster.read(value, seconds))
        figures.add_latencies(f"{flush} ack", await cluster.latencies(values[SMALL], seconds))


def add_memory(figures: Figures, name: str, cluster: OwnCluster) -> None:
    """The peaks of the brokers so far, in MiB."""
    found = peaks(cluster.pids)
    figures.add(f"{name} median", median(found) / MIB)
    figures.add(f"{name} largest", found[-1] / MIB)


def measure(seconds: float, rounds: int) -> Figures:
    """All subjects in turn, in every other round the other way about."""
    figures = Figures()

    def alone() -> None:
        figures.add_flow("send", asyncio.run(produce_alone(value_of(SMALL), seconds)))

    def ours(flush: str) -> Callable[[], None]:
        return lambda: asyncio.run(measure_ours(figures, flush, seconds))

    work = {
        "send": alone,
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
    """All rows; where there is no peer, ours alone and a line that says so."""

    def beside(figure: str, words: str, ours: str, theirs: str) -> Iterator[Row]:
        value, peer = figures.get(ours), figures.get(theirs)
        if peer is None:
            yield Row(figure, None, words, value)
            yield Row(figure, PEER, words, skipped=f"{PROGRAM} is not on the PATH")
        else:
            yield Row(figure, PEER, words, value, peer)

    def rates(figure: str, words: str, ours: str, theirs: str) -> Iterator[Row]:
        for unit in ("records_per_s", "mb_per_s", "records_per_cpu_s"):
            yield from beside(f"{figure}_{unit}", words, f"{ours} {unit}", f"{theirs} {unit}")

    for flush in FLUSHES:
        for size in SIZES:
            theirs = f"redis produce {size}"
            for batch_bytes in (BATCH_BYTES, BULK_BYTES):
                name = f"{flush} batch_produce {size} {batch_bytes}"
                words = f"{SIZES[size]}, {batch_bytes // 1024} KiB batches, flush={flush}"
                yield from rates("batch_produce", words, name, theirs)
            words = f"{SIZES[size]}, {BATCH_BYTES // 1024} KiB batches, flush={flush}"
            yield from rates("produce", words, f"{flush} produce {size}", theirs)
    for size in SIZES:
        name = f"{FLUSHES[0]} read {size}"
        yield from rates("read", SIZES[size], name, f"redis read {size}")
    for flush in FLUSHES:
        for unit in ("p50_us", "p99_us"):
            words = f"{SIZES[SMALL]}, one under way, flush={flush}"
            yield from beside(f"ack_{unit}", words, f"{flush} ack {unit}", f"redis ack {unit}")
    yield from own_rows(figures)


def own_rows(figures: Figures) -> Iterator[Row]:
    """What has no peer."""
    for size in SIZES:
        synced, written = (
            figures.get(f"{flush} batch_produce {size} {BATCH_BYTES} records_per_s")
            for flush in reversed(FLUSHES)
        )
        words = f"{SIZES[size]}, {BATCH_BYTES // 1024} KiB batches"
        yield Row("flush_batch_over_os", "flush=os", words, synced, written)
    for flush in FLUSHES:
        for when in ("idle", "peak"):
            for which in ("median", "largest"):
                value = figures.get(f"{flush} {when} {which}")
                yield Row(f"broker_{when}_mib", None, f"{which} of 3, flush={flush}", value)
    words = f"{SIZES[SMALL]}, no cluster"
    yield Row("send_records_per_s", None, words, figures.get("send records_per_s"))
    for subject, name in SUBJECTS.items():
        others = figures.get(f"{subject} others")
        if others is not None:
            yield Row("other_load_cores", None, f"{name}, of {os.cpu_count()} cores", others)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="How fast a real cluster is; see the module.")
    parser.add_argument("--quick", action="store_true", help="half a second each, one round")
    parser.add_argument("--rounds", type=int, help="rounds, of which the median counts")
    parser.add_argument("--seconds", type=float, help="seconds of a measurement")
    args = parser.parse_args()
    # By default that would leave the folders of the brokers behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    seconds = args.seconds or (QUICK_SECONDS if args.quick else SECONDS)
    rounds = args.rounds or (QUICK_ROUNDS if args.quick else ROUNDS)
    show("Real cluster", rows_of(measure(seconds, rounds)))


if __name__ == "__main__":
    main()
