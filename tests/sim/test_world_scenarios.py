"""The parts of a world for the scenarios on stores, disks and producers, one goal each.

Method: short scenarios on the real brokers, all invariants on.
"""

from __future__ import annotations

import pytest

from tests.sim.short_runs import run
from yak_core.batch import Batch
from yak_sim import Fault, Script, World, seconds


@pytest.mark.parametrize("store", ["model", "lua"])
def test_a_store_can_lose_confirmed_changes(store: str) -> None:
    """Goal: the state is an earlier one, and brokers that saw the lost one halt."""

    def script(world: World) -> Script:
        yield world.until_ready()
        yield world.sleep(seconds(1))
        states = []
        with pytest.raises(ValueError, match="count must be between 1 and"):
            world.lose_store_writes(100)
        for node in world.brokers:
            world.expect_halt(node)
        for _ in range(2):
            states.append(world.partition_state)
            world.lose_store_writes(1)
        states.append(world.partition_state)
        versions = [state.partition_epoch for state in states if state is not None]
        assert versions == [versions[0], versions[0] - 1, versions[0] - 2]
        yield world.until(lambda: not world.running, within=seconds(5))

    result = run(script, store=store)
    assert all("lost confirmed writes" in reason for reason in result.world.halts.values())
    assert [f.details for f in result.faults if f.kind == "lose_writes"] == [(("count", 1),)] * 2


def test_a_plan_can_lose_confirmed_changes() -> None:
    """Goal: the fault is a kind of a plan. Method: record what a plan did."""
    plan = [Fault(seconds(3), "lose_writes", "store", 0, (("count", 1),))]

    def script(world: World) -> Script:
        world.follow(plan)
        for node in world.brokers:
            world.expect_halt(node)
        yield world.until(lambda: len(world.halts) == 3, within=seconds(10))

    assert list(run(script).faults) == plan


@pytest.mark.parametrize("fault", ["damage_disk", "replace_disk"])
def test_a_broker_notices_that_its_disk_lost_flushed_records(fault: str) -> None:
    """Goal: the start is unclean (F13), and the broker is back when it has caught up.

    The damage is reported until the first flush, not at all later starts.
    """

    def script(world: World) -> Script:
        yield world.until_ready()
        producer = world.producer(values=9)
        yield world.until(lambda: producer.finished, within=seconds(5))
        node = next(n for n in world.brokers if n != world.leader)
        details = {"records": 4} if fault == "damage_disk" else {}
        plan = [Fault(0, fault, node, 0, tuple(details.items()))]
        with pytest.raises(ValueError, match=f"{node} runs"):
            getattr(world, fault)(node)
        yield world.until_converged()
        world.crash(node, "nothing")
        with pytest.raises(ValueError, match="records must be between 1 and 9, got 10"):
            world.damage_disk(node, 10)
        world.follow(plan)
        yield world.sleep(1)
        assert world.broker(node).leo == (5 if details else 0)
        world.restart(node)
        yield world.until(lambda: node not in world.isr, within=seconds(5))
        yield world.until_back(node)
        assert world.broker(node).leo == 9
        world.crash(node, "nothing", for_us=1000)
        yield world.until_down(node)
        yield world.until(lambda: world.broker(node).ready, within=seconds(5))
        assert node in world.isr
        yield world.until_converged()

    assert [f.kind for f in run(script).faults].count(fault) == 1


def test_two_producers_can_have_one_id() -> None:
    """Method: the producer ids in the log, of a copy and of a third producer."""

    def script(world: World) -> Script:
        yield world.until_ready()
        first = world.producer(values=1)
        yield world.until(lambda: first.finished, within=seconds(5))
        other = world.producer(values=2)
        yield world.until(lambda: other.finished, within=seconds(5))
        copy = world.producer(values=2, same_id_as=first, hold=True)
        fault = world.partition(copy.node_id, "brokers")
        copy.send(1)
        yield world.until(lambda: copy.unknown_count == 1, within=seconds(200))
        world.heal(fault)
        copy.release()
        yield world.until(lambda: copy.finished, within=seconds(5))
        yield world.until_converged()

    log: tuple[Batch, ...] = run(script, delivery_timeout_us=seconds(2)).world.log_of("n1")
    ids = [batch.producer_id for batch in log]
    assert ids[0] == ids[3]
    assert ids[1] == ids[2] != ids[0]
    assert [batch.producer_epoch for batch in log] == [0, 0, 0, 1]


def test_lost_records_are_counted_by_outcome() -> None:
    """Goal: acks=1 loses acknowledged records, acks=0 unknown ones. Method: a leader alone."""

    def script(world: World) -> Script:
        yield world.until_ready()
        leader = str(world.leader)
        world.partition(leader, [node for node in world.brokers if node != leader])
        one, none = (
            world.producer(acks=acks, values=3, first=leader, in_flight=1) for acks in ("1", "0")
        )
        yield world.until(lambda: one.finished and none.finished, within=seconds(1))
        assert (one.acked_count, none.acked_count, none.unknown_count) == (3, 0, 3)
        assert (world.lost(one), world.lost(none, unknown=True)) == (0, 0)
        world.crash(leader)
        world.heal()
        yield world.until(lambda: world.leader not in (None, leader), within=seconds(9))
        world.restart(leader)
        yield world.until_converged()
        assert (world.lost(one), world.lost(none), world.lost(none, unknown=True)) == (3, 0, 3)
        world.expect.nothing_acked_is_lost(none)

    run(script)


def test_a_script_reads_the_configuration_of_the_brokers() -> None:
    """Method: limits and settings that differ from the defaults."""

    def script(world: World) -> Script:
        config = world.config
        assert (config.min_isr, config.flush, config.lease_us) == (1, "os", 5_000_000)
        yield world.until_ready()

    run(script, min_isr=1, flush="os", lease_us=5_000_000)
