"""A cluster as scripts see it: what can be seen, done to it, and claimed about it.

Method: short scenarios on the real brokers, all invariants on.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from yak_core.trace import Fault
from yak_sim import (
    ExpectationFailed,
    Line,
    RunResult,
    Scenario,
    Script,
    World,
    run_scenario,
    scenario,
    seconds,
)
from yak_sim.plan import PlanError, follow


def run(function: Callable[..., Any], seed: int = 7, **settings: int | str) -> RunResult:
    """Run a generator function as a scenario; it must be valid."""
    result = run_scenario(scenario(seed=seed)(function), settings=settings)
    assert result.valid is True, result.reason
    return result


@scenario(seed=7)
def quiet(world: World) -> Script:
    """Nothing happens but some load."""
    producer = world.producer(values=20, rate_per_s=100)
    consumer = world.consumer()
    yield world.until(lambda: producer.finished, within=seconds(10))
    yield world.until(lambda: len(consumer.reads) == 20, within=seconds(10))
    yield world.until_converged(within=seconds(10))


def test_a_leader_is_elected_and_records_flow() -> None:
    """Goal: the plain case. Method: what the world shows after twenty records."""
    result = run_scenario(quiet)
    world = result.world
    assert result.valid is True, result.reason
    assert world.brokers == world.running == ("n1", "n2", "n3")
    assert world.leader in world.brokers
    assert world.record is not None
    assert world.record.isr == world.brokers
    assert world.broker(str(world.leader)).hw == 20
    assert [len(world.log_of(node)) for node in world.brokers] == [20, 20, 20]
    assert result.figures["records_acked"] == result.figures["records_read"] == 20
    assert world.consumers[0].values == [b"p1-%06d" % number for number in range(20)]


def test_the_leader_is_the_running_one_of_the_highest_epoch() -> None:
    """Goal: a zombie is not mistaken for the leader. Method: isolate, wait, crash the new one."""

    def story(world: World) -> Script:
        yield from world.until_ready()
        old = str(world.leader)
        world.isolate(old)
        yield world.until(lambda: world.leader not in (None, old), within=seconds(10))
        assert world.broker(old).role == "leader"
        new = str(world.leader)
        world.crash(new)
        assert world.leader == old
        with pytest.raises(ValueError, match="not running"):
            world.broker(new)
        world.heal_everything()
        yield world.until_converged()

    run(story)


def test_a_condition_is_looked_at_after_every_event() -> None:
    """Goal: scripts can act in the middle of things. Method: a state that lasts microseconds."""

    def story(world: World) -> Script:
        yield from world.until_ready()
        log = world.broker(str(world.leader)).log
        world.producer(values=1)
        yield world.until(lambda: log.leo == 1 and log.durable_end == 0, within=seconds(1))
        at = world.now_us
        yield world.until(lambda: log.durable_end == 1, within=seconds(1))
        assert 0 < world.now_us - at < 20_000

    run(story)


def test_a_condition_that_does_not_come_is_said_in_a_sentence() -> None:
    """Goal: who waits in vain learns for what. Method: named, by function, and a lambda."""
    said = []

    def story(world: World) -> Script:
        def pigs_fly() -> bool:
            return False

        for holds, what in ((pigs_fly, "pigs are seen in the air"), (pigs_fly, ""), (bool, "")):
            try:
                yield world.until(holds, within=seconds(1), what=what)
            except ExpectationFailed as failure:
                said.append(failure.sentence)
        try:
            yield world.until(lambda: False, within=1)
        except ExpectationFailed as failure:
            said.append(failure.sentence)

    run(story)
    assert said[:2] == ["Within 1 s: pigs are seen in the air", "Within 1 s: pigs fly"]
    assert said[2] == "Within 1 s: bool"
    assert "the condition in line " in said[3]
    assert "test_world.py" in said[3]


def test_time_passes_as_the_script_says() -> None:
    """Goal: at, sleep, and what is over already. Method: the clock after each."""
    times: list[int] = []

    def story(world: World) -> Script:
        yield world.at(seconds=1.5)
        times.append(world.now_us)
        yield world.sleep(seconds=0.25)
        times.append(world.now_us)
        yield world.at(seconds=1)
        times.append(world.now_us)

    run(story)
    assert times == [1_500_000, 1_750_000, 1_750_000]


def test_the_story_is_told_as_it_happens() -> None:
    """Goal: a reader follows the run. Method: the lines of a failover, as they come."""
    lines: list[Line] = []

    def story(world: World) -> Script:
        yield from world.until_ready()
        old = str(world.leader)
        world.crash(old)
        yield world.until(lambda: world.leader is not None, within=seconds(10))
        assert any("elected, epoch 2" in line.text for line in lines), "told before it goes on"
        world.restart(old)
        yield world.until_converged()

    result = run_scenario(scenario()(story), on_story=lines.append)
    assert result.valid is True, result.reason
    assert result.story == lines
    text = [str(line) for line in lines]
    assert any(line.endswith("crashed [no leader]") for line in text)
    elected = next(line for line in lines if "elected, epoch 2" in line.text)
    assert str(elected).startswith(f"t={elected.at_us / 1e6:.3f}s n")
    assert f"[leader {elected.leader}, epoch 2, HW {elected.hw}]" in str(elected)


def test_faults_are_kept_in_the_words_of_a_plan() -> None:
    """Goal: a run can be told, drawn and repeated. Method: one of each; the words of each."""

    def story(world: World) -> Script:
        yield from world.until_ready()
        one, two, three = world.brokers
        world.crash(one, lose="torn", for_us=300_000)
        world.pause(two, for_us=200_000)
        cut = world.cut(two, (three, "store"))
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
        world.heal(cut)
        yield world.sleep(seconds=0.4)
        world.stop(three, for_us=100_000)
        yield world.sleep(seconds=2)
        world.heal_everything()
        yield world.until_converged()

    result = run(story)
    kept = {(fault.kind, fault.target): fault for fault in result.faults}
    assert kept["crash", "n1"].for_us == 300_000
    assert kept["crash", "n1"].details == (("lose", "torn"),)
    assert ("restart", "n1") in kept
    assert kept["restart", "n1"].at_us == kept["crash", "n1"].at_us + 300_000
    assert kept["resume", "n2"].at_us == kept["pause", "n2"].at_us + 200_000
    assert kept["cut", "n2>n3,store"].for_us is None
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
    """Goal: the same words steer and tell. Method: play the faults of a run as a plan."""

    def story(world: World, *, planned: bool = False) -> Script:
        world.producer(rate_per_s=20, values=100)
        if planned:
            follow(world, PLAN)
        else:
            yield world.at(seconds=1)
            world.crash("n1", lose="some", for_us=seconds(4))
            yield world.at(seconds=2)
            world.cut(("n2",), ("n3", "store"), for_us=seconds(1))
            yield world.at(seconds=2.5)
            world.pause("n3", for_us=seconds(1))
        yield world.at(seconds=8)
        world.heal_everything()
        yield world.until_converged()

    by_hand, by_plan = run(story), run(story, planned="true")
    assert by_hand.faults == by_plan.faults
    assert [line.text for line in by_hand.story] == [line.text for line in by_plan.story]


PLAN = (
    Fault(1_000_000, "crash", "n1", seconds(4), (("lose", "some"),)),
    Fault(2_000_000, "cut", "n2>n3,store", seconds(1)),
    Fault(2_500_000, "pause", "n3", seconds(1)),
)


def test_a_plan_may_mean_whoever_leads() -> None:
    """Goal: aim at the leader without knowing it. Method: crash it, twice, by plan."""

    def story(world: World) -> Script:
        world.follow([Fault(seconds(at), "crash", "leader", seconds(1)) for at in (1, 6)])
        yield world.at(seconds=12)
        yield world.until_converged()

    result = run(story)
    crashed = [fault.target for fault in result.faults if fault.kind == "crash"]
    assert crashed == [node for node, _ in result.world.situations.leaders[:2]]


@pytest.mark.parametrize(
    ("fault", "said"),
    [(Fault(0, "meteor", "n1"), "no fault of the kind 'meteor'"), (Fault(0, "cut", "n1"), "sides")],
)
def test_a_plan_that_makes_no_sense_is_refused_in_a_sentence(fault: Fault, said: str) -> None:
    """Goal: a plan's author learns what is wrong. Method: an unknown kind, a missing side."""

    def story(world: World) -> Script:
        world.follow([fault])
        yield world.at(seconds=1)

    result = run_scenario(scenario()(story))
    assert result.valid is False
    assert said in result.reason
    assert issubclass(PlanError, ValueError)


