"""The bench of the manual world: it completes everything that a check does not hold."""

from __future__ import annotations

from collections.abc import Callable

from tests.conformance.bench import CLIENT, Monitor
from tests.stepped import stepped
from yak_core.config import BrokerConfig, ProducerConfig
from yak_core.contract.messages import Request
from yak_core.contract.node import Node
from yak_core.ids import Micros, NodeId
from yak_core.manual.backend import ManualBackend
from yak_core.manual.run import advance, settle
from yak_core.manual.world import DISK, STORE, Manual

CONFIG = BrokerConfig(("n1", "n2"))
STEP: Micros = 1_000


class ManualBench:
    """A Manual world with two places; see :class:`tests.conformance.bench.Bench`."""

    haste = 1
    patience = 1

    def __init__(self, stormy: bool, backend_type: type[ManualBackend] = ManualBackend) -> None:
        self.monitor = Monitor()
        self.answers: list[object] = []
        self.world = Manual(self.monitor, (self.monitor,), backend_type)
        self.nodes: dict[NodeId, Node] = {}
        self.stormy = stormy
        self.full: dict[NodeId, None] = {}
        self._weathered = 0
        for node_id in CONFIG.replicas:
            self.world.add(node_id, CONFIG, stepped(self.nodes.__getitem__))

    def start(self, node_id: NodeId, node: Node) -> None:
        self.nodes[node_id] = node
        self.world.start(node_id)

    def start_client(self, node: Node) -> None:
        self.nodes[CLIENT] = node
        self.world.add(CLIENT, ProducerConfig(("n2",)), stepped(self.nodes.__getitem__))
        self.world.start(CLIENT)

    def crash(self, node_id: NodeId) -> None:
        self.world.crash(node_id)

    def kill(self, node_id: NodeId) -> None:
        self.world.kill(node_id)

    def is_up(self, node_id: NodeId) -> bool:
        return self.world.is_up(node_id)

    def call(self, node_id: NodeId, request: Request) -> None:
        self.world.call(node_id, request)
        self._collect()

    def run_until(self, condition: Callable[[], bool], within_us: Micros) -> bool:
        """Advance in small steps, with the faults between them."""
        for _ in range(0, within_us, STEP):
            if condition():
                return True
            self._move()
            if advance(self.world, STEP, condition):
                return True
            self._collect()
        return condition()

    def stall_disk(self, node_id: NodeId) -> None:
        self.world.held[node_id, DISK] = None

    def release_disk(self, node_id: NodeId) -> None:
        del self.world.held[node_id, DISK]

    def fill_disk(self, node_id: NodeId) -> None:
        self.full[node_id] = None

    def cut_store(self) -> None:
        for node_id in self.world.nodes:
            self.world.transit.disconnected[node_id, STORE] = None

    def lose_replies(self, node_id: NodeId) -> None:
        self.world.transit.disconnected[STORE, node_id] = None

    def heal_store(self) -> None:
        self.world.transit.disconnected.clear()

    def heal_network(self) -> None:
        self.stormy = False

    def _move(self) -> None:
        for node_id in self.full:
            while self._has_orders(node_id):
                self.world.disk_complete(node_id, no_space=True)
        if self.stormy:
            self._rain()
        self._refuse_connections()
        settle(self.world)
        self._collect()

    def _refuse_connections(self) -> None:
        """Refuse the requests of the client to a broker that is down."""
        for number, flight in list(self.world.transit.flights.items()):
            if flight.src == CLIENT and not self.world.is_up(flight.dst):
                self.world.not_sent(number)

    def _has_orders(self, node_id: NodeId) -> bool:
        if not self.world.is_up(node_id) or (node_id, DISK) in self.world.held:
            return False
        return bool(self.world.nodes[node_id].disk.queue)

    def _rain(self) -> None:
        """Drop every third new message, duplicate every fourth, reverse the order."""
        flights = self.world.transit.flights
        for number in list(flights):
            if number <= self._weathered:
                continue
            if number % 3 == 0:
                self.world.drop(number)
            elif number % 4 == 0:
                self.world.duplicate(number)
        self._weathered = self.world.transit.last_number
        for number in sorted(flights, reverse=True):
            self.world.deliver(number)

    def _collect(self) -> None:
        """Collect the answers of the calls in the order of their handles."""
        answers = self.world.transit.answers
        while answers:
            self.answers.append(answers.pop(min(answers)))
