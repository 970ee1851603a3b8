"""Invariants of one replica's log: histories that break them, and near misses."""

from __future__ import annotations

from tests.core.invariants_fakes import broken, near_miss, stale
from tests.core.invariants_stage import QUIET, Stage
from yak_core.contract.effects import AppendLog, FlushLog, SendLog, TruncateLog
from yak_core.contract.events import DiskDone, DiskOk
from yak_core.ids import Epoch, LogGeneration, OpId
from yak_core.log.epochs import EpochIndex


def test_a_log_has_no_gap(stage: Stage) -> None:
    stage.held("n1")
    with broken("LogShape"):
        stage.append("n1", stage.batch(2, Epoch(1)))


def test_epochs_do_not_fall_along_a_log(stage: Stage) -> None:
    old, new = stage.batch(0, Epoch(1)), stage.batch(0, Epoch(2))
    stage.have("n1", old)
    stage.lead("n2")
    stage.have("n2", new)
    stage.follow("n3", Epoch(2))
    stage.have("n3", new)
    with broken("LogShape"):
        stage.step(
            "n3", QUIET, AppendLog(OpId(stage.op()), LogGeneration(0), (stage.batch(1, Epoch(1)),))
        )


def test_a_log_may_skip_epochs(stage: Stage) -> None:
    first = stage.batch(0, Epoch(1))
    stage.commit(first)
    stage.lead("n2")
    stage.lead("n3")
    with near_miss("LogShape"):
        stage.have("n3", stage.batch(1, Epoch(3)))


def test_an_offset_of_an_epoch_holds_one_record(stage: Stage) -> None:
    stage.held("n1")
    with broken("LogMatching"):
        stage.append("n2", stage.batch(0, Epoch(1)))


def test_a_follower_cannot_write_in_an_epoch(stage: Stage) -> None:
    with broken("LogMatching"):
        stage.append("n2", stage.batch(0, Epoch(1)))


def test_equal_records_need_equal_prefixes(stage: Stage) -> None:
    stage.held("n1", "n3")
    stage.lead("n2")
    stage.have("n2", stage.batch(0, Epoch(2)))
    second = stage.batch(1, Epoch(2))
    stage.have("n2", second)
    stage.follow("n3", Epoch(2))
    with broken("LogMatching"):
        stage.append("n3", second)


def test_logs_of_different_epochs_may_differ(stage: Stage) -> None:
    stage.held("n1")
    stage.lead("n2")
    with near_miss("LogMatching"):
        stage.have("n2", stage.batch(0, Epoch(2)))


def test_a_leader_does_not_truncate_its_log(stage: Stage) -> None:
    stage.held("n1")
    with broken("LeaderAppendOnly"):
        stage.truncate("n1", 0)


def test_a_deposed_leader_truncates_its_tail(stage: Stage) -> None:
    stage.held("n1")
    stage.lead("n2")
    stage.follow("n1", Epoch(2))
    with near_miss("LeaderAppendOnly"):
        stage.truncate("n1", 0)


def test_a_member_does_not_truncate_committed_records(stage: Stage) -> None:
    first, second = stage.batch(0, Epoch(1)), stage.batch(1, Epoch(1))
    stage.commit(first, second)
    with broken("NoCutBelowCommitted"):
        stage.truncate("n2", 1)


def test_a_member_truncates_uncommitted_records(stage: Stage) -> None:
    first, second = stage.batch(0, Epoch(1)), stage.batch(1, Epoch(1))
    stage.commit(first)
    stage.have("n1", second)
    stage.have("n2", second)
    with near_miss("NoCutBelowCommitted"):
        stage.truncate("n2", 1)


def test_a_broker_knows_its_log_end(stage: Stage) -> None:
    batch = stage.batch(0, Epoch(1))
    with broken("ReplicaShape"):
        stage.step("n1", QUIET, AppendLog(OpId(stage.op()), LogGeneration(0), (batch,)))


