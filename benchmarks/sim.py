"""Benchmark of the simulator, compared with SimPy alone and with a naive simulator.

    python -m benchmarks.sim [--quick] [--rounds N] [--seconds S] [--flat | --no-flat]

The workload: 3 brokers (flush=batch, min ISR 2) and one idempotent producer with acks=all. It sends
100 batches per second, each with one record of 100 bytes, for S simulated seconds (60) after all
brokers are in the ISR. There are no faults. Each run is checked: its records are acknowledged.

A message counts when it arrives at another node: Replicate and ReplicateAck at a broker, a request
at a broker (event Called), a response at the producer (event Received). Not counted: timers, disk
completions, calls of the metadata store and their replies, calls of the application to its own
producer node, lost messages. CPU seconds are those of the whole process, from the construction of
the world to the end of the run. Messages are also counted over the whole run.

All rows are measured in one process, in turn in each round, and reported as medians:

- ``messages_per_cpu_s``: with all invariants after every step and the trace. Peers: SimPy's own
  event rate (each event schedules the next, 100 pending), the naive simulator, and the naive
  simulator with the same disk;
- ``messages_per_cpu_s_no_invariants``, ``_no_trace``, ``_bare`` (neither). Peer: the first row;
- ``runs_per_cpu_s``: runs of 60 simulated seconds with invariants and trace;
- ``trace_steps_encoded_per_cpu_s``: encoding the steps of a trace file. Peer: the simulated steps
  (ratio 1 means that encoding a run takes as long as the run);
- ``flat_...``: messages per CPU second with 10 times the produce rate, with 9 brokers, and with 10
  times the duration. Peer: the first row. The higher rate uses 10 producers, because one producer
  has at most 5 batches in flight, and a faster disk, because every batch is flushed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Any, Final

import simpy

from benchmarks.common import Measured, Row, interleaved, parse_options, rate, show, timed
from benchmarks.naive_sim import NaiveSimulator
from yak_core.trace.reader import encode_trace
from yak_core.trace.recorder import Trace
from yak_sim import DiskSpec, Limits, Script, Topology, World
from yak_sim import seconds as duration

RECORD: Final = b"x" * 100
RATE_PER_S: Final = 100
SECONDS: Final = 60
QUICK_SECONDS: Final = 5
PENDING: Final = 100
EVENTS_PER_SECOND: Final = 5_000
"""Bare events per simulated second of the other subjects, for about equal run times."""
FAST_DISK: Final = DiskSpec(append_us=10, flush_us=50, flush_mean_us=50)
"""For more than one producer: the default disk takes 1 ms per flush, which is too slow."""
UNLIMITED: Final = Limits(wall_s=3600.0)


@dataclass(frozen=True, slots=True)
class Setup:
    """The parameters of one run."""

    seconds: int
    producers: int = 1
    brokers: int = 3
    invariants: bool = True
    trace: bool = True

    @property
    def size(self) -> str:
        """Return a short description of the run."""
        rate_per_s = self.producers * RATE_PER_S
        return f"{self.brokers} brokers, {rate_per_s}/s x 100 B, {self.seconds} s"


def run(setup: Setup) -> World:
    """Run the simulator. Raise AssertionError if records are missing or the ISR is not full."""
    world = World(
        setup.brokers,
        seed=7,
        observers=None if setup.invariants else (),
        topology=Topology(disk=FAST_DISK) if setup.producers > 1 else None,
        run_limits=UNLIMITED,
    )
    if not setup.trace:
        world.engine.shared.recorder = None

    def script() -> Script:
        yield world.until_ready()
        for _ in range(setup.producers):
            world.producer(acks="all", rate_per_s=RATE_PER_S, values=repeat(RECORD))
        yield world.sleep(duration(setup.seconds))

    world.loop.run(script())
    expected = RATE_PER_S * setup.seconds
    for producer in world.producers:
        assert producer.sent_count >= expected, f"{producer.sent_count} of {expected} sent"
        # The records of the last tenth of a second may still be in flight.
        confirmed = producer.acked_count
        assert confirmed >= expected - RATE_PER_S // 10, f"{confirmed} of {expected} acknowledged"
    assert world.isr == world.brokers, f"expected ISR {world.brokers}, found {world.isr}"
    return world


def messages_of(world: World) -> int:
    """Return the number of messages that arrived at a node (see the module docstring)."""
    return world.engine.network.counts()[2]


def simulate(setup: Setup) -> Measured:
    """Measure one run, in messages per CPU second."""
    worlds: list[World] = []

    def work() -> int:
        worlds.append(run(setup))
        return messages_of(worlds[0])

    # Keep the world until the time is taken: its deallocation is not part of the run.
    return timed(work)


def encode(trace: Trace) -> Measured:
    """Measure the encoding of a trace, in steps per CPU second."""

    def work() -> int:
        for _ in encode_trace(trace):
            pass
        return len(trace)

    return timed(work)


class _BareEvent:
    """The smallest event that SimPy's agenda accepts."""

    __slots__ = ("callbacks",)
    _ok = True

    def __init__(self, callbacks: tuple[Callable[[_BareEvent], None], ...]) -> None:
        self.callbacks: tuple[Callable[[_BareEvent], None], ...] | None = callbacks