def test_a_halt_fails_the_run_unless_it_was_expected() -> None:
    """Goal: no broker halts unnoticed. Method: fill the leader's disk, with and without saying."""

    def story(world: World, *, expected: bool) -> Script:
        yield from world.until_ready()
        leader = str(world.leader)
        if expected:
            world.expect_halt(leader)
        world.fill_disk(leader)
        world.producer(values=1)
        yield world.until(lambda: leader in world.halts, within=seconds(5))
        assert "no space" in world.halts[leader]
        yield world.sleep(seconds=1)

    def expected(world: World) -> Script:
        yield from story(world, expected=True)

    def unexpected(world: World) -> Script:
        yield from story(world, expected=False)

    run(expected)
    for observers in (None, ()):
        result = run_scenario(scenario()(unexpected), observers=observers)
        assert result.valid is False
        assert [found["invariant"] for found in result.violations] == ["NoHalt"]
        assert result.violations[0]["node"] in result.world.halts
        assert "no space" in result.reason


def test_a_history_has_an_ending_for_each_beginning() -> None:
    """Goal: what clients saw can be judged later. Method: the rows of a run, as JSON."""
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
    """Goal: nothing is guessed or lost. Method: empty, binary, accented."""

    def story(world: World) -> Script:
        producer = world.producer(values=[b"", b"\xff\x00", "é".encode()], batch=3)
        yield world.until(lambda: producer.finished, within=seconds(5))

    (row, *_) = run(story).history.objects()
    assert row["value"] == ["", {"b64": "/wA="}, "é"]


