"""Gives the recorded events to new nodes and compares what they order; must never do I/O.

A step is a function of the node's state, the time and the event, so the events of one start, given
to a new node of the same code at the recorded times, yield the recorded effects, byte for byte.
Where they do not, the code has changed since, its rules are others, or something got into a node
that is no event; the first such step of a start is told, and the rest of that start is left alone.

Payloads are not in a trace and not missed: they come back as
:class:`~yak_core.encoding.json_scalars.Elided`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from yak_core.broker.node import build_broker
from yak_core.clients.consumer import build_consumer
from yak_core.clients.producer import build_producer
from yak_core.config import BrokerConfig, Config, ProducerConfig
from yak_core.contract.effects import Effect
from yak_core.contract.events import Started
from yak_core.contract.node import Build, Node, Snapshot
from yak_core.ids import Micros, NodeId
from yak_core.rules import Rules
from yak_core.trace.reader import TraceError, TraceReader
from yak_core.trace.recorder import Fault, Header, Step
from yak_core.trace.writer import EFFECT, EVENT, SCHEMA
from yak_core.value import value

SHOWN_MAX: Final = 300
"""So much of an event or an effect is shown, around the place that matters."""
SHOWN_BEFORE: Final = 60


@value
class Difference:
    """The first step of a start that did not come out as recorded.

    Events and effects are as in a trace file. ``trouble`` says why there are no replayed effects.
    """

    step: int
    t_us: Micros
    event: str
    recorded: tuple[str, ...]
    replayed: tuple[str, ...]
    trouble: str = ""

    @property
    def sentence(self) -> str:
        """Step, event, what was recorded, what was replayed; shortened to the first difference."""
        where = f"step {self.step} at {self.t_us} us, {_shown(self.event)}"
        if self.trouble:
            return f"{where}: {self.trouble}"
        at = 0
        while self.recorded[at : at + 1] == self.replayed[at : at + 1]:
            at += 1
        recorded = self.recorded[at] if at < len(self.recorded) else ""
        replayed = self.replayed[at] if at < len(self.replayed) else ""
        apart = _apart(recorded, replayed) if recorded and replayed else 0
        return (
            f"{where}: effect {at + 1} was recorded as {_shown(recorded, apart)}, "
            f"but is replayed as {_shown(replayed, apart)}"
        )


@value
class Replayed:
    """One start of a node: how many of its steps came out as recorded, and the first that did not.

    ``kind`` is broker, producer or consumer; empty when the start does not begin with ``Started``.
    """

    node: NodeId
    start: int
    kind: str
    steps: int
    difference: Difference | None


@value
class TraceReplay:
    """What the replay of one trace came to; everything is about what was read of it.

    ``damage`` is a sentence on why it ended early, empty for a trace that is intact. A trace that
    was cut short is intact up to its last whole line. ``header`` is None when there is none.
    ``at`` is the step that was asked for (None: no such step), ``snapshot`` its node behind it, or
    at its first difference before it.
    """

    header: Header | None
    starts: tuple[Replayed, ...]
    steps: int
    dropped: int
    cut_short: bool
    damage: str = ""
    at: Step | None = None
    snapshot: Snapshot | None = None

    @property
    def identical(self) -> bool:
        """Whether the trace is intact and every step of it came out as recorded."""
        return not self.damage and all(start.difference is None for start in self.starts)


class Replay:
    """Replays steps as they are given, in the order of the trace; ``rules`` are the brokers'."""

    __slots__ = ("_starts", "_rules")

    def __init__(self, rules: Rules | None = None) -> None:
        self._rules = Rules() if rules is None else rules
        self._starts: dict[tuple[NodeId, int], _Start] = {}

    def take(self, step: Step) -> None:
        """Replay one step in the start that it belongs to."""
        key = (step.node, step.start)
        start = self._starts.get(key)
        if start is None:
            start = self._starts[key] = _Start(step.node, step.start, self._rules)
        start.take(step)

    def results(self) -> tuple[Replayed, ...]:
        """What came of each start so far, in the order of their first steps."""
        return tuple([start.result() for start in self._starts.values()])

    def snapshot(self, node: NodeId, start: int) -> Snapshot | None:
        """What a node is like now, or at its first difference; None when one of its steps raised.

        What a step leaves behind that raised is no state of a node.
        """
        found = self._starts[node, start]
        if found.made is None or (found.difference is not None and found.difference.trouble):
            return None
        return found.made.snapshot()


