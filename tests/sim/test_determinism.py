"""One seed, one run: byte for byte, in any process, under any hash seed, on either store.

Method: digests and trace bytes of the same runs, made in different ways.
"""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import sha256

import pytest

from tests.pythons import ROOT, VERSIONS, simulator_python
from tests.require import python
from yak_core.trace.reader import digest_of, encode_trace
from yak_core.trace.recorder import Trace
from yak_sim import RandomChoices, ReplayChoices, Script, World, run_scenario, scenario, seconds
from yak_sim.search.swarm import run_swarm

SEEDS = (31,)

IN_ANOTHER_PROCESS = f"""
from hashlib import sha256
from yak_core.trace.reader import digest_of, encode_trace
from yak_sim.search.swarm import run_swarm
for seed in {SEEDS}:
    result = run_swarm(seed)
    assert result.valid is True, result.reason
    history = repr(list(result.history.objects())).encode()
    story = "".join(map(str, result.narrative)).encode()
    print(digest_of(result.trace), sha256(b"".join(encode_trace(result.trace))).hexdigest(),
          sha256(history).hexdigest(), sha256(story).hexdigest())
"""


def in_another_process(interpreter: str, hash_seed: str) -> str:
    """Digests of trace, trace file, history and story, made elsewhere."""
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    command = [interpreter, "-c", IN_ANOTHER_PROCESS]
    run = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, cwd=ROOT
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_two_processes_under_two_hash_seeds_agree_to_the_byte(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Goal: no set, hash or address reaches a run. Method: hash seed 0 elsewhere, another here."""
    first = in_another_process(sys.executable, "0")
    assert first.count("\n") == len(SEEDS)
    assert len(set(first.split())) == 4 * len(SEEDS)
    exec(IN_ANOTHER_PROCESS)
    assert first == capsys.readouterr().out


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_python_agrees(version: str) -> None:
    """Goal: a seed means the same on 3.11 and up. Method: the same runs on each."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    other = sys.executable if version == own else simulator_python(python(version))
    assert in_another_process(other, "2") == in_another_process(sys.executable, "3")


def test_a_recorded_run_replays_from_its_decisions() -> None:
    """Goal: the sparse trace of a run is enough to repeat it. Method: record one, replay it."""
    recording = RandomChoices(12, record=True)
    recorded = run_swarm(12, choices=recording)
    replayed = run_swarm(12, choices=ReplayChoices(12, recording.decisions()))
    assert recorded.goals["leaders elected"] > 0
    assert digest_of(recorded.trace) == digest_of(replayed.trace) == digest_of(run_swarm(12).trace)


def test_without_a_decision_a_run_is_benign() -> None:
    """Goal: what is missing in a trace does no harm. Method: an empty one."""
    result = run_swarm(12, choices=ReplayChoices(12, []))
    assert result.valid is True, result.reason
    assert result.faults == ()
    assert result.goals["leaders elected"] == 1


@scenario(seed=5)
def through_the_store(world: World) -> Script:
    """Elections, ISR changes and lost answers."""
    world.producer(rate_per_s=20)
    yield from world.until_ready()
    old = str(world.leader)
    world.crash(old, for_us=seconds(2))
    yield world.until(lambda: world.leader is not None, within=seconds(10))
    world.lose_store_replies(str(world.leader), 2, calls="cas")
    world.store_outage(for_us=seconds(1))
    yield world.sleep(seconds=5)
    world.producers[0].stop()
    world.heal_everything()
    yield world.until_converged()


def test_model_and_scripts_give_the_same_run() -> None:
    """Goal: the fast store is the real one. Method: a digest on each; then a seed of the mix."""
    by_model = run_scenario(through_the_store)
    by_lua = run_scenario(through_the_store, settings={"store": "lua"})
    assert by_model.valid is True, by_model.reason
    assert by_model.goals["unknown metadata outcome"] > 0
    assert digest_of(by_model.trace) == digest_of(by_lua.trace)
    assert digest_of(run_swarm(2).trace) == digest_of(run_swarm(2, store="lua").trace)


def test_observers_do_not_change_a_run() -> None:
    """Goal: looking is free of effects. Method: with the invariants and without."""
    watched = run_scenario(through_the_store)
    alone = run_scenario(through_the_store, observers=())
    assert digest_of(watched.trace) == digest_of(alone.trace)


def test_a_trace_tells_causes() -> None:
    """Goal: arrows can be drawn. Method: each cause is an earlier step; messages have one."""
    trace: Trace = run_scenario(through_the_store).trace
    received = 0
    for step in trace:
        assert -1 <= step.cause < step.i
        if type(step.event).__name__ == "Received":
            assert step.cause >= 0
            received += 1
    assert received > 100
    assert sha256(b"".join(encode_trace(trace))).digest()
