"""A simulated cluster for scripts: brokers, clients, faults and expectations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

import simpy

from yak_core.batch import Batch
from yak_core.broker.node import build_broker
from yak_core.broker.roles import Broker
from yak_core.clients.consumer import build_consumer
from yak_core.clients.producer import build_producer
from yak_core.config import ClientConfig
from yak_core.contract.node import Build
from yak_core.contract.notes import Note
from yak_core.ids import Micros, NodeId, Offset
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
from yak_sim.world.expect import Expect, Expectation, ExpectationFailed
from yak_sim.world.faults import Faults, fault_of_world
from yak_sim.world.history import History
from yak_sim.world.loop import Limits, Loop, name_of
from yak_sim.world.narrative import Narrative, OnLine
from yak_sim.world.observers import WorldObserver
from yak_sim.world.plan import schedule
from yak_sim.world.probes import BrokerView, broker_on, headline, leader_among, unconverged, view_of
from yak_sim.world.situations import Halted, Situation, Situations


class World:
    """A cluster of ``brokers``, a metadata store and no clients yet, at time 0.

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
        self.faults = Faults(
            self.engine, self.trace.fault, self.narrative.add, self.situations.reach
        )
        self._halts_expected: dict[NodeId, None] = {}
        self.halts: dict[NodeId, str] = {}
        self.scenario_figures: dict[str, int] = {}
        self._add_brokers(rules or Rules())

    # State.

    @property
    def now_us(self) -> Micros:
        """Return the simulated microseconds since the start."""
        return self.engine.clock.now()

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
    def expectations(self) -> tuple[Expectation, ...]:
        """Return the expectations checked so far."""
        return tuple(self.expect.expectations)

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
        """Return the current state of a broker, running or down."""
        return view_of(self.engine.machines[node])

    def node(self, node: NodeId) -> Broker:
        """Return the live broker object, for protocol tests. Raise ValueError if it is down."""
        broker = broker_on(self.engine.machines[node])
        if broker is None:
            raise ValueError(f"{node} is not running")
        return broker

    def log_of(self, node: NodeId) -> tuple[Batch, ...]:
        """Return the batches of a broker's log, including appends in flight."""
        return tuple(self.engine.machines[node].disk.tail.batches)

    def reached(self, situation: Situation) -> int:
        """Return how many times the run has reached a situation."""
        return self.situations.counts[situation]

    def tell(self, text: str) -> None:
        """Add a line to the narrative."""
        self.narrative.add(text)

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

    def truncations_of(self, node: NodeId) -> tuple[tuple[Offset, Offset], ...]:
        """Return the truncations of a broker's log as (end before, end after), in order."""
        return tuple(self.situations.truncations.get(node, ()))

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
    ) -> SimProducer:
        """Add a producer and start it.

        ``values``: the records, or a number of generated records, or None for no limit.
        ``rate_per_s``: records per second, independent of responses. Without it, the producer
        keeps ``in_flight`` batches pending. ``batch``: records per batch. ``hold``: send only the
        batches that ``send`` allows. ``first``: the broker that is asked for the leader first.
        The producer is idempotent with acks=all.
        """
        name = f"p{len(self.producers) + 1}"
        config = producer_config(self.topology, acks, in_flight, first)
        machine = self._client(name, build_producer, config)
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

    # Time.

    def at(self, *, seconds: float) -> simpy.Event:
        """Return an event to yield: resume at this time since the start, now if it has passed."""
        return self.engine.clock.env.timeout(max(0, round(seconds * 1_000_000) - self.now_us))

    def sleep(self, *, seconds: float) -> simpy.Event:
        """Return an event to yield: resume after this duration."""
        return self.engine.clock.env.timeout(round(seconds * 1_000_000))

    def until(
        self, holds: Callable[[], bool], *, within: Micros | None = None, what: str = ""
    ) -> simpy.Event:
        """Return an event to yield: resume when ``holds()`` is true.

        The condition is checked after every event. Raise ExpectationFailed in the script after
        ``within`` microseconds. ``what`` describes the condition in that error.
        """
        limit = f"{(within or 0) / 1e6:g} s"
        failure = ExpectationFailed(
            f"Within {limit}: {what or name_of(holds)}",
            f"the condition true within {limit}",
            f"it false after {limit}",
        )
        return self.loop.until(holds, within, lambda: failure)

    def until_ready(self, *, within: Micros = 10_000_000) -> Iterator[simpy.Event]:
        """Return events for ``yield from``: resume when a leader exists and the ISR is full."""
        yield self.until(
            lambda: self.leader is not None and self.isr == self.brokers,
            within=within,
            what="there is a leader and all brokers are in the ISR",
        )

    def until_converged(self, *, within: Micros = 30_000_000) -> simpy.Event:
        """Return an event to yield: resume when all brokers are in the ISR with equal logs.

        Every record is committed on every broker and no producer has a pending batch.
        """

        def reason() -> str | None:
            outstanding = sum(producer.outstanding for producer in self.producers)
            return unconverged(self.engine, self.brokers, outstanding)

        def failure() -> Exception:
            return ExpectationFailed(
                "The cluster converges",
                f"all brokers to converge within {within / 1e6:g} s",
                reason() or "they converged after the timeout",
            )

        return self.loop.until(lambda: reason() is None, within, failure)

    def follow(self, plan: Iterable[Fault]) -> None:
        """Schedule the faults of a plan, each at its time."""
        schedule(self.faults, plan, self.brokers, lambda: self.leader)

    # Faults: see yak_sim.world.faults.

    crash = fault_of_world(Faults.crash)
    crash_within_step = fault_of_world(Faults.crash_within_step)
    restart = fault_of_world(Faults.restart)
    stop = fault_of_world(Faults.stop)
    pause = fault_of_world(Faults.pause)
    resume = fault_of_world(Faults.resume)
    disconnect = fault_of_world(Faults.disconnect)
    partition = fault_of_world(Faults.partition)
    isolate = fault_of_world(Faults.isolate)
    clog = fault_of_world(Faults.clog)
    slow_link = fault_of_world(Faults.slow_link)
    disturb = fault_of_world(Faults.disturb)
    reset = fault_of_world(Faults.reset)
    heal = fault_of_world(Faults.heal)
    heal_everything = fault_of_world(Faults.heal_everything)
    store_outage = fault_of_world(Faults.store_outage)
    end_store_outage = fault_of_world(Faults.end_store_outage)
    lose_store_requests = fault_of_world(Faults.lose_store_requests)
    lose_store_replies = fault_of_world(Faults.lose_store_replies)
    stall_disk = fault_of_world(Faults.stall_disk)
    fill_disk = fault_of_world(Faults.fill_disk)

    def expect_halt(self, node: NodeId) -> None:
        """Allow this broker to halt. Any other halt ends the run with a violation."""
        self._halts_expected[node] = None
        for observer in self._observers:
            observer.allow_halt(node)

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

    def _on_note(self, node: NodeId, note: Note) -> None:
        self.situations.on_note(node, note)
        self.narrative.on_note(node, note)

    def _on_process_end(self, node: NodeId, end: str, reason: str) -> None:
        match ProcessEnd(end):
            case ProcessEnd.CRASH_POINT:
                self.faults.on_crash_within_step(node, int(reason))
            case ProcessEnd.EXIT:
                self.tell(f"{node} stopped, {reason}")
                self.faults.on_exit(node)
            case ProcessEnd.HALT:
                self.halts[node] = reason
                self.tell(f"{node} halted: {reason}")
                if node not in self._halts_expected:
                    self.loop.stop(Halted(node, reason, len(self.trace) - 1))

    def _client(self, name: NodeId, build: Build, config: ClientConfig) -> Machine:
        machine = self.engine.add_client(name, build, config)
        machine.start()
        return machine
