"""What a run came to: situations reached, violations, the verdict; must never influence the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from yak_core.contract import notes
from yak_core.contract.notes import Note
from yak_core.ids import NodeId, Offset

if TYPE_CHECKING:
    from yak_core.trace.recorder import Fault, Trace
    from yak_sim.world.expect import Claim
    from yak_sim.world.history import History
    from yak_sim.world.narrative import Line
    from yak_sim.world.world import World

Valid: TypeAlias = Literal[True, False, "unknown"]

Violation: TypeAlias = dict[str, str | int]
"""``invariant, event, node, expected, happened, rule``, as in a verdict file."""


class Halted(Exception):
    """A broker halted and the scenario had not said that it may."""

    def __init__(self, node: NodeId, reason: str, event: int) -> None:
        self.node = node
        self.reason = reason
        self.event = event
        super().__init__(f"{node} halted: {reason}")


class Situations:
    """Counts what happened in a run, by kind of note."""

    __slots__ = ("_counts", "cuts", "cuts_by_node", "leaders")

    def __init__(self) -> None:
        self._counts: dict[type, int] = {}
        self.leaders: list[tuple[NodeId, int]] = []
        self.cuts = 0
        self.cuts_by_node: dict[NodeId, list[tuple[Offset, Offset]]] = {}

    def on_note(self, node: NodeId, note: Note) -> None:
        """Count one remark."""
        kind = type(note)
        self._counts[kind] = self._counts.get(kind, 0) + 1
        if kind is notes.BecameLeader:
            assert isinstance(note, notes.BecameLeader)
            self.leaders.append((node, note.epoch))
        elif kind is notes.Truncated:
            assert isinstance(note, notes.Truncated)
            if note.end < note.end_before:
                self.cuts += 1
                self.cuts_by_node.setdefault(node, []).append((note.end_before, note.end))

    def goals(self, unflushed_crashes: int) -> dict[str, int]:
        """How often each situation worth reaching was reached."""
        count = self._counts.get
        return {
            "leaders elected": len(self.leaders),
            "second leader elected": max(0, len(self.leaders) - 1),
            "suffix cut": self.cuts,
            "unknown metadata outcome": count(notes.StoreUnknown, 0),
            "crash between append and flush": unflushed_crashes,
            "leader stepped down": count(notes.SteppedDown, 0),
            "stale message fenced": count(notes.FencedPeer, 0),
            "log diverged": count(notes.LogDiverged, 0),
            "isr shrunk": count(notes.IsrShrunk, 0),
            "isr expanded": count(notes.IsrExpanded, 0),
            "duplicate recognised": count(notes.DuplicateRecognised, 0),
            "producer reset": count(notes.ProducerReset, 0),
        }


@dataclass(slots=True)
class RunResult:
    """All of a run. ``reason`` is one sentence on why it is not valid, empty when it is.

    ``goals`` are the situations by name with how often they were reached; ``figures`` are plain
    numbers that depend on nothing but the run; ``cpu_s`` is what it took.
    """

    scenario: str
    seed: int
    valid: Valid
    reason: str
    violations: list[Violation]
    goals: dict[str, int]
    claims: list[Claim]
    figures: dict[str, int]
    trace: Trace
    history: History
    faults: tuple[Fault, ...]
    story: list[Line]
    world: World
    cpu_s: float = 0.0
    error: BaseException | None = field(default=None, repr=False)


def violation_of(error: BaseException, world: World) -> Violation:
    """An exception from a step, a checker or the store, as a verdict file says it."""
    tell = getattr(error, "fields", None)
    if callable(tell):
        told: Violation = tell()
        return told
    if isinstance(error, Halted):
        return {
            "invariant": "NoHalt",
            "event": error.event,
            "node": error.node,
            "expected": "no broker to halt",
            "happened": f"it halted: {error.reason}",
            "rule": "A broker halts only when going on could break a promise.",
        }
    return {
        "invariant": "NoException",
        "event": len(world.trace) - 1,
        "node": next(reversed(world.halts), ""),
        "expected": "every step to end without an exception",
        "happened": f"{type(error).__name__}: {error}",
        "rule": "An exception out of a step stops the node and fails the run (docs/contract.md).",
    }
