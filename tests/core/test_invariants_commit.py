"""Invariants of commits and their replicas: histories that break them, and near misses."""

from __future__ import annotations

from tests.core.invariants_fakes import NODES, broken, near_miss
from tests.core.invariants_stage import QUIET, Stage
from yak_core.contract.effects import FlushLog
from yak_core.contract.events import DiskDone, DiskOk
from yak_core.ids import Epoch, LogGeneration, OpId
from yak_core.metadata.transitions import alter_isr


def test_below_its_hw_a_replica_holds_the_committed_records(stage: Stage) -> None:
    stage.held("n1")
    stage.lead("n2")
    batch = stage.batch(0, Epoch(2))
    stage.follow("n3", Epoch(2))
    stage.have("n2", batch)
    stage.have("n3", batch)
    stage.acknowledge_all("n3", leader="n2")
    stage.raise_hw("n2", 1)
    with broken("CommittedAgreement"):
        stage.follow("n1", Epoch(2))
        stage.raise_hw("n1", 1)


def test_a_leader_commits_on_top_of_what_is_committed() -> None:
    stage = Stage(min_isr=1)
    stage.shrink("n1", "n2", "n3")
    stage.have("n1", stage.batch(0, Epoch(1)), stage.batch(1, Epoch(1)))
    stage.elect_uncleanly("n2")
    stage.have("n2", stage.batch(0, Epoch(2)))
    stage.raise_hw("n2", 1)
    with broken("CommittedAgreement"):
        stage.raise_hw("n1", 2)


def test_a_replica_may_differ_above_its_hw(stage: Stage) -> None:
    first = stage.batch(0, Epoch(1))
    stage.commit(first)
    stage.have("n1", stage.batch(1, Epoch(1)))
    stage.lead("n2")
    stage.follow("n3", Epoch(2))
    second = stage.batch(1, Epoch(2))
    stage.have("n2", second)
    stage.have("n3", second)
    stage.acknowledge_all("n3", leader="n2")
    with near_miss("CommittedAgreement"):
        stage.raise_hw("n2", 2)
        stage.raise_hw("n3", 2)


def test_no_hw_passes_the_true_one(stage: Stage) -> None:
    stage.held("n1", "n2")
    with broken("HwSound"):
        stage.raise_hw("n2", 1)


def test_no_hw_passes_the_log_end(stage: Stage) -> None:
    stage.commit(stage.batch(0, Epoch(1)))
    with broken("HwSound"):
        stage.raise_hw("n1", 2)


def test_a_leaders_hw_does_not_fall(stage: Stage) -> None:
    stage.commit(stage.batch(0, Epoch(1)))
    with broken("HwSound"):
        stage.raise_hw("n1", 0)


def test_a_truncation_leaves_no_hw_above_it(stage: Stage) -> None:
    first = stage.batch(0, Epoch(1))
    stage.commit(first)
    stage.raise_hw("n3", 1)
    stage.shrink("n1", "n3")
    with broken("HwSound"):
        stage.truncate("n3", 0)


def test_a_restart_may_lower_a_hw(stage: Stage) -> None:
    batch = stage.batch(0, Epoch(1))
    stage.commit(batch)
    stage.raise_hw("n2", 1)
    with near_miss("HwSound"):
        stage.start("n2", batch)
        stage.register("n2")


def test_a_member_must_have_acknowledged_the_records(stage: Stage) -> None:
    stage.held(*NODES)
    stage.acknowledge_all("n2")
    with broken("HwJustified"):
        stage.raise_hw("n1", 1)


def test_a_member_must_really_hold_the_records(stage: Stage) -> None:
    stage.held("n1", "n2")
    stage.acknowledge_all("n2")
    stage.leading("n1").progress["n3"].match = 1
    with broken("HwJustified"):
        stage.raise_hw("n1", 1)


def test_the_leader_itself_must_have_flushed_the_records(stage: Stage) -> None:
    batch = stage.batch(0, Epoch(1))
    stage.append("n1", batch)
    for node in ("n2", "n3"):
        stage.have(node, batch)
    stage.acknowledge_all("n2", "n3")
    with broken("HwJustified"):
        stage.raise_hw("n1", 1)


def test_nothing_is_committed_under_min_isr(stage: Stage) -> None:
    stage.shrink("n1", "n2", "n3")
    stage.held("n1")
    with broken("HwJustified"):
        stage.raise_hw("n1", 1)


def test_a_proposed_member_counts(stage: Stage) -> None:
    stage.fall_out_of_isr("n3")
    stage.propose("n1", *NODES)
    with broken("HwJustified"):
        stage.raise_hw("n1", 1)


def test_a_former_member_does_not_count(stage: Stage) -> None:
    stage.fall_out_of_isr("n3")
    with near_miss("HwJustified"):
        stage.raise_hw("n1", 1)


def test_a_deposed_leader_may_commit_what_its_successor_holds(stage: Stage) -> None:
    stage.held(*NODES)
    stage.acknowledge_all("n2", "n3")
    with near_miss("HwJustified"):
        stage.lead("n2")
        stage.raise_hw("n1", 1)


def test_electable_nodes_are_in_the_maximal_isr(stage: Stage) -> None:
    stage.shrink("n1", "n3")
    with broken("QuorumSuperset"):
        stage.write(alter_isr, node="n1", isr=NODES, added=stage.starts("n3"))


