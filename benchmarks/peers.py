"""Benchmark of a real cluster beside its peers: Redis Streams and NATS JetStream.

    python -m benchmarks.peers [--quick] [--rounds N] [--seconds S]        (or: yak bench peers)

Ours: three brokers as processes, acks=all, flush=os, all brokers in the ISR, because the peers do
not flush before they acknowledge. Redis Streams: a primary and two replicas, WAIT 2. NATS
JetStream: a stream with three replicas (R3). RabbitMQ streams are not measured; their line says so.
All run on loopback, one after the other in each round, and each row is the median over the rounds.
The clients run in this process. Times are wall time. The rows:

- ``batch_produce_...``: whole batches of 256 KiB, each record encoded by the client;
- ``produce_...``: ``Producer.send`` with batches of 64 KiB. Peers: XADD in pipelines of up to 500
  records or 512 KiB, publish_async with up to 2000 records or 4 MiB in flight;
- ``read_...``: the records of ``produce_...``, decoded to single records;
- ``ack_p50_us``: one record of 100 B in flight;
- ``ack_p50_at_100_per_s``: the same with one record each 10 ms, over ``ack_p50_us``;
- ``flush_batch_over_os``: flush=batch over flush=os;
- ``broker_peak_mib``: the largest peak resident memory (VmHWM) of a broker;
- ``failover_s``: from SIGKILL of the leader to the next acknowledgement, over the lease of 3 s.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
from collections.abc import Callable, Iterator
from statistics import median
from typing import Final

from benchmarks import nats_peer, redis_peer
from benchmarks.common import Row, parse_options, show
from benchmarks.net import BULK_BYTES, MIB, SENT_BYTES_MAX, Figures, value_of
from benchmarks.own_cluster import own_cluster
from benchmarks.procs import peaks

REDIS: Final = "Redis Streams, WAIT 2"
NATS: Final = "NATS JetStream, R3"
RABBIT: Final = "RabbitMQ streams, R3"
SECONDS: Final = 4.0
QUICK_SECONDS: Final = 0.5
SMALL: Final = 100
MEDIUM: Final = 1024
LARGE: Final = 64 * 1024
SIZES: Final = {SMALL: "100 B", MEDIUM: "1 KiB", LARGE: "64 KiB"}
PACE_S: Final = 0.01
LEASE_S: Final = 3.0
FAILOVERS: Final = 5

OnStep = Callable[[str], None]


def missing() -> dict[str, str]:
    """Return why a peer is not measured, by its name."""
    found = {NATS: nats_peer.missing()}
    if not redis_peer.installed():
        found[REDIS] = f"{redis_peer.PROGRAM} is not on the PATH"
    installed = shutil.which("rabbitmq-server") is not None
    found[RABBIT] = (
        "this benchmark has no client for it" if installed else "rabbitmq-server is not on the PATH"
    )
    return {name: reason for name, reason in found.items() if reason}


def measure_redis(figures: Figures, seconds: float) -> None:
    """Measure one round of Redis Streams."""
    with redis_peer.redis_streams() as peer:
        for size in SIZES:
            value = value_of(size)
            flow = peer.produce(value, seconds, SENT_BYTES_MAX)
            figures.add_flow(f"redis produce {size}", flow)
            if size == SMALL:
                figures.add_flow(f"redis read {size}", peer.read(value, seconds))
            peer.delete(value)
        figures.add_latencies("redis ack", peer.latencies(value_of(SMALL), seconds))


async def measure_nats(figures: Figures, seconds: float) -> None:
    """Measure one round of NATS JetStream."""
    async with nats_peer.nats_streams() as peer:
        for size in SIZES:
            value = value_of(size)
            await peer.add(value)
            flow = await peer.produce(value, seconds, SENT_BYTES_MAX)
            figures.add_flow(f"nats produce {size}", flow)
            if size == SMALL:
                figures.add_flow(f"nats read {size}", await peer.read(value, seconds))
                figures.add_latencies("nats ack", await peer.latencies(value, seconds))
            await peer.delete(value)


async def measure_ours(figures: Figures, flush: str, seconds: float, failovers: int) -> None:
    """Measure one round of our cluster; with flush=batch only what is compared with flush=os."""
    values = {size: value_of(size) for size in SIZES}
    async with own_cluster(flush) as cluster:
        for size, value in values.items():
            flow = await cluster.produce_batches(value, BULK_BYTES, seconds, SENT_BYTES_MAX)
            figures.add_flow(f"{flush} batch_produce {size}", flow)
            if size < LARGE:
                flow = await cluster.produce(value, seconds, SENT_BYTES_MAX)
                figures.add_flow(f"{flush} produce {size}", flow)
        if flush != "os":
            return
        value = values[SMALL]
        figures.add_flow(f"os read {SMALL}", await cluster.read(value, seconds))
        figures.add("os peak", peaks(cluster.pids)[-1] / MIB)
        figures.add_latencies("os ack", await cluster.latencies(value, seconds))
        figures.add_latencies("os paced", await cluster.latencies(value, seconds, PACE_S))
        for _ in range(failovers):
            figures.add("os failover", await cluster.failover_s(value))


def measure(
    seconds: float, rounds: int, failovers: int, on_step: OnStep = lambda _: None
) -> Figures:
    """Measure all subjects in turn, in reverse order in every second round."""
    figures = Figures()
    absent = missing()
    work: dict[str, Callable[[], None]] = {
        "flush=os": lambda: asyncio.run(measure_ours(figures, "os", seconds, failovers)),
        "flush=batch": lambda: asyncio.run(measure_ours(figures, "batch", seconds, 0)),
        REDIS: lambda: measure_redis(figures, seconds),
        NATS: lambda: asyncio.run(measure_nats(figures, seconds)),
    }
    subjects = [name for name in work if name not in absent]
    for number in range(rounds):
        for subject in subjects if number % 2 == 0 else reversed(subjects):
            on_step(f"round {number + 1} of {rounds}: {subject}")
            work[subject]()
    return figures


def rows_of(figures: Figures, absent: dict[str, str]) -> Iterator[Row]:
    """Return all rows; ``absent`` has the reasons for missing peers."""

    def beside(figure: str, setting: str, ours: str, theirs: str, *peers: str) -> Iterator[Row]:
        value = figures.get(ours)
        measured = [peer for peer in peers if peer not in absent]
        if not measured and value is not None:
            yield Row(figure, None, setting, value)
        for peer in peers:
            if peer in absent:
                yield Row(figure, peer, setting, skipped=absent[peer])
                continue
            name = theirs.format({REDIS: "redis", NATS: "nats"}[peer])
            yield Row(figure, peer, setting, value, figures.get(name))

    both = (REDIS, NATS, RABBIT)
    unit = "records_per_s"
    for figure, form in (("batch_produce", "256 KiB batches"), ("produce", "default client")):
        setting = f"{SIZES[SMALL]}, {form}"
        ours, theirs = f"os {figure} {SMALL} {unit}", f"{{}} produce {SMALL} {unit}"
        yield from beside(f"{figure}_{unit}", setting, ours, theirs, *both)
    unit = "mb_per_s"
    for figure, form in (("batch_produce", "256 KiB batches"), ("produce", "default client")):
        setting = f"{SIZES[MEDIUM]}, {form}"
        ours, theirs = f"os {figure} {MEDIUM} {unit}", f"{{}} produce {MEDIUM} {unit}"
        yield from beside(f"{figure}_{unit}", setting, ours, theirs, REDIS, NATS)
    setting = f"{SIZES[LARGE]}, 256 KiB batches"
    ours, theirs = f"os batch_produce {LARGE} {unit}", f"{{}} produce {LARGE} {unit}"
    yield from beside(f"batch_produce_{unit}", setting, ours, theirs, REDIS, NATS)
    unit = "records_per_s"
    ours, theirs = f"os read {SMALL} {unit}", f"{{}} read {SMALL} {unit}"
    yield from beside(f"read_{unit}", SIZES[SMALL], ours, theirs, REDIS, NATS)
    setting = f"{SIZES[SMALL]}, one in flight"
    yield from beside("ack_p50_us", setting, "os ack p50_us", "{} ack p50_us", REDIS, NATS)
    yield from _own_rows(figures)


def _own_rows(figures: Figures) -> Iterator[Row]:
    """Return the rows without a peer."""
    paced, back = figures.get("os paced p50_us"), figures.get("os ack p50_us")
    yield Row("ack_p50_at_100_per_s", "back to back", SIZES[SMALL], paced, back)
    for figure, form in (("batch_produce", "256 KiB batches"), ("produce", "default client")):
        name = f"{figure} {SMALL} records_per_s"
        batch, os = figures.get(f"batch {name}"), figures.get(f"os {name}")
        yield Row("flush_batch_over_os", "flush=os", f"{SIZES[SMALL]}, {form}", batch, os)
    yield Row("broker_peak_mib", None, "largest of 3, flush=os", figures.get("os peak"))
    if figures.found.get("os failover"):
        count = len(figures.found["os failover"])
        took = median(figures.found["os failover"])
        yield Row("failover_s", "lease", f"median of {count}, kill -9", took, LEASE_S)


def run(seconds: float, rounds: int, failovers: int, on_step: OnStep) -> list[Row]:
    """Measure and return all rows."""
    absent = missing()
    return list(rows_of(measure(seconds, rounds, failovers, on_step), absent))


def main() -> None:
    """Measure and print all rows."""
    parser = argparse.ArgumentParser(description="Benchmark of a real cluster beside its peers.")
    options = parse_options(parser, "seconds", SECONDS, QUICK_SECONDS, "seconds per measurement")
    # The default action of SIGTERM would not delete the folders of the brokers.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    failovers = 1 if options.quick else FAILOVERS
    show("Peers", run(options.seconds, options.rounds, failovers, lambda _: None))


if __name__ == "__main__":
    main()
