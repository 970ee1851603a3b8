"""The World class: its state, faults and expectations, as scripts use them.

Method: short scenarios on the real brokers, all invariants on.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.sim.short_runs import run
from yak_sim import (
    ExpectationFailed,
    Line,
    Role,
    Scenario,
    Script,
    World,
    run_scenario,
    scenario,
    seconds,
)


@scenario(seed=7)
def quiet(world: World) -> Script:
    """Produce some load without faults."""
    producer = world.producer(values=20, rate_per_s=100)
    consumer = world.consumer()
    yield world.until(lambda: producer.finished, within=seconds(10))
    yield world.until(lambda: len(consumer.reads) == 20, within=seconds(10))
    yield world.until_converged(within=seconds(10))


def test_a_leader_is_elected_and_records_flow() -> None:
    """Method: the state of the world after twenty records."""
    result = run_scenario(quiet)
    world = result.world
    assert result.valid is True, result.reason
    assert world.brokers == world.running == ("n1", "n2", "n3")
    assert world.leader in world.brokers
    assert world.partition_state is not None
    assert world.partition_state.isr == world.brokers
    assert world.broker(str(world.leader)).hw == 20
    assert [len(world.log_of(node)) for node in world.brokers] == [20, 20, 20]
    assert result.figures["records_acked"] == result.figures["records_read"] == 20
    assert world.consumers[0].values == [b"p1-%06d" % number for number in range(20)]


def test_the_leader_is_the_running_one_of_the_highest_epoch() -> None:
    """Goal: a deposed leader does not count. Method: isolate it, wait, crash the new one."""

    def script(world: World) -> Script:
        yield world.until_ready()
        old = str(world.leader)
        world.isolate(old)
        yield world.until(lambda: world.leader not in (None, old), within=seconds(10))
        assert world.broker(old).role is Role.LEADER
        new = str(world.leader)
        world.crash(new)
        assert world.leader == old
        assert not world.broker(new).up
        assert world.broker(new).leo == len(world.log_of(new)) == 0
        with pytest.raises(ValueError, match="not running"):
            world.node(new)
        world.heal_everything()
        yield world.until_converged()

    run(script)


def test_a_condition_is_checked_after_every_event() -> None:
    """Method: a state that lasts microseconds."""

    def script(world: World) -> Script:
        yield world.until_ready()
        leader = str(world.leader)

        def ends() -> tuple[int, int]:
            view = world.broker(leader)
            return view.leo, view.flushed_end

        world.producer(values=1)
        yield world.until(lambda: ends() == (1, 0), within=seconds(1))
        at = world.now_us
        yield world.until(lambda: ends() == (1, 1), within=seconds(1))
        assert 0 < world.now_us - at < 20_000

    run(script)


def test_a_timeout_names_its_condition() -> None:
    """Method: a description, a named function, and a lambda."""
    messages = []

    def script(world: World) -> Script:
        def pigs_fly() -> bool:
            return False

        for holds, what in ((pigs_fly, "pigs are seen in the air"), (pigs_fly, ""), (bool, "")):
            try:
                yield world.until(holds, within=seconds(1), what=what)
            except ExpectationFailed as failure:
                messages.append(failure.sentence)
        try:
            yield world.until(lambda: False, within=1)
        except ExpectationFailed as failure:
            messages.append(failure.sentence)

    run(script)
    for noun, text in zip(("seen in the air", "pigs fly", "bool"), messages, strict=False):
        assert (noun in text, "1 s" in text) == (True, True)
    assert "test_world.py" in messages[3]


def test_a_condition_that_raises_is_an_error_of_the_script() -> None:
    """Goal: no violation is reported. Method: an unknown broker in the condition."""

    def script(world: World) -> Script:
        yield world.until_ready()
        world.crash("n2", for_us=seconds(1))
        yield world.until(lambda: world.now_us > seconds(1) and world.broker("n9").hw > 0)

    result = run_scenario(scenario()(script))
    assert result.valid is False
    assert not result.violations
    assert re.search(r"ValueError at test_world.py:\d+: .*'n9'", result.reason)


def test_at_and_sleep() -> None:
    """Method: the clock after each, also for a time in the past."""
    times: list[int] = []

    def script(world: World) -> Script:
        yield world.at(seconds(1.5))
        times.append(world.now_us)
        yield world.sleep(seconds(0.25))
        times.append(world.now_us)
        yield world.at(seconds(1))
        times.append(world.now_us)

    run(script)
    assert times == [1_500_000, 1_750_000, 1_750_000]


def test_narrative_lines_are_delivered_during_the_run() -> None:
    """Method: the lines of a failover."""
    lines: list[Line] = []

    def script(world: World) -> Script:
        yield world.until_ready()
        old = str(world.leader)
        world.crash(old)
        yield world.until(lambda: world.leader is not None, within=seconds(10))
        assert any("elected leader, epoch 2" in line.text for line in lines), "on_line was called"
        world.restart(old)
        yield world.until_converged()

    result = run_scenario(scenario()(script), on_line=lines.append)
    assert result.valid is True, result.reason
    assert list(result.narrative) == lines
    text = [str(line) for line in lines]
    assert any(line.endswith("crashed [no leader]") for line in text)
    elected = next(line for line in lines if "elected leader, epoch 2" in line.text)
    assert str(elected).startswith(f"t={elected.at_us / 1e6:.3f}s n")
    assert f"[leader {elected.leader}, epoch 2, HW {elected.hw}]" in str(elected)


def test_a_halt_fails_the_run_unless_it_was_expected() -> None:
    """Method: fill the leader's disk; expect its halt, another's, and none.

    An expected halt excuses no other broker, with the invariants and without them.
    """

    @scenario()
    def script(world: World, *, expected: str = "") -> Script:
        yield world.until_ready()
        leader = str(world.leader)
        other = next(node for node in world.brokers if node != leader)
        if expected:
            world.expect_halt(leader if expected == "leader" else other)
        world.fill_disk(leader)
        world.producer(values=1)
        yield world.until(lambda: leader in world.halts, within=seconds(5))
        assert "no space" in world.halts[leader]
        yield world.sleep(seconds(1))

    result = run_scenario(script, settings={"expected": "leader"})
    assert result.valid is True, result.reason
    for expected in ("", "another"):
        for observers in (None, ()):
            result = run_scenario(script, settings={"expected": expected}, observers=observers)
            assert result.valid is False
            assert [found["invariant"] for found in result.violations] == ["NoHalt"]
            assert result.violations[0]["node"] in result.world.halts
            assert "no space" in result.reason


def test_a_history_has_an_end_for_each_call() -> None:
    """Method: the rows of a run as JSON."""
    rows = [json.loads(json.dumps(row)) for row in run_scenario(quiet).history.objects()]
    assert [row["i"] for row in rows] == list(range(len(rows)))
    sends = [row for row in rows if row["f"] == "send"]
    begun = {row["process"]: row for row in sends if row["type"] == "invoke"}
    ended = {row["process"]: row for row in sends if row["type"] == "ok"}
    assert len(begun) == len(ended) == 20
    for process, row in ended.items():
        assert row["value"] == begun[process]["value"]
        assert row["offset"] == process
        assert row["t_us"] > begun[process]["t_us"]
        assert row["broker"] in ("n1", "n2", "n3")
        assert row["epoch"] == 1
    read = [value for row in rows if row["f"] == "fetch" for value in row["value"]]
    assert read == [f"p1-{number:06d}" for number in range(20)]
    assert {row["client"] for row in rows} == {"p1", "c1"}


def test_values_of_any_bytes_survive_in_a_history() -> None:
    """Method: empty, binary and accented values."""

    def script(world: World) -> Script:
        producer = world.producer(values=[b"", b"\xff\x00", "é".encode()], batch=3)
        yield world.until(lambda: producer.finished, within=seconds(5))

    (row, *_) = run(script).history.objects()
    assert row["value"] == ["", {"b64": "/wA="}, "é"]


def test_a_wrong_setting_of_a_world_is_refused() -> None:
    """Method: unknown names and numbers out of range."""
    with pytest.raises(ValueError, match=r"brokers .*\b1\b.*\b9\b.*\b10\b"):
        World(brokers=10)
    with pytest.raises(ValueError, match="'leese_us'"):
        World(limits={"leese_us": 1})
    with pytest.raises(ValueError, match=r"store .*model, lua.*'redis'"):
        World(store="redis")
    with pytest.raises(ValueError, match=r"acks .*all, 1, 0.*'some'"):
        World().producer(acks="some")
    with pytest.raises(ValueError, match=r"lose .*nothing, unsynced, some, torn.*'everything'"):
        World().crash("n1", lose="everything")


def test_clusters_of_other_sizes_work() -> None:
    """Method: load and convergence with one, two and five brokers."""

    def script(world: World) -> Script:
        producer = world.producer(values=10)
        yield world.until(lambda: producer.finished, within=seconds(10))
        yield world.until_converged()

    for brokers in (1, 2, 5):
        assert run(script, brokers=brokers).world.expect is not None


def test_observers_see_steps_states_and_crashes() -> None:
    """Method: an observer that counts."""

    class Counter:
        def __init__(self) -> None:
            self.crashes: list[tuple[str, int]] = []
            self.versions: list[int] = []
            self.steps = 0

        def after_step(self, *_step: object) -> None:
            self.steps += 1

        def on_crash(self, node: str, image: Any) -> None:
            self.crashes.append((node, image.leo))

        def on_state(self, record: Any) -> None:
            self.versions.append(record.partition_epoch)

        def on_damage(self, node: str) -> None:
            raise AssertionError(node)

        def allow_halt(self, node: str) -> None:
            raise AssertionError(node)

    def script(world: World) -> Script:
        yield world.until_ready()
        world.crash("n2", for_us=seconds(1))
        yield world.sleep(seconds(3))

    counter = Counter()
    described: Scenario = scenario()(script)
    result = run_scenario(described, observers=[counter])
    assert result.valid is True, result.reason
    assert counter.crashes == [("n2", 0)]
    assert counter.versions == list(range(1, len(counter.versions) + 1))
    assert counter.steps == len(result.trace)
