"""Invariants of the results of clients: histories that break them, and near misses."""

from __future__ import annotations

from dataclasses import replace

from tests.core.invariants_fakes import broken, near_miss
from tests.core.invariants_stage import QUIET, Stage
from yak_core.batch import Batch
from yak_core.contract.client_calls import PollResult, SendBatch, SendResult
from yak_core.contract.effects import Answer, AnswerLog, AppendLog, Send
from yak_core.contract.events import Called, Cancelled
from yak_core.contract.messages import (
    FetchResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ProduceRequest,
    ProduceResponse,
)
from yak_core.errors import ErrorCode, Outcome
from yak_core.ids import CallId, Epoch, LogGeneration, Offset, OpId

LATE = ErrorCode.REQUEST_TIMED_OUT
FEW = ErrorCode.NOT_ENOUGH_REPLICAS


def written(base: Offset) -> ProduceResponse:
    return ProduceResponse(1, ErrorCode.NONE, Outcome.WRITTEN, base, Epoch(1), 0, "n1", Epoch(1))


def failed(outcome: Outcome) -> ProduceResponse:
    return ProduceResponse(1, FEW, outcome, -1, Epoch(-1), 0, "n1", Epoch(1))


def page(hw: Offset) -> FetchResponse:
    return FetchResponse(1, ErrorCode.NONE, (), hw, 0, "n1", Epoch(1))


def polled(position: Offset, *batches: Batch, skip: int = 0) -> PollResult:
    end = batches[-1].end if batches else position
    return PollResult(ErrorCode.NONE, batches, position, end + skip, end, Epoch(1))


def sent(outcome: Outcome, base: Offset = -1) -> SendResult:
    error = ErrorCode.NONE if outcome is Outcome.WRITTEN else LATE
    return SendResult(error, outcome, base, Epoch(1))


def test_a_write_is_confirmed_when_it_is_committed(stage: Stage) -> None:
    batch = stage.batch(0, Epoch(1))
    stage.ask("n1", 1, batch)
    stage.have("n1", batch)
    with broken("ConfirmImpliesCommitted"):
        stage.answer("n1", 1, written(0))


def test_a_confirmation_is_of_the_batch_that_was_sent(stage: Stage) -> None:
    stage.commit(stage.batch(0, Epoch(1)))
    stage.ask("n1", 1, stage.batch(0, Epoch(1)))
    with broken("ConfirmImpliesCommitted"):
        stage.answer("n1", 1, written(0))


def test_an_old_retry_is_confirmed_when_its_record_is_committed(stage: Stage) -> None:
    stage.ask("n1", 1, stage.batch(0, Epoch(1), producer=5, sequence=0))
    with broken("ConfirmImpliesCommitted"):
        stage.answer("n1", 1, written(-1))


def test_a_producer_node_reports_committed_records(stage: Stage) -> None:
    stage.send("p1", 1, stage.batch(0, Epoch(1), producer=5, sequence=0))
    with broken("ConfirmImpliesCommitted"):
        stage.give_result("p1", 1, sent(Outcome.WRITTEN, 0))


def test_committed_writes_may_be_confirmed(stage: Stage) -> None:
    batch = stage.batch(0, Epoch(1), producer=5, sequence=0)
    stage.ask("n1", 1, batch)
    stage.ask("n1", 2, batch)
    stage.send("p1", 1, batch)
    stage.commit(batch)
    with near_miss("ConfirmImpliesCommitted"):
        stage.answer("n1", 1, written(0))
        stage.answer("n1", 2, written(-1))
        stage.give_result("p1", 1, sent(Outcome.WRITTEN, 0))


def test_a_call_without_a_waiter_is_not_checked(stage: Stage) -> None:
    stage.ask("n1", 1, stage.batch(0, Epoch(1)))
    stage.step("n1", Cancelled(CallId(1)))
    with near_miss("ConfirmImpliesCommitted"):
        stage.answer("n1", 1, written(0))


