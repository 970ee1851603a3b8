"""Benchmark of a real cluster beside its peers: Redis Streams, NATS JetStream, RabbitMQ streams.

    python -m benchmarks.peers [--quick] [--rounds N] [--seconds S]        (or: yak bench peers)

Ours: three brokers as processes, acks=all, all brokers in the ISR, and flush=os where a peer is
beside it, because the peers do not flush before they acknowledge. Redis Streams: a primary and two
replicas, WAIT 2. NATS JetStream and RabbitMQ: a stream with three replicas (R3), acknowledged by a
quorum. All run on loopback, one after the other in each round, and each row is the median over the
rounds, with its range. The clients run in this process. Times are wall time. The rows:

- ``batch_produce_...``: whole batches of 256 KiB, each record encoded by the client;
- ``produce_...``: ``Producer.send`` with batches of 64 KiB. Peers: XADD in pipelines of up to 500
  records or 512 KiB, publish_async with up to 2000 records or 4 MiB in flight, and publish frames
  of up to 500 records or 512 KiB, with 8 in flight;
- ``read_...``: the records of ``produce_...``, decoded to single records;
- ``ack_p50_us``: one record of 100 B in flight;
- ``ack_p50_at_100_per_s``: the same with one record each 10 ms, over ``ack_p50_us``; beside it the
  same ratio of a bare echo over three processes;
- ``cli_..._lines_per_s``: lines of a file through one command (benchmarks/lines.py);
- ``flush_batch_over_os``: flush=batch over flush=os;
- ``broker_peak_mib``: the largest peak resident memory (VmHWM) of a broker;
- ``large_log_...``: a log of 2 GB over one of 10 MB (benchmarks/large_log.py);
- ``failover_s``, ``handover_s``: the longest time without an acknowledgement when the leader is
  ended with SIGKILL, and with SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import echo, large_log, lines, nats_peer, rabbit_peer, redis_peer
from benchmarks.common import CannotMeasure, Row, parse_options, show
from benchmarks.net import BULK_BYTES, MIB, SENT_BYTES_MAX, Figures, value_of
from benchmarks.own_cluster import BATCH_BYTES, own_cluster
from benchmarks.peer_rows import (
    LARGE,
    LARGE_LOG,
    LINES,
    NATS,
    PREFIXES,
    RABBIT,
    REDIS,
    SIZES,
    SMALL,
    rows_of,
)
from benchmarks.procs import peaks

SECONDS: Final = 4.0
QUICK_SECONDS: Final = 0.5
PACE_S: Final = 0.01
SIGNALS: Final = {"failover": signal.SIGKILL, "handover": signal.SIGTERM}

OnStep = Callable[[str], None]
OnRound = Callable[[], None]


@dataclass(frozen=True)
class Plan:
    """How much is measured: ``seconds`` per measurement; the other fields per round."""

    seconds: float
    rounds: int
    failovers: int
    peer_failovers: int
    lines: int
    large_bytes: int


def plan_of(quick: bool, seconds: float | None, rounds: int | None) -> Plan:
    """Return the plan of a full or a quick run, with the given durations."""
    if quick:
        return Plan(seconds or QUICK_SECONDS, rounds or 1, 1, 1, 20_000, 100_000_000)
    return Plan(seconds or SECONDS, rounds or 3, 10, 3, 1_000_000, 2_000_000_000)


def missing(plan: Plan) -> dict[str, str]:
    """Return why a peer or a part is not measured, by its name."""
    found = {
        NATS: nats_peer.missing(),
        RABBIT: rabbit_peer.missing(),
        LARGE_LOG: large_log.too_little_space(plan.large_bytes),
    }
    if not redis_peer.installed():
        found[REDIS] = f"{redis_peer.PROGRAM} is not on the PATH"
    found[LINES] = found.get(REDIS) or lines.missing()
    return {name: reason for name, reason in found.items() if reason}


def measure_redis(figures: Figures, plan: Plan) -> None:
    """Measure one round of Redis Streams."""
    seconds = plan.seconds
    with redis_peer.redis_streams() as peer:
        for size in SIZES:
            value = value_of(size)
            flow = peer.produce(value, seconds, SENT_BYTES_MAX)
            figures.add_flow(f"redis produce {size}", flow)
            if size == SMALL:
                figures.add_flow(f"redis read {size}", peer.read(value, seconds))
            peer.delete(value)
        figures.add_latencies("redis ack", peer.latencies(value_of(SMALL), seconds))


async def measure_nats(figures: Figures, plan: Plan) -> None:
    """Measure one round of NATS JetStream."""
    seconds = plan.seconds
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
    # The connection of the measurements above does not outlive its server.
    async with nats_peer.nats_streams() as peer:
        for name, how in SIGNALS.items():
            for _ in range(plan.peer_failovers):
                figures.add(f"nats {name}", await peer.failover_s(value_of(SMALL), how))


async def measure_rabbit(figures: Figures, plan: Plan) -> None:
    """Measure one round of RabbitMQ streams."""
    seconds = plan.seconds
    async with rabbit_peer.rabbit_streams() as peer:
        for size in SIZES:
            async with peer.stream(value_of(size)) as stream:
                flow = await stream.produce(seconds, SENT_BYTES_MAX)
                figures.add_flow(f"rabbit produce {size}", flow)
                if size == SMALL:
                    figures.add_flow(f"rabbit read {size}", await stream.read(seconds))
                    figures.add_latencies("rabbit ack", await stream.latencies(seconds))


async def measure_ours(figures: Figures, plan: Plan, flush: str) -> None:
    """Measure one round of our cluster; with flush=batch only what is compared with flush=os."""
    seconds = plan.seconds
    values = {size: value_of(size) for size in SIZES}
    async with own_cluster(flush) as cluster:
        for size, value in values.items():
            flow = await cluster.produce_batches(value, BULK_BYTES, seconds, SENT_BYTES_MAX)
            figures.add_flow(f"{flush} batch_produce {size}", flow)
            if size < LARGE:
                flow = await cluster.produce(value, seconds, SENT_BYTES_MAX)
                figures.add_flow(f"{flush} produce {size}", flow)
        value = values[SMALL]
        flow = await cluster.produce_batches(value, BATCH_BYTES, seconds, SENT_BYTES_MAX)
        figures.add_flow(f"{flush} small_batch_produce {SMALL}", flow)
        if flush != "os":
            return
        figures.add_flow(f"os read {SMALL}", await cluster.read(value, seconds))
        figures.add("os peak", peaks(cluster.pids)[-1] / MIB)
        figures.add_latencies("os ack", await cluster.latencies(value, seconds))
        figures.add_latencies("os paced", await cluster.latencies(value, seconds, PACE_S))
        for name, how in SIGNALS.items():
            for _ in range(plan.failovers):
                figures.add(f"os {name}", await cluster.failover_s(value, how))


async def measure_echo(figures: Figures, plan: Plan) -> None:
    """Measure one round of the bare echo."""
    with echo.chain() as (port, pids):
        found = await echo.latencies(port, pids, plan.seconds)
        figures.add_latencies("echo ack", found)
        found = await echo.latencies(port, pids, plan.seconds, PACE_S)
        figures.add_latencies("echo paced", found)


async def measure_lines(figures: Figures, plan: Plan, beside: bool) -> None:
    """Measure one round of the command line, and of ``redis-cli`` if ``beside``."""
    with tempfile.TemporaryDirectory(prefix="yak-bench-lines-") as name:
        folder = Path(name)
        line = lines.write_lines(folder / "lines", plan.lines, SMALL)
        async with own_cluster("os") as cluster:
            took = await asyncio.to_thread(lines.ours_s, cluster.servers, folder, folder / "lines")
        add_lines(figures, "os", plan.lines, took)
        if beside:
            with redis_peer.redis_streams() as peer:
                took = lines.redis_s(peer.port, redis_peer.REPLICAS, folder, line, plan.lines)
            add_lines(figures, "redis", plan.lines, took)


def add_lines(figures: Figures, subject: str, count: int, took_s: tuple[float, float]) -> None:
    """Add the rates of lines into a log and out of it."""
    for name, seconds in zip(("cli_produce", "cli_consume"), took_s, strict=True):
        figures.add(f"{subject} {name}", count / seconds)


def subjects_of(figures: Figures, plan: Plan, absent: dict[str, str]) -> dict[str, OnRound]:
    """Return what is measured in a round, by the name that the progress shows."""
    beside = LINES not in absent
    work: dict[str, OnRound] = {
        "flush=os": lambda: asyncio.run(measure_ours(figures, plan, "os")),
        "flush=batch": lambda: asyncio.run(measure_ours(figures, plan, "batch")),
        REDIS: lambda: measure_redis(figures, plan),
        NATS: lambda: asyncio.run(measure_nats(figures, plan)),
        RABBIT: lambda: asyncio.run(measure_rabbit(figures, plan)),
        "echo": lambda: asyncio.run(measure_echo(figures, plan)),
        "command line": lambda: asyncio.run(measure_lines(figures, plan, beside)),
        LARGE_LOG: lambda: asyncio.run(
            large_log.measure_large_log(figures, plan.large_bytes, plan.seconds)
        ),
    }
    return {name: each for name, each in work.items() if name not in absent}


def run(plan: Plan, on_step: OnStep) -> list[Row]:
    """Measure all subjects in turn, in reverse order in every second round; return all rows.

    A peer that fails is not measured again; its rows have the reason. Raise CannotMeasure for ours.
    """
    figures, absent = Figures(), missing(plan)
    subjects = list(subjects_of(figures, plan, absent).items())
    for number in range(plan.rounds):
        for name, work in subjects if number % 2 == 0 else reversed(subjects):
            if name in absent:
                continue
            on_step(f"round {number + 1} of {plan.rounds}: {name}")
            try:
                work()
            except CannotMeasure as error:
                if name not in PREFIXES:
                    raise
                absent[name] = f"failed: {error}"
    return list(rows_of(figures, absent, plan.lines, plan.large_bytes))


def main() -> None:
    """Measure and print all rows."""
    parser = argparse.ArgumentParser(description="Benchmark of a real cluster beside its peers.")
    options = parse_options(parser, "seconds", SECONDS, QUICK_SECONDS, "seconds per measurement")
    # The default action of SIGTERM would not delete the folders of the brokers.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    plan = plan_of(options.quick, options.seconds, options.rounds)
    show("Peers", run(plan, lambda _: None))


if __name__ == "__main__":
    main()
