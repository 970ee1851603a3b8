"""What a run came to: situations reached, violations, the verdict; must never influence the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from yak_core.invariants import InvariantViolated
from yak_core.trace.recorder import Fault, Trace
from yak_sim.world.expect import Expectation
from yak_sim.world.history import History
from yak_sim.world.narrative import Line
from yak_sim.world.situations import Halted
from yak_sim.world.world import World

Valid: TypeAlias = Literal[True, False, "unknown"]

Violation: TypeAlias = dict[str, str | int]
"""``invariant, event, node, expected, happened, rule``, as in a verdict file."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """All of a run. ``reason`` is one sentence on why it is not valid, empty when it is.

    ``goals`` are the situations by name with how often they were reached; ``figures`` are plain
    numbers that depend on nothing but the run; ``cpu_s`` is what it took.
    """

    scenario: str
    seed: int
    valid: Valid
    reason: str
    violations: tuple[Violation, ...]
    goals: dict[str, int]
    expectations: tuple[Expectation, ...]
    figures: dict[str, int]
    trace: Trace
    history: History
    faults: tuple[Fault, ...]
    narrative: tuple[Line, ...]
    world: World
    cpu_s: float = 0.0
    error: BaseException | None = field(default=None, repr=False)


def violation_of(error: BaseException, world: World) -> Violation:
    """An exception from a step, a checker or the store, as a verdict file says it."""
    if isinstance(error, InvariantViolated):
        return error.fields()
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
