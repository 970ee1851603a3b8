"""Property-based tests of scenarios and rules, with Hypothesis.

The test draws a plan of faults, runs it, and asserts that the run is valid. Hypothesis reduces a
plan that fails to a small one. The assertion message has the narrative, the violation and the run
folder::

    from dataclasses import replace

    from hypothesis import given, settings

    from yak_sim.testing import Rules, assert_valid, plans, run_plan

    RULES = replace(Rules(), ...)  # a rule of your own

    @settings(max_examples=200, deadline=None)
    @given(plans())
    def test_rules(plan):
        assert_valid(run_plan(plan, rules=RULES))

Hypothesis is in the extra ``test``: pip install "yak-log[test]".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from yak_core.rules import Rules
from yak_core.trace.reader import encode_trace
from yak_core.trace.recorder import Fault, Trace
from yak_sim.physics.choices import EXPONENTIAL, Ratio
from yak_sim.physics.topology import broker_ids, seconds
from yak_sim.run.run_folder import OutputError
from yak_sim.run.scenario import Scenario, run_scenario
from yak_sim.run.verdict import RunResult
from yak_sim.search.fault_classes import KINDS, may_lose_records
from yak_sim.search.swarm import FAULTS_END, follow_and_converge
from yak_sim.world.loop import Limits, Script
from yak_sim.world.plan import LEADER
from yak_sim.world.world import World

try:
    from hypothesis import strategies as st
except ImportError as error:  # pragma: no cover - the message is tested in a process of its own
    raise ImportError(
        'yak_sim.testing needs Hypothesis; install it with: pip install "yak-log[test]"'
    ) from error

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

__all__ = [
    "Fault",
    "Plan",
    "Rules",
    "RunNotValid",
    "assert_valid",
    "first_difference",
    "plans",
    "run_plan",
]

Plan: TypeAlias = tuple[Fault, ...]
"""Faults, each with its time; ``World.follow`` schedules them."""

FAULTS_BEGIN: Final = seconds(1)
"""The first fault begins at this time, when the cluster usually has a leader."""


class _DrawnPoint:
    """A point whose decisions Hypothesis makes; see :class:`yak_sim.physics.choices.Point`."""

    def __init__(self, draw: DrawFn) -> None:
        self._draw = draw

    def pick(self, options: int) -> int:
        return self._draw(st.integers(0, options - 1))

    def between(self, low: int, high: int) -> int:
        return self._draw(st.integers(low, max(low, high)))

    def happens(self, ratio: Ratio) -> bool:
        return ratio[0] > 0 and (ratio[0] >= ratio[1] or self._draw(st.booleans()))

    def exponential(self, mean: int) -> int:
        return EXPONENTIAL[self.pick(len(EXPONENTIAL))] * mean >> 16


def plans(
    *,
    brokers: int = 3,
    faults_max: int = 8,
    kinds: Sequence[str] | None = None,
    flush: str = "batch",
) -> SearchStrategy[Plan]:
    """Return a strategy for plans of up to ``faults_max`` faults or groups of faults.

    ``kinds`` are classes of faults by name; the default are all. The guarantees cover every plan:
    with ``flush="os"``, at most one crash of a plan loses unflushed records. Raise ValueError for
    an unknown class.
    """
    names = tuple(KINDS) if kinds is None else tuple(kinds)
    for name in names:
        if name not in KINDS:
            raise ValueError(f"unknown fault class {name!r}; expected one of {', '.join(KINDS)}")
    nodes = broker_ids(brokers)

    @st.composite
    def groups(draw: DrawFn) -> Plan:
        point = _DrawnPoint(draw)
        kind = draw(st.sampled_from(names))
        target = draw(st.sampled_from((LEADER, *nodes)))
        return KINDS[kind](point, draw(st.integers(FAULTS_BEGIN, FAULTS_END - 1)), target, nodes)

    def joined(drawn: list[Plan]) -> Plan:
        faults = sorted((fault for group in drawn for fault in group), key=lambda f: f.at_us)
        lossy = [fault for fault in faults if may_lose_records(fault)]
        dropped = lossy[1:] if flush == "os" else []
        return tuple(f for f in faults if f.at_us < FAULTS_END and f not in dropped)

    return st.lists(groups(), max_size=faults_max).map(joined)


def run_plan(
    plan: Iterable[Fault],
    *,
    seed: int = 7,
    rules: Rules | None = None,
    brokers: int = 3,
    flush: str = "batch",
    min_isr: int = 2,
    producers: int = 2,
    rate_per_s: int = 20,
    limits: dict[str, int] | None = None,
) -> RunResult:
    """Run a plan against a cluster under load; return the result.

    All invariants are checked after every step. At 8 s everything is healed. Then the cluster must
    converge, and nothing acknowledged may be lost, duplicated or reordered. ``rules`` replaces
    rules of the protocol. ``rate_per_s``: records per second of each producer.
    """
    faults = tuple(plan)

    def plan_under_load(world: World) -> Script:
        for _ in range(producers):
            world.producer(rate_per_s=rate_per_s)
        yield from follow_and_converge(world, faults)

    settings: dict[str, Any] = {"brokers": brokers, "flush": flush, "min_isr": min_isr}
    scenario = Scenario(
        name="plan_under_load",
        text="A plan of faults against a cluster under load.",
        seed=seed,
        settings=settings,
        parameters={},
        function=plan_under_load,
        world_limits=limits or {},
    )
    return run_scenario(
        scenario, rules=rules, limits=Limits(simulated_us=seconds(300), wall_s=120)
    )


class RunNotValid(AssertionError):
    """A run is not valid. The message writes the run folder when it is read for the first time.

    Hypothesis raises this error hundreds of times while it reduces a plan, and reports the last.
    """

    def __init__(self, result: RunResult, save_to: Path | str | None) -> None:
        super().__init__()
        self.result = result
        self._save_to = save_to
        self._text = ""

    def __str__(self) -> str:
        if not self._text:
            self._text = _explained(self.result, self._save_to)
        return self._text


def assert_valid(result: RunResult, *, save_to: Path | str | None = "out") -> None:
    """Raise RunNotValid, an AssertionError, if the run is not valid.

    The message has the end of the narrative, the violated invariant with its rule, the faults, and
    the run folder below ``save_to`` with the trace and the plots. None writes no folder.
    """
    __tracebackhide__ = True
    if result.valid is not True:
        raise RunNotValid(result, save_to)


def _explained(result: RunResult, save_to: Path | str | None) -> str:
    parts = [repr(result), "", result.report()]
    for violation in result.violations:
        parts.append(f"rule: {violation['rule']} (step {violation['event']} of the trace)")
    if result.faults:
        parts += ["", "faults:", *(f"  {_sentence(fault)}" for fault in result.faults)]
    if save_to is not None:
        try:
            parts += ["", f"run folder: {result.save(save_to)}"]
        except OutputError as error:
            parts += ["", str(error)]
    return "\n".join(parts)


def first_difference(a: RunResult | Trace, b: RunResult | Trace) -> str | None:
    """Return the first step in which two runs differ, as three lines; None if they are equal.

    The lines are the number of the line in the trace file, and that line of each run.
    """
    traces = (run.trace if isinstance(run, RunResult) else run for run in (a, b))
    both = [b"".join(encode_trace(trace)).splitlines() for trace in traces]
    for number, (one, other) in enumerate(zip_longest(*both, fillvalue=b"(no more lines)"), 1):
        if one != other:
            return f"line {number} of the traces differs:\n  {one.decode()}\n  {other.decode()}"
    return None


def _sentence(fault: Fault) -> str:
    details = "".join(f", {name} {value}" for name, value in fault.details)
    duration = "" if fault.for_us is None else f" for {fault.for_us / 1e6:g} s"
    return f"t={fault.at_us / 1e6:.3f}s {fault.kind} {fault.target}{duration}{details}"