def test_readers_get_nothing_above_the_hw(stage: Stage) -> None:
    stage.commit(stage.batch(0, Epoch(1)))
    stage.have("n1", stage.batch(1, Epoch(1)))
    with broken("ReadersSeeCommitted"):
        stage.step("n1", QUIET, AnswerLog(CallId(1), page(1), 0, 2, 100))


def test_readers_get_no_hw_above_the_true_one(stage: Stage) -> None:
    stage.held("n1")
    with broken("ReadersSeeCommitted"):
        stage.answer("n1", 1, page(1))


def test_the_latest_offset_is_committed(stage: Stage) -> None:
    stage.held("n1")
    with broken("ReadersSeeCommitted"):
        stage.answer("n1", 1, ListOffsetsResponse(1, ErrorCode.NONE, 1, Epoch(1), "n1", Epoch(1)))


def test_the_latest_offset_is_not_before_the_start_of_the_epoch(stage: Stage) -> None:
    stage.commit(stage.batch(0, Epoch(1)))
    stage.lead("n2")
    answer = ListOffsetsResponse(1, ErrorCode.NONE, 0, Epoch(-1), "n2", Epoch(2))
    with broken("ReadersSeeCommitted"):
        stage.step("n2", Called(CallId(1), ListOffsetsRequest(1, -1), 0), Answer(CallId(1), answer))


def test_the_earliest_offset_may_be_before_the_start_of_the_epoch(stage: Stage) -> None:
    stage.commit(stage.batch(0, Epoch(1)))
    stage.lead("n2")
    answer = ListOffsetsResponse(1, ErrorCode.NONE, 0, Epoch(-1), "n2", Epoch(2))
    with near_miss("ReadersSeeCommitted"):
        stage.step("n2", Called(CallId(1), ListOffsetsRequest(1, -2), 0), Answer(CallId(1), answer))


def test_a_reader_reads_committed_records(stage: Stage) -> None:
    first = stage.batch(0, Epoch(1))
    stage.commit(first)
    with broken("ReadersSeeCommitted"):
        stage.give_result("c1", 1, polled(0, first, stage.batch(1, Epoch(1))))


def test_a_reader_reads_the_records_that_were_committed(stage: Stage) -> None:
    stage.commit(stage.batch(0, Epoch(1)))
    with broken("ReadersSeeCommitted"):
        stage.give_result("c1", 1, polled(0, stage.batch(0, Epoch(1))))


def test_a_reader_omits_no_record(stage: Stage) -> None:
    first, second = stage.batch(0, Epoch(1)), stage.batch(1, Epoch(1))
    stage.commit(first, second)
    with broken("ReadersSeeCommitted"):
        stage.give_result("c1", 1, polled(0, second))


def test_a_reader_continues_at_its_position(stage: Stage) -> None:
    first = stage.batch(0, Epoch(1))
    stage.commit(first)
    with broken("ReadersSeeCommitted"):
        stage.give_result("c1", 1, polled(0, first, skip=1))


def test_readers_may_read_up_to_the_hw(stage: Stage) -> None:
    first, second = stage.batch(0, Epoch(1)), stage.batch(1, Epoch(1))
    stage.commit(first, second)
    with near_miss("ReadersSeeCommitted"):
        stage.step("n1", QUIET, AnswerLog(CallId(1), page(2), 0, 2, 100))
        stage.answer("n1", 2, page(2))
        stage.answer("n1", 3, ListOffsetsResponse(1, ErrorCode.NONE, 2, Epoch(1), "n1", Epoch(1)))
        stage.poll("c1", 1)
        stage.give_result("c1", 1, polled(0, first, second))
        stage.give_result("c1", 2, polled(2))
        stage.give_result("c1", 3, PollResult(LATE, (), 2, 2, 2, Epoch(1)))


def test_an_appended_batch_may_be_reported_as_written(stage: Stage) -> None:
    batch = stage.batch(0, Epoch(1))
    node = stage.node("n1")
    node.log.leo = 1
    node.log.epochs.add(Epoch(1), 0)
    stage.ask("n1", 1, batch, AppendLog(OpId(stage.op()), LogGeneration(0), (batch,)))
    with broken("HonestFailure"):
        stage.answer("n1", 1, failed(Outcome.NOT_WRITTEN))