def test_a_wrong_setting_of_a_world_is_noticed() -> None:
    """Goal: no silent default. Method: names and numbers that do not exist."""
    with pytest.raises(ValueError, match="1 to 9 brokers"):
        World(brokers=10)
    with pytest.raises(ValueError, match="BrokerConfig has no 'leese_us'"):
        World(limits={"leese_us": 1})
    with pytest.raises(ValueError, match="acks is one of"):
        World().producer(acks="some")
    with pytest.raises(ValueError, match="a crash loses one of"):
        World().crash("n1", lose="everything")


def test_clusters_of_other_sizes_work() -> None:
    """Goal: one broker, two, five. Method: load, and convergence."""

    def story(world: World) -> Script:
        producer = world.producer(values=10)
        yield world.until(lambda: producer.finished, within=seconds(10))
        yield world.until_converged()

    for brokers in (1, 2, 5):
        assert run(story, brokers=brokers).world.expect is not None


def test_peers_are_told_of_a_crash_where_the_topology_says_so() -> None:
    """Goal: broken connections are noticed, or not. Method: both, by the events in the trace."""

    def story(world: World) -> Script:
        yield from world.until_ready()
        world.crash("n3", for_us=seconds(1))
        yield world.sleep(seconds=3)

    for told in ("true", "false"):
        events = {type(step.event).__name__ for step in run(story, peer_lost=told).trace}
        assert ("PeerLost" in events) == (told == "true")


def test_every_crash_is_shown_to_the_checkers() -> None:
    """Goal: observers with on_crash and on_record are told. Method: an observer that counts."""

    class Counter:
        def __init__(self) -> None:
            self.crashes: list[tuple[str, int]] = []
            self.versions: list[int] = []
            self.steps = 0

        def after_step(self, *_step: object) -> None:
            self.steps += 1

        def on_crash(self, node: str, image: Any) -> None:
            self.crashes.append((node, image.leo))

        def on_record(self, record: Any) -> None:
            self.versions.append(record.version)

    def story(world: World) -> Script:
        yield from world.until_ready()
        world.crash("n2", for_us=seconds(1))
        yield world.sleep(seconds=3)

    counter = Counter()
    described: Scenario = scenario()(story)
    result = run_scenario(described, observers=[counter])
    assert result.valid is True, result.reason
    assert counter.crashes == [("n2", 0)]
    assert counter.versions == list(range(1, len(counter.versions) + 1))
    assert counter.steps == len(result.trace)
