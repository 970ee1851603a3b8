"""Read access to the live brokers, for scripts, narratives and checks.

Besides checks and plots, no other module of the simulator reads epochs or high watermarks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

from yak_core.broker.roles import Broker
from yak_core.ids import NO_EPOCH, Epoch, NodeId, Offset
from yak_core.metadata.partition_state import PartitionState
from yak_sim.physics.engine import Engine
from yak_sim.physics.machine import Machine


class Role(StrEnum):
    """The role of a broker; ``down`` while it does not run."""

    LEADER = "leader"
    FOLLOWER = "follower"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class BrokerView:
    """The state of a broker at one moment; it is not updated.

    ``ready``: registered and not stopping. ``leader``: the leader that the broker knows in
    ``epoch``, or None. ``leo``: log end offset. ``flushed_end``: the log is flushed below this
    offset. If the broker is down, both offsets come from its disk, and ``epoch`` and ``hw`` are -1.
    """

    node_id: NodeId
    role: Role
    ready: bool
    epoch: Epoch
    leader: NodeId | None
    leo: Offset
    flushed_end: Offset
    hw: Offset

    @property
    def up(self) -> bool:
        """Return whether the process runs, including when it is paused."""
        return self.role is not Role.DOWN


def view_of(machine: Machine) -> BrokerView:
    """Return the state of the broker on a machine."""
    broker = broker_on(machine)
    if broker is None:
        image = machine.disk.image
        return BrokerView(
            machine.node_id, Role.DOWN, False, NO_EPOCH, None, image.leo, image.durable_end, -1
        )
    return BrokerView(
        machine.node_id,
        Role.FOLLOWER if broker.leading is None else Role.LEADER,
        is_ready(broker),
        broker.epoch,
        broker.leader,
        broker.log.leo,
        broker.log.durable_end,
        broker.hw,
    )


def broker_on(machine: Machine) -> Broker | None:
    """Return the broker that runs on a machine, None if it is down."""
    return cast("Broker | None", machine.node)


def is_ready(broker: Broker) -> bool:
    """Return whether the broker has registered and is not stopping."""
    return broker.phase == "running"


def leader_among(machines: Iterable[Machine]) -> Broker | None:
    """Return the running leader with the highest epoch, None if there is no leader."""
    best: Broker | None = None
    for machine in machines:
        broker = broker_on(machine)
        if (
            broker is not None
            and broker.leading is not None
            and (best is None or broker.epoch > best.epoch)
        ):
            best = broker
    return best


def headline(machines: Iterable[Machine]) -> tuple[NodeId | None, Epoch, Offset]:
    """Return (leader, epoch, high watermark), or (None, -1, -1) if there is no leader."""
    leader = leader_among(machines)
    return (None, NO_EPOCH, -1) if leader is None else (leader.node_id, leader.epoch, leader.hw)


def unconverged(engine: Engine, brokers: tuple[NodeId, ...], outstanding: int) -> str | None:
    """Return why the cluster has not converged, None if it has.

    A cluster has converged when every broker is registered and running, one is the leader, and the
    recorded ISR has all of them. All log ends are equal, every record is committed on every broker,
    and no producer batch is pending (``outstanding``).
    """
    if outstanding:
        return f"{outstanding} producer batches are pending"
    machines = [engine.machines[node] for node in brokers]
    leader = leader_among(machines)
    if leader is None:
        return "there is no leader"
    state: PartitionState | None = engine.store.state
    if state is None or state.isr != brokers:
        return f"the ISR is {'empty' if state is None else ', '.join(state.isr)}"
    if leader.partition is None or leader.partition.stamp != state.stamp:
        return f"leader {leader.node_id} does not know the newest partition state"
    for machine in machines:
        broker = broker_on(machine)
        if broker is None or machine.paused or not is_ready(broker):
            return f"{machine.node_id} is not running"
        if broker.epoch != leader.epoch or broker.log.leo != leader.log.leo:
            return (
                f"{machine.node_id} has epoch {broker.epoch} and log end {broker.log.leo}, leader "
                f"{leader.node_id} has epoch {leader.epoch} and log end {leader.log.leo}"
            )
        if broker.hw != leader.log.leo:
            return f"{machine.node_id} has high watermark {broker.hw}, log end {leader.log.leo}"
    return None
