"""A simulated cluster for scripts: brokers, clients, faults and expectations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from yak_core.batch import records
from yak_core.broker.node import build_broker
from yak_core.clients.consumer import build_consumer
from yak_core.clients.producer import build_producer
from yak_core.config import ClientConfig
from yak_core.contract.node import Build
from yak_core.contract.notes import Note
from yak_core.errors import Outcome
from yak_core.ids import NodeId
from yak_core.invariants import Invariants
from yak_core.metadata.partition_state import PartitionState
from yak_core.model.disk import DiskImage
from yak_core.rules import Rules
from yak_core.trace.recorder import Fault, Header, Trace
from yak_sim.physics.choices import Choices, RandomChoices
from yak_sim.physics.engine import Engine
from yak_sim.physics.kinds import ProcessEnd, StoreKind
from yak_sim.physics.machine import Machine
from yak_sim.physics.machine_shared import Listener
from yak_sim.physics.topology import Topology, broker_ids
from yak_sim.world.clients import SimConsumer, SimProducer, numbered
from yak_sim.world.configs import broker_config, consumer_config, producer_config
from yak_sim.world.expect import Expect, Expectation
from yak_sim.world.faults import Faults
from yak_sim.world.history import History
from yak_sim.world.loop import Limits, Loop
from yak_sim.world.narrative import Narrative, OnLine
from yak_sim.world.observers import WorldObserver
from yak_sim.world.plan import schedule
from yak_sim.world.probes import headline
from yak_sim.world.situations import Halted, Situations
from yak_sim.world.waits import Waits


class World(Waits, Faults):
    """A cluster of ``brokers``, a metadata store and no clients yet, at time 0.

    Inherited: the state of the cluster (Cluster), the waits of a script (Waits) and the faults
    (Faults). ``expect`` has the expectations.

    ``limits`` and ``client_limits`` are fields of BrokerConfig and ClientConfig by name.
    ``topology`` sets links, disks and clocks; the other arguments override its fields.
    ``values`` are the records passed to the scenario; the scenario decides how to use them.
    ``observers`` check every step, partition state and crash. Default: the protocol invariants.
    """

    def __init__(
        self,
        brokers: int = 3,
        seed: int = 7,
        *,
        rules: Rules | None = None,
        flush: str = "batch",
        min_isr: int = 2,
        store: str = StoreKind.MODEL,
        peer_lost: bool = False,
        limits: Mapping[str, int] | None = None,
        client_limits: Mapping[str, int] | None = None,
        topology: Topology | None = None,
        choices: Choices | None = None,
        observers: Iterable[WorldObserver] | None = None,
        on_line: OnLine | None = None,
        values: tuple[bytes, ...] | None = None,
        scenario: str = "",
        run_limits: Limits | None = None,
    ) -> None:
        ids = broker_ids(brokers)
        self._observers: tuple[WorldObserver, ...] = (
            (Invariants(ids),) if observers is None else tuple(observers)
        )
        self.topology = replace(
            topology or Topology(),
            brokers=ids,
            flush=flush,
            min_isr=min(min_isr, brokers),
            store=StoreKind(store),
            peer_lost=peer_lost,
            limits=tuple((limits or {}).items()),
            client_limits=tuple((client_limits or {}).items()),
        )
        self.brokers = ids
        self.values = values
        self.trace = Trace(Header("sim", scenario, seed))
        self.history = History()
        self.situations = Situations()
        self.producers: list[SimProducer] = []
        self.consumers: list[SimConsumer] = []
        self.engine = Engine(
            self.topology,
            choices or RandomChoices(seed),
            self.trace,
            self._observers,
            Listener(self._on_note, self._on_crash, self._on_process_end, self._on_state),
        )
        self.loop = Loop(self.engine.clock, run_limits or Limits())
        self.narrative = Narrative(self.engine.clock.now, lambda: headline(self.machines), on_line)
        self.expect = Expect(self)
        self._on_fault = self.trace.fault
        self._on_damage = self._tell_observers_of_damage
        self._restart_after_crash = {}
        self._restart_after_exit = {}
        self._halts_expected: dict[NodeId, None] = {}
        self.halts: dict[NodeId, str] = {}
        self.scenario_figures: dict[str, int] = {}
        self._add_brokers(rules or Rules())

    # Clients.

    def producer(
        self,
        *,
        acks: str = "all",
        rate_per_s: int | None = None,
        values: int | Iterable[bytes] | None = None,
        batch: int = 1,
        in_flight: int = 5,
        hold: bool = False,
        first: NodeId | None = None,
        same_id_as: SimProducer | None = None,
    ) -> SimProducer:
        """Add a producer and start it.

        ``values``: the records, or a number of generated records, or None for no limit.
        ``rate_per_s``: records per second, independent of responses. Without it, the producer
        keeps ``in_flight`` batches pending. ``batch``: records per batch. ``hold``: send only the
        batches that ``send`` allows. ``first``: the broker that is asked for the leader first.
        The producer is idempotent with acks=all. ``same_id_as``: another producer whose producer id
        this one uses, too, as after the copy of a virtual machine.
        """
        name = f"p{len(self.producers) + 1}"
        config = producer_config(self.topology, acks, in_flight, first)
        nonce_of = None if same_id_as is None else same_id_as.node_id
        machine = self._client(name, build_producer, config, nonce_of)
        source = (
            iter(values)
            if values is not None and not isinstance(values, int)
            else numbered(name, values)
        )
        interval = None if rate_per_s is None else max(1, batch * 1_000_000 // rate_per_s)
        client = SimProducer(machine, self.history, source, batch, interval, in_flight, hold)
        self.producers.append(client)
        client.begin()
        return client

    def consumer(self, *, start_offset: int = -2) -> SimConsumer:
        """Add a consumer and start it. Start offset -2 is the earliest offset, -1 the latest."""
        name = f"c{len(self.consumers) + 1}"
        machine = self._client(name, build_consumer, consumer_config(self.topology, start_offset))
        client = SimConsumer(machine, self.history)
        self.consumers.append(client)
        client.begin()
        return client

    # Faults and expectations.

    def follow(self, plan: Iterable[Fault]) -> None:
        """Schedule the faults of a plan, each at its time."""
        schedule(self, plan, self.brokers, lambda: self.leader)

    def expect_halt(self, node: NodeId) -> None:
        """Allow this broker to halt. Any other halt ends the run with a violation."""
        self._halts_expected[node] = None
        for observer in self._observers:
            observer.allow_halt(node)

    @property
    def expectations(self) -> tuple[Expectation, ...]:
        """Return the expectations checked so far."""
        return tuple(self.expect.expectations)

    def figure(self, name: str, value: int) -> None:
        """Add a number to the verdict."""
        self.scenario_figures[name] = value

    def acked_in(self, epoch: int) -> int:
        """Return the number of records acknowledged in this leader epoch, over all producers."""
        return sum(
            len(sent.values)
            for producer in self.producers
            for sent in producer.acked
            if sent.epoch == epoch
        )

    def lost(self, producer: SimProducer, *, unknown: bool = False) -> int:
        """Return the number of acknowledged records of a producer that are in no broker's log.

        With ``unknown``, records with an unknown outcome count, too, as all have with acks=0.
        """
        kept = {
            record.value
            for node in self.brokers
            for batch in self.log_of(node)
            for record in records(batch)
        }
        outcomes = (Outcome.WRITTEN, Outcome.UNKNOWN) if unknown else (Outcome.WRITTEN,)
        return sum(
            value not in kept
            for sent in producer.sent
            if sent.outcome in outcomes
            for value in sent.values
        )

    # Construction and callbacks.

    def _add_brokers(self, rules: Rules) -> None:
        """Add a machine for each broker and start it at time 0."""
        config = broker_config(self.topology)
        for node in self.brokers:
            machine = self.engine.add_broker(node, build_broker(rules), config)
            self.engine.clock.after(0, machine.start)

    def _on_state(self, state: PartitionState) -> None:
        for observer in self._observers:
            observer.on_state(state)

    def _on_crash(self, node: NodeId, image: DiskImage) -> None:
        for observer in self._observers:
            observer.on_crash(node, image)

    def _tell_observers_of_damage(self, node: NodeId) -> None:
        for observer in self._observers:
            observer.on_damage(node)

    def _on_note(self, node: NodeId, note: Note) -> None:
        self.situations.on_note(node, note)
        self.narrative.on_note(node, note)

    def _on_process_end(self, node: NodeId, end: str, reason: str) -> None:
        match ProcessEnd(end):
            case ProcessEnd.CRASH_POINT:
                self._on_crash_within_step(node, int(reason))
            case ProcessEnd.EXIT:
                self.tell(f"{node} stopped, {reason}")
                self._on_exit(node)
            case ProcessEnd.HALT:
                self.halts[node] = reason
                self.tell(f"{node} halted: {reason}")
                if node not in self._halts_expected:
                    self.loop.stop(Halted(node, reason, len(self.trace) - 1))

    def _client(
        self, name: NodeId, build: Build, config: ClientConfig, nonce_of: NodeId | None = None
    ) -> Machine:
        machine = self.engine.add_client(name, build, config, nonce_of)
        machine.start()
        return machine
