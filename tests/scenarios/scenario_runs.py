"""Shared by the tests of the scenarios: runs, their contents, and commands as processes."""

from __future__ import annotations

import functools
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import pytest

from tests.tidy.tree import ROOT
from yak_core.batch import records
from yak_core.contract.effects import Observe
from yak_core.contract.notes import Note
from yak_core.ids import Micros, NodeId
from yak_core.trace.recorder import Fault
from yak_sim import RunResult, Scenario, run_scenario

FIRST_NAMES = ("leader_failover", "slow_follower", "zombie_leader")
"""The scenarios with a test file of their own."""

NAMES = (
    *("acks_compared", "all_asleep", "asymmetric_partition", "divergent_logs", "full_disk"),
    *("idempotent_retry", "leader_cut_off", "leader_failover", "metadata_outage", "min_isr_bill"),
    *("power_loss", "rolling_restart", "slow_follower", "store_forgets", "two_producers_one_id"),
    "zombie_leader",
)
"""All scenarios, in the order of their file names."""

HALTING = ("full_disk", "store_forgets")
"""The scenarios in which brokers halt, as they should."""

each_seed = pytest.mark.parametrize(
    "seed", [7, 0, 2**63 - 1, *(pytest.param(s, marks=pytest.mark.long) for s in (1, 2, 3, 42))]
)

NoteType = TypeVar("NoteType", bound=Note)


def load(name: str) -> Scenario:
    """Load a scenario of the project."""
    found: Scenario = getattr(importlib.import_module(f"scenarios.{name}"), name)
    return found


@functools.lru_cache(maxsize=20)
def run(name: str, seed: int) -> RunResult:
    """Run a scenario with its own settings, once for all tests."""
    return run_scenario(load(name), seed)


def assert_sound(result: RunResult) -> None:
    """Check that the run is valid, without a violation or a failed expectation."""
    assert result.valid is True, result.reason
    assert result.reason == ""
    assert not result.violations
    assert result.expectations
    assert all(expectation.held for expectation in result.expectations)
    if result.world.leader is not None:
        assert all(producer.outstanding == 0 for producer in result.world.producers)
    assert result.scenario in HALTING or result.world.halts == {}
    assert result.trace.dropped == 0


def log_values(result: RunResult, node: NodeId) -> list[bytes | None]:
    """Return the values of a broker's final log; check that offsets have no gap."""
    found = [record for batch in result.world.log_of(node) for record in records(batch)]
    assert [record.offset for record in found] == list(range(len(found)))
    return [record.value for record in found]


def notes(
    result: RunResult, kind: type[NoteType], node: NodeId | None = None
) -> Iterator[tuple[Micros, NodeId, NoteType]]:
    """Return (time, broker, note) of each note of a type, in order, from the trace."""
    for step in result.trace:
        if node in (None, step.node):
            for effect in step.effects:
                if isinstance(effect, Observe) and isinstance(effect.note, kind):
                    yield step.t_us, step.node, effect.note


def fault(result: RunResult, kind: str) -> Fault:
    """Return the only fault of its kind."""
    [found] = [fault for fault in result.faults if fault.kind == kind]
    return found


def command(
    *words: str | Path,
    folder: Path,
    interpreter: str = sys.executable,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a Python program in a folder, with the project on its path."""
    return subprocess.run(
        [interpreter, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )


def last_lines(stdout: str) -> tuple[str, str]:
    """Return the last two lines of a run: digest and verdict."""
    digest, valid = stdout.splitlines()[-2:]
    assert digest.startswith("digest: ")
    assert len(digest) == len("digest: ") + 32
    return digest.removeprefix("digest: "), valid
