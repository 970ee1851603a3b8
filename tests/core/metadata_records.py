"""Partition states for tests, made by the transitions."""

from __future__ import annotations

from dataclasses import replace

from yak_core.ids import BrokerEpoch
from yak_core.metadata.partition_state import PartitionState
from yak_core.metadata.transitions import (
    Rejected,
    alter_isr,
    check_partition_state,
    create,
    elect,
    elr_after,
    register,
)


def ok(outcome: PartitionState | Rejected) -> PartitionState:
    """Return the state, which must not be a refusal."""
    assert isinstance(outcome, PartitionState), outcome
    assert check_partition_state(outcome) == ()
    return outcome


def first(min_isr: int = 2) -> PartitionState:
    """Return version 1, created by n1, with three replicas."""
    return ok(
        create(
            store_id="s1",
            attempt="a1",
            node="n1",
            url="u1",
            replicas=("n1", "n2", "n3"),
            min_isr=min_isr,
        )
    )


def led(min_isr: int = 2, isr: tuple[str, ...] = ("n1", "n2", "n3")) -> PartitionState:
    """Return a state where n1 leads epoch 1; the broker epochs are 1, 2 and 3; version 4 or 5."""
    state = ok(register(first(min_isr), attempt="a2", node="n2", clean=True, url="u2"))
    state = ok(register(state, attempt="a3", node="n3", clean=True, url="u3"))
    state = ok(elect(state, attempt="a4", node="n1", broker_epoch=BrokerEpoch(1)))
    if isr == ("n1",):
        return state
    added = tuple((node, state.broker_epoch_of(node)) for node in isr if node != "n1")
    return ok(altered(state, isr, *added))


def altered(
    state: PartitionState,
    isr: tuple[str, ...],
    *added: tuple[str, int],
    node: str = "n1",
    broker_epoch: int = 1,
) -> PartitionState | Rejected:
    """Change the ISR as n1 with broker epoch 1, or as another node."""
    return alter_isr(
        state,
        attempt=f"s{state.partition_epoch}",
        node=node,
        broker_epoch=BrokerEpoch(broker_epoch),
        isr=isr,
        added=tuple((member, BrokerEpoch(at)) for member, at in added),
    )


def shrunk(state: PartitionState, isr: tuple[str, ...]) -> PartitionState:
    """Shrink the ISR as n1."""
    return ok(altered(state, isr))


def drained(state: PartitionState, node: str) -> PartitionState:
    """Drain ``node``: it is draining and out of the ISR."""
    nodes = tuple(
        (known, replace(entry, draining=True) if known == node else entry)
        for known, entry in state.nodes
    )
    isr = tuple(member for member in state.isr if member != node)
    elr = elr_after(state.isr, isr, state.elr, state.effective_min_isr, ())
    return ok(replace(state, nodes=nodes, isr=isr, elr=elr))


def sets(state: PartitionState) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return ISR, ELR and last known eligible."""
    return (state.isr, state.elr, state.last_known_eligible)


ALONE = led(isr=("n1",))
"""n1 leads and is the only member that the ISR ever had."""

TWO = led(isr=("n1", "n2"))
"""n1 leads, n2 is in the ISR, n3 is registered and outside."""
