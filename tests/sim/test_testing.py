"""``yak_sim.testing``: plans are drawn, run and reduced; a failed run explains itself.

Method: right and broken rules under plans that Hypothesis draws.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings

from tests.mutants import MUTANTS
from yak_sim import Script, World, run_scenario, scenario, seconds
from yak_sim.search.fault_classes import KINDS, may_lose_records
from yak_sim.testing import Plan, RunNotValid, assert_valid, first_difference, plans, run_plan

BROKEN = "truncate by HW"
"""The mutant of these tests."""


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(plans(faults_max=4))
def test_the_rules_survive_any_plan(plan: Plan) -> None:
    """Goal: the guarantees cover every plan. Method: the right rules."""
    assert_valid(run_plan(plan), save_to=None)


@settings(max_examples=50, deadline=None)
@given(plans(flush="os"))
def test_a_plan_with_unflushed_acks_has_one_lossy_crash(plan: Plan) -> None:
    """Goal: min ISR - 1 crashes at most lose records. Method: count them; check the order."""
    assert sum(map(may_lose_records, plan)) <= 1
    assert [fault.at_us for fault in plan] == sorted(fault.at_us for fault in plan)


def test_every_class_of_faults_is_drawn() -> None:
    """Method: search a plan of each class; unknown classes are refused."""
    for name in KINDS:
        assert find(plans(kinds=[name]), bool, settings=settings(database=None, deadline=None))
    with pytest.raises(ValueError, match=r"'crush'.*crash"):
        plans(kinds=["crush"])


def broken(phases: list[Phase], save_to: Path) -> tuple[str, list[Plan]]:
    """Draw plans until a broken rule fails; return the message and the failing plans."""
    failing: list[Plan] = []

    @settings(max_examples=100, deadline=None, database=None, derandomize=True, phases=phases)
    @given(plans())
    def test_rules(plan: Plan) -> None:
        result = run_plan(plan, rules=MUTANTS[BROKEN].variant)
        if result.valid is not True:
            failing.append(plan)
        assert_valid(result, save_to=save_to)

    with pytest.raises(RunNotValid) as caught:
        test_rules()
    return str(caught.value), failing


def test_a_broken_rule_is_found_and_explained(tmp_path: Path) -> None:
    """Method: a mutant that keeps diverged records; the parts of the message, the folder."""
    message, _ = broken([Phase.generate], tmp_path)
    assert any(name in message for name in MUTANTS[BROKEN].invariants), message
    assert re.search(r"^rule: .+ \(step \d+ of the trace\)$", message, re.MULTILINE)
    assert re.search(r"^faults:\n  t=\d", message, re.MULTILINE)
    folder = Path(re.search(r"^run folder: (.+)$", message, re.MULTILINE)[1])  # type: ignore[index]
    assert {path.name for path in folder.iterdir()} >= {"trace.jsonl", "verdict.json"}


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_failing_plan_is_reduced(tmp_path: Path) -> None:
    """Method: the same with reduction; few faults are left."""
    message, failing = broken([Phase.generate, Phase.shrink], tmp_path)
    print(message)
    assert len(failing[-1]) <= 3
    assert len(failing[-1]) <= len(failing[0])
    assert len(list(tmp_path.iterdir())) == 1, "only the reported run has a folder"


@scenario()
def short(world: World, *, records: int = 2) -> Script:
    """Send some records."""
    producer = world.producer(values=records)
    yield world.until(lambda: producer.finished, within=seconds(5), what="all are acknowledged")


def test_the_first_difference_of_two_runs() -> None:
    """Method: equal runs, and runs with another number of records."""
    one, same, other = (run_scenario(short), run_scenario(short), run_scenario(short, 8))
    assert first_difference(one, same) is None
    assert first_difference(one.trace, same) is None
    difference = first_difference(one, other)
    assert difference is not None
    assert re.match(r"line \d+ of the traces differs:\n  \{.*\n  \{.*", difference)


def test_a_result_shows_and_saves_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Method: the line of its repr, its report, its folder and the command that repeats it."""
    result = run_scenario(short, 9, {"records": "4"})
    line = repr(result)
    assert "\n" not in line
    for part in ("short", "seed 9", "records=4", "valid", "4 of 4"):
        assert part in line
    assert_valid(result)
    result.show()
    assert capsys.readouterr().out == result.report() + "\n"
    assert result.report().endswith("valid: true")
    folder = result.save(tmp_path)
    assert folder == tmp_path / "short" / "9,records=4"
    assert "--seed 9 --set records=4" in (folder / "replay.txt").read_text(encoding="utf-8")
    assert run_scenario(short, 9, {"records": 2}).settings == {}


def test_the_message_of_a_failed_run_lists_its_faults() -> None:
    """Method: a scenario with a fault and a false expectation."""

    @scenario()
    def fails(world: World) -> Script:
        yield world.at(seconds(1))
        world.crash("n1", for_us=seconds(2))
        world.expect.leader_is("n1")

    with pytest.raises(RunNotValid, match=r"t=1\.000s crash n1 for 2 s, lose unsynced"):
        assert_valid(run_scenario(fails), save_to=None)
