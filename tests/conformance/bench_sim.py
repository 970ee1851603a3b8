"""The bench of the simulator: one engine with two machines."""

from __future__ import annotations

from collections.abc import Callable

from tests.conformance.bench import CLIENT, Monitor
from tests.stepped import stepped
from yak_core.config import BrokerConfig, ProducerConfig
from yak_core.contract.messages import Request
from yak_core.contract.node import Node
from yak_core.ids import Micros, NodeId
from yak_sim.physics.choices import RandomChoices
from yak_sim.physics.engine import Engine
from yak_sim.physics.kinds import LinkFault, Loss
from yak_sim.physics.network import NetworkFault
from yak_sim.physics.topology import BROKERS, LinkSpec, Topology

CONFIG = BrokerConfig(("n1", "n2"))
FOR_EVER: Micros = 1 << 40
MANY = 1 << 20


class SimBench:
    """A simulated world with two places; see :class:`tests.conformance.bench.Bench`."""

    haste = 1
    patience = 1

    def __init__(self, stormy: bool) -> None:
        self.monitor = Monitor()
        self.answers: list[object] = []
        topology = Topology(brokers=CONFIG.replicas, peer_link=LinkSpec(fifo=not stormy))
        self.engine = Engine(topology, RandomChoices(seed=1), self.monitor, (self.monitor,))
        self.nodes: dict[NodeId, Node] = {}
        for node_id in CONFIG.replicas:
            self.engine.add_broker(node_id, stepped(self.nodes.__getitem__), CONFIG)
        self.storm = NetworkFault(
            LinkFault.DISTURB, (BROKERS,), (BROKERS,), loss=(1, 3), duplicate=(1, 4)
        )
        if stormy:
            self.engine.network.add(self.storm)

    def start(self, node_id: NodeId, node: Node) -> None:
        self.nodes[node_id] = node
        self.engine.machines[node_id].start()

    def start_client(self, node: Node) -> None:
        self.nodes[CLIENT] = node
        build = stepped(self.nodes.__getitem__)
        self.engine.add_client(CLIENT, build, ProducerConfig(("n2",))).start()

    def crash(self, node_id: NodeId) -> None:
        self.engine.machines[node_id].crash(Loss.UNSYNCED)

    def kill(self, node_id: NodeId) -> None:
        self.engine.machines[node_id].crash(Loss.NOTHING)

    def is_up(self, node_id: NodeId) -> bool:
        return self.engine.machines[node_id].up

    def call(self, node_id: NodeId, request: Request) -> None:
        self.engine.machines[node_id].ask(request, lambda answer, _: self.answers.append(answer))

    def run_until(self, condition: Callable[[], bool], within_us: Micros) -> bool:
        clock = self.engine.clock
        until = clock.now() + within_us
        clock.after(within_us, lambda: None)  # so that the agenda reaches the timeout
        while not condition() and clock.now() < until:
            clock.env.step()
        return condition()

    def stall_disk(self, node_id: NodeId) -> None:
        self.engine.machines[node_id].disk.stall(FOR_EVER)

    def release_disk(self, node_id: NodeId) -> None:
        disk = self.engine.machines[node_id].disk
        full = disk.full
        disk.clear_faults()  # which also frees space
        disk.full = full

    def fill_disk(self, node_id: NodeId) -> None:
        self.engine.machines[node_id].disk.full = True

    def cut_store(self) -> None:
        self.engine.store.down = True

    def lose_replies(self, node_id: NodeId) -> None:
        self.engine.store.lose_replies(node_id, MANY)

    def heal_store(self) -> None:
        self.engine.store.clear_faults()

    def heal_network(self) -> None:
        self.engine.network.remove(self.storm)