def bare_events(count: int) -> Measured:
    """Measure SimPy's event rate: ``count`` events, 100 pending, each schedules the next."""
    env: Any = simpy.Environment()  # Any: a _Bare is no simpy.Event
    schedule, step = env.schedule, env.step
    number = 0

    def schedule_next(_: _BareEvent) -> None:
        nonlocal number
        number += 1
        # Delays like those of messages and flushes; they vary, so the heap is reordered.
        schedule(_BareEvent(callbacks), 1, 300 + number * 7919 % 1000)

    callbacks = (schedule_next,)
    for start_us in range(PENDING):
        schedule(_BareEvent(callbacks), 1, start_us)

    def work() -> int:
        for _ in range(count):
            step()
        return count

    return timed(work)


def naive(seconds: int, disk: bool) -> Measured:
    """Measure the naive simulator at the same produce rate, in messages per CPU second."""

    def work() -> int:
        simulator = NaiveSimulator(RATE_PER_S, RECORD, disk=disk)
        messages = simulator.run(seconds * 1_000_000)
        assert simulator.confirmed >= RATE_PER_S * seconds - RATE_PER_S // 10
        return messages

    return timed(work)


def measure(seconds: int, rounds: int, flat: bool) -> list[Row]:
    """Measure all rows."""
    base = Setup(seconds)
    setups = {
        "checked": base,
        "no_invariants": Setup(seconds, invariants=False),
        "no_trace": Setup(seconds, trace=False),
        "bare": Setup(seconds, invariants=False, trace=False),
    }
    flat_setups = {
        "flat_10x_rate": Setup(seconds, producers=10),
        "flat_9_brokers": Setup(seconds, brokers=9),
        "flat_10x_duration": Setup(10 * seconds),
    }
    run(Setup(1))  # warm up: imports and interpreter caches
    traced = run(Setup(min(seconds, 10)))
    steps_per_message = len(traced.trace) / messages_of(traced)
    measured = interleaved(
        {
            **{name: partial(simulate, setup) for name, setup in setups.items()},
            "simpy": partial(bare_events, EVENTS_PER_SECOND * seconds),
            "naive": partial(naive, seconds, False),
            "naive_disk": partial(naive, seconds, True),
            "encode": partial(encode, traced.trace),
            **{name: partial(simulate, s) for name, s in flat_setups.items() if flat},
        },
        rounds,
    )
    rates = {name: rate(each) for name, each in measured.items()}
    size, checked = base.size, rates["checked"]
    runs = [Measured(seconds, measurement.cpu_s * 60) for measurement in measured["checked"]]
    figure = "messages_per_cpu_s"
    rows = [
        Row(figure, "SimPy, bare events", size, checked, rates["simpy"]),
        Row(figure, "naive simulator", size, checked, rates["naive"]),
        Row(figure, "naive simulator with a disk", size, checked, rates["naive_disk"]),
        *(
            Row(f"{figure}_{name}", "invariants and trace on", size, rates[name], checked)
            for name in ("no_invariants", "no_trace", "bare")
        ),
        Row("runs_per_cpu_s", None, f"60 s, {RATE_PER_S}/s", rate(runs)),
        Row(
            "trace_steps_encoded_per_cpu_s",
            "steps simulated",
            f"{len(traced.trace)} steps",
            rates["encode"],
            checked * steps_per_message,
        ),
    ]
    if flat:
        rows += [
            Row(name, "1x", setup.size, rates[name], checked) for name, setup in flat_setups.items()
        ]
    return rows


def main() -> None:
    """Measure and print all rows."""
    parser = argparse.ArgumentParser(description="Benchmark of the simulator.")
    parser.add_argument(
        "--flat",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="also measure 10x rate, 10x duration and 9 brokers",
    )
    unit = "simulated seconds per run"
    options = parse_options(parser, "seconds", SECONDS, QUICK_SECONDS, unit)
    show("Simulator", measure(options.seconds, options.rounds, options.flat))


if __name__ == "__main__":
    main()
