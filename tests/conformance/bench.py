"""What the contract's checks need of a world: a bench to try backends on; must never be a check.

A bench holds two broker places, n1 and n2, and puts instrumented nodes on them. Its world may be
by hand, simulated or real: a check only says what shall happen and how long it may take in the
world's own time.
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

SECOND: Final = 1_000_000
"""In microseconds. Patience of most checks: far more than anything should take."""


EventType = TypeVar("EventType", bound=Event)


class Violation(AssertionError):
    """The contract was broken."""


class Probe:
    """A node that does what a check tells it, and remembers what happened to it.

    ``seen`` are (now, event). :meth:`on` names effects for an event, by a predicate; ``raises``
    is raised out of the step that matches.
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
        """From now on, a matching event makes the node order what ``plan`` returns."""
        self._plans.append((matches, plan))

    def events(self, kind: type[EventType]) -> list[EventType]:
        """What was seen of one kind, in order."""
        return [event for _, event in self.seen if isinstance(event, kind)]

    def times(self, key: str) -> list[Micros]:
        """When the timer fired."""
        return [now for now, event in self.seen if event == TimerFired(key)]

    def started(self) -> Started:
        """The first event."""
        event = self.seen[0][1]
        assert isinstance(event, Started)
        return event


class Monitor:
    """Recorder and observer of all hosts: no step may begin before the last one's effects have."""

    def __init__(self) -> None:
        self.steps: list[tuple[NodeId, int, Micros, Event]] = []
        self.broken: list[str] = []
        self._open: dict[NodeId, Event] = {}
        self.raising: Exception | None = None
        """Raised at the next call that a node gets."""

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
            self.broken.append(f"{event} came amid the effects of {self._open[node]}")
        self._open[node] = event
        self.steps.append((node, start, t_us, event))
        return len(self.steps) - 1

    def carried_out(self, number: int, count: int) -> None:
        """Every effect of a step that went well is carried out."""

    def after_step(self, host: Host, now: Micros, event: Event, effects: list[Effect]) -> None:
        self._open.pop(host.node_id, None)
        if self.raising is not None and isinstance(event, Called):
            raise self.raising

    def taken_by(self, node: NodeId) -> list[Event]:
        """The events that the node's hosts gave it, through all starts."""
        return [event for name, _, _, event in self.steps if name == node]


class Bench(Protocol):
    """One world with the places n1 and n2. ``answers`` are the answers to :meth:`call`, in order.

    ``sent_to`` in :meth:`cut_store` and :meth:`lose_replies` lasts until :meth:`heal_store`.
    """

    monitor: Monitor
    answers: list[object]
    haste: int
    """Divides the time in which nothing shall happen: where time is real, it costs.

    It multiplies the time in which something shall: where time is real, others use the machine too.
    """

    def start(self, node_id: NodeId, node: Node) -> None:
        """Begin an incarnation with this node object on what the disk holds."""
        ...

    def crash(self, node_id: NodeId) -> None:
        """Lose the incarnation, and whatever is not durable."""
        ...

    def is_up(self, node_id: NodeId) -> bool:
        """Whether an incarnation runs."""
        ...

    def call(self, node_id: NodeId, request: Request) -> None:
        """A client asks; ``Called`` is delivered at once or soon."""
        ...

    def run_until(self, condition: Callable[[], bool], within_us: Micros) -> bool:
        """Let the world go on until the condition holds; False if it does not in time.

        Raises what a node's step raised.
        """
        ...

    def stall_disk(self, node_id: NodeId) -> None:
        """Writing orders wait from now on; reads do not."""
        ...

    def release_disk(self, node_id: NodeId) -> None:
        """Orders go on."""
        ...

    def fill_disk(self, node_id: NodeId) -> None:
        """Appends find no space from now on."""
        ...

    def cut_store(self) -> None:
        """Calls do not reach the store."""
        ...

    def lose_replies(self, node_id: NodeId) -> None:
        """The node's calls reach the store, and its replies are lost."""
        ...

    def heal_store(self) -> None:
        """The store is in reach again."""
        ...

    def heal_network(self) -> None:
        """A stormy network is a fair one from now on, and what it still holds arrives."""
        ...


