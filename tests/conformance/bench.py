"""The bench that the contract's checks need: one world with instrumented nodes.

A bench has two broker places, n1 and n2, and runs probes on them. Its world is manual, simulated or
real: a check states what must happen, and a timeout in the world's own time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol, TypeAlias, TypeVar

from yak_core.batch import Batch, Builder, placed, seal, stamped
from yak_core.contract.effects import AppendLog, Effect, SendLog
from yak_core.contract.events import Called, Event, Received, Started, TimerFired
from yak_core.contract.host import Host
from yak_core.contract.messages import DescribeRequest, Replicate, ReplicateAck, Request
from yak_core.contract.node import Node, Snapshot
from yak_core.ids import BrokerEpoch, Epoch, LogGeneration, Micros, NodeId, OpId

CLIENT: Final = "p1"
"""The client of the broker n2."""

SECOND: Final = 1_000_000
"""In microseconds. The timeout of most checks."""


EventType = TypeVar("EventType", bound=Event)


class Violation(AssertionError):
    """The contract was broken."""


class Probe:
    """A node that records its events and issues the effects that a check sets.

    ``seen`` are (now, event). :meth:`on` sets the effects for matching events; ``raises`` is raised
    in the matching step.
    """

    def __init__(self) -> None:
        self.seen: list[tuple[Micros, Event]] = []
        self.stepping = False
        self.now: Micros = 0
        self._plans: list[tuple[Callable[[Event], bool], Callable[[], list[Effect]]]] = []

    def step(self, now: Micros, event: Event) -> list[Effect]:
        if self.stepping:
            raise Violation("a step began within a step of the same node")
        self.stepping = True
        self.now = now
        self.seen.append((now, event))
        try:
            return [effect for matches, plan in self._plans if matches(event) for effect in plan()]
        finally:
            self.stepping = False

    def snapshot(self) -> Snapshot:
        return Snapshot("probe", (("seen", len(self.seen)),))

    def fork(self) -> Probe:
        other = Probe()
        other.seen = list(self.seen)
        other.now = self.now
        other._plans = list(self._plans)
        return other

    def on(self, matches: Callable[[Event], bool], plan: Callable[[], list[Effect]]) -> None:
        """Issue the effects of ``plan`` for each matching event from now on."""
        self._plans.append((matches, plan))

    def events(self, kind: type[EventType]) -> list[EventType]:
        """Return the events of one type, in order."""
        return [event for _, event in self.seen if isinstance(event, kind)]

    def times(self, key: str) -> list[Micros]:
        """Return the times at which the timer fired."""
        return [now for now, event in self.seen if event == TimerFired(key)]

    def started(self) -> Started:
        """Return the first event."""
        event = self.seen[0][1]
        assert isinstance(event, Started)
        return event


class Monitor:
    """Recorder and observer of all hosts: no step starts before the effects of the last one."""

    def __init__(self) -> None:
        self.steps: list[tuple[NodeId, int, Micros, Event]] = []
        self.broken: list[str] = []
        self._open: dict[NodeId, Event] = {}
        self.raising: Exception | None = None
        """Raised at the next call of a node."""

    def record(
        self,
        t_us: Micros,
        node: NodeId,
        start: int,
        event: Event,
        effects: list[Effect],
        cause: int,
    ) -> int:
        if node in self._open:
            self.broken.append(f"{event} arrived among the effects of {self._open[node]}")
        self._open[node] = event
        self.steps.append((node, start, t_us, event))
        return len(self.steps) - 1

    def carried_out(self, number: int, count: int) -> None:
        """Check that every effect of the step was executed."""

    def after_step(self, host: Host, now: Micros, event: Event, effects: list[Effect]) -> None:
        self._open.pop(host.node_id, None)
        if self.raising is not None and isinstance(event, Called):
            raise self.raising

    def taken_by(self, node: NodeId) -> list[Event]:
        """Return the events of the node over all starts."""
        return [event for name, _, _, event in self.steps if name == node]


class Bench(Protocol):
    """One world with the places n1 and n2, and a client p1 of n2.

    ``answers`` are the answers to :meth:`call`, in order.
    ``sent_to`` in :meth:`cut_store` and :meth:`lose_replies` lasts until :meth:`heal_store`.
    """

    monitor: Monitor
    answers: list[object]
    haste: int
    """Divides the waits in which nothing must happen, which cost real time in a real world."""
    patience: int
    """Multiplies timeouts, since a real machine may be busy."""

    def start(self, node_id: NodeId, node: Node) -> None:
        """Start this node object on the place's disk."""
        ...

    def start_client(self, node: Node) -> None:
        """Start this node object as the client p1, which can send requests to n2."""
        ...

    def crash(self, node_id: NodeId) -> None:
        """Drop the node and all state that is not durable, as a power failure does."""
        ...

    def kill(self, node_id: NodeId) -> None:
        """End the node's process; its machine goes on."""
        ...

    def is_up(self, node_id: NodeId) -> bool:
        """Return whether a node runs."""
        ...

    def call(self, node_id: NodeId, request: Request) -> None:
        """Make a client's call; ``Called`` is delivered at once or soon."""
        ...

    def run_until(self, condition: Callable[[], bool], within_us: Micros) -> bool:
        """Run the world until the condition holds; return False on a timeout.

        Raises the exception of a node's step.
        """
        ...

    def stall_disk(self, node_id: NodeId) -> None:
        """Hold writes from now on, but not reads."""
        ...

    def release_disk(self, node_id: NodeId) -> None:
        """Release the held writes."""
        ...

    def fill_disk(self, node_id: NodeId) -> None:
        """Fail appends with NoSpace from now on."""
        ...

    def cut_store(self) -> None:
        """Disconnect the store."""
        ...

    def lose_replies(self, node_id: NodeId) -> None:
        """Lose the store's replies to the node."""
        ...

    def heal_store(self) -> None:
        """Connect the store again."""
        ...

    def heal_network(self) -> None:
        """End the faults of a stormy network and deliver the messages that it holds."""
        ...


