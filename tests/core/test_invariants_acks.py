"""Invariants of acks and fencing: histories that break them, and near misses."""

from __future__ import annotations

from tests.core.invariants_fakes import broken, near_miss, stale
from tests.core.invariants_stage import QUIET, Stage
from yak_core.contract.effects import FlushLog, Send
from yak_core.contract.events import DiskDone, DiskOk, Received
from yak_core.contract.messages import ReplicateAck
from yak_core.ids import BrokerEpoch, Epoch, LogGeneration, OpId


def test_an_ack_is_for_the_leaders_records(stage: Stage) -> None:
    stage.held("n1", "n3")
    stage.lead("n2")
    stage.have("n2", stage.batch(0, Epoch(2)))
    stage.follow("n3", Epoch(2))
    with broken("AckIsVerified"):
        stage.ack("n3", "n2")


def test_an_ack_is_for_flushed_records(stage: Stage) -> None:
    batch = stage.held("n1")
    stage.append("n2", batch)
    with broken("AckIsVerified"):
        stage.ack("n2")


def test_an_ack_names_the_end_of_a_batch_of_the_log(stage: Stage) -> None:
    with broken("AckIsVerified"):
        stage.ack("n2", match=1)


def test_a_batch_that_found_no_space_is_not_flushed(stage: Stage) -> None:
    batch = stage.held("n1")
    stage.no_space("n2", batch)
    with broken("AckIsVerified"):
        stage.step("n2", QUIET, FlushLog(OpId(9_000), LogGeneration(0)))
        stage.step("n2", DiskDone(OpId(9_000), LogGeneration(0), DiskOk()))
        stage.ack("n2")


def test_an_ack_may_be_for_less_than_the_log(stage: Stage) -> None:
    first, second = stage.batch(0, Epoch(1)), stage.batch(1, Epoch(1))
    stage.have("n1", first, second)
    stage.have("n2", first)
    stage.append("n2", second)
    with near_miss("AckIsVerified"):
        stage.ack("n2", match=1)


def test_where_acks_mean_written_an_ack_needs_no_flush() -> None:
    stage = Stage(flush="os")
    batch = stage.held("n1")
    stage.append("n2", batch)
    with near_miss("AckIsVerified"):
        stage.ack("n2")


def test_a_leader_counts_what_was_acknowledged(stage: Stage) -> None:
    stage.held("n1", "n2")
    ack = stage.ack("n2", match=0)
    stage.leading("n1").progress["n2"].match = 1
    with broken("ProgressIsEvidence"):
        stage.receive_ack("n1", "n2", ack)


def test_an_ack_of_an_earlier_start_does_not_count(stage: Stage) -> None:
    batch = stage.batch(0, Epoch(1))
    stage.commit(batch)
    stage.start("n2", batch)
    stage.register("n2")
    stage.leading("n1").progress["n2"].broker_epoch = stage.node("n2").broker_epoch
    with broken("ProgressIsEvidence"):
        stage.see("n1")


def test_an_older_ack_may_come_late(stage: Stage) -> None:
    batch = stage.held("n1")
    early = stage.ack("n2", match=0)
    stage.have("n2", batch)
    stage.acknowledge_all("n2")
    with near_miss("ProgressIsEvidence"):
        stage.receive_ack("n1", "n2", early)


def test_a_message_of_an_older_epoch_appends_nothing(stage: Stage) -> None:
    mine = stage.held("n1")
    stage.lead("n2")
    stage.follow("n3", Epoch(2))
    with broken("StaleMessageIgnored"):
        stage.append("n3", mine, event=Received("n1", stale(1)))


def test_an_ack_of_an_older_epoch_commits_nothing(stage: Stage) -> None:
    batch = stage.batch(0, Epoch(1))
    stage.commit(batch)
    stage.lead("n2")
    stage.node("n2").log.hw = 1
    with broken("StaleMessageIgnored"):
        stage.step("n2", Received("n3", ReplicateAck(Epoch(1), BrokerEpoch(3), 1, 1)))


def test_a_message_of_an_older_epoch_may_be_answered(stage: Stage) -> None:
    stage.lead("n2")
    stage.follow("n3", Epoch(2))
    with near_miss("StaleMessageIgnored"):
        stage.step(
            "n3", Received("n1", stale(1)), Send("n1", ReplicateAck(Epoch(2), BrokerEpoch(3), 0, 1))
        )
