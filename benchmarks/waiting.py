"""Benchmark of pending calls at a broker: cost per call, by the number of pending calls.

    python -m benchmarks.waiting [--quick] [--rounds N] [--calls N]

The workload is that of a leader with N polls (4,000) of N readers. Each poll becomes pending with
its own deadline, every second reader disconnects, and the other polls are answered when the log
grows. ``flat_waiting_calls_per_cpu_s`` compares the calls per CPU second at N and at N / 10. The
ratio is near 1 if the cost per call does not depend on the number of pending calls.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Final

from benchmarks.common import Row, interleaved, parse_options, rate, show, timed
from yak_core.broker.pending_calls import PendingCalls
from yak_core.ids import CallId

CALLS: Final = 4_000
QUICK_CALLS: Final = 400
DIVISOR: Final = 10


def work(calls: int, repeats: int) -> int:
    """Add ``calls`` pending calls, drop half, answer the rest; return the number of calls."""
    for _ in range(repeats):
        waiting: PendingCalls[None] = PendingCalls()
        for number in range(calls):
            waiting.add(CallId(number), None, 1, 500_000 + number * 7919 % calls)
            waiting.next_deadline()
        for number in range(0, calls, 2):
            waiting.drop(CallId(number))
            waiting.next_deadline()
        answered = len(waiting.take_reached(1))
        assert answered == calls // 2, f"{answered} of {calls} calls were answered"
    return calls * repeats


def measure(calls: int, rounds: int) -> list[Row]:
    """Measure all rows."""
    few = max(2, calls // DIVISOR)
    measured = interleaved(
        {
            "many": lambda: timed(partial(work, calls, 1)),
            "few": lambda: timed(partial(work, few, DIVISOR)),
        },
        rounds,
    )
    ours, theirs = rate(measured["many"]), rate(measured["few"])
    peer = f"{few} waiting calls"
    return [Row("flat_waiting_calls_per_cpu_s", peer, f"{calls} waiting calls", ours, theirs)]


def main() -> None:
    """Measure and print all rows."""
    parser = argparse.ArgumentParser(description="Cost of pending calls at a broker.")
    options = parse_options(parser, "calls", CALLS, QUICK_CALLS, "pending calls")
    show("Waiting calls", measure(options.calls, options.rounds))


if __name__ == "__main__":
    main()
