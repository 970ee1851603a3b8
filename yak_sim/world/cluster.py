"""The state of a simulated cluster, as scripts and checks read it."""

from __future__ import annotations

from yak_core.batch import Batch
from yak_core.broker.roles import Broker
from yak_core.config import BrokerConfig
from yak_core.ids import Micros, NodeId, Offset
from yak_core.metadata.partition_state import PartitionState
from yak_sim.physics.engine import Engine
from yak_sim.physics.machine import Machine
from yak_sim.physics.topology import Topology
from yak_sim.world.configs import broker_config
from yak_sim.world.narrative import Narrative
from yak_sim.world.probes import BrokerView, broker_on, leader_among, view_of
from yak_sim.world.situations import Situation, Situations


class Cluster:
    """The brokers and the metadata store of one world, read-only."""

    engine: Engine
    topology: Topology
    brokers: tuple[NodeId, ...]
    situations: Situations
    narrative: Narrative

    @property
    def now_us(self) -> Micros:
        """Return the simulated microseconds since the start."""
        return self.engine.clock.now()

    @property
    def config(self) -> BrokerConfig:
        """Return the configuration of the brokers, such as ``lease_us``, ``min_isr``, ``flush``."""
        return broker_config(self.topology)

    @property
    def leader(self) -> NodeId | None:
        """Return the running leader with the highest epoch, None if there is no leader."""
        broker = leader_among(self.machines)
        return None if broker is None else broker.node_id

    @property
    def machines(self) -> list[Machine]:
        """Return the machines of the brokers."""
        return [self.engine.machines[node] for node in self.brokers]

    @property
    def running(self) -> tuple[NodeId, ...]:
        """Return the brokers whose process runs, including paused ones."""
        return tuple(machine.node_id for machine in self.machines if machine.up)

    @property
    def partition_state(self) -> PartitionState | None:
        """Return the partition state in the metadata store."""
        return self.engine.store.state

    @property
    def isr(self) -> tuple[NodeId, ...]:
        """Return the ISR from the partition state."""
        return () if self.partition_state is None else self.partition_state.isr

    @property
    def leader_epoch_start(self) -> Offset | None:
        """Return the start offset of the leader's epoch, None if there is no leader."""
        broker = leader_among(self.machines)
        return None if broker is None or broker.leading is None else broker.leading.start

    def broker(self, node: NodeId) -> BrokerView:
        """Return the current state of a broker, running or down. Raise ValueError if unknown."""
        return view_of(self._machine(node))

    def node(self, node: NodeId) -> Broker:
        """Return the live broker object, for protocol tests. Raise ValueError if it is down."""
        broker = broker_on(self._machine(node))
        if broker is None:
            raise ValueError(f"{node} is not running")
        return broker

    def log_of(self, node: NodeId) -> tuple[Batch, ...]:
        """Return the batches of a broker's log, including appends in flight."""
        return tuple(self._machine(node).disk.tail.batches)

    def reached(self, situation: Situation) -> int:
        """Return how many times the run has reached a situation."""
        return self.situations.counts[situation]

    def tell(self, text: str) -> None:
        """Add a line to the narrative."""
        self.narrative.add(text)

    def truncations_of(self, node: NodeId) -> tuple[tuple[Offset, Offset], ...]:
        """Return the truncations of a broker's log as (end before, end after), in order."""
        return tuple(self.situations.truncations.get(node, ()))

    def _machine(self, node: NodeId) -> Machine:
        """Return the machine of a broker or a client. Raise ValueError for an unknown node."""
        try:
            return self.engine.machines[node]
        except KeyError:
            known = ", ".join(self.engine.machines)
            raise ValueError(f"unknown node {node!r}; the nodes are {known}") from None
