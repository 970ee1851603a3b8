"""The result of a run: verdict, violations, reached situations, figures."""

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
"""The fields ``invariant, event, node, expected, happened, rule`` of a verdict file."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """The complete result of a run.

    ``reason`` is a clause on why the run is not valid, empty if it is valid. ``goals`` counts
    the reached situations by name. ``figures`` are numbers that depend only on scenario, settings
    and seed. ``cpu_s`` is the CPU time of the run in seconds.
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
    """Return the violation, as in a verdict file, for an exception in a step, check or store."""
    if isinstance(error, InvariantViolated):
        return error.fields()
    if isinstance(error, Halted):
        return {
            "invariant": "NoHalt",
            "event": error.event,
            "node": error.node,
            "expected": "no broker to halt",
            "happened": f"{error.node} halted: {error.reason}",
            "rule": "A broker halts only if it cannot continue without breaking a guarantee.",
        }
    return {
        "invariant": "NoException",
        "event": len(world.trace) - 1,
        "node": next(reversed(world.halts), ""),
        "expected": "no exception in any step",
        "happened": f"{type(error).__name__}: {error}",
        "rule": "An exception in a step halts the node and fails the run (docs/contract.md).",
    }
