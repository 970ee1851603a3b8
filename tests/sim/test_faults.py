"""Faults: injected by a script or by a plan, and recorded in the form of a plan.

Method: short scenarios on the real brokers, all invariants on.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest

from tests.sim.short_runs import run
from yak_sim import Fault, Script, World, run_scenario, scenario, seconds
from yak_sim.world.faults import Faults
from yak_sim.world.plan import PlanError


def test_faults_are_recorded_in_the_form_of_a_plan() -> None:
    """Goal: a run can be reported, plotted and repeated. Method: each fault once; its fields."""

    def script(world: World) -> Script:
        yield world.until_ready()
        one, two, three = world.brokers
        world.crash(one, lose="torn", for_us=300_000)
        world.pause(two, for_us=200_000)
        disconnect = world.disconnect(two, (three, "store"))
        world.partition((one, two), three, for_us=100_000)
        world.slow_link(one, two, delay_us=5_000, bytes_per_s=9)
        world.clog(one, two, for_us=50_000)
        world.disturb(loss=(1, 10), for_us=10_000)
        world.store_outage(for_us=20_000)
        world.lose_store_replies(two, 2, calls="cas")
        world.lose_store_requests(three)
        world.stall_disk(three, for_us=1_000)
        world.fill_disk(two, for_us=1_000)
        world.reset(two, three)
        world.heal(disconnect)
        yield world.sleep(seconds(0.4))
        world.stop(three, for_us=100_000)
        yield world.sleep(seconds(2))
        world.heal_everything()
        yield world.until_converged()

    result = run(script)
    kept = {(fault.kind, fault.target): fault for fault in result.faults}
    assert kept["crash", "n1"].for_us == 300_000
    assert kept["crash", "n1"].details == (("lose", "torn"),)
    assert ("restart", "n1") in kept
    assert kept["restart", "n1"].at_us == kept["crash", "n1"].at_us + 300_000
    assert kept["resume", "n2"].at_us == kept["pause", "n2"].at_us + 200_000
    assert kept["disconnect", "n2>n3,store"].for_us is None
    assert ("heal", "n2>n3,store") in kept
    assert kept["partition", "n1,n2|n3"].for_us == 100_000
    assert dict(kept["slow_link", "n1>n2"].details) == {"delay_us": 5_000, "bytes_per_s": 9}
    assert dict(kept["disturb", "*>*"].details) == {"loss": "1/10", "duplicate": "0/1"}
    assert ("store_back", "store") in kept
    assert dict(kept["lose_reply", "n2"].details) == {"count": 2, "calls": "cas"}
    kinds = {fault.kind for fault in result.faults}
    assert {"clog", "stall_disk", "fill_disk", "reset", "lose_request", "stop"} <= kinds
    assert [fault.at_us for fault in result.faults] == sorted(f.at_us for f in result.faults)


def test_a_plan_does_what_a_script_would() -> None:
    """Goal: recorded faults are a plan. Method: run the faults of a run as a plan."""

    def script(world: World, *, planned: bool = False) -> Script:
        world.producer(rate_per_s=20, values=100)
        if planned:
            world.follow(PLAN)
        else:
            yield world.at(seconds(1))
            world.crash("n1", lose="some", for_us=seconds(4))
            yield world.at(seconds(2))
            world.disconnect(("n2",), ("n3", "store"), for_us=seconds(1))
            yield world.at(seconds(2.5))
            world.pause("n3", for_us=seconds(1))
        yield world.at(seconds(8))
        world.heal_everything()
        yield world.until_converged()

    by_hand, by_plan = run(script), run(script, planned="true")
    assert by_hand.faults == by_plan.faults
    assert [line.text for line in by_hand.narrative] == [line.text for line in by_plan.narrative]


def test_every_fault_is_a_documented_method_of_a_world() -> None:
    """Method: the docstrings and signatures that ``help(World)`` shows."""
    assert issubclass(World, Faults)
    for name, method in vars(Faults).items():
        if not name.startswith("_"):
            assert getattr(World, name) is method, name
            assert method.__doc__, name
    assert "node" in inspect.signature(World.crash).parameters


def _floats(world: World) -> dict[str, Callable[[], object]]:
    return {
        "at": lambda: world.at(1.5),  # type: ignore[arg-type]
        "sleep": lambda: world.sleep(0.5),  # type: ignore[arg-type]
        "until": lambda: world.until(bool, within=0.01),  # type: ignore[arg-type]
        "until_back": lambda: world.until_back("n1", within=1.0),  # type: ignore[arg-type]
        "crash": lambda: world.crash("n1", for_us=1.0),  # type: ignore[arg-type]
        "stop": lambda: world.stop("n1", deadline_us=1.0),  # type: ignore[arg-type]
        "slow_link": lambda: world.slow_link("n1", "n2", delay_us=0.2),  # type: ignore[arg-type]
        "stall_disk": lambda: world.stall_disk("n1", for_us=0.5),  # type: ignore[arg-type]
        "crash_within_step": lambda: world.crash_within_step("n1", 1, for_us=0.5),  # type: ignore[arg-type]
    }


@pytest.mark.parametrize("name", list(_floats(World())))
def test_a_float_is_no_duration(name: str) -> None:
    """Goal: seconds are not taken for microseconds, and no fault is left half done."""

    def script(world: World) -> Script:
        yield world.until_ready()
        with pytest.raises(TypeError, match=r"microseconds.*seconds\(0.5\)"):
            _floats(world)[name]()
        assert world.running == world.brokers
        assert not world.trace.faults

    run(script)


PLAN = (
    Fault(1_000_000, "crash", "n1", seconds(4), (("lose", "some"),)),
    Fault(2_000_000, "disconnect", "n2>n3,store", seconds(1)),
    Fault(2_500_000, "pause", "n3", seconds(1)),
)


def test_a_plan_may_target_the_leader() -> None:
    """Method: crash "leader" twice by plan."""

    def script(world: World) -> Script:
        world.follow([Fault(seconds(at), "crash", "leader", seconds(1)) for at in (1, 6)])
        yield world.at(seconds(12))
        yield world.until_converged()

    result = run(script)
    crashed = [fault.target for fault in result.faults if fault.kind == "crash"]
    assert crashed == [node for node, _ in result.world.situations.leaders[:2]]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault(0, "meteor", "n1"), "kind 'meteor'"),
        (Fault(0, "disconnect", "n1"), "'n1'"),
        (Fault(0, "crash", "n8"), "node 'n8'"),
        (Fault(0, "partition", "n1|n2,stor"), "node 'stor'"),
    ],
)
def test_an_invalid_plan_is_refused(fault: Fault, reason: str) -> None:
    """Goal: the reason, before the plan starts. Method: invalid kinds and targets."""

    def script(world: World) -> Script:
        world.follow([fault])
        yield world.at(seconds(1))

    result = run_scenario(scenario()(script))
    assert result.valid is False
    assert reason in result.reason
    assert isinstance(result.error, PlanError)


def test_peer_lost_events_are_a_setting() -> None:
    """Method: run with and without; look for the events in the trace."""

    def script(world: World) -> Script:
        yield world.until_ready()
        world.crash("n3", for_us=seconds(1))
        yield world.sleep(seconds(3))

    for peer_lost in ("true", "false"):
        events = {type(step.event).__name__ for step in run(script, peer_lost=peer_lost).trace}
        assert ("PeerLost" in events) == (peer_lost == "true")