def replay_lines(
    lines: Iterable[bytes], rules: Rules | None = None, until: int | None = None
) -> TraceReplay:
    """Replay the lines of a trace file, whole or cut short, without keeping them.

    With ``until``, stop behind the step of that number and take the snapshot of its node. What is
    no intact trace is in the result; nothing is raised but what ``lines`` raises.
    """
    try:
        reader = TraceReader(lines, cut_short=True)
    except TraceError as error:
        return TraceReplay(None, (), 0, 0, cut_short=False, damage=str(error))
    if reader.schema != SCHEMA:
        damage = (
            f"The trace has schema {reader.schema}, which has other names for what nodes order: "
            f"only schema {SCHEMA} can be replayed, so record the run anew."
        )
        return TraceReplay(reader.header, (), 0, 0, cut_short=False, damage=damage)
    replay = Replay(rules)
    damage = ""
    steps = 0
    at: Step | None = None
    try:
        for found in reader:
            if isinstance(found, Fault):
                continue
            replay.take(found)
            steps += 1
            if found.i == until:
                at = found
                break
    except TraceError as error:
        damage = str(error)
    snapshot = None if at is None else replay.snapshot(at.node, at.start)
    return TraceReplay(
        reader.header,
        replay.results(),
        steps,
        reader.dropped,
        reader.was_cut_short,
        damage,
        at,
        snapshot,
    )


class _Start:
    """One start of a node."""

    __slots__ = ("_rules", "difference", "kind", "start", "made", "node", "steps")

    def __init__(self, node: NodeId, start: int, rules: Rules) -> None:
        self.node = node
        self.start = start
        self.kind = ""
        self.steps = 0
        self.difference: Difference | None = None
        self.made: Node | None = None
        self._rules = rules

    def take(self, step: Step) -> None:
        """Compare one more step, unless there was a difference already."""
        if self.difference is not None:
            return
        if self.made is None and not isinstance(step.event, Started):
            trouble = f"start {self.start} of {self.node} does not begin with Started"
            self.difference = _difference(step, (), trouble)
            return
        try:
            effects = self._effects(step)
            replayed = tuple([EFFECT.encode(effect) for effect in effects])
        except Exception as error:  # A step that raised was never recorded.
            trouble = f"it raises {type(error).__name__}: {error}"
            self.difference = _difference(step, (), trouble)
            return
        recorded = tuple([EFFECT.encode(effect) for effect in step.effects])
        if recorded == replayed:
            self.steps += 1
        else:
            self.difference = _difference(step, replayed, "")

    def result(self) -> Replayed:
        """What came of it so far."""
        return Replayed(self.node, self.start, self.kind, self.steps, self.difference)

    def _effects(self, step: Step) -> list[Effect]:
        event = step.event
        if self.made is not None:
            return self.made.step(step.t_us, event)
        assert isinstance(event, Started)
        self.kind, build = _builder(event.config, self._rules)
        self.made, effects = build(step.t_us, event)
        return effects


def _builder(config: Config, rules: Rules) -> tuple[str, Build]:
    """The kind of node that has this configuration, and what makes one."""
    if isinstance(config, BrokerConfig):
        return "broker", build_broker(rules)
    if isinstance(config, ProducerConfig):
        return "producer", build_producer
    return "consumer", build_consumer


def _difference(step: Step, replayed: tuple[str, ...], trouble: str) -> Difference:
    recorded = tuple([EFFECT.encode(effect) for effect in step.effects])
    return Difference(step.i, step.t_us, EVENT.encode(step.event), recorded, replayed, trouble)


def _apart(one: str, other: str) -> int:
    """Where two different texts begin to differ."""
    at = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        at += 1
    return at


def _shown(text: str, at: int = 0) -> str:
    """A part of ``text`` around ``at``, or all of it when it is short."""
    if not text:
        return "nothing"
    if len(text) <= SHOWN_MAX:
        return text
    start = max(0, min(at - SHOWN_BEFORE, len(text) - SHOWN_MAX))
    end = start + SHOWN_MAX
    return f"{'...' if start else ''}{text[start:end]}{'...' if end < len(text) else ''}"
