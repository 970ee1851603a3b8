"""The replay of a trace: new nodes receive the recorded events, and their effects are compared.

The effects of a step depend only on the state of the node, the time and the event. So the recorded
events, delivered to a new node of the same code at the recorded times, yield the recorded effects,
byte for byte. A difference means that the code has changed, the rules differ, or the recorded node
used some input that is not an event. Only the first difference of each start is reported, because
the later steps of that start depend on it.

A trace does not hold payloads; they are replaced by
:class:`~yak_core.encoding.json_scalars.Elided`, and no step reads them.
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
"""Maximum number of characters of an event or effect in a sentence."""
SHOWN_BEFORE: Final = 60
"""Number of characters shown before the first difference, if the text is shortened."""


@value
class Difference:
    """The first step of a start whose effects differ from the recorded ones.

    Events and effects are JSON text, as in a trace file. ``error`` is the reason if the step has
    no replayed effects, otherwise empty.
    """

    step: int
    t_us: Micros
    event: str
    recorded: tuple[str, ...]
    replayed: tuple[str, ...]
    error: str = ""

    @property
    def sentence(self) -> str:
        """The step, the event, and the first effect that differs, as recorded and as replayed."""
        where = f"step {self.step} at {self.t_us} us, {_shortened(self.event)}"
        if self.error:
            return f"{where}: {self.error}"
        at = 0
        while self.recorded[at : at + 1] == self.replayed[at : at + 1]:
            at += 1
        recorded = self.recorded[at] if at < len(self.recorded) else ""
        replayed = self.replayed[at] if at < len(self.replayed) else ""
        at_char = _first_difference(recorded, replayed) if recorded and replayed else 0
        return (
            f"{where}: effect {at + 1} was recorded as {_shortened(recorded, at_char)}, "
            f"but is replayed as {_shortened(replayed, at_char)}"
        )


@value
class Replayed:
    """The result for one start of a node.

    ``steps`` is the number of steps with the recorded effects before the first ``difference``.
    ``kind`` is broker, producer or consumer; empty if the start does not begin with ``Started``.
    """

    node: NodeId
    start: int
    kind: str
    steps: int
    difference: Difference | None


@value
class TraceReplay:
    """The result of the replay of one trace, up to the last line that was read.

    ``header``
        None if the file has no valid header.
    ``incomplete``
        The file has no footer; it was replayed up to its last complete line.
    ``dropped``
        Number of steps that are not in the trace because it had reached its limit.
    ``damage``
        The error that ended the replay; empty for an intact trace.
    ``at``, ``snapshot``
        The step requested by ``until``, None if the trace has no such step; and the snapshot of
        its node after this step, or at the first difference before it.
    """

    header: Header | None
    starts: tuple[Replayed, ...]
    steps: int
    dropped: int
    incomplete: bool
    damage: str = ""
    at: Step | None = None
    snapshot: Snapshot | None = None

    @property
    def identical(self) -> bool:
        """Whether the trace is intact and every step has the recorded effects."""
        return not self.damage and all(start.difference is None for start in self.starts)


class Replay:
    """Replays single steps in the order of the trace; ``rules`` are the rules of the brokers."""

    __slots__ = ("_starts", "_rules")

    def __init__(self, rules: Rules | None = None) -> None:
        self._rules = Rules() if rules is None else rules
        self._starts: dict[tuple[NodeId, int], _Start] = {}

    def replay_step(self, step: Step) -> None:
        """Replay one step."""
        key = (step.node, step.start)
        start = self._starts.get(key)
        if start is None:
            start = self._starts[key] = _Start(step.node, step.start, self._rules)
        start.replay_step(step)

    def results(self) -> tuple[Replayed, ...]:
        """Return the result of each start so far, in the order of their first steps."""
        return tuple([start.result() for start in self._starts.values()])

    def snapshot(self, node: NodeId, start: int) -> Snapshot | None:
        """Return the snapshot of a node now, or at its first difference.

        Return None if one of its steps raised, because the state after an exception is undefined.
        """
        found = self._starts[node, start]
        if found.machine is None or (found.difference is not None and found.difference.error):
            return None
        return found.machine.snapshot()


def replay_lines(
    lines: Iterable[bytes], rules: Rules | None = None, until: int | None = None
) -> TraceReplay:
    """Replay the lines of a trace file, complete or not, in constant memory.

    With ``until``, stop after the step of that number and take the snapshot of its node. A damaged
    trace is reported in the result. Raises only what the iteration over ``lines`` raises.
    """
    try:
        reader = TraceReader(lines, incomplete=True)
    except TraceError as error:
        return TraceReplay(None, (), 0, 0, incomplete=False, damage=str(error))
    if reader.schema != SCHEMA:
        damage = (
            f"cannot replay a trace of schema {reader.schema}, whose effects have other names; "
            f"record the run again with schema {SCHEMA}"
        )
        return TraceReplay(reader.header, (), 0, 0, incomplete=False, damage=damage)
    replay = Replay(rules)
    damage = ""
    steps = 0
    at: Step | None = None
    try:
        for found in reader:
            if isinstance(found, Fault):
                continue
            replay.replay_step(found)
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
        reader.was_incomplete,
        damage,
        at,
        snapshot,
    )


class _Start:
    """One start of a node."""

    __slots__ = ("_rules", "difference", "kind", "start", "machine", "node", "steps")

    def __init__(self, node: NodeId, start: int, rules: Rules) -> None:
        self.node = node
        self.start = start
        self.kind = ""
        self.steps = 0
        self.difference: Difference | None = None
        self.machine: Node | None = None
        self._rules = rules

    def replay_step(self, step: Step) -> None:
        """Replay one step and compare its effects, unless an earlier step differed."""
        if self.difference is not None:
            return
        if self.machine is None and not isinstance(step.event, Started):
            error = f"start {self.start} of {self.node} does not begin with Started"
            self.difference = _difference(step, (), error)
            return
        try:
            effects = self._effects(step)
            replayed = tuple([EFFECT.encode(effect) for effect in effects])
        except Exception as raised:  # A difference: a step that raises has no recorded effects.
            error = f"the replayed step raises {type(raised).__name__}: {raised}"
            self.difference = _difference(step, (), error)
            return
        recorded = tuple([EFFECT.encode(effect) for effect in step.effects])
        if recorded == replayed:
            self.steps += 1
        else:
            self.difference = _difference(step, replayed, "")

    def result(self) -> Replayed:
        """Return the result so far."""
        return Replayed(self.node, self.start, self.kind, self.steps, self.difference)

    def _effects(self, step: Step) -> list[Effect]:
        event = step.event
        if self.machine is not None:
            return self.machine.step(step.t_us, event)
        assert isinstance(event, Started)
        self.kind, build = _builder(event.config, self._rules)
        self.machine, effects = build(step.t_us, event)
        return effects


def _builder(config: Config, rules: Rules) -> tuple[str, Build]:
    """Return the kind of node that has this configuration, and its build function."""
    if isinstance(config, BrokerConfig):
        return "broker", build_broker(rules)
    if isinstance(config, ProducerConfig):
        return "producer", build_producer
    return "consumer", build_consumer


def _difference(step: Step, replayed: tuple[str, ...], error: str) -> Difference:
    recorded = tuple([EFFECT.encode(effect) for effect in step.effects])
    return Difference(step.i, step.t_us, EVENT.encode(step.event), recorded, replayed, error)


def _first_difference(one: str, other: str) -> int:
    """Return the index of the first character that differs."""
    at = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        at += 1
    return at


def _shortened(text: str, at: int = 0) -> str:
    """Return ``text``, shortened to at most SHOWN_MAX characters around index ``at``."""
    if not text:
        return "nothing"
    if len(text) <= SHOWN_MAX:
        return text
    start = max(0, min(at - SHOWN_BEFORE, len(text) - SHOWN_MAX))
    end = start + SHOWN_MAX
    return f"{'...' if start else ''}{text[start:end]}{'...' if end < len(text) else ''}"
