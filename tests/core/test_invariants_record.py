"""Invariants of the partition state: histories that break them, and near misses."""

from __future__ import annotations

from dataclasses import replace

from tests.core.invariants_fakes import NODES, broken, near_miss
from tests.core.invariants_stage import QUIET, Stage
from tests.core.metadata_records import altered, ok
from yak_core.contract.effects import Halt
from yak_core.contract.events import DiskDone, NoSpace
from yak_core.ids import BrokerEpoch, Epoch, LogGeneration, OpId
from yak_core.metadata.transitions import alter_isr


def test_an_epoch_has_one_leader(stage: Stage) -> None:
    stage.write_election("n2")
    stage.become_leader("n2")
    with broken("OneLeaderPerEpoch"):
        stage.become_leader("n3")


def test_a_restarted_leader_has_lost_its_epoch(stage: Stage) -> None:
    stage.start("n1")
    stage.node("n1").broker_epoch = stage.stored.leader_broker_epoch
    with broken("OneLeaderPerEpoch"):
        stage.become_leader("n1")


def test_a_leader_was_elected(stage: Stage) -> None:
    stage.write_election("n2")
    with broken("OneLeaderPerEpoch"):
        stage.become_leader("n3")


def test_two_leaders_may_act_in_two_epochs(stage: Stage) -> None:
    with near_miss("OneLeaderPerEpoch"):
        stage.lead("n2")
        stage.step("n1", QUIET)
        stage.step("n2", QUIET)


def test_an_epoch_does_not_fall(stage: Stage) -> None:
    stage.follow("n3", Epoch(2))
    with broken("EpochNeverFalls"):
        stage.follow("n3", Epoch(1))


def test_an_epoch_does_not_fall_in_a_restart(stage: Stage) -> None:
    stage.lead("n2")
    stage.follow("n3", Epoch(2))
    stage.start("n3")
    broker = stage.node("n3")
    broker.broker_epoch, broker.epoch = BrokerEpoch(9), Epoch(1)
    with broken("EpochNeverFalls"):
        stage.step("n3", QUIET)


def test_a_broker_that_is_not_registered_need_not_know_its_epoch(stage: Stage) -> None:
    stage.lead("n2")
    stage.follow("n3", Epoch(2))
    with near_miss("EpochNeverFalls"):
        stage.start("n3")
        stage.step("n3", QUIET)
        stage.register("n3")


def test_a_view_does_not_fall(stage: Stage) -> None:
    older = stage.node("n2").partition
    stage.see_as_follower("n2")
    stage.node("n2").partition = older
    with broken("ViewNeverFalls"):
        stage.step("n2", QUIET)


def test_a_view_may_skip_records(stage: Stage) -> None:
    stage.shrink("n1", "n3")
    stage.lead("n2")
    with near_miss("ViewNeverFalls"):
        stage.see_as_follower("n3")


def test_a_record_names_the_one_before(stage: Stage) -> None:
    known = stage.stored
    with broken("RecordChain"):
        stage.accept(replace(known, partition_epoch=known.partition_epoch + 2, attempt="late"))


def test_a_leader_is_in_the_isr(stage: Stage) -> None:
    grown = ok(altered(stage.stored, ("n1", "n2")))
    with broken("RecordChain"):
        stage.accept(replace(grown, isr=("n2", "n3")))


def test_the_first_record_is_the_first_version(stage: Stage) -> None:
    stage.invariants.context.state = None
    with broken("RecordChain"):
        stage.accept(stage.stored)


def test_a_record_may_change_nothing(stage: Stage) -> None:
    with near_miss("RecordChain"):
        stage.accept(stage.grown())


def test_a_joining_node_holds_the_start_of_the_epoch(stage: Stage) -> None:
    stage.shrink("n1", "n3")
    stage.held("n1", "n2")
    stage.lead("n2")
    stage.follow("n3", Epoch(2))
    stage.ack("n3", "n2")
    stage.propose("n2", "n2", "n3")
    with broken("IsrAdmission"):
        stage.write(alter_isr, node="n2", isr=("n2", "n3"), added=stage.starts("n3"))