def test_a_crashed_broker_may_know_effects_that_were_not_executed(stage: Stage) -> None:
    stage.commit(stage.batch(0, Epoch(1)))
    stage.hosts["n2"].alive = False
    log = stage.node("n2").log
    log.leo, log.hw = 3, 3
    with near_miss("ReplicaShape"):
        stage.step("n2", QUIET)


def test_a_broker_knows_no_unflushed_record_as_flushed(stage: Stage) -> None:
    stage.append("n1", stage.batch(0, Epoch(1)))
    flush = stage.op()
    stage.step("n1", QUIET, FlushLog(OpId(flush), LogGeneration(0)))
    stage.append("n1", stage.batch(1, Epoch(1)))
    log = stage.node("n1").log
    log.appended_end = log.durable_end = 2
    with broken("ReplicaShape"):
        stage.step("n1", DiskDone(OpId(flush), LogGeneration(0), DiskOk()))


def test_a_leader_starts_its_epoch_at_its_log_end(stage: Stage) -> None:
    stage.write_election("n2")
    stage.node("n2").log.leo = 5
    with broken("ReplicaShape"):
        stage.become_leader("n2")


def test_a_leader_is_named_by_its_view(stage: Stage) -> None:
    stage.write_election("n2")
    view = stage.node("n2").partition
    with broken("ReplicaShape"):
        stage.become_leader("n2", view=view)


def test_a_broker_may_know_less_than_its_disk(stage: Stage) -> None:
    stage.append("n1", stage.batch(0, Epoch(1)))
    flush = stage.op()
    stage.step("n1", QUIET, FlushLog(OpId(flush), LogGeneration(0)))
    with near_miss("ReplicaShape"):
        stage.step("n1", DiskDone(OpId(flush), LogGeneration(0), DiskOk()))


def test_the_epoch_index_follows_from_the_log(stage: Stage) -> None:
    stage.held("n1")
    stage.node("n1").log.epochs = EpochIndex(((Epoch(0), 0), (Epoch(1), 0)))
    with broken("EpochIndexIsFold"):
        stage.append("n1", stage.batch(1, Epoch(1)))


def test_a_truncation_removes_epochs_from_the_index(stage: Stage) -> None:
    first, second = stage.batch(0, Epoch(1)), stage.batch(1, Epoch(2))
    stage.commit(first)
    stage.lead("n2")
    stage.have("n2", second)
    stage.follow("n1", Epoch(2))
    stage.have("n1", second)
    stage.lead("n3")
    stage.follow("n1", Epoch(3))
    with broken("EpochIndexIsFold"):
        stage.truncate("n1", 1, index=EpochIndex(((Epoch(1), 0), (Epoch(2), 0))))


def test_a_leader_notes_its_epoch_before_it_writes(stage: Stage) -> None:
    stage.write_election("n2")
    with broken("EpochIndexIsFold"):
        stage.become_leader("n2", notes_epoch=False)


def test_an_epoch_without_records_may_be_noted_at_the_end(stage: Stage) -> None:
    stage.commit(stage.batch(0, Epoch(1)))
    with near_miss("EpochIndexIsFold"):
        stage.lead("n2")
        assert stage.node("n2").log.epochs.entries() == ((1, 0), (2, 1))
        stage.have("n2", stage.batch(1, Epoch(2)))


def test_the_producer_table_follows_from_the_log(stage: Stage) -> None:
    batch = stage.batch(0, Epoch(1), producer=5, sequence=0)
    stage.node("n1").log.producers.apply(5, 0, 3, 0, 1)
    with broken("ProducerTableIsFold"):
        stage.append_unindexed("n1", batch)


def test_a_truncation_removes_batches_from_the_producer_table(stage: Stage) -> None:
    first = stage.batch(0, Epoch(1), producer=5, sequence=0)
    second = stage.batch(1, Epoch(1), producer=5, sequence=1)
    stage.have("n1", first, second)
    stage.have("n2", first, second)
    table = stage.node("n2").log.producers
    with broken("ProducerTableIsFold"):
        stage.truncate("n2", 1, producers=table)


