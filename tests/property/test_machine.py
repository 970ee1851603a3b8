"""The same moves as rules of a Hypothesis state machine: fewer walks, shown as code.

The machine draws each move with its arguments instead of bytes; a failure prints the calls that
lead to it. The invariants are checked after each step of each node.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.property import faults, moves
from tests.property.cluster import NODES, PRODUCERS, Cluster
from tests.property.menu import MENU
from tests.property.moves import NOTHING
from tests.property.openings import Opening
from tests.property.walks import Shape, openings, shapes
from tests.property.watch import Counts

STEPS = 40

nodes = st.sampled_from(NODES)
producers = st.sampled_from(PRODUCERS)
positions = st.integers(-3, 8)
calls = st.integers(0, 3)
TIMERS = ("heartbeat", "lease-renewal", "campaign", "proposal", "read-again", "waiters", "readers")


def act(move: Callable[..., str], **arguments: st.SearchStrategy[Any]) -> Any:
    """Return the rule of a move with drawn arguments."""

    def play(self: Brokers, **drawn: Any) -> None:
        outcome = move(self.cluster, **drawn)
        self.cluster.counts.moves += outcome != NOTHING

    play.__name__ = move.__name__
    return rule(**arguments)(play)  # type: ignore[call-overload]


class Brokers(RuleBasedStateMachine):
    """Three brokers, three producers and a consumer."""

    total = Counts()

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster()

    @initialize(shape=shapes, opening=openings)
    def open(self, shape: Shape, opening: Opening) -> None:
        self.cluster = Cluster(flush=shape[0], min_isr=shape[1])
        self.cluster.begin()
        opening(self.cluster)

    deliver = act(moves.deliver, at=positions)
    deliver_link = act(moves.link, src=nodes, dst=nodes)
    drop = act(moves.drop, at=positions)
    duplicate = act(moves.duplicate, at=positions)
    break_link = act(moves.break_link, node=nodes, peer=nodes)
    complete_disk = act(faults.disk_step, node=nodes)
    run_disk = act(faults.disk_run, node=nodes)
    perform_disk = act(faults.disk_perform, node=nodes)
    fill_disk = act(faults.disk_full, node=nodes)
    answer_store = act(faults.store_run, node=nodes)
    execute_store = act(faults.store_execute, at=calls)
    forget_store = act(faults.store_unknown, at=calls, executed=st.booleans(), lost=st.booleans())
    repeat_store = act(faults.store_repeat, at=calls)
    fire = act(moves.fire, node=nodes, key=st.sampled_from(TIMERS))
    clock_jumps = act(moves.drift, node=nodes)
    lag = act(moves.late_heartbeat)
    campaign = act(faults.campaign, node=nodes)
    crash_or_start = act(faults.crash, node=nodes, keep=st.integers(0, 2))
    crash_within = act(faults.crash_within, node=nodes, effects=st.integers(0, 4))
    crash_before_flush = act(faults.leader_append_and_crash)
    bring_up = act(faults.bring_up, node=nodes)
    stop = act(faults.stop, node=nodes)
    send = act(moves.send_through, producer=producers, records=st.integers(1, 3))
    poll = act(moves.poll)
    run_quiet = act(moves.run_quiet)
    run_without = act(moves.run_without, node=nodes)

    def teardown(self) -> None:
        """Stop all faults and check that the cluster converges."""
        try:
            self.cluster.heal()
        finally:
            self.total.add(self.cluster.summary())


@pytest.mark.parametrize("examples", [30, pytest.param(100, marks=pytest.mark.long)])
def test_the_machine_breaks_no_invariant(examples: int) -> None:
    """Goal: any moves with any arguments are safe. Method: a state machine with a fixed seed."""
    Brokers.total = Counts()
    limits = settings(max_examples=examples, stateful_step_count=STEPS)
    run_state_machine_as_test(Brokers, settings=limits)
    total = Brokers.total
    print(f"\n{total}")
    assert total.second_leader >= examples * 30 // 100
    assert total.truncated > 0
    assert total.unknown > 0
    assert total.torn_crash > 0


def test_every_byte_is_a_move() -> None:
    """Goal: no byte of a walk is unused. Method: count the menu."""
    assert len(MENU) == 256
    assert all(callable(move) for move in MENU)
