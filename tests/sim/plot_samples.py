"""Made-up runs for the tests of plots and run folders, made without the simulator."""

from __future__ import annotations

from tests.core.trace_samples import batch, record
from yak_core.config import MS, SECOND, BrokerConfig, ProducerConfig
from yak_core.contract.client_calls import SendBatch, SendResult
from yak_core.contract.effects import Answer, AppendLog, Effect, Observe, TruncateLog
from yak_core.contract.events import Called, Event, MetaReply, Recovered, Started, TimerFired
from yak_core.contract.notes import (
    BecameFollower,
    BecameLeader,
    HighWatermarkAdvanced,
    IsrExpanded,
    IsrShrunk,
    Note,
)
from yak_core.errors import ErrorCode, Outcome
from yak_core.ids import CallId, Epoch, LogGeneration, Micros, NodeId, Offset, OpId
from yak_core.metadata.store_calls import MetaValue, StoreOk
from yak_core.trace.recorder import Fault, Header, Trace

TICK = TimerFired("tick")


class Tale:
    """Builds a trace: steps are added in any order and sorted by time at the end."""

    def __init__(self, nodes: int, scenario: str = "made_up", seed: int = 7) -> None:
        self.header = Header("sim", scenario, seed, "0")
        self.nodes = tuple(f"n{number}" for number in range(1, nodes + 1))
        self._happened: list[tuple[Micros, int, NodeId, Event, list[Effect]]] = []
        self._faults: list[Fault] = []
        self._calls = 0
        self._starts: dict[NodeId, int] = {}

    def step(self, at: Micros, node: NodeId, event: Event, *effects: Effect) -> None:
        """Add a step."""
        self._happened.append((at, len(self._happened), node, event, list(effects)))

    def start(self, at: Micros, node: NodeId, leo: Offset = 0, hw: Offset = 0) -> None:
        """Start a broker with a log."""
        saved = (("hw", str(hw).encode()),)
        self.step(
            at, node, Started(node, BrokerConfig(self.nodes), 1, Recovered(leo=leo, saved=saved))
        )

    def note(self, at: Micros, node: NodeId, *notes: Note) -> None:
        """Add notes of a broker."""
        self.step(at, node, TICK, *(Observe(note) for note in notes))

    def append(self, at: Micros, node: NodeId, base: Offset, count: int, epoch: Epoch) -> None:
        """Append to a broker's log."""
        self.step(
            at, node, TICK, AppendLog(OpId(1), LogGeneration(0), (batch(base, epoch, count, b""),))
        )

    def truncate(self, at: Micros, node: NodeId, end: Offset) -> None:
        """Truncate a broker's log."""
        self.step(at, node, TICK, TruncateLog(OpId(1), LogGeneration(0), end))

    def isr(self, at: Micros, version: int, *members: NodeId) -> None:
        """Give a broker a partition state with this ISR."""
        value = MetaValue(record(version, members[0], 1, members), False, ())
        self.step(at, members[0], MetaReply(CallId(1), StoreOk(value)))

    def ack(
        self, sent: Micros, at: Micros, base: Offset, count: int, outcome: Outcome = Outcome.WRITTEN
    ) -> None:
        """Send a batch of a producer and complete it."""
        self._calls += 1
        call = self._calls
        self.step(sent, "p1", Called(CallId(call), SendBatch(batch(base, 1, count, b"")), 0))
        error = ErrorCode.NONE if outcome is Outcome.WRITTEN else ErrorCode.REQUEST_TIMED_OUT
        self.step(at, "p1", TICK, Answer(CallId(call), SendResult(error, outcome, base, Epoch(1))))

    def fault(self, at: Micros, kind: str, target: str, for_us: Micros | None = None) -> None:
        """Add a fault."""
        self._faults.append(Fault(at, kind, target, for_us))

    def trace(self) -> Trace:
        """Return the trace in order of time."""
        trace = Trace(self.header)
        faults = sorted(self._faults, key=lambda fault: fault.at_us)
        client = Started("p1", ProducerConfig(self.nodes), 2, Recovered())
        trace.record(0, "p1", 1, client, [], -1)
        for at, _, node, event, effects in sorted(self._happened, key=lambda row: row[:2]):
            while faults and faults[0].at_us <= at:
                trace.fault(faults.pop(0))
            if isinstance(event, Started):
                self._starts[node] = self._starts.get(node, 0) + 1
            trace.record(at, node, self._starts.get(node, 1), event, effects, -1)
        for fault in faults:
            trace.fault(fault)
        return trace