def test_the_maximal_isr_has_what_is_recorded_and_what_is_proposed(stage: Stage) -> None:
    stage.shrink("n1", "n3")
    leading = stage.leading("n1")
    leading.pending_isr = NODES
    with broken("QuorumSuperset"):
        stage.step("n1", QUIET)


def test_a_proposal_may_be_accepted_before_any_node_knows(stage: Stage) -> None:
    stage.shrink("n1", "n3")
    stage.propose("n1", *NODES)
    with near_miss("QuorumSuperset"):
        stage.write(alter_isr, node="n1", isr=NODES, added=stage.starts("n3"))
        stage.see("n1")


def test_a_proposal_counts_until_a_newer_record_is_seen(stage: Stage) -> None:
    stage.shrink("n1", "n3")
    stage.propose("n1", *NODES)
    stage.leading("n1").pending_isr = None
    stage.leading("n1").maximal_isr = stage.stored.isr
    with broken("PendingKept"):
        stage.step("n1", QUIET)


def test_a_newer_record_ends_a_proposal(stage: Stage) -> None:
    stage.shrink("n1", "n3")
    stage.propose("n1", *NODES)
    stage.start("n3")
    stage.register("n3")
    with near_miss("PendingKept"):
        stage.see("n1")


def test_a_candidate_holds_what_is_committed(stage: Stage) -> None:
    stage.fall_out_of_isr("n3")
    stage.elect_uncleanly("n3", "n1", "n2", becomes_leader=False)
    with broken("CandidateCompleteness"):
        stage.raise_hw("n1", 1)


def test_a_new_candidate_holds_what_is_committed(stage: Stage) -> None:
    stage.fall_out_of_isr("n3")
    stage.raise_hw("n1", 1)
    with broken("CandidateCompleteness"):
        stage.elect_uncleanly("n3", becomes_leader=False)


def test_a_node_outside_isr_and_elr_may_lack_it(stage: Stage) -> None:
    stage.fall_out_of_isr("n3")
    with near_miss("CandidateCompleteness"):
        stage.raise_hw("n1", 1)
        stage.crash("n3")


def test_the_leader_holds_what_is_committed(stage: Stage) -> None:
    stage.fall_out_of_isr("n3")
    stage.elect_uncleanly("n3")
    with broken("LeaderCompleteness"):
        stage.raise_hw("n1", 1)


def test_a_deposed_leader_may_lack_it(stage: Stage) -> None:
    stage.lead("n2")
    stage.follow("n3", Epoch(2))
    batch = stage.batch(0, Epoch(2))
    for node in ("n2", "n3"):
        stage.have(node, batch)
    stage.acknowledge_all("n3", leader="n2")
    with near_miss("LeaderCompleteness"):
        stage.raise_hw("n2", 1)
        stage.step("n1", QUIET)


def test_a_record_is_committed_once(stage: Stage) -> None:
    first = stage.batch(0, Epoch(1), producer=5, sequence=0)
    again = stage.batch(1, Epoch(1), producer=5, sequence=0)
    stage.commit(first)
    with broken("NoDuplicate"):
        stage.commit(again)


def test_two_producers_may_use_one_sequence(stage: Stage) -> None:
    with near_miss("NoDuplicate"):
        stage.commit(stage.batch(0, Epoch(1), producer=5, sequence=0))
        stage.commit(stage.batch(1, Epoch(1), producer=6, sequence=0))
        stage.commit(stage.batch(2, Epoch(1)))
        stage.commit(stage.batch(3, Epoch(1)))


def test_sequences_are_committed_without_a_gap(stage: Stage) -> None:
    stage.commit(stage.batch(0, Epoch(1), producer=5, sequence=0))
    with broken("ProducerOrder"):
        stage.commit(stage.batch(1, Epoch(1), producer=5, sequence=2))


def test_the_first_sequence_is_0(stage: Stage) -> None:
    with broken("ProducerOrder"):
        stage.commit(stage.batch(0, Epoch(1), producer=5, sequence=1))


def test_an_older_producer_epoch_has_ended(stage: Stage) -> None:
    stage.commit(stage.batch(0, Epoch(1), producer=5, sequence=0, producer_epoch=1))
    with broken("ProducerOrder"):
        stage.commit(stage.batch(1, Epoch(1), producer=5, sequence=0))


def test_a_new_producer_epoch_begins_again(stage: Stage) -> None:
    with near_miss("ProducerOrder"):
        stage.commit(stage.batch(0, Epoch(1), producer=5, sequence=0))
        stage.commit(stage.batch(1, Epoch(1), producer=5, sequence=1))
        stage.commit(stage.batch(2, Epoch(1), producer=5, sequence=0, producer_epoch=1))


def test_a_flush_of_less_may_end_late(stage: Stage) -> None:
    first, second = stage.batch(0, Epoch(1)), stage.batch(1, Epoch(1))
    stage.append("n1", first)
    early = stage.op()
    stage.step("n1", QUIET, FlushLog(OpId(early), LogGeneration(0)))
    stage.append("n1", second)
    with near_miss("HwJustified"):
        stage.step("n1", DiskDone(OpId(early), LogGeneration(0), DiskOk()))
        for node in ("n2", "n3"):
            stage.have(node, first)
        stage.acknowledge_all("n2", "n3")
        stage.raise_hw("n1", 1)
