"""What happened in a world, step by step, kept as references; must never do I/O or write text.

:meth:`Trace.record` is on the hot path of every step of every node, so it keeps a tuple and
returns. Text, vector clocks and the digest are made afterwards, in :mod:`yak_core.trace.reader`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from yak_core.contract.effects import Effect
from yak_core.contract.events import Event
from yak_core.ids import Micros, NodeId
from yak_core.value import value

LIMIT: Final = 1_000_000
"""Steps kept by default; one takes about half a kilobyte of memory."""


@value
class Header:
    """Where a trace comes from; no part of the digest. ``world`` is ``sim`` or ``net``."""

    world: str = "sim"
    scenario: str = ""
    seed: int = 0
    version: str = ""


@value
class Fault:
    """Something that was done to the world at ``at_us``, in the words of a plan (docs/formats.md).

    ``for_us`` is None when its end is not known in advance. ``details`` are (name, value) pairs.
    """

    at_us: Micros
    kind: str
    target: str = ""
    for_us: Micros | None = None
    details: tuple[tuple[str, int | str], ...] = ()


class Step(NamedTuple):
    """One step of one node. ``start`` counts the starts of the node id, from 1.

    ``cause`` is the step whose effect brought the event about, or -1. ``done`` is how many of the
    effects were carried out.
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
        """The effects that the world was given before the incarnation ended: usually all."""
        return self.effects[: self.done]


class Trace:
    """The steps and faults of one run, in order; the Recorder of a Host.

    Beyond ``limit`` steps only their number, ``dropped``, is kept; the file's footer tells.
    """

    __slots__ = ("_done", "_faults", "_steps", "dropped", "header", "limit")

    def __init__(self, header: Header | None = None, limit: int = LIMIT) -> None:
        self.header = header or Header()
        self.limit = limit
        self.dropped = 0
        #: (time, node, start, event, effects, cause) of each step.
        self._steps: list[tuple[Micros, NodeId, int, Event, list[Effect], int]] = []
        #: Number of a step to how many of its effects were carried out, if not all were.
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
        """Keep a step and return its number, from 0. The list must not change any more."""
        steps = self._steps
        number = len(steps)
        if number >= self.limit:
            self.dropped += 1
            return number + self.dropped - 1
        steps.append((t_us, node, start, event, effects, cause))
        return number

    def carried_out(self, number: int, count: int) -> None:
        """Only the first ``count`` effects of this step were carried out."""
        if number < len(self._steps):
            self._done[number] = count

    def fault(self, fault: Fault) -> None:
        """Keep a fault, between the steps before and after it; after the last step kept, none."""
        if not self.dropped:
            self._faults.append((len(self._steps), fault))

    def __len__(self) -> int:
        """How many steps are kept."""
        return len(self._steps)

    def __iter__(self) -> Iterator[Step]:
        """All steps kept, in order."""
        return map(self.step, range(len(self._steps)))

    def step(self, i: int) -> Step:
        """The step with number ``i``; IndexError when it was not kept."""
        if i < 0:
            raise IndexError(i)
        t_us, node, start, event, effects, cause = self._steps[i]
        done = self._done.get(i, len(effects))
        return Step(i, t_us, node, start, event, effects, cause, done)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """All faults, in order."""
        return tuple(fault for _, fault in self._faults)

    @property
    def fault_positions(self) -> tuple[int, ...]:
        """For each fault, how many steps came before it."""
        return tuple(position for position, _ in self._faults)
