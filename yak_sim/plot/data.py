"""The data of a plot: offsets, leaders, ISR and faults over time, read from a trace.

The trace is read in one pass. The log end offset (LEO) follows the AppendLog and TruncateLog
effects of a broker, and the high watermark (HW) follows its notes; both start with the recovered
values. If several brokers report the same partition state or leader, the first report counts. All
times are in microseconds.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from yak_core.config import BrokerConfig
from yak_core.contract.client_calls import SendBatch, SendResult
from yak_core.contract.effects import Answer, AppendLog, Effect, Exit, Halt, Observe, TruncateLog
from yak_core.contract.events import Called, MetaReply, Started
from yak_core.contract.messages import ProduceRequest, ProduceResponse
from yak_core.contract.notes import (
    BecameFollower,
    BecameLeader,
    HighWatermarkAdvanced,
    IsrExpanded,
    IsrShrunk,
    Note,
    SteppedDown,
)
from yak_core.errors import Outcome
from yak_core.ids import Epoch, Micros, NodeId, Offset
from yak_core.metadata.store_calls import Refused, Unknown
from yak_core.trace.recorder import Fault, Step, Trace

Points: TypeAlias = list[tuple[Micros, Offset | None]]
"""(time, value from this time on); None while the broker is down."""

HW_KEY: Final = "hw"
"""The key under which a broker saves its high watermark, in decimal digits."""

OPEN: Final[Micros] = sys.maxsize
"""The end time of a span that has not ended."""

ENDED_BY: Final[dict[str, tuple[str, ...]]] = {
    "restart": ("crash",),
    "resume": ("pause",),
    "store_back": ("store_outage",),
    "crash": ("pause", "stall_disk"),
}
"""The faults that each kind ends on the same target; ``heal`` ends all network faults on it."""

ENDINGS: Final = ("heal", "restart", "resume", "store_back")
"""Kinds that only end other faults."""

NOT_ON_LINKS: Final = ("crash", "pause", "store_outage", "stall_disk", "fill_disk")
"""Kinds with a duration that ``heal`` does not end, because they are not on a link."""

WITHOUT_DURATION: Final = ("reset", "lose_request", "lose_reply")
"""Kinds without a duration, unless the fault has ``for_us``."""

ENDS_PROCESS: Final = ("crash", "crash_within_step", "stop")
"""Kinds that end a process: they last while it is down."""


@dataclass(slots=True)
class Span:
    """A time span from ``start_us`` to ``end_us``."""

    start_us: Micros
    end_us: Micros


@dataclass(slots=True)
class Leadership(Span):
    """The time for which a broker acted as leader of an epoch."""

    node: NodeId
    epoch: Epoch


@dataclass(slots=True)
class FaultSpan(Span):
    """A fault with its time span; start and end are equal if it has no duration."""

    kind: str
    target: str


@dataclass(slots=True)
class Ack(Span):
    """A batch, from the send call to its result. ``offset`` is -1 if unknown."""

    count: int
    offset: Offset
    outcome: Outcome


@dataclass(slots=True)
class Truncation:
    """A truncation of a log from ``before`` to ``end``."""

    at_us: Micros
    before: Offset
    end: Offset


@dataclass(slots=True)
class Crash:
    """A crash of a broker, with the LEO and HW of the broker at that time."""

    at_us: Micros
    leo: Offset
    hw: Offset


@dataclass(slots=True)
class BrokerData:
    """The history of one broker and its log."""

    node: NodeId
    leo: Points = field(default_factory=list)
    hw: Points = field(default_factory=list)
    up: list[Span] = field(default_factory=list)
    leaderships: list[Leadership] = field(default_factory=list)
    truncations: list[Truncation] = field(default_factory=list)
    crashes: list[Crash] = field(default_factory=list)


@dataclass(slots=True)
class PlotData:
    """The data of a plot. ``isr`` holds (time, members from this time on).

    ``leaderships`` holds those of all brokers by epoch; each ends when the next epoch begins.
    """

    start_us: Micros
    end_us: Micros
    brokers: list[BrokerData]
    leaderships: list[Leadership]
    isr: list[tuple[Micros, tuple[NodeId, ...]]]
    faults: list[FaultSpan]
    acks: list[Ack]
    dropped: int
    min_isr: int

    def leaderless(self) -> list[Span]:
        """Return the spans without a leader. A deposed or crashed leader does not count."""
        gaps: list[Span] = []
        free_us = self.start_us
        for leadership in self.leaderships:
            if leadership.start_us > free_us:
                gaps.append(Span(free_us, leadership.start_us))
            free_us = max(free_us, min(leadership.end_us, self.end_us))
        if self.end_us > free_us:
            gaps.append(Span(free_us, self.end_us))
        return gaps


def value_at(points: Points, at_us: Micros) -> Offset | None:
    """Return the value of a curve at a time, None before its first point."""
    found = bisect_right(points, at_us, key=lambda point: point[0])
    return points[found - 1][1] if found else None


def plot_data_of(trace: Trace) -> PlotData:
    """Return the plot data of a trace. The data of an empty trace is empty."""
    reader = _Reader()
    faults = list(zip(trace.fault_positions, trace.faults, strict=True))
    at = 0
    for step in trace:
        while at < len(faults) and faults[at][0] <= step.i:
            reader.on_fault(faults[at][1])
            at += 1
        reader.on_step(step)
    for _, fault in faults[at:]:
        reader.on_fault(fault)
    start_us = trace.step(0).t_us if len(trace) and trace.header.world == "net" else 0
    end_us = max(start_us, reader.now)
    brokers = sorted(reader.brokers.values(), key=lambda broker: (len(broker.node), broker.node))
    for broker in brokers:
        reader.end_process(broker, end_us)
    return PlotData(
        start_us,
        end_us,
        brokers,
        _leaderships_by_epoch(brokers),
        reader.isr,
        _fault_spans(trace.faults, brokers, end_us),
        reader.acks or reader.broker_acks,
        trace.dropped,
        reader.min_isr,
    )


class _Reader:
    """Collects the plot data from the steps and faults of a trace."""

    def __init__(self) -> None:
        self.now: Micros = 0
        self.brokers: dict[NodeId, BrokerData] = {}
        self.isr: list[tuple[Micros, tuple[NodeId, ...]]] = []
        self.acks: list[Ack] = []
        self.broker_acks: list[Ack] = []
        self.min_isr = 0
        self._partition_epoch = -1
        self._pending_calls: dict[tuple[NodeId, int, int], tuple[Micros, int]] = {}
        self._last_step: dict[NodeId, Micros] = {}
        self._alive: dict[NodeId, bool] = {}
        self._leading: dict[NodeId, Leadership] = {}

    def on_step(self, step: Step) -> None:
        """Process the next step."""
        self.now = max(self.now, step.t_us)
        event, node = step.event, step.node
        if isinstance(event, Started):
            if isinstance(event.config, BrokerConfig):
                self.min_isr = event.config.min_isr
                self._on_started(node, event)
        elif isinstance(event, Called):
            if isinstance(event.request, SendBatch | ProduceRequest):
                key = (node, step.start, event.call)
                self._pending_calls[key] = (step.t_us, event.request.batch.count)
        elif isinstance(event, MetaReply):
            self._on_meta_reply(event)
        self._last_step[node] = step.t_us
        for effect in step.effects:
            if isinstance(effect, Answer):
                self._on_answer(step, effect)
            elif node in self.brokers:
                self._on_effect(self.brokers[node], effect)

    def on_fault(self, fault: Fault) -> None:
        """Process the next fault. A crash is a fault only; the broker has no step for it."""
        self.now = max(self.now, fault.at_us)
        broker = self.brokers.get(fault.target)
        if fault.kind == "crash" and broker is not None and self._alive[broker.node]:
            leo, hw = broker.leo[-1][1], broker.hw[-1][1]
            assert leo is not None
            assert hw is not None
            broker.crashes.append(Crash(fault.at_us, leo, hw))
            self.end_process(broker, fault.at_us)

    def end_process(self, broker: BrokerData, at_us: Micros) -> None:
        """End the current process of a broker, if it is running."""
        if self._alive.get(broker.node):
            self._alive[broker.node] = False
            broker.up[-1].end_us = at_us
            broker.leo.append((at_us, None))
            broker.hw.append((at_us, None))
            self._end_leadership(broker, at_us)

    def _end_leadership(self, broker: BrokerData, at_us: Micros) -> None:
        leadership = self._leading.pop(broker.node, None)
        if leadership is not None:
            leadership.end_us = at_us

    def _on_started(self, node: NodeId, event: Started) -> None:
        broker = self.brokers.setdefault(node, BrokerData(node))
        self.end_process(broker, self._last_step.get(node, self.now))
        self._alive[node] = True
        recovered = event.recovered
        saved = dict(recovered.saved).get(HW_KEY, b"")
        hw = int(saved) if saved.isdigit() else recovered.log_start
        broker.up.append(Span(self.now, self.now))
        broker.leo.append((self.now, recovered.leo))
        broker.hw.append((self.now, min(hw, recovered.leo)))

    def _on_meta_reply(self, event: MetaReply) -> None:
        outcome = event.outcome
        if not isinstance(outcome, Unknown):
            value = outcome.current if isinstance(outcome, Refused) else outcome.value
            if value.state is not None:
                self._on_isr(value.state.partition_epoch, value.state.isr)

    def _on_isr(self, partition_epoch: int, isr: tuple[NodeId, ...]) -> None:
        if partition_epoch > self._partition_epoch:
            self._partition_epoch = partition_epoch
            if not self.isr or self.isr[-1][1] != isr:
                self.isr.append((self.now, isr))

    def _on_answer(self, step: Step, effect: Answer) -> None:
        result = effect.result
        if not isinstance(result, SendResult | ProduceResponse):
            return
        at_us, count = self._pending_calls.pop((step.node, step.start, effect.call), (step.t_us, 0))
        ack = Ack(at_us, step.t_us, count, result.base_offset, result.outcome)
        (self.acks if isinstance(result, SendResult) else self.broker_acks).append(ack)

    def _on_effect(self, broker: BrokerData, effect: Effect) -> None:
        if isinstance(effect, AppendLog):
            if effect.batches:
                broker.leo.append((self.now, effect.batches[-1].end))
        elif isinstance(effect, TruncateLog):
            before = broker.leo[-1][1]
            if before is not None and before > effect.end:
                broker.truncations.append(Truncation(self.now, before, effect.end))
                broker.leo.append((self.now, effect.end))
        elif isinstance(effect, Halt | Exit):
            self.end_process(broker, self.now)
        elif isinstance(effect, Observe):
            self._on_note(broker, effect.note)

    def _on_note(self, broker: BrokerData, note: Note) -> None:
        if isinstance(note, HighWatermarkAdvanced):
            broker.hw.append((self.now, note.hw))
        elif isinstance(note, BecameLeader):
            self._end_leadership(broker, self.now)
            leadership = Leadership(self.now, OPEN, broker.node, note.epoch)
            self._leading[broker.node] = leadership
            broker.leaderships.append(leadership)
        elif isinstance(note, SteppedDown | BecameFollower):
            self._end_leadership(broker, self.now)
        elif isinstance(note, IsrShrunk | IsrExpanded):
            self._on_isr(note.partition_epoch, note.isr)


def _leaderships_by_epoch(brokers: list[BrokerData]) -> list[Leadership]:
    """Return all leaderships by epoch; each ends at the latest when the next begins."""
    leaderships = sorted(
        (leadership for broker in brokers for leadership in broker.leaderships),
        key=lambda leadership: (leadership.epoch, leadership.start_us),
    )
    ends = [leadership.start_us for leadership in leaderships[1:]] + [OPEN] * bool(leaderships)
    return [
        Leadership(each.start_us, max(each.start_us, min(each.end_us, end)), each.node, each.epoch)
        for each, end in zip(leaderships, ends, strict=True)
    ]


def _fault_spans(
    faults: tuple[Fault, ...], brokers: list[BrokerData], end_us: Micros
) -> list[FaultSpan]:
    """Return the faults with their extents: the planned end, or an earlier end.

    A crash or a stop lasts from the end of the process to its next start.
    """
    spans: list[FaultSpan] = []
    up_spans = {broker.node: broker.up for broker in brokers}
    for fault in faults:
        _end_spans(spans, fault)
        if fault.kind in ENDINGS:
            continue
        if fault.kind in ENDS_PROCESS:
            start_us, until = _down_span(fault, up_spans.get(fault.target, []), end_us)
            spans.append(FaultSpan(start_us, until, fault.kind, fault.target))
            continue
        until = end_us
        if fault.for_us is not None:
            until = min(until, fault.at_us + fault.for_us)
        elif fault.kind in WITHOUT_DURATION:
            until = fault.at_us
        spans.append(FaultSpan(fault.at_us, until, fault.kind, fault.target))
    return spans


def _down_span(fault: Fault, up: list[Span], end_us: Micros) -> tuple[Micros, Micros]:
    """Return when the process that a fault ends is down; no duration if it goes on to run."""
    ended = [span.end_us for span in up if span.end_us >= fault.at_us]
    if not ended:
        return (fault.at_us, fault.at_us)
    if ended[0] >= end_us > fault.at_us:
        return (fault.at_us, fault.at_us)
    return (ended[0], next((span.start_us for span in up if span.start_us > ended[0]), end_us))


def _end_spans(spans: list[FaultSpan], fault: Fault) -> None:
    for span in spans:
        network = span.kind not in NOT_ON_LINKS if fault.kind == "heal" else False
        ended = network or span.kind in ENDED_BY.get(fault.kind, ())
        if ended and span.target == fault.target:
            span.end_us = min(span.end_us, max(fault.at_us, span.start_us))
