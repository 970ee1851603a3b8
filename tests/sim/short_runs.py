"""Runs a generator function as a scenario that must be valid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from yak_sim import RunResult, run_scenario, scenario


def run(function: Callable[..., Any], seed: int = 7, **settings: int | str) -> RunResult:
    """Run a generator function as a scenario; check that the run is valid."""
    result = run_scenario(scenario(seed=seed)(function), settings=settings)
    assert result.valid is True, result.reason
    return result
