"""Cost of waiting calls at a broker, by how many wait.

    python -m benchmarks.waiting [--quick] [--rounds N] [--calls N]

The work is what a leader does with N polls (4,000) of N readers: each begins to wait with a
deadline of its own, every other reader goes away, and the rest are answered when the log grows.
``flat_waiting_calls_per_cpu_s`` compares the calls per CPU second at N with those at N / 10: near 1
when the cost of a call does not depend on how many wait.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Final

from benchmarks.common import QUICK_ROUNDS, ROUNDS, Row, interleaved, rate, show, timed
from yak_core.broker.waiting import Waiting
from yak_core.ids import CallId

CALLS: Final = 4_000
QUICK_CALLS: Final = 400
DIVISOR: Final = 10


def work(calls: int, repeats: int) -> int:
    """Let ``calls`` wait, drop half of them, answer the rest; returns the calls made."""
    for _ in range(repeats):
        waiting: Waiting[None] = Waiting()
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
    """The rows of this benchmark."""
    few = max(2, calls // DIVISOR)
    found = interleaved(
        {
            "many": lambda: timed(partial(work, calls, 1)),
            "few": lambda: timed(partial(work, few, DIVISOR)),
        },
        rounds,
    )
    ours, theirs = rate(found["many"]), rate(found["few"])
    peer = f"{few} waiting calls"
    return [Row("flat_waiting_calls_per_cpu_s", peer, f"{calls} waiting calls", ours, theirs)]


def main() -> None:
    """Run the benchmark by its command line."""
    parser = argparse.ArgumentParser(description="Cost of waiting calls at a broker.")
    parser.add_argument("--quick", action="store_true", help="400 calls, one round")
    parser.add_argument("--rounds", type=int, help="rounds, of which the median counts")
    parser.add_argument("--calls", type=int, help="calls that wait at once")
    options = parser.parse_args()
    calls = options.calls or (QUICK_CALLS if options.quick else CALLS)
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    show("Waiting calls", measure(calls, rounds))


if __name__ == "__main__":
    main()
