"""What scripts, narratives and checks see of the brokers.

The only place of the simulator, besides checks and plots, that reads epochs and high watermarks.
Everything is read from the live nodes.
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
    """A broker at the moment at which a script asked for it; ask again for a newer view.

    ``ready`` means registered and not stopping. ``leader`` is the leader that the broker knows in
    ``epoch``, if any. The log ends at ``leo`` and is flushed below ``flushed_end``; both are those
    of the disk, and ``epoch`` and ``hw`` are -1, while the broker is down.
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
        """Whether its process runs, paused or not."""
        return self.role is not Role.DOWN


def view_of(machine: Machine) -> BrokerView:
    """Return what there is to see of the broker on a machine."""
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
    """The broker that runs on a machine, None when none does."""
    return cast("Broker | None", machine.node)


def is_ready(broker: Broker) -> bool:
    """Whether it has registered and is not stopping."""
    return broker.phase == "running"


def leader_among(machines: Iterable[Machine]) -> Broker | None:
    """The running broker that leads the highest epoch, None when none leads."""
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
    """(leader, epoch, high watermark), (None, -1, -1) while nobody leads."""
    leader = leader_among(machines)
    return (None, NO_EPOCH, -1) if leader is None else (leader.node_id, leader.epoch, leader.hw)


def unconverged(engine: Engine, brokers: tuple[NodeId, ...], outstanding: int) -> str | None:
    """Why the cluster has not converged, None when it has.

    It has when every broker runs and has registered, one of them leads, the recorded ISR is all of
    them, their logs end where the leader's does, everything is committed everywhere, and no client
    waits for an answer (``outstanding``).
    """
    if outstanding:
        return f"{outstanding} batches of producers have no answer"
    machines = [engine.machines[node] for node in brokers]
    leader = leader_among(machines)
    if leader is None:
        return "nobody leads"
    state: PartitionState | None = engine.store.state
    if state is None or state.isr != brokers:
        return f"the ISR is {'empty' if state is None else ', '.join(state.isr)}"
    if leader.partition is None or leader.partition.stamp != state.stamp:
        return f"{leader.node_id} has not heard of the newest record"
    for machine in machines:
        broker = broker_on(machine)
        if broker is None or machine.paused or not is_ready(broker):
            return f"{machine.node_id} is not running"
        if broker.epoch != leader.epoch or broker.log.leo != leader.log.leo:
            return f"{machine.node_id} has not caught up with {leader.node_id}"
        if broker.hw != leader.log.leo:
            return f"{machine.node_id} knows of commits up to {broker.hw} of {leader.log.leo}"
    return None