def failover(per_second: int = 50, batch_count: int = 1) -> Trace:
    """Return eight seconds: n1 leads, lags in replication, crashes; n3 leads; n1 restarts."""
    tale = Tale(3, "leader_failover")
    for node in tale.nodes:
        tale.start(0, node)
    tale.note(30 * MS, "n1", BecameLeader(Epoch(1), 0), IsrExpanded(("n1",), ("n1",), 1))
    for node in ("n2", "n3"):
        tale.note(40 * MS, node, BecameFollower(Epoch(1), "n1"))
    tale.note(120 * MS, "n1", IsrExpanded(("n1", "n2", "n3"), ("n2", "n3"), 2))
    gap = SECOND // per_second
    base = 0
    at = 150 * MS
    while at < 2 * SECOND:
        slow = at > 1_900 * MS
        _one(tale, at, "n1", base, batch_count, Epoch(1), ("n2", "n3"), slow)
        base += batch_count
        at += gap
    tale.fault(1_900 * MS, "slow_link", "n1>n2,n3", 100 * MS)
    tale.fault(2 * SECOND, "crash", "n1")
    committed = sum(
        batch_count for sent in range(150 * MS, 1_900 * MS + 1, gap) if sent <= 1_900 * MS
    )
    start = 5_300 * MS
    tale.note(start, "n3", BecameLeader(Epoch(2), committed), IsrShrunk(("n2", "n3"), ("n1",), 4))
    tale.note(start + 20 * MS, "n2", BecameFollower(Epoch(2), "n3"))
    tale.fault(6_000 * MS, "restart", "n1")
    tale.start(6_000 * MS, "n1", base - batch_count, max(0, committed - batch_count))
    tale.note(6_050 * MS, "n1", BecameFollower(Epoch(2), "n3"))
    tale.truncate(6_060 * MS, "n1", committed)
    next_base = committed
    at = start + 50 * MS
    while at < 8 * SECOND:
        followers = ("n2", "n1") if at > 6_400 * MS else ("n2",)
        _one(tale, at, "n3", next_base, batch_count, Epoch(2), followers, False)
        next_base += batch_count
        at += gap
    missing = sum(1 for sent in range(start + 50 * MS, 6_400 * MS + 1, gap) if sent <= 6_400 * MS)
    for number in range(missing):
        when = 6_100 * MS + number * 250 * MS // missing
        tale.append(when, "n1", committed + number * batch_count, batch_count, Epoch(2))
        tale.note(when, "n1", HighWatermarkAdvanced(committed + (number + 1) * batch_count))
    tale.isr(6_420 * MS, 5, "n1", "n2", "n3")
    return tale.trace()


def _one(
    tale: Tale,
    at: Micros,
    leader: NodeId,
    base: Offset,
    count: int,
    epoch: Epoch,
    followers: tuple[NodeId, ...],
    slow: bool,
) -> None:
    """Add one batch: appended, replicated, committed, acknowledged."""
    tale.append(at, leader, base, count, epoch)
    if slow:
        return
    for number, node in enumerate(followers):
        tale.append(at + (4 + 3 * number) * MS, node, base, count, epoch)
    tale.note(at + 10 * MS, leader, HighWatermarkAdvanced(base + count))
    for number, node in enumerate(followers):
        tale.note(at + (14 + 3 * number) * MS, node, HighWatermarkAdvanced(base + count))
    tale.ack(at - 1 * MS, at + 12 * MS, base, count)
