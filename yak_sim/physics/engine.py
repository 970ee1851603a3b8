"""The simulation engine: machines, network, store and agenda, for any kind of node.

A machine runs any :class:`yak_core.contract.host.Node`. :class:`yak_sim.world.world.World` adds
the API for scripts: brokers, clients, faults and expectations.
"""

from __future__ import annotations

from yak_core.config import BrokerConfig, ClientConfig
from yak_core.contract.events import Received
from yak_core.contract.host import Observer, Recorder
from yak_core.contract.messages import FetchResponse, ProduceRequest, Replicate
from yak_core.contract.node import Build
from yak_core.ids import Micros, NodeId
from yak_sim.physics.choices import Choices
from yak_sim.physics.clock import Clock
from yak_sim.physics.machine import Machine
from yak_sim.physics.machine_shared import Listener, MachineShared
from yak_sim.physics.network import Network
from yak_sim.physics.requests import ClientRequest
from yak_sim.physics.store import SimStore, executor_of
from yak_sim.physics.topology import BROKERS, CLIENTS, STORE, Topology


class Engine:
    """Machines on one agenda, connected to each other and to a metadata store by a network.

    Every host gets ``recorder`` and ``observers``. The caller starts the machines.
    """

    __slots__ = ("choices", "clock", "shared", "machines", "network", "store", "topology")

    def __init__(
        self,
        topology: Topology,
        choices: Choices,
        recorder: Recorder | None = None,
        observers: tuple[Observer, ...] = (),
        listener: Listener | None = None,
    ) -> None:
        listener = listener or Listener()
        self.topology = topology
        self.choices = choices
        self.clock = Clock()
        self.network = Network(self.clock, choices, payload_bytes)
        self.store = SimStore(self.network, executor_of(topology.store), listener.on_state)
        self.network.join(STORE, STORE, topology.store_link, self.store.receiver_for)
        self.machines: dict[NodeId, Machine] = {}
        self.shared = MachineShared(
            self.clock, self.network, choices, topology, recorder, observers, listener
        )

    def add_broker(self, node_id: NodeId, build: Build, config: BrokerConfig) -> Machine:
        """Add a machine for a broker, not yet started, and return it."""
        return self._add(node_id, BROKERS, build, config)

    def add_client(
        self, node_id: NodeId, build: Build, config: ClientConfig, nonce_of: NodeId | None = None
    ) -> Machine:
        """Add a machine for a producer or a consumer, not yet started, and return it."""
        return self._add(node_id, CLIENTS, build, config, nonce_of)

    def run_for(self, duration_us: Micros) -> None:
        """Process all events of the next ``duration_us`` microseconds."""
        self.clock.run_until(self.clock.now() + duration_us)

    def _add(
        self,
        node_id: NodeId,
        group: str,
        build: Build,
        config: BrokerConfig | ClientConfig,
        nonce_of: NodeId | None = None,
    ) -> Machine:
        topology = self.topology
        link = topology.peer_link if group == BROKERS else topology.client_link
        machine = Machine(self.shared, node_id, group, build, config, link, nonce_of)
        self.machines[node_id] = machine
        return machine


def payload_bytes(payload: object) -> int:
    """Return the approximate size of a payload on the wire: its batches plus 100 bytes."""
    if isinstance(payload, ClientRequest):
        payload = payload.request
    match payload.message if isinstance(payload, Received) else payload:
        case Replicate(batches=batches) | FetchResponse(batches=batches):
            return 100 + sum(batch.size for batch in batches)
        case ProduceRequest(batch=batch):
            return 100 + batch.size
    return 100
