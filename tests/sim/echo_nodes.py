"""Small nodes and worlds for the simulator's own tests, without replication logic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.stepped import stepped
from yak_core.batch import Batch, Builder, placed, seal
from yak_core.config import BrokerConfig, ProducerConfig
from yak_core.contract.effects import Effect
from yak_core.contract.events import Event, Received, Started
from yak_core.contract.host import Host
from yak_core.contract.messages import Fenced
from yak_core.contract.node import Snapshot
from yak_core.ids import Epoch, Micros, NodeId
from yak_sim.physics.choices import Choices, RandomChoices
from yak_sim.physics.engine import Engine
from yak_sim.physics.machine_shared import Listener
from yak_sim.physics.topology import DiskSpec, LinkSpec, Topology

INSTANT = LinkSpec(delay_min_us=10, delay_mean_us=0)
"""A link with a fixed delay."""

SURE = Topology(
    brokers=("n1", "n2"),
    peer_link=INSTANT,
    client_link=INSTANT,
    store_link=INSTANT,
    disk=DiskSpec(append_us=40, flush_us=500, flush_mean_us=0, save_us=500, save_mean_us=0),
)
"""A topology with fixed times."""

Answering = Callable[[Micros, Event], list[Effect]]


@dataclass
class Puppet:
    """A node that records its events and returns the effects of its function."""

    acts: Answering
    seen: list[tuple[Micros, Event]] = field(default_factory=list)

    def step(self, now: Micros, event: Event) -> list[Effect]:
        self.seen.append((now, event))
        return self.acts(now, event)

    def snapshot(self) -> Snapshot:
        return Snapshot("puppet", (("seen", len(self.seen)),))

    def fork(self) -> Puppet:
        return Puppet(self.acts, list(self.seen))

    def seen_of(self, kind: type) -> list[tuple[Micros, Event]]:
        """Return the times and events of one type."""
        return [(now, event) for now, event in self.seen if type(event) is kind]


def idle(_now: Micros, _event: Event) -> list[Effect]:
    """Return no effects."""
    return []


def at_start(*effects: Effect) -> Answering:
    """Return a function that issues these effects at the start and none later."""

    def act(_now: Micros, event: Event) -> list[Effect]:
        return list(effects) if isinstance(event, Started) else []

    return act


@dataclass
class Stage:
    """An engine and its puppets, by node and then by start.

    ``ended`` are the processes that ended by themselves: (node, how, reason).
    """

    engine: Engine
    puppets: dict[NodeId, list[Puppet]]
    ended: list[tuple[NodeId, str, str]]

    def puppet(self, node: NodeId) -> Puppet:
        """Return the last started puppet of a node."""
        return self.puppets[node][-1]


def stage(
    acts: dict[NodeId, Answering],
    *,
    topology: Topology = SURE,
    choices: Choices | None = None,
    listener: Listener | None = None,
    watch: Callable[[Host, Micros, Event, list[Effect]], None] | None = None,
    start: bool = True,
) -> Stage:
    """Return an engine with a puppet for each node; ids with ``c`` or ``p`` first are clients."""
    observers = () if watch is None else (_Watcher(watch),)
    ended: list[tuple[NodeId, str, str]] = []
    listener = listener or Listener()
    listener.on_process_end = lambda *how: ended.append(how)
    engine = Engine(topology, choices or RandomChoices(1), None, observers, listener)
    puppets: dict[NodeId, list[Puppet]] = {node: [] for node in acts}

    def make(node: NodeId) -> Puppet:
        puppets[node].append(Puppet(acts[node]))
        return puppets[node][-1]

    brokers = tuple(node for node in acts if node.startswith("n"))
    for node in acts:
        if node.startswith("n"):
            engine.add_broker(node, stepped(make), BrokerConfig(replicas=brokers))
        else:
            engine.add_client(node, stepped(make), ProducerConfig(brokers=brokers))
    if start:
        for machine in engine.machines.values():
            machine.start()
    return Stage(engine, puppets, ended)


@dataclass
class _Watcher:
    watch: Callable[[Host, Micros, Event, list[Effect]], None]

    def after_step(self, host: Host, now: Micros, event: Event, effects: list[Effect]) -> None:
        self.watch(host, now, event, effects)


def numbered_message(number: int) -> Fenced:
    """Return a message with a number."""
    return Fenced(Epoch(number), None)


def numbers_received(puppet: Puppet) -> list[int]:
    """Return the numbers of the messages that a puppet received, in order."""
    return [
        event.message.epoch
        for _, event in puppet.seen
        if isinstance(event, Received) and isinstance(event.message, Fenced)
    ]


def batch_at(offset: int, *values: bytes, epoch: int = 1) -> Batch:
    """Return a sealed batch of these values at an offset."""
    builder = Builder()
    for value in values:
        builder.append(value, timestamp_ms=0)
    return placed(seal(builder.build()), offset, epoch)