def test_a_joining_node_has_flushed_the_start_of_the_epoch(stage: Stage) -> None:
    stage.shrink("n1", "n3")
    batch = stage.held("n1", "n2")
    stage.lead("n2")
    stage.follow("n3", Epoch(2))
    stage.append("n3", batch)
    stage.ack("n3", "n2", match=0)
    stage.propose("n2", "n2", "n3")
    with broken("IsrAdmission"):
        stage.write(alter_isr, node="n2", isr=("n2", "n3"), added=stage.starts("n3"))


def test_a_joining_node_has_acknowledged_in_this_epoch(stage: Stage) -> None:
    stage.lead("n2")
    stage.propose("n2", *NODES)
    with broken("IsrAdmission"):
        stage.write(alter_isr, node="n2", isr=NODES, added=stage.starts("n1"))


def test_an_elected_node_was_in_isr_or_elr(stage: Stage) -> None:
    stage.shrink("n1", "n3")
    usurped = replace(
        stage.grown(),
        leader="n3",
        leader_broker_epoch=stage.stored.broker_epoch_of("n3"),
        leader_epoch=Epoch(stage.stored.leader_epoch + 1),
        isr=("n2", "n3"),
    )
    with broken("IsrAdmission"):
        stage.accept(usurped)


def test_a_caught_up_node_may_join(stage: Stage) -> None:
    stage.shrink("n1", "n3")
    batch = stage.held("n1", "n2")
    stage.lead("n2")
    stage.follow("n3", Epoch(2))
    stage.have("n3", batch)
    stage.acknowledge_all("n3", leader="n2")
    stage.propose("n2", "n2", "n3")
    with near_miss("IsrAdmission"):
        stage.admit("n2", "n3")


def test_a_member_of_the_elr_may_be_elected(stage: Stage) -> None:
    stage.shrink("n1", "n2", "n3")
    assert stage.stored.elr == ("n2", "n3")
    with near_miss("IsrAdmission"):
        stage.lead("n2")


def lossy() -> Stage:
    """Make a stage where n2 has lost acknowledged records."""
    stage = Stage(flush="os")
    batch = stage.held("n1")
    stage.append("n2", batch)
    stage.acknowledge_all("n2")
    stage.crash("n2")
    stage.start("n2")
    return stage


def test_a_node_that_lost_acknowledged_records_leaves_isr_and_elr() -> None:
    stage = lossy()
    with broken("UncleanExclusion"):
        stage.register("n2", clean=True)


def test_an_emptied_disk_is_not_clean(stage: Stage) -> None:
    batch = stage.batch(0, Epoch(1))
    stage.commit(batch)
    stage.crash("n2", batch)
    stage.invariants.on_damage("n2")
    stage.start("n2")
    with broken("UncleanExclusion"):
        stage.register("n2", clean=True)


def test_a_node_that_lost_acknowledged_records_may_register_as_unclean() -> None:
    stage = lossy()
    with near_miss("UncleanExclusion"):
        stage.register("n2", clean=False)


def test_a_node_that_lost_unacknowledged_records_stays(stage: Stage) -> None:
    first, second = stage.batch(0, Epoch(1)), stage.batch(1, Epoch(1))
    stage.commit(first)
    stage.have("n1", second)
    stage.append("n2", second)
    stage.crash("n2", first)
    stage.start("n2", first)
    with near_miss("UncleanExclusion"):
        stage.register("n2", clean=True)


def test_a_start_has_one_broker_epoch(stage: Stage) -> None:
    broker = stage.node("n2")
    broker.broker_epoch = BrokerEpoch(broker.broker_epoch + 1)
    with broken("ReplicaShape"):
        stage.step("n2", QUIET)


def test_a_halt_needs_a_reason(stage: Stage) -> None:
    stage.invariants.allow_halt("n1")
    with broken("NoHalt"):
        stage.step("n2", QUIET, Halt("the store was emptied"))
    stage.invariants.allow_halt("n2")
    with near_miss("NoHalt"):
        stage.step("n2", QUIET, Halt("the store was emptied"))


def test_a_full_disk_is_a_reason_to_halt(stage: Stage) -> None:
    with near_miss("NoHalt"):
        stage.step("n2", DiskDone(OpId(1), LogGeneration(0), NoSpace()), Halt("no space"))
