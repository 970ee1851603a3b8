"""Each precondition with its flaw, and each invariant of a state with a state that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.core.metadata_records import ALONE, TWO, altered, drained, first, ok
from yak_core.ids import BrokerEpoch, Epoch
from yak_core.metadata.partition_state import PartitionState, Recovery
from yak_core.metadata.transitions import (
    Rejected,
    check_partition_state,
    check_step,
    elect,
    register,
)

RECOVERING = replace(ALONE, recovery=Recovery.RECOVERING)


def try_elect(state: PartitionState, node: str, broker_epoch: int) -> PartitionState | Rejected:
    return elect(state, attempt="try", node=node, broker_epoch=BrokerEpoch(broker_epoch))


def try_alter(
    state: PartitionState,
    isr: str,
    *added: tuple[str, int],
    node: str = "n1",
    broker_epoch: int = 1,
) -> PartitionState | Rejected:
    return altered(state, tuple(isr.split()), *added, node=node, broker_epoch=broker_epoch)


REFUSALS: list[tuple[str, Callable[[], PartitionState | Rejected], str]] = [
    ("F22 elected as an earlier start", lambda: try_elect(TWO, "n2", 1), "broker epoch 1 of n2"),
    ("F22 elected as a start to come", lambda: try_elect(TWO, "n2", 99), "broker epoch 99 of n2"),
    ("F22 elected unregistered", lambda: try_elect(first(), "n2", 0), "broker epoch 0 of n2"),
    ("F43 elected from no set", lambda: try_elect(TWO, "n3", 3), "in neither ISR nor ELR"),
    (
        "F24 elected while draining",
        lambda: try_elect(drained(TWO, "n2"), "n2", 2),
        "n2 is draining",
    ),
    ("elected again", lambda: try_elect(TWO, "n1", 1), "leads epoch 1"),
    (
        "F59 altered by another",
        lambda: try_alter(TWO, "n2", node="n2", broker_epoch=2),
        "not the leader",
    ),
    (
        "F41 altered by a leader's earlier start",
        lambda: try_alter(TWO, "n1", broker_epoch=9),
        "broker epoch 9 of n1",
    ),
    (
        "F41 altered after a restart",
        lambda: try_alter(ok(register(TWO, attempt="r", node="n1", clean=True, url="")), "n1"),
        "not the leader",
    ),
    ("F34 without the leader", lambda: try_alter(TWO, "n2"), "missing"),
    ("F34 emptied", lambda: try_alter(TWO, ""), "missing"),
    ("nothing to change", lambda: try_alter(TWO, "n1 n2"), "already"),
    ("stranger joins", lambda: try_alter(TWO, "n1 n2 n9", ("n9", 0)), "n9 is not a replica"),
    (
        "F21 joins as an earlier start",
        lambda: try_alter(TWO, "n1 n2 n3", ("n3", 2)),
        "broker epoch 2 of n3",
    ),
    (
        "F20 joins as a start to come",
        lambda: try_alter(TWO, "n1 n2 n3", ("n3", 9)),
        "broker epoch 9 of n3",
    ),
    (
        "F21 joins unregistered",
        lambda: try_alter(
            ok(elect(first(), attempt="e", node="n1", broker_epoch=BrokerEpoch(1))),
            "n1 n2",
            ("n2", 0),
        ),
        "broker epoch 0 of n2",
    ),
    ("F21 joins unnamed", lambda: try_alter(TWO, "n1 n2 n3"), "added"),
    ("F21 a member named as added", lambda: try_alter(TWO, "n1", ("n2", 2)), "added"),
    (
        "F21 named twice",
        lambda: try_alter(TWO, "n1 n2 n3", ("n3", 3), ("n3", 2)),
        "added",
    ),
    (
        "F24 a draining node joins",
        lambda: try_alter(drained(TWO, "n3"), "n1 n2 n3", ("n3", 3)),
        "n3 is draining",
    ),
    (
        "KIP-704 joins while recovering",
        lambda: try_alter(RECOVERING, "n1 n2", ("n2", 2)),
        "recovering",
    ),
]


@pytest.mark.parametrize(("flaw", "attempt", "reason"), REFUSALS, ids=[row[0] for row in REFUSALS])
def test_precondition_refuses(
    flaw: str, attempt: Callable[[], PartitionState | Rejected], reason: str
) -> None:
    outcome = attempt()
    assert isinstance(outcome, Rejected), flaw
    assert reason in outcome.reason


BROKEN = [
    ("sets are ascending", replace(TWO, isr=("n2", "n1"))),
    ("nodes are ascending", replace(TWO, nodes=TWO.nodes[::-1])),
    ("ISR and ELR are replicas", replace(TWO, replicas=("n1", "n3"))),
    ("nodes are replicas", replace(TWO, replicas=("n1", "n2"))),
    ("ISR, ELR and last known ELR are disjoint", replace(ALONE, elr=("n1",))),
    ("ISR, ELR and last known ELR are disjoint", replace(ALONE, last_known_eligible=("n1",))),
    ("no ELR at min ISR", replace(TWO, elr=("n3",))),
    ("no ELR at min ISR", replace(TWO, last_known_eligible=("n3",))),
    ("ISR and ELR are registered", replace(TWO, nodes=TWO.nodes[:1])),
    (
        "no draining node in the ISR",
        replace(drained(TWO, "n2"), isr=("n1", "n2"), elr=()),
    ),
    ("one ISR member in recovery", replace(TWO, recovery=Recovery.RECOVERING)),
    ("the leader is in the ISR", replace(TWO, leader="n3", leader_broker_epoch=BrokerEpoch(3))),
    (
        "the leader has its registered broker epoch",
        replace(TWO, leader_broker_epoch=BrokerEpoch(2)),
    ),
    ("the leader has its registered broker epoch", replace(TWO, leader=None)),
    ("leader epoch is below partition epoch", replace(TWO, leader_epoch=Epoch(5))),
    ("the epoch of a leader is at least 1", replace(TWO, leader_epoch=Epoch(0))),
    (
        "broker epochs are distinct partition epochs",
        replace(
            TWO,
            nodes=(*TWO.nodes[:2], ("n3", replace(TWO.nodes[2][1], broker_epoch=BrokerEpoch(2)))),
        ),
    ),
    ("the ancestors have no gap", replace(TWO, ancestors=TWO.ancestors[1:])),
    ("the ancestors have no gap", replace(TWO, partition_epoch=TWO.partition_epoch + 1)),
]


@pytest.mark.parametrize(("name", "state"), BROKEN, ids=[row[0] for row in BROKEN])
def test_broken_shape_is_named(name: str, state: PartitionState) -> None:
    assert name in check_partition_state(state)


STEP = ok(register(TWO, attempt="r", node="n3", clean=True, url=""))
BROKEN_STEPS = [
    ("the store id is the same", replace(STEP, store_id="s2")),
    (
        "the partition epoch grows by one",
        replace(STEP, partition_epoch=STEP.partition_epoch + 1),
    ),
    ("the leader epoch does not decrease", replace(STEP, leader_epoch=Epoch(0))),
    (
        "a new leader has the next leader epoch",
        replace(STEP, leader="n2", leader_broker_epoch=BrokerEpoch(2)),
    ),
    (
        "a new leader has the next leader epoch",
        replace(STEP, leader_broker_epoch=BrokerEpoch(2)),
    ),
    ("broker epochs do not decrease", replace(STEP, nodes=TWO.nodes[:2])),
    ("the unclean generation does not decrease", replace(STEP, unclean_generation=-1)),
    ("the first ancestor is the replaced state", replace(STEP, ancestors=STEP.ancestors[1:])),
]


@pytest.mark.parametrize(("name", "newer"), BROKEN_STEPS, ids=[row[0] for row in BROKEN_STEPS])
def test_broken_step_is_named(name: str, newer: PartitionState) -> None:
    assert check_step(TWO, STEP) == ()
    assert name in check_step(TWO, newer)