def test_the_producer_table_keeps_five_batches(stage: Stage) -> None:
    with near_miss("ProducerTableIsFold"):
        for sequence in range(8):
            stage.have("n1", stage.batch(sequence, Epoch(1), producer=5, sequence=sequence))
        entry = stage.node("n1").log.producers.get(5)
        assert entry is not None
        assert len(entry.batches) == 5
        stage.see("n1")


def test_unfinished_appends_are_bounded(stage: Stage) -> None:
    stage.node("n1").log.pending_bytes = stage.config.append_bytes_max + 1
    with broken("QueuesBounded"):
        stage.append("n1", stage.batch(0, Epoch(1)))


def test_the_window_is_bounded(stage: Stage) -> None:
    inflight = stage.leading("n1").progress["n2"].inflight
    inflight.extend(range(stage.config.window_messages + 1))
    with broken("QueuesBounded"):
        stage.step(
            "n1", QUIET, SendLog(OpId(stage.op()), LogGeneration(0), "n2", stale(1), 0, 1, 1)
        )


def test_waiting_produce_requests_are_bounded(stage: Stage) -> None:
    batch = stage.batch(0, Epoch(1))
    limit = stage.config.waiting_max
    for call in range(limit):
        stage.ask("n1", call, batch)
    with broken("QueuesBounded"):
        stage.ask("n1", limit, batch)


def test_queues_may_be_full(stage: Stage) -> None:
    with near_miss("QueuesBounded"):
        stage.node("n1").log.pending_bytes = stage.config.append_bytes_max
        stage.append("n1", stage.batch(0, Epoch(1)))
        inflight = stage.leading("n1").progress["n2"].inflight
        inflight.extend(range(stage.config.window_messages))
        stage.step(
            "n1", QUIET, SendLog(OpId(stage.op()), LogGeneration(0), "n2", stale(1), 0, 1, 1)
        )


def test_flushed_records_survive_a_crash(stage: Stage) -> None:
    first, second = stage.batch(0, Epoch(1)), stage.batch(1, Epoch(1))
    stage.have("n1", first, second)
    with broken("DurableSurvives"):
        stage.crash("n1", first)


def test_flushed_records_are_recovered(stage: Stage) -> None:
    stage.held("n1")
    with broken("DurableSurvives"):
        stage.start("n1")


def test_unflushed_records_may_be_lost_or_not(stage: Stage) -> None:
    first, second, third = (stage.batch(base, Epoch(1)) for base in range(3))
    stage.have("n1", first)
    stage.append("n1", second, third)
    with near_miss("DurableSurvives"):
        stage.crash("n1", first, second)
        stage.start("n1", first, second)


def test_a_damaged_disk_may_have_lost_anything(stage: Stage) -> None:
    stage.held("n1")
    stage.crash("n1", *stage.node("n1").log.batches)
    stage.invariants.on_damage("n1")
    with near_miss("DurableSurvives"):
        stage.start("n1")


def test_a_truncation_of_durable_records_is_no_loss(stage: Stage) -> None:
    first, second = stage.batch(0, Epoch(1)), stage.batch(1, Epoch(1))
    stage.commit(first)
    stage.have("n1", second)
    stage.have("n2", second)
    stage.lead("n3")
    stage.follow("n2", Epoch(2))
    with near_miss("DurableSurvives"):
        stage.step("n2", QUIET)
        stage.truncate("n2", 1)
        stage.crash("n2", first)


def test_empty_truncations_change_nothing(stage: Stage) -> None:
    stage.held("n1")
    with near_miss("LeaderAppendOnly"):
        stage.step("n1", QUIET, TruncateLog(OpId(stage.op()), LogGeneration(0), 1))