Maker: TypeAlias = Callable[[bool], Bench]
"""Makes a fresh bench; with True, its network drops, duplicates and reorders messages."""


class Orders:
    """Makes a probe issue effects, each by a client's call.

    Ids of disk operations are counted here, as a node counts its own.
    """

    def __init__(self, bench: Bench, node_id: NodeId, probe: Probe) -> None:
        self.bench = bench
        self.node_id = node_id
        self.probe = probe
        self.ops = 0
        self._orders = 0

    def op(self) -> OpId:
        """Return a fresh operation id."""
        self.ops += 1
        return OpId(self.ops)

    def give(self, *effects: Effect) -> Micros:
        """Issue exactly these effects in one step; return its time."""
        self._orders += 1
        request = DescribeRequest(self._orders)

        def orders(event: Event) -> bool:
            return isinstance(event, Called) and event.request == request

        self.probe.on(orders, lambda: list(effects))
        self.bench.call(self.node_id, request)
        seen = self.probe.seen
        happened(self.bench, lambda: any(orders(event) for _, event in seen), "the call")
        return next(now for now, event in seen if orders(event))


def happened(
    bench: Bench, condition: Callable[[], bool], what: str, within_us: Micros = 5 * SECOND
) -> None:
    """Wait for a condition that the contract promises."""
    if not bench.run_until(condition, within_us * bench.patience):
        raise Violation(f"in vain: {what}")
    intact(bench)


def quiet(bench: Bench, for_us: Micros = 2 * SECOND) -> None:
    """Run the world for a while."""
    bench.run_until(lambda: False, for_us // bench.haste)
    intact(bench)


def intact(bench: Bench) -> None:
    """Check that the monitor saw no violation."""
    if bench.monitor.broken:
        raise Violation(bench.monitor.broken[0])


def start_both(bench: Bench) -> tuple[Probe, Probe]:
    """Start a probe on each place."""
    one, two = Probe(), Probe()
    bench.start("n1", one)
    bench.start("n2", two)
    happened(bench, lambda: bool(one.seen) and bool(two.seen), "both nodes started")
    return one, two


def ready(maker: Maker) -> tuple[Bench, Probe, Probe, Orders]:
    """Return a bench with a fair network, its probes, and the orders of the first one."""
    bench = maker(False)
    one, two = start_both(bench)
    return bench, one, two, Orders(bench, "n1", one)


def ready_client(maker: Maker) -> tuple[Bench, Probe, Orders]:
    """Return a bench with a fair network, a client of n2, and the orders of this client."""
    bench = maker(False)
    start_both(bench)
    client = Probe()
    bench.start_client(client)
    happened(bench, lambda: bool(client.seen), "the client started")
    return bench, client, Orders(bench, CLIENT, client)


def numbered(number: int) -> ReplicateAck:
    """Return a message with a number."""
    return ReplicateAck(Epoch(1), BrokerEpoch(1), number, number)


def arrived(probe: Probe) -> list[int]:
    """Return the numbers of the received messages, in order."""
    return [
        event.message.match
        for event in probe.events(Received)
        if isinstance(event.message, ReplicateAck)
    ]


def shipped_to(probe: Probe) -> list[tuple[Batch, ...]]:
    """Return the batches of the received Replicates, in order."""
    return [
        event.message.batches
        for event in probe.events(Received)
        if isinstance(event.message, Replicate)
    ]


def batch(at: int, epoch: int, *values: bytes) -> Batch:
    """Return a sealed and placed batch, with the position in its bytes as after a hop."""
    builder = Builder()
    for value in values:
        builder.append(value, timestamp_ms=0)
    sealed = seal(builder.build(), producer_id=-1, producer_epoch=-1, base_sequence=-1)
    there = placed(sealed, at, epoch)
    return replace(there, data=stamped(there))


FIRST = LogGeneration(0)


def append(op: OpId, *batches: Batch, generation: LogGeneration = FIRST) -> AppendLog:
    """Return an effect that appends batches."""
    return AppendLog(op, generation, batches)


def ship(
    op: OpId,
    start: int,
    end: int,
    *,
    generation: LogGeneration = FIRST,
    size: int = 1 << 20,
) -> SendLog:
    """Return an effect that sends [start, end) to n2."""
    header = Replicate(Epoch(1), "n1", 0, start, Epoch(-1), (), 0, 0, op)
    return SendLog(op, generation, "n2", header, start, end, size)