Maker: TypeAlias = Callable[[bool], Bench]
"""Makes a fresh bench; with True, its network loses, repeats and reorders messages."""


class Orders:
    """Makes a probe order things: each order is a client's call that the probe answers so.

    Ids of disk operations are counted here, as a node counts its own.
    """

    def __init__(self, bench: Bench, node_id: NodeId, probe: Probe) -> None:
        self.bench = bench
        self.node_id = node_id
        self.probe = probe
        self.ops = 0
        self._orders = 0

    def op(self) -> OpId:
        """A fresh operation id."""
        self.ops += 1
        return OpId(self.ops)

    def give(self, *effects: Effect) -> Micros:
        """Have one step order exactly these effects; return when that was, once it was taken."""
        self._orders += 1
        request = DescribeRequest(self._orders)

        def orders(event: Event) -> bool:
            return isinstance(event, Called) and event.request == request

        self.probe.on(orders, lambda: list(effects))
        self.bench.call(self.node_id, request)
        seen = self.probe.seen
        happened(self.bench, lambda: any(orders(event) for _, event in seen), "the node was asked")
        return next(now for now, event in seen if orders(event))


def happened(
    bench: Bench, condition: Callable[[], bool], what: str, within_us: Micros = 5 * SECOND
) -> None:
    """Wait for something that the contract promises."""
    if not bench.run_until(condition, within_us * bench.haste):
        raise Violation(f"in vain: {what}")
    intact(bench)


def quiet(bench: Bench, for_us: Micros = 2 * SECOND) -> None:
    """Let the world go on for a while."""
    bench.run_until(lambda: False, for_us // bench.haste)
    intact(bench)


def intact(bench: Bench) -> None:
    """Nothing that the monitor watches has been broken."""
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
    """A bench with a fair network, the probes on it, and orders for the first one."""
    bench = maker(False)
    one, two = start_both(bench)
    return bench, one, two, Orders(bench, "n1", one)


def numbered(number: int) -> ReplicateAck:
    """A message that can be told from others."""
    return ReplicateAck(Epoch(1), BrokerEpoch(1), number, number)


def arrived(probe: Probe) -> list[int]:
    """The numbers of the numbered messages that came, in order."""
    return [
        event.message.match
        for event in probe.events(Received)
        if isinstance(event.message, ReplicateAck)
    ]


def shipped_to(probe: Probe) -> list[tuple[Batch, ...]]:
    """The batches of the Replicates that came, in order."""
    return [
        event.message.batches
        for event in probe.events(Received)
        if isinstance(event.message, Replicate)
    ]


def batch(at: int, epoch: int, *values: bytes) -> Batch:
    """A sealed batch as a leader has placed it; its bytes say so, too, as they do after a hop."""
    builder = Builder()
    for value in values:
        builder.append(value, timestamp_ms=0)
    sealed = seal(builder.build(), producer_id=-1, producer_epoch=-1, base_sequence=-1)
    there = placed(sealed, at, epoch)
    return replace(there, data=stamped(there))


FIRST = LogGeneration(0)


def append(op: OpId, *batches: Batch, generation: LogGeneration = FIRST) -> AppendLog:
    """An order to write batches."""
    return AppendLog(op, generation, batches)


def ship(
    op: OpId,
    start: int,
    end: int,
    *,
    generation: LogGeneration = FIRST,
    size: int = 1 << 20,
) -> SendLog:
    """An order to send n2 what lies in [start, end)."""
    header = Replicate(Epoch(1), "n1", 0, start, Epoch(-1), (), 0, 0, op)
    return SendLog(op, generation, "n2", header, start, end, size)
