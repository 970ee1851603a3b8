"""A simulated cluster as scripts see it: brokers, clients, faults, expectations."""

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
from yak_sim.world import plan as plans
from yak_sim.world.clients import SimConsumer, SimProducer, numbered
from yak_sim.world.configs import broker_config, consumer_config, producer_config
from yak_sim.world.expect import Expect, Expectation, ExpectationFailed
from yak_sim.world.faults import Faults, fault_of_world
from yak_sim.world.history import History
from yak_sim.world.loop import Limits, Loop, name_of
from yak_sim.world.narrative import Narrative, OnStory
from yak_sim.world.observers import WorldObserver
from yak_sim.world.probes import BrokerView, broker_on, headline, leader_among, unconverged, view_of
from yak_sim.world.situations import Halted, Situation, Situations


class World:
    """A cluster of ``brokers``, a metadata store and no clients yet, at time 0.

    ``limits`` and ``client_limits`` are fields of BrokerConfig and ClientConfig by name.
    ``topology`` replaces everything physical; the other arguments then change fields of it.
    ``values`` are the records that the scenario was given, for its own use. ``observers`` check
    every step, record and crash; by default they are the invariants of the protocol.
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
        on_line: OnStory | None = None,
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
            Listener(self._on_note, self._on_crash, self._on_ended, self._on_state),
        )
        self.loop = Loop(self.engine.clock, run_limits or Limits())
        self.narrative = Narrative(self.engine.clock.now, lambda: headline(self.machines), on_line)
        self.expect = Expect(self)
        self.faults = Faults(
            self.engine, self.trace.fault, self.narrative.tell, self.situations.reach
        )
        self._halts_expected: dict[NodeId, None] = {}
        self.halts: dict[NodeId, str] = {}
        self.own_figures: dict[str, int] = {}
        self._add_brokers(rules or Rules())

    # What can be seen.

    @property
    def now_us(self) -> Micros:
        """Simulated microseconds since the start."""
        return self.engine.clock.now()

    @property
    def leader(self) -> NodeId | None:
        """The running broker that leads the highest epoch, None while none leads."""
        broker = leader_among(self.machines)
        return None if broker is None else broker.node_id

    @property
    def machines(self) -> list[Machine]:
        """The machines of the brokers."""
        return [self.engine.machines[node] for node in self.brokers]

    @property
    def running(self) -> tuple[NodeId, ...]:
        """The brokers whose process runs, paused or not."""
        return tuple(machine.node_id for machine in self.machines if machine.up)

    @property
    def record(self) -> PartitionState | None:
        """The metadata record as the store holds it now."""
        return self.engine.store.state

    @property
    def expectations(self) -> tuple[Expectation, ...]:
        """What was expected so far."""
        return tuple(self.expect.expectations)

    @property
    def isr(self) -> tuple[NodeId, ...]:
        """The recorded ISR."""
        return () if self.record is None else self.record.isr

    @property
    def leader_from(self) -> Offset | None:
        """Where the log of the leader ended when its epoch began, None while none leads."""
        broker = leader_among(self.machines)
        return None if broker is None or broker.leading is None else broker.leading.start

    def broker(self, node: NodeId) -> BrokerView:
        """Return what a broker is like now, whether it runs or not."""
        return view_of(self.engine.machines[node])

    def node(self, node: NodeId) -> Broker:
        """Return the live broker, for tests of the protocol; ValueError while it does not run."""
        broker = broker_on(self.engine.machines[node])
        if broker is None:
            raise ValueError(f"{node} is not running")
        return broker

    def log_of(self, node: NodeId) -> tuple[Batch, ...]:
        """Return the batches of a broker's log, including those that are being written."""
        return tuple(self.engine.machines[node].disk.tail.batches)

    def reached(self, situation: Situation) -> int:
        """Return how often the run has reached a situation so far."""
        return self.situations.counts[situation]

    def tell(self, text: str) -> None:
        """Add a line to the story."""
        self.narrative.tell(text)

    def figure(self, name: str, value: int) -> None:
        """Keep a number for the verdict."""
        self.own_figures[name] = value

    def acked_in(self, epoch: int) -> int:
        """How many records were confirmed so far in this leader epoch, to all producers."""
        return sum(
            len(sent.values)
            for producer in self.producers
            for sent in producer.acked
            if sent.epoch == epoch
        )

    def truncations_of(self, node: NodeId) -> tuple[tuple[Offset, Offset], ...]:
        """What a broker cut from its log so far: (end before, end after), in order."""
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
        """A producer that begins to send now, or with ``hold`` as much as its ``send`` says.

        It looks for the leader at ``first``, if named.

        ``values`` are the records, or how many to make up, or None for no end of them. With
        ``rate_per_s`` (records) it sends at that rate whatever happens, else as fast as answers
        come. Idempotent with acks=all.
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
        """A consumer that begins to poll now; -2 is the earliest offset, -1 the latest."""
        name = f"c{len(self.consumers) + 1}"
        machine = self._client(name, build_consumer, consumer_config(self.topology, start_offset))
        client = SimConsumer(machine, self.history)
        self.consumers.append(client)
        client.begin()
        return client

    # Time.

    def at(self, *, seconds: float) -> simpy.Event:
        """To be yielded: go on at this time since the start; at once if it is over."""
        return self.engine.clock.env.timeout(max(0, round(seconds * 1_000_000) - self.now_us))

    def sleep(self, *, seconds: float) -> simpy.Event:
        """To be yielded: go on after so long."""
        return self.engine.clock.env.timeout(round(seconds * 1_000_000))

    def until(
        self, holds: Callable[[], bool], *, within: Micros | None = None, what: str = ""
    ) -> simpy.Event:
        """To be yielded: go on when ``holds()`` is true, which is looked at after every event.

        Raises ExpectationFailed in the script if it takes longer than ``within`` microseconds.
        """
        limit = f"{(within or 0) / 1e6:g} s"
        failure = ExpectationFailed(
            f"Within {limit}: {what or name_of(holds)}", f"it within {limit}", "it did not come"
        )
        return self.loop.until(holds, within, lambda: failure)

    def until_ready(self, *, within: Micros = 10_000_000) -> Iterator[simpy.Event]:
        """To be yielded from: go on when somebody leads and all brokers are in the ISR."""
        yield self.until(
            lambda: self.leader is not None and self.isr == self.brokers,
            within=within,
            what="somebody leads, and all brokers are in the ISR",
        )

    def until_converged(self, *, within: Micros = 30_000_000) -> simpy.Event:
        """To be yielded: go on when all brokers hold the same committed log and are in the ISR."""

        def reason() -> str | None:
            outstanding = sum(producer.outstanding for producer in self.producers)
            return unconverged(self.engine, self.brokers, outstanding)

        def failure() -> Exception:
            return ExpectationFailed(
                "The cluster converges",
                f"all brokers to agree within {within / 1e6:g} s",
                reason() or "they agreed just now",
            )

        return self.loop.until(lambda: reason() is None, within, failure)

    def follow(self, plan: Iterable[Fault]) -> None:
        """Carry out a plan: each fault at its time."""
        plans.follow(self.faults, plan, self.brokers, lambda: self.leader)

    # Faults: each is described in yak_sim.world.faults.

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
        """This broker may halt; otherwise a halt ends the run and fails it."""
        self._halts_expected[node] = None
        for observer in self._observers:
            observer.allow_halt(node)

    # How it is put together.

    def _add_brokers(self, rules: Rules) -> None:
        """A machine for each broker; all of them start at time 0."""
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

    def _on_ended(self, node: NodeId, how: str, reason: str) -> None:
        match ProcessEnd(how):
            case ProcessEnd.FUSE:
                self.faults.on_fuse_burnt(node, int(reason))
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
