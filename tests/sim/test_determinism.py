"""One seed gives one run: from recorded decisions, on either store, with and without observers.

Method: digests of equal runs, made in different ways. tests/scenarios/test_digests.py compares
processes, hash seeds and Pythons.
"""

from __future__ import annotations

from hashlib import sha256

from yak_core.trace.reader import digest_of, encode_trace
from yak_core.trace.recorder import Trace
from yak_sim import RandomChoices, ReplayChoices, Script, World, run_scenario, scenario, seconds
from yak_sim.search.swarm import run_swarm


def test_a_recorded_run_replays_from_its_decisions() -> None:
    """Goal: the decisions of a run are enough to repeat it. Method: record one, replay it."""
    recording = RandomChoices(12, record=True)
    recorded = run_swarm(12, choices=recording)
    replayed = run_swarm(12, choices=ReplayChoices(12, recording.decisions()))
    assert recorded.goals["leaders elected"] > 0
    assert digest_of(recorded.trace) == digest_of(replayed.trace) == digest_of(run_swarm(12).trace)


def test_without_a_decision_a_run_is_benign() -> None:
    """Method: an empty list of decisions."""
    result = run_swarm(12, choices=ReplayChoices(12, []))
    assert result.valid is True, result.reason
    assert result.faults == ()
    assert result.goals["leaders elected"] == 1


@scenario(seed=5)
def through_the_store(world: World) -> Script:
    """Run elections, ISR changes and lost answers."""
    world.producer(rate_per_s=20)
    yield world.until_ready()
    old = str(world.leader)
    world.crash(old, for_us=seconds(2))
    yield world.until(lambda: world.leader is not None, within=seconds(10))
    world.lose_store_replies(str(world.leader), 2, calls="cas")
    world.store_outage(for_us=seconds(1))
    yield world.sleep(seconds(5))
    world.producers[0].stop()
    world.heal_everything()
    yield world.until_converged()


def test_model_and_scripts_give_the_same_run() -> None:
    """Goal: the model equals the Lua scripts. Method: a digest on each; then a seed of the mix."""
    by_model = run_scenario(through_the_store)
    by_lua = run_scenario(through_the_store, settings={"store": "lua"})
    assert by_model.valid is True, by_model.reason
    assert by_model.goals["unknown metadata outcome"] > 0
    assert digest_of(by_model.trace) == digest_of(by_lua.trace)
    assert digest_of(run_swarm(2).trace) == digest_of(run_swarm(2, store="lua").trace)


def test_observers_do_not_change_a_run() -> None:
    """Method: runs with and without the invariants."""
    watched = run_scenario(through_the_store)
    alone = run_scenario(through_the_store, observers=())
    assert digest_of(watched.trace) == digest_of(alone.trace)


def test_a_trace_has_causes() -> None:
    """Goal: each cause is an earlier step, and each message has one."""
    trace: Trace = run_scenario(through_the_store).trace
    received = 0
    for step in trace:
        assert -1 <= step.cause < step.i
        if type(step.event).__name__ == "Received":
            assert step.cause >= 0
            received += 1
    assert received > 100
    assert sha256(b"".join(encode_trace(trace))).digest()
