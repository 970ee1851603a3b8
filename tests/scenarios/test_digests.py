"""Golden digests: each scenario's run is the same in any version, process and Python.

A changed digest means that a run changed. If the change is wanted, write new digests with
``pytest tests/scenarios --rewrite``; the commit message says what changed and why.
"""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path

import pytest

from tests import require
from tests.pythons import VERSIONS, simulator_python
from tests.scenarios.scenario_runs import FIRST_NAMES, NAMES, command, load, run
from tests.tidy.tree import ROOT
from yak_core.trace.reader import digest_of
from yak_sim import run_scenario
from yak_sim.search.swarm import run_swarm

GOLDEN = Path(__file__).with_name("digests.json")
GOLDEN_RUNS = (*((name, 7) for name in NAMES), *((name, 8) for name in FIRST_NAMES))
"""The golden runs: (scenario, seed)."""

SAMPLE = tuple(golden for golden in GOLDEN_RUNS if golden[0] in FIRST_NAMES)
"""The runs that another process repeats at each change; the long tests repeat all."""

SWARM = ("swarm", 31)
"""A seed of the mix of faults, which reaches situations outside of the scenarios."""

PROGRAM = """
import importlib
from yak_core import digest_of
from yak_sim import run_scenario
from yak_sim.search.swarm import run_swarm
for name, seed in {runs}:
    scenario = getattr(importlib.import_module("scenarios." + name), name)
    print(name, seed, digest_of(run_scenario(scenario, seed).trace))
print("swarm 31", digest_of(run_swarm(31).trace))
"""

Runs = tuple[tuple[str, int], ...]
Digests = dict[tuple[str, int], str]


def in_a_fresh_process(interpreter: str, hash_seed: str, runs: Runs) -> Digests:
    """Return the digests of these runs and the mix, from another process."""
    done = command(
        "-c",
        PROGRAM.format(runs=runs),
        folder=ROOT,
        interpreter=interpreter,
        environment={"PYTHONHASHSEED": hash_seed},
    )
    assert done.returncode == 0, done.stderr
    rows = map(str.split, done.stdout.splitlines())
    return {(name, int(seed)): digest for name, seed, digest in rows}


@functools.cache
def here(runs: Runs = GOLDEN_RUNS) -> Digests:
    """Return the digests of these runs, from this process."""
    return {(name, seed): digest_of(run(name, seed).trace) for name, seed in runs}


@functools.cache
def mix() -> Digests:
    """Return the digest of the mix, from this process."""
    return {SWARM: digest_of(run_swarm(SWARM[1]).trace)}


def test_golden_digests(request: pytest.FixtureRequest) -> None:
    """Method: compare with the file, or write it."""
    found = here()
    if request.config.getoption("--rewrite", default=False):
        table: dict[str, dict[str, str]] = {name: {} for name in NAMES}
        for (name, seed), digest in found.items():
            table[name][str(seed)] = digest
        GOLDEN.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    kept = json.loads(GOLDEN.read_text(encoding="utf-8"))
    golden = {(name, int(seed)): d for name, row in kept.items() for seed, d in row.items()}
    assert found == golden, "a run changed: see the docstring of this file"


def test_every_scenario_has_a_golden_digest() -> None:
    """Method: compare with the files of the scenarios."""
    files = {path.stem for path in (ROOT / "scenarios").glob("*.py")} - {"__init__"}
    assert files == set(NAMES)


def test_no_two_runs_are_the_same() -> None:
    """Goal: the digest depends on scenario and seed."""
    found = here()
    assert len(set(found.values())) == len(found)


def test_a_fresh_process_under_another_hash_seed_agrees() -> None:
    """Goal: a run does not depend on hashes, addresses or sets. Method: hash seed 0."""
    assert in_a_fresh_process(sys.executable, "0", SAMPLE) == here(SAMPLE) | mix()


@pytest.mark.parametrize(
    "name",
    [
        n if n in ("leader_failover", "zombie_leader") else pytest.param(n, marks=pytest.mark.long)
        for n in NAMES
    ],
)
def test_the_real_stores_scripts_give_the_same_run(name: str) -> None:
    """Goal: the store model equals the Lua scripts, and a second run in a process the first.

    Method: the Lua scripts instead of the model.
    """
    result = run_scenario(load(name), 7, {"store": "lua"})
    assert result.valid is True, result.reason
    assert digest_of(result.trace) == here()[name, 7]


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_python_agrees(version: str) -> None:
    """Method: the golden runs on each other installed Python."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        interpreter = sys.executable
    else:
        interpreter = simulator_python(require.python(version))
    assert in_a_fresh_process(interpreter, "1", GOLDEN_RUNS) == here() | mix()
