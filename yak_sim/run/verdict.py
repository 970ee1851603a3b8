"""The result of a run: verdict, violations, reached situations, figures."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from yak_core.invariants import InvariantViolated
from yak_core.trace.recorder import Fault, Trace
from yak_sim.plot.watermarks import plot_watermarks
from yak_sim.run.run_folder import write_run
from yak_sim.world.expect import Expectation
from yak_sim.world.history import History
from yak_sim.world.narrative import Line
from yak_sim.world.situations import Halted
from yak_sim.world.world import World

Valid: TypeAlias = Literal[True, False, "unknown"]

Violation: TypeAlias = dict[str, str | int]
"""The fields ``invariant, event, node, expected, happened, rule`` of a verdict file."""


_VERDICTS: Final[Mapping[Valid, str]] = {True: "valid", False: "not valid", "unknown": "unknown"}
TAIL_LINES: Final = 12
"""Lines of the narrative in a report of a run that is not valid."""


@dataclass(frozen=True, slots=True, repr=False)
class RunResult:
    """The complete result of a run.

    ``reason`` is a clause on why the run is not valid, empty if it is valid. ``goals`` counts
    the reached situations by name. ``figures`` are numbers that depend only on scenario, settings
    and seed. ``settings`` are those that differ from the scenario's own. ``cpu_s`` is the CPU time
    of the run in seconds.
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
    settings: Mapping[str, int | str | bool] = field(default_factory=dict)
    cpu_s: float = 0.0
    error: BaseException | None = None

    def __repr__(self) -> str:
        verdict = _VERDICTS[self.valid]
        acked, sent = (self.figures.get(f"records_{what}", 0) for what in ("acked", "sent"))
        simulated = f"{self.figures.get('simulated_us', 0) / 1e6:.3f} s simulated"
        name = ", ".join([self.scenario, f"seed {self.seed}", *self.setting_texts()])
        why = f": {self.reason}" if self.reason else ""
        return f"<{name}: {verdict}, {acked} of {sent} records acknowledged, {simulated}{why}>"

    def setting_texts(self) -> list[str]:
        """Return the settings of this run as ``name=value``, sorted by name."""
        return [f"{name}={value}" for name, value in sorted(self.settings.items())]

    def report(self) -> str:
        """Return the end of the narrative, the expectations and the verdict, as lines."""
        hidden = len(self.narrative) - TAIL_LINES
        lines = [f"... {hidden} earlier lines"] if hidden > 0 else []
        lines += [str(line) for line in self.narrative[-TAIL_LINES:]]
        for checked in self.expectations:
            lines.append(f"{'proved' if checked.held else 'FAILED'}: {checked.sentence}")
        if self.reason:
            lines.append(f"{'failed' if self.valid is False else 'unknown'}: {self.reason}")
        lines.append(f"valid: {str(self.valid).lower()}")
        return "\n".join(lines)

    def show(self) -> None:
        """Print the report; in a notebook, display the plot below it."""
        print(self.report())
        shell: Any = sys.modules.get("IPython")
        if shell is not None and shell.get_ipython() is not None:
            shell.display.display(plot_watermarks(self.trace))

    def save(self, directory: Path | str = "out") -> Path:
        """Write the run folder below ``directory`` and return its path. Raise OutputError."""
        command = ["yak", "sim", "run", self.scenario, "--seed", str(self.seed)]
        for text in self.setting_texts():
            command += ["--set", text]
        return write_run(self, Path(directory), command)


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
