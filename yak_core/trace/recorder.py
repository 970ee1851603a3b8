"""The steps and faults of a run, kept in memory as references.

:meth:`Trace.record` is on the hot path of every step of every node, so it only stores a tuple.
:mod:`yak_core.trace.reader` makes the text, the vector clocks and the digest later.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from yak_core.contract.effects import Effect
from yak_core.contract.events import Event
from yak_core.ids import Micros, NodeId
from yak_core.value import value

STEPS_MAX: Final = 1_000_000
"""Default maximum number of steps kept; a step takes about 0.5 KB of memory."""


@value
class Header:
    """The origin of a trace, not covered by the digest. ``world`` is ``sim`` or ``net``."""

    world: str = "sim"
    scenario: str = ""
    seed: int = 0
    version: str = ""


@value
class Fault:
    """A fault injected at ``at_us``, with the names of a plan (docs/formats.md).

    ``for_us`` is the duration, None if it is not known in advance. ``details`` are (name, value)
    pairs.
    """

    at_us: Micros
    kind: str
    target: str = ""
    for_us: Micros | None = None
    details: tuple[tuple[str, int | str], ...] = ()


class Step(NamedTuple):
    """One step of one node. ``start`` counts the starts of the node id, from 1.

    ``cause`` is the number of the step whose effect caused the event, or -1. ``done`` is the number
    of effects that were carried out.
    """

    i: int
    t_us: Micros
    node: NodeId
    start: int
    event: Event
    effects: list[Effect]
    cause: int
    done: int

    @property
    def carried_out(self) -> list[Effect]:
        """The effects that were carried out: all, unless the node crashed within the step."""
        return self.effects[: self.done]


class Trace:
    """The steps and faults of one run, in order; a Recorder of a Host.

    At most ``limit`` steps are kept; ``dropped`` counts the later ones and is in the footer of the
    file.
    """

    __slots__ = ("_done", "_faults", "_steps", "dropped", "header", "limit")

    def __init__(self, header: Header | None = None, limit: int = STEPS_MAX) -> None:
        self.header = header or Header()
        self.limit = limit
        self.dropped = 0
        #: (time, node, start, event, effects, cause) of each step.
        self._steps: list[tuple[Micros, NodeId, int, Event, list[Effect], int]] = []
        #: Number of a step -> number of its effects that were carried out, if not all were.
        self._done: dict[int, int] = {}
        self._faults: list[tuple[int, Fault]] = []

    def record(
        self,
        t_us: Micros,
        node: NodeId,
        start: int,
        event: Event,
        effects: list[Effect],
        cause: int,
    ) -> int:
        """Keep a step and return its number, from 0. ``effects`` must not change afterwards."""
        steps = self._steps
        number = len(steps)
        if number >= self.limit:
            self.dropped += 1
            return number + self.dropped - 1
        steps.append((t_us, node, start, event, effects, cause))
        return number

    def carried_out(self, number: int, count: int) -> None:
        """Record that only the first ``count`` effects of step ``number`` were carried out."""
        if number < len(self._steps):
            self._done[number] = count

    def fault(self, fault: Fault) -> None:
        """Keep a fault at its place between the steps; ignore it once steps were dropped."""
        if not self.dropped:
            self._faults.append((len(self._steps), fault))

    def __len__(self) -> int:
        """Return the number of steps kept."""
        return len(self._steps)

    def __iter__(self) -> Iterator[Step]:
        """Iterate over the steps kept, in order."""
        return map(self.step, range(len(self._steps)))

    def step(self, i: int) -> Step:
        """Return step ``i``. Raises IndexError if it was not kept."""
        if i < 0:
            raise IndexError(i)
        t_us, node, start, event, effects, cause = self._steps[i]
        done = self._done.get(i, len(effects))
        return Step(i, t_us, node, start, event, effects, cause, done)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults, in order."""
        return tuple(fault for _, fault in self._faults)

    @property
    def fault_positions(self) -> tuple[int, ...]:
        """For each fault, the number of steps before it."""
        return tuple(position for position, _ in self._faults)
