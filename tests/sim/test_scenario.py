"""Every scenario ends with a verdict; settings reach the scenario, the world and its nodes.

Method: valid scenarios, and scenarios that raise, never end or violate invariants.
"""

from __future__ import annotations

import gc
import re
import time
from dataclasses import replace
from typing import Any

import pytest

from tests.mutants import MUTANTS
from yak_core.contract.host import Host
from yak_core.invariants import InvariantViolated
from yak_core.metadata.partition_state import PartitionState
from yak_core.rules import Rules
from yak_sim import (
    ExpectationFailed,
    Limits,
    Scenario,
    Script,
    SettingError,
    World,
    run_scenario,
    scenario,
    seconds,
)


@scenario(seed=3, brokers=3, limits={"replicate_heartbeat_us": 50_000})
def plain(world: World, *, records: int = 5, word: str = "x", loud: bool = False) -> Script:
    """Produce a few records.

    And a second paragraph.
    """
    world.tell(f"{word} {records} {loud}")
    producer = world.producer(values=records)
    yield world.until(lambda: producer.finished, within=seconds(10))


def test_the_decorator_only_describes() -> None:
    """Goal: no registration. Method: the attributes of the result."""
    assert isinstance(plain, Scenario)
    assert plain.name == "plain"
    assert plain.text.startswith("Produce a few records.\n")
    assert plain.seed == 3
    assert plain.parameters == {"records": 5, "word": "x", "loud": False}


def test_a_result_is_complete() -> None:
    """Method: a plain run."""
    result = run_scenario(plain, 4)
    assert (result.scenario, result.seed, result.valid, result.reason) == ("plain", 4, True, "")
    assert not result.violations
    assert result.goals["leaders elected"] == 1
    assert result.figures["records_acked"] == 5
    assert result.figures["steps"] == len(result.trace) > 0
    assert result.trace.header.seed == 4
    assert result.trace.header.scenario == "plain"
    assert result.history.rows
    assert result.narrative[0].text == "x 5 False"
    assert result.cpu_s > 0
    assert run_scenario(plain).seed == 3


@pytest.mark.parametrize(
    ("settings", "script"),
    [
        ({"records": "7", "word": "y", "loud": "true"}, "y 7 True"),
        ({"records": 7}, "x 7 False"),
        ({"brokers": "5", "flush": "os", "min_isr": "3", "store": "model"}, "x 5 False"),
        ({"lease_us": "2000000", "retry_backoff_us": "50000"}, "x 5 False"),
    ],
)
def test_settings_reach_what_they_name(settings: dict[str, Any], script: str) -> None:
    """Method: settings of the scenario, the world, brokers and clients."""
    result = run_scenario(plain, settings=settings)
    assert result.valid is True, result.reason
    world = result.world
    assert result.narrative[0].text == script
    assert len(world.brokers) == int(settings.get("brokers", 3))
    assert world.topology.flush == settings.get("flush", "batch")
    config = world.node("n1").config
    assert config is not None
    assert config.replicate_heartbeat_us == 50_000
    assert config.lease_us == int(settings.get("lease_us", 3_000_000))


@pytest.mark.parametrize(
    ("settings", "pattern"),
    [
        ({"speed": "9"}, "'speed' .*plain.*records"),
        ({"records": "many"}, "records .*integer.*'many'"),
        ({"loud": "perhaps"}, "loud .*true or false.*'perhaps'"),
        ({"lease_us": "long"}, "lease_us .*integer.*'long'"),
    ],
)
def test_a_wrong_setting_is_refused(settings: dict[str, Any], pattern: str) -> None:
    """Method: unknown names and wrong values."""
    with pytest.raises(SettingError, match=pattern):
        run_scenario(plain, settings=settings)
    with pytest.raises(SettingError, match="'speed'"):
        scenario(speed=9)


def verdict(function: Any, limits: Limits | None = None, **how: Any) -> tuple[Any, str]:
    """Run a generator function; return (valid, reason)."""
    result = run_scenario(scenario()(function), limits=limits, **how)
    assert len(result.trace) > 0
    assert result.figures["steps"] == len(result.trace)
    return result.valid, result.reason


def test_a_scenario_that_raises_is_not_valid_and_keeps_its_output() -> None:
    """Method: an exception with an unusual constructor."""

    class Awkward(Exception):
        def __init__(self, one: str, two: str) -> None:
            super().__init__(one)
            self.two = two

    def script(world: World) -> Script:
        yield world.at(seconds(1))
        raise Awkward("on purpose", "two arguments")

    valid, reason = verdict(script)
    assert valid is False
    assert re.search(r"Awkward at test_scenario.py:\d+: on purpose", reason)


def no_event(_world: World) -> Script:
    yield 5  # type: ignore[misc]


def helper(world: World) -> Script:
    yield world.until_ready()


def no_yield_from(world: World) -> Script:
    yield helper(world)  # type: ignore[misc]


def no_such_broker(world: World) -> Script:
    yield world.until_ready()
    world.crash("n7")


