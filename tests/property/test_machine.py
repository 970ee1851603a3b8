"""The same moves as rules of a Hypothesis state machine: fewer walks, chosen freely, told as code.

The machine draws each move with its arguments, where the walks draw bytes; a failure prints the
calls that lead to it. The invariants watch after each step of each node.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from tests.property import faults, moves
from tests.property.cluster import NODES, PRODUCERS, Cluster
from tests.property.menu import MENU
from tests.property.moves import NOTHING, Move
from tests.property.openings import Opening
from tests.property.walks import Shape, openings, shapes
from tests.property.watch import Counts
from yak_core.ids import NodeId

EXAMPLES = 100
STEPS = 40

nodes = st.sampled_from(NODES)
producers = st.sampled_from(PRODUCERS)
positions = st.integers(-3, 8)
TIMERS = ("heartbeat", "lease-renewal", "campaign", "proposal", "read-again", "waiters", "readers")


class Brokers(RuleBasedStateMachine):
    """Three brokers, three producers and a reader."""

    total = Counts()

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster()

    def move(self, move: Move) -> None:
        told = move(self.cluster)
        self.cluster.counts.moves += told != NOTHING

    @initialize(shape=shapes, opening=openings)
    def open(self, shape: Shape, opening: Opening) -> None:
        self.cluster = Cluster(flush=shape[0], min_isr=shape[1])
        self.cluster.begin()
        opening(self.cluster)

    @rule(at=positions)
    def deliver(self, at: int) -> None:
        self.move(moves.deliver(at))

    @rule(src=nodes, dst=nodes)
    def deliver_link(self, src: NodeId, dst: NodeId) -> None:
        self.move(moves.link(src, dst))

    @rule(at=positions)
    def drop(self, at: int) -> None:
        self.move(moves.drop(at))

    @rule(at=positions)
    def duplicate(self, at: int) -> None:
        self.move(moves.duplicate(at))

    @rule(node=nodes, peer=nodes)
    def break_link(self, node: NodeId, peer: NodeId) -> None:
        if node != peer:
            self.move(moves.break_link(node, peer))

    @rule(node=nodes, count=st.integers(1, 4))
    def complete_disk(self, node: NodeId, count: int) -> None:
        for _ in range(count):
            self.move(faults.disk_step(node))

    @rule(node=nodes)
    def perform_disk(self, node: NodeId) -> None:
        self.move(faults.disk_perform(node))

    @rule(node=nodes)
    def fill_disk(self, node: NodeId) -> None:
        self.move(faults.disk_full(node))

    @rule(node=nodes)
    def answer_store(self, node: NodeId) -> None:
        self.move(faults.store_run(node))

    @rule(at=st.integers(0, 3))
    def execute_store(self, at: int) -> None:
        self.move(faults.store_execute(at))

    @rule(at=st.integers(0, 3), executed=st.booleans(), lost=st.booleans())
    def forget_store(self, at: int, executed: bool, lost: bool) -> None:
        self.move(faults.store_unknown(at, executed=executed, lost=lost))

    @rule(at=st.integers(0, 3))
    def repeat_store(self, at: int) -> None:
        self.move(faults.store_repeat(at))

    @rule(node=nodes, key=st.sampled_from(TIMERS))
    def fire(self, node: NodeId, key: str) -> None:
        self.move(moves.fire(node, key))

    @rule(node=nodes)
    def clock_jumps(self, node: NodeId) -> None:
        self.move(moves.drift(node))

    @rule()
    def lag(self) -> None:
        self.move(moves.late_heartbeat)

    @rule(node=nodes)
    def stand(self, node: NodeId) -> None:
        self.move(faults.stand(node))

    @rule(node=nodes, keep=st.integers(0, 2))
    def crash_or_start(self, node: NodeId, keep: int) -> None:
        self.move(faults.crash(node, keep))

    @rule(node=nodes, effects=st.integers(0, 4))
    def crash_within(self, node: NodeId, effects: int) -> None:
        self.move(faults.crash_within(node, effects))

    @rule()
    def crash_before_flush(self) -> None:
        self.move(faults.leader_append_and_crash)

    @rule(node=nodes)
    def bring_up(self, node: NodeId) -> None:
        self.move(faults.bring_up(node))

    @rule(node=nodes)
    def stop(self, node: NodeId) -> None:
        self.move(faults.stop(node))

    @rule(producer=producers, records=st.integers(1, 3))
    def send(self, producer: NodeId, records: int) -> None:
        self.move(moves.send_through(producer, records))

    @rule()
    def poll(self) -> None:
        self.move(moves.poll)

    @rule(node=st.sampled_from((*NODES, None)))
    def run_quiet(self, node: NodeId | None) -> None:
        self.move(moves.run_quiet if node is None else moves.run_without(node))

    def teardown(self) -> None:
        """All faults stop, and the cluster converges."""
        try:
            self.cluster.heal()
        finally:
            self.total.add(self.cluster.summary())


def test_the_machine_breaks_no_invariant() -> None:
    """Goal: any moves with any arguments are safe. Method: a state machine of fixed seed."""
    Brokers.total = Counts()
    limits = settings(max_examples=EXAMPLES, stateful_step_count=STEPS)
    run_state_machine_as_test(Brokers, settings=limits)
    total = Brokers.total
    print(f"\n{total}")
    assert total.second_leader >= EXAMPLES * 30 // 100
    assert total.truncated > 0
    assert total.unknown > 0
    assert total.torn_crash > 0


def test_every_byte_is_a_move() -> None:
    """Goal: no byte of a walk is void. Method: count the menu."""
    assert len(MENU) == 256
    assert all(callable(move) for move in MENU)