def test_a_not_written_batch_is_never_committed(stage: Stage) -> None:
    batch = stage.batch(0, Epoch(1), producer=5, sequence=0)
    stage.send("p1", 1, batch)
    stage.give_result("p1", 1, sent(Outcome.NOT_WRITTEN))
    with broken("HonestFailure"):
        stage.commit(batch)


def test_a_committed_batch_is_not_reported_as_not_written(stage: Stage) -> None:
    batch = stage.batch(0, Epoch(1), producer=5, sequence=0)
    stage.send("p1", 1, batch)
    stage.commit(batch)
    with broken("HonestFailure"):
        stage.give_result("p1", 1, sent(Outcome.NOT_WRITTEN))


def test_a_copy_of_the_bytes_is_the_same_batch(stage: Stage) -> None:
    """A retry is found by content: the request may carry a copy of the bytes of the call."""
    batch = stage.batch(0, Epoch(1), producer=5, sequence=0)
    stage.client("p1", Called(CallId(1), SendBatch(batch), 0))
    copied = replace(batch, data=bytes(bytearray(batch.data)))
    assert copied.data is not batch.data
    request = ProduceRequest(1, Epoch(0), -1, 1, copied)
    stage.client("p1", QUIET, Send("n1", request))
    stage.give_result("p1", 1, sent(Outcome.NOT_WRITTEN))
    with broken("HonestFailure"):
        stage.commit(batch)


def test_equal_bytes_of_two_calls_are_two_batches() -> None:
    """The first of two calls with equal bytes fails: only its own sequence must not be written."""
    stage = Stage()
    first = stage.batch(0, Epoch(1), producer=5, sequence=0)
    second = replace(first, base_sequence=1)
    with near_miss("HonestFailure"):
        stage.send("p1", 1, second)
        stage.send("p1", 2, first)
        stage.send("p1", 1, second)
        stage.give_result("p1", 1, sent(Outcome.NOT_WRITTEN))
        stage.commit(first)
    stage = Stage()
    stage.send("p1", 1, first)
    stage.send("p1", 2, second)
    stage.give_result("p1", 1, sent(Outcome.NOT_WRITTEN))
    with broken("HonestFailure"):
        stage.commit(first)


def test_an_unknown_outcome_may_be_either(stage: Stage) -> None:
    batch = stage.batch(0, Epoch(1), producer=5, sequence=0)
    stage.send("p1", 1, batch)
    with near_miss("HonestFailure"):
        stage.give_result("p1", 1, sent(Outcome.UNKNOWN))
        stage.commit(batch)


def test_a_refusal_before_the_append_is_definite(stage: Stage) -> None:
    batch = stage.batch(0, Epoch(1), producer=5, sequence=0)
    with near_miss("HonestFailure"):
        stage.ask("n1", 1, batch)
        stage.answer("n1", 1, failed(Outcome.NOT_WRITTEN))
        stage.ask("n1", 2, batch)
        stage.commit(batch)
        stage.answer("n1", 2, written(0))
    assert stage.invariants.committed_end == 1


FENCED = SendResult(ErrorCode.INVALID_PRODUCER_EPOCH, Outcome.NOT_WRITTEN, -1, Epoch(-1))


def test_a_producer_does_not_fence_itself(stage: Stage) -> None:
    """Method: the producer sends in epoch 1 while it may send a batch of epoch 0."""
    old = stage.batch(0, Epoch(1), producer=5, sequence=0)
    stage.send("p1", 1, old)
    stage.send("p1", 2, replace(old, producer_epoch=1))
    stage.send("p2", 1, stage.batch(0, Epoch(1), producer=6, sequence=0))
    with broken("FencedByAnother"):
        stage.give_result("p1", 1, FENCED)


def test_a_producer_with_the_same_id_may_fence_another(stage: Stage) -> None:
    batch = stage.batch(0, Epoch(1), producer=5, sequence=0)
    stage.send("p1", 1, batch)
    stage.send("p2", 1, replace(batch, producer_epoch=1))
    with near_miss("FencedByAnother"):
        stage.give_result("p1", 1, FENCED)