@pytest.mark.parametrize(
    ("function", "pattern"),
    [
        (no_event, "TypeError: .*5"),
        (no_yield_from, "yield from"),
        (no_such_broker, r"ValueError at test_scenario.py:\d+: .*'n7'.*n1, n2, n3"),
    ],
)
def test_a_mistake_of_a_script_is_the_reason(function: Any, pattern: str) -> None:
    """Method: three likely mistakes."""
    result = run_scenario(scenario()(function))
    assert result.valid is False
    assert re.search(pattern, result.reason)


def test_a_claim_that_fails_is_the_reason() -> None:
    """Method: two failing expectations: catch the first, raise the second."""

    def script(world: World) -> Script:
        yield world.until_ready()
        try:
            world.expect.leader_is("n9")
        except ExpectationFailed:
            world.tell("caught")
        world.expect.hw_at_least(1)

    valid, reason = verdict(script)
    assert valid is False
    assert re.search(r"high watermark.* 1.* 1.* 0\b", reason)


def test_a_failed_convergence_has_a_reason() -> None:
    """Goal: a reason besides the timeout. Method: a broker that stays down."""

    def script(world: World) -> Script:
        yield world.until_ready()
        world.crash("n3")
        yield world.until_converged(within=seconds(10))

    valid, reason = verdict(script)
    assert valid is False
    assert re.search("10 s.* n3 ", reason)


def endless_waits(world: World) -> Script:
    while True:
        yield world.sleep(seconds(1))


def endless_in_no_time(world: World) -> Script:
    yield world.at(seconds(1))
    while True:
        yield world.at(seconds(0))


def waits_for_ever(world: World) -> Script:
    yield world.at(seconds(1))
    yield world.until(lambda: False)


@pytest.mark.parametrize(
    ("function", "limits", "pattern"),
    [
        (endless_waits, Limits(simulated_us=seconds(20)), "20 simulated seconds"),
        (waits_for_ever, Limits(simulated_us=seconds(20)), "20 simulated seconds"),
        (endless_in_no_time, Limits(events=20_000), r"20[0-9]{3} events.* 1\.000"),
        (endless_in_no_time, Limits(wall_s=0.1), r"0\.1 s of real time.* 1\.000"),
    ],
)
def test_an_endless_scenario_reaches_its_limit(function: Any, limits: Limits, pattern: str) -> None:
    """Goal: unknown with the limit as the reason. Method: four ways of never ending."""
    began = time.monotonic()
    valid, reason = verdict(function, limits)
    assert valid == "unknown"
    assert time.monotonic() - began < 30
    assert re.search(pattern, reason)


def test_a_scenario_without_a_yield_is_valid() -> None:
    """Method: a plain function."""

    def script(world: World) -> None:
        world.tell("done")

    result = run_scenario(scenario()(script))
    assert result.valid is True
    assert result.narrative[0].text == "done"


def test_a_violation_ends_the_run_with_all_fields() -> None:
    """Goal: invariant, event, node, expected, happened, rule. Method: commit without the ISR."""

    def script(world: World) -> Script:
        world.producer(values=100)
        yield world.at(seconds(5))

    result = run_scenario(scenario()(script), rules=MUTANTS["commit what one replica has"].variant)
    assert result.valid is False
    (found,) = result.violations
    assert set(found) == {"invariant", "event", "node", "expected", "happened", "rule"}
    assert found["invariant"] == "HwJustified"
    assert found["event"] == len(result.trace) - 1
    assert found["node"] == result.trace.step(int(found["event"])).node
    assert re.search(f"HwJustified .*{found['node']}", result.reason)
    assert result.world.now_us < seconds(5)


def test_an_exception_in_a_node_is_a_violation_too() -> None:
    """Method: a rule that raises."""

    def broken(*_arguments: object) -> bool:
        raise ZeroDivisionError("in a rule")

    def script(world: World) -> Script:
        yield world.at(seconds(5))

    result = run_scenario(scenario()(script), rules=replace(Rules(), may_campaign=broken))
    assert result.valid is False
    (found,) = result.violations
    assert found["invariant"] == "NoException"
    assert str(found["node"]).startswith("n")
    assert "ZeroDivisionError: in a rule" in result.reason


def test_a_violation_inside_a_call_of_the_script_counts() -> None:
    """Goal: it is not an error of the script. Method: an observer whose on_crash raises."""

    class Strict:
        def after_step(self, host: Host, *_step: object) -> None:
            assert host.start >= 1

        def on_state(self, state: PartitionState) -> None:
            assert state.partition_epoch >= 1

        def on_damage(self, node: str) -> None:
            raise AssertionError(node)

        def allow_halt(self, node: str) -> None:
            raise AssertionError(node)

        def on_crash(self, node: str, _image: object) -> None:
            raise InvariantViolated("DurableSurvives", -1, node, "all", "nothing")

    def script(world: World) -> Script:
        yield world.until_ready()
        world.crash("n2")

    result = run_scenario(scenario()(script), observers=[Strict()])
    assert result.valid is False
    assert result.violations[0]["invariant"] == "DurableSurvives"
    assert result.violations[0]["node"] == "n2"


def test_the_garbage_collector_is_off_during_a_run() -> None:
    """Goal: it is restored afterwards, also after a failure."""
    inside = []

    def script(world: World) -> Script:
        inside.append(gc.isenabled())
        yield world.at(seconds(1))
        raise ValueError("x")

    assert gc.isenabled()
    verdict(script)
    assert gc.isenabled()
    assert inside == [False]
