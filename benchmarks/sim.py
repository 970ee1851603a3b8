"""How fast the simulator is, beside SimPy itself and a naive simulator; must never touch a clock.

    python -m benchmarks.sim [--quick] [--rounds N] [--seconds S] [--flat | --no-flat]

The work: 3 brokers (flush=batch, min ISR 2), one idempotent producer with acks=all that sends 100
batches a second of a single record of 100 bytes, S simulated seconds (60) from when all brokers are
in the ISR. No faults. Each run is checked to have confirmed what it sent.

A message is one that arrived at another node: Replicate and ReplicateAck at a broker, a request at
a broker (its event is Called), a response at the producer (Received). Not counted: timers, disk
completions, calls of the metadata store and their replies, what the application asks of its own
producer node, messages that were lost. The CPU seconds are those of the whole process, from making
the world to the end of the run, with its start-up; the messages are those of the whole run too.

Rows, all of one process, round by round, as medians:

- ``messages_per_cpu_s``: all invariants after every step and the trace kept, beside SimPy's own
  event rate (a slotted event that puts its successor on the agenda, 100 pending), beside the naive
  simulator, and beside the naive simulator with the same disk;
- ``messages_per_cpu_s_no_invariants``, ``_no_trace``, ``_bare`` (neither), beside the first;
- ``runs_per_cpu_s``: runs of 60 simulated seconds, invariants and trace on;
- ``trace_steps_encoded_per_cpu_s``: what makes a trace file's lines out of the references, beside
  the steps that the simulator does (ratio 1: encoding a run takes as long as running it);
- ``flat_...``: messages per CPU second at 10 times the produce rate, with 9 brokers, over 10 times
  the duration, beside the first. The rate is that of 10 producers, for one has at most 5 batches
  under way, and on a faster disk, for every batch is flushed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Any, Final

import simpy

from benchmarks.common import QUICK_ROUNDS, ROUNDS, Measured, Row, interleaved, rate, show, timed
from benchmarks.naive_sim import NaiveSimulator
from yak_core.trace.reader import encode_trace
from yak_core.trace.recorder import Trace
from yak_sim import DiskSpec, Limits, Script, Topology, World

RECORD: Final = b"x" * 100
RATE_PER_S: Final = 100
SECONDS: Final = 60
QUICK_SECONDS: Final = 5
PENDING: Final = 100
EVENTS_PER_SECOND: Final = 5_000
"""Bare events per simulated second of the other subjects, so that both take about as long."""
FAST_DISK: Final = DiskSpec(append_us=10, flush_us=50, flush_mean_us=50)
"""For more than one producer: the usual one takes 1 ms a flush, and could not keep up."""
UNLIMITED: Final = Limits(wall_s=3600.0)


@dataclass(frozen=True, slots=True)
class Setup:
    """One run of the simulator."""

    seconds: int
    producers: int = 1
    brokers: int = 3
    invariants: bool = True
    trace: bool = True

    @property
    def size(self) -> str:
        """The run in words."""
        rate_per_s = self.producers * RATE_PER_S
        return f"{self.brokers} brokers, {rate_per_s}/s x 100 B, {self.seconds} s"


def run(setup: Setup) -> World:
    """One run; AssertionError unless the cluster did what a healthy one does."""
    world = World(
        setup.brokers,
        seed=7,
        observers=None if setup.invariants else (),
        topology=Topology(disk=FAST_DISK) if setup.producers > 1 else None,
        run_limits=UNLIMITED,
    )
    if not setup.trace:
        world.engine.shared.recorder = None

    def story() -> Script:
        yield from world.until_ready()
        for _ in range(setup.producers):
            world.producer(acks="all", rate_per_s=RATE_PER_S, values=repeat(RECORD))
        yield world.sleep(seconds=setup.seconds)

    world.loop.run(story())
    expected = RATE_PER_S * setup.seconds
    for producer in world.producers:
        assert producer.sent_count >= expected, f"{producer.sent_count} sent, not {expected}"
        # What was sent in the last tenth of a second may still be under way.
        confirmed = producer.acked_count
        assert confirmed >= expected - RATE_PER_S // 10, f"only {confirmed} of {expected}"
    assert world.isr == world.brokers, f"the ISR shrank to {world.isr}"
    return world


def messages_of(world: World) -> int:
    """Messages that arrived at a node (see above)."""
    return world.engine.network.counts()[2]


def simulate(setup: Setup) -> Measured:
    """Messages per CPU second of one run."""
    kept: list[World] = []

    def work() -> int:
        kept.append(run(setup))
        return messages_of(kept[0])

    # The world is kept until the clock has stopped: taking it apart is not part of the run.
    return timed(work)


def encode(trace: Trace) -> Measured:
    """Steps of a trace made into lines, per CPU second."""

    def work() -> int:
        for _ in encode_trace(trace):
            pass
        return len(trace)

    return timed(work)


class _Bare:
    """The least that SimPy's agenda takes."""

    __slots__ = ("callbacks",)
    _ok = True

    def __init__(self, callbacks: tuple[Callable[[_Bare], None], ...]) -> None:
        self.callbacks: tuple[Callable[[_Bare], None], ...] | None = callbacks


def bare_events(count: int) -> Measured:
    """SimPy's own event rate: ``count`` events, 100 pending, each of which schedules the next."""
    env: Any = simpy.Environment()  # which needs no more of an event than a _Bare has
    schedule, step = env.schedule, env.step
    number = 0

    def again(_: _Bare) -> None:
        nonlocal number
        number += 1
        # Delays as of messages and flushes, different enough to move about in the heap.
        schedule(_Bare(callbacks), 1, 300 + number * 7919 % 1000)

    callbacks = (again,)
    for place in range(PENDING):
        schedule(_Bare(callbacks), 1, place)

    def work() -> int:
        for _ in range(count):
            step()
        return count

    return timed(work)


def naive(seconds: int, disk: bool) -> Measured:
    """Messages per CPU second of the naive simulator at the same produce rate."""

    def work() -> int:
        simulator = NaiveSimulator(RATE_PER_S, RECORD, disk=disk)
        messages = simulator.run(seconds * 1_000_000)
        assert simulator.confirmed >= RATE_PER_S * seconds - RATE_PER_S // 10
        return messages

    return timed(work)


def measure(seconds: int, rounds: int, flat: bool) -> list[Row]:
    """All rows."""
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
    run(Setup(1))  # The first run of a process pays for imports and for the interpreter's caches.
    traced = run(Setup(min(seconds, 10)))
    steps_per_message = len(traced.trace) / messages_of(traced)
    found = interleaved(
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
    rates = {name: rate(measured) for name, measured in found.items()}
    size, checked = base.size, rates["checked"]
    runs = [Measured(seconds, each.cpu_s * 60) for each in found["checked"]]
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
    """Measure and print."""
    parser = argparse.ArgumentParser(description="How fast the simulator is; see the module.")
    parser.add_argument("--quick", action="store_true", help="5 simulated seconds, one round")
    parser.add_argument("--rounds", type=int, help="rounds, of which the median counts")
    parser.add_argument("--seconds", type=int, help="simulated seconds of a run")
    parser.add_argument(
        "--flat",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="also with 10 times the rate and the duration, and 9 brokers",
    )
    args = parser.parse_args()
    seconds = args.seconds or (QUICK_SECONDS if args.quick else SECONDS)
    rounds = args.rounds or (QUICK_ROUNDS if args.quick else ROUNDS)
    show("Simulator", measure(seconds, rounds, args.flat))


if __name__ == "__main__":
    main()
