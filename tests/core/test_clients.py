"""Producer and consumer nodes, step by step, with answers made by the test."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.core.client_driver import (
    BROKERS,
    CONSUMER,
    GAP,
    LATE,
    MOVED,
    OTHER,
    PRODUCER,
    Driver,
    batch,
    polling,
    sending,
)
from yak_core.clients.delivery import FENCED
from yak_core.contract.client_calls import Poll, PollResult, Seek, SendBatch
from yak_core.contract.effects import Exit
from yak_core.contract.events import (
    Cancelled,
    DiskDone,
    DiskOk,
    NotSent,
    PeerLost,
    Received,
    StopAsked,
    TimerFired,
)
from yak_core.contract.messages import ListOffsetsRequest, ListOffsetsResponse
from yak_core.contract.notes import ProducerReset
from yak_core.errors import ErrorCode, Outcome
from yak_core.ids import NO_EPOCH, CallId, Epoch, LogGeneration, OpId


@pytest.mark.parametrize("origin", [0, 10**12])
def test_the_origin_of_the_clock_has_no_meaning(origin: int) -> None:
    """Goal: clause 3 of the contract. Method: two polls, far apart."""
    made = Driver(CONSUMER, origin)
    made.call(1, Poll())
    assert made.last[0] == "n1"
    made.fetched()
    made.now += CONSUMER.metadata_max_age_us + 1
    made.call(2, Poll())
    assert made.last[0] == "n2"


def test_a_poll_returns_what_follows_the_position_without_a_gap() -> None:
    """Goal: no record twice, none omitted. Method: an answer with an old batch and a gap."""
    made = polling(replace(CONSUMER, start_offset=3))
    page = (batch(0, 1, 2), batch(2, 1, 2), batch(4, 2), batch(7, 2))
    made.fetched(*page)
    expected = PollResult(ErrorCode.NONE, page[1:3], 3, 5, 9, Epoch(2))
    assert made.results == [(1, expected)]
    made.call(2, Poll())
    assert (made.last[1].offset, made.last[1].last_epoch, made.last[1].leader_epoch) == (5, 2, 2)


def test_a_consumer_starts_at_an_offset_from_a_broker() -> None:
    """Goal: one lookup of the earliest offset. Method: start at -2; then an error instead."""
    for error, results in ((ErrorCode.NONE, []), (ErrorCode.INVALID_REQUEST, [-1])):
        made = polling(replace(CONSUMER, start_offset=-2))
        assert made.sent[-1].message == ListOffsetsRequest(1, -2)
        made.step(Received("n1", ListOffsetsResponse(1, error, 6, Epoch(1), "n1", Epoch(2))))
        assert [one.hw for _, one in made.results if isinstance(one, PollResult)] == results
        if not results:
            assert (made.last[1].offset, made.last[1].last_epoch) == (6, 1)


@pytest.mark.parametrize(
    ("error", "end", "detail"),
    [(ErrorCode.CORRUPT_MESSAGE, -1, "why"), (ErrorCode.NONE, 2, "[2, 3)")],
)
def test_an_error_for_the_application_ends_the_poll(
    error: ErrorCode, end: int, detail: str
) -> None:
    """Goal: the position stays. Method: a fatal error, and a truncated log."""
    made = polling(replace(CONSUMER, start_offset=3))
    made.fetched(error=error, end=end)
    [(call, result)] = made.results
    assert isinstance(result, PollResult)
    assert (call, result.position, result.next_offset) == (1, 3, 3)
    assert result.error is (error or ErrorCode.OFFSET_OUT_OF_RANGE)
    assert detail in result.detail


def test_a_poll_continues_through_a_change_of_leader() -> None:
    """Goal: the application gets no error. Method: a redirect, a timeout, and a lost link."""
    made = polling()
    made.fetched(error=MOVED)
    made.fire("retry")
    assert made.last[0] == "n3"
    made.fire("overdue")
    assert made.last[0] == "n1"
    made.step(PeerLost("n2"))
    assert "retry" not in made.timers
    made.step(PeerLost("n1"))
    made.fire("retry")
    assert made.last[0] == "n2"
    made.fetched()
    assert len(made.results) == 1


def test_a_consumer_ignores_late_answers_and_timers() -> None:
    """Goal: one answer for each poll. Method: cancel it; then two old answers and a timer."""
    made = polling()
    made.step(Cancelled(CallId(9)))
    made.step(Cancelled(CallId(1)))
    for event in (TimerFired("overdue"), PeerLost("n1"), Received("n1", OTHER)):
        assert made.step(event) == []
    made.fetched(batch())
    snapshot = made.node.snapshot()
    assert (made.results, snapshot.get("position")) == ([], 0)
    with pytest.raises(KeyError):
        snapshot.get("leo")
    assert made.step(StopAsked(0)) == [Exit(True)]
    with pytest.raises(TypeError, match="DiskDone"):
        made.step(DiskDone(OpId(1), LogGeneration(0), DiskOk()))


def test_a_poll_that_never_left_is_repeated_at_another_broker() -> None:
    """Goal: no wait for the request timeout. Method: a report for the newest poll, then for it."""
    made = polling()
    first = made.last[1].correlation
    made.step(NotSent(first))
    assert "overdue" not in made.timers
    made.fire("retry")
    assert made.last[0] == "n2"
    made.step(NotSent(first))
    assert "retry" not in made.timers, "the report of an earlier request decides nothing"


def test_a_seek_moves_the_position_at_once() -> None:
    """Method: seek, check the answer and the next fetch."""
    made = Driver(CONSUMER)
    made.call(1, Seek(7))
    assert made.results == [(1, PollResult(ErrorCode.NONE, (), 7, 7, 0, Epoch(0)))]
    made.call(2, Poll())
    assert (made.last[1].offset, made.last[1].last_epoch) == (7, NO_EPOCH)


def test_batches_are_sent_in_order_and_end_with_their_answers() -> None:
    """Goal: at most five in flight, each with its sequence. Method: six batches, one answer."""
    made = sending(6)
    assert made.requests() == [("n1", 0, sequence) for sequence in range(5)]
    made.produced(0, ErrorCode.NONE, Outcome.WRITTEN)
    assert made.outcomes() == [(0, ErrorCode.NONE, Outcome.WRITTEN, 40)]
    assert made.requests()[5:] == [("n1", 0, 5)]
    assert made.node.fork().snapshot() == made.node.snapshot()


def test_a_batch_keeps_its_sequence_through_a_redirect_and_a_lost_link() -> None:
    """Goal: a retry is recognised. Method: two retries, and an answer to the first attempt."""
    made = sending()
    made.produced(0, MOVED, Outcome.NOT_WRITTEN)
    made.fire("retry")
    made.step(PeerLost("n2"))
    assert len(made.sent) == 2
    made.step(PeerLost("n3"))
    made.fire("retry")
    assert made.requests() == [("n1", 0, 0), ("n3", 0, 0), ("n1", 0, 0)]
    made.produced(1, MOVED, Outcome.NOT_WRITTEN)
    assert made.outcomes() == [], "a not-written answer to an earlier attempt decides nothing"
    made.produced(1, ErrorCode.NONE, Outcome.WRITTEN)
    assert [outcome for *_, outcome, _ in made.outcomes()] == [Outcome.WRITTEN]


def test_a_producer_leaves_a_leader_that_cannot_commit() -> None:
    """Goal: a possibly written batch is not reported as not written. Method: a timeout."""
    made = sending()
    made.produced(0, LATE, Outcome.UNKNOWN)
    made.fire("retry")
    assert made.requests()[1] == ("n2", 0, 0)
    made.produced(1, ErrorCode.MESSAGE_TOO_LARGE, Outcome.NOT_WRITTEN)
    assert made.outcomes() == [(0, ErrorCode.MESSAGE_TOO_LARGE, Outcome.UNKNOWN, -1)]


def test_an_expired_batch_is_unknown_and_starts_a_new_producer_epoch() -> None:
    """Goal: F76 and F77. Method: no answer for longer than the delivery timeout."""
    made = sending(2)
    made.call(2, SendBatch(batch()))
    while not made.results:
        made.fire(min(made.timers, key=lambda key: made.timers[key]))
    assert {broker for broker, *_ in made.requests()} == {*BROKERS}
    assert made.outcomes() == [(call, LATE, Outcome.UNKNOWN, -1) for call in range(3)]
    assert made.resets == [ProducerReset(1, 3)]
    made.call(3, SendBatch(batch()))
    assert made.requests()[-1][1:] == (1, 0)


def test_out_of_order_is_final_for_the_first_batch_only() -> None:
    """Goal: a batch that overtook another is retried. Method: the second batch, then the first."""
    made = sending(2)
    made.produced(1, GAP, Outcome.NOT_WRITTEN)
    assert made.outcomes() == []
    made.produced(0, GAP, Outcome.NOT_WRITTEN)
    assert made.outcomes() == [(0, GAP, Outcome.UNKNOWN, -1)]
    made.fire("retry")
    made.produced(2, GAP, Outcome.NOT_WRITTEN)
    assert made.outcomes()[1:] == [(1, GAP, Outcome.UNKNOWN, -1)], "now it is the first"
    made = sending(2)
    made.produced(1, ErrorCode.NONE, Outcome.WRITTEN, epoch=3)
    made.produced(0, GAP, Outcome.NOT_WRITTEN, epoch=2)
    assert made.outcomes() == [(1, ErrorCode.NONE, Outcome.WRITTEN, 41)]
    made.fire("retry")
    assert made.requests()[-1] == ("n2", 0, 0), "a leader of an earlier epoch may lack the batch"


def test_a_producer_that_was_replaced_refuses_all_that_follows() -> None:
    """Method: a fencing answer, and one more batch."""
    made = sending()
    fenced = ErrorCode.INVALID_PRODUCER_EPOCH
    made.produced(0, fenced, Outcome.NOT_WRITTEN)
    made.call(1, SendBatch(batch()))
    assert made.outcomes() == [(call, fenced, Outcome.NOT_WRITTEN, -1) for call in (0, 1)]
    assert [getattr(result, "detail", "") for _, result in made.results] == [FENCED] * 2
    assert (made.resets, len(made.sent)) == ([], 1)


def test_a_full_queue_refuses_a_batch() -> None:
    """Method: a queue of one."""
    made = sending(2, replace(PRODUCER, queue_max=1))
    busy = ErrorCode.THROTTLING_QUOTA_EXCEEDED
    assert made.outcomes() == [(1, busy, Outcome.NOT_WRITTEN, -1)]


def test_with_acks_0_a_batch_ends_at_once() -> None:
    """Goal: the producer still follows the leader. Method: a late redirect."""
    made = sending(1, replace(PRODUCER, acks=0, idempotent=False))
    assert made.outcomes() == [(0, ErrorCode.NONE, Outcome.UNKNOWN, -1)]
    assert made.requests() == [("n1", -1, -1)]
    made.produced(0, ErrorCode.NONE, Outcome.UNKNOWN)
    made.produced(0, MOVED, Outcome.NOT_WRITTEN)
    made.call(1, SendBatch(batch()))
    assert made.sent[-1].dst == "n3"


def test_a_producer_refuses_or_ignores_unexpected_events() -> None:
    """Method: a foreign message, a cancellation, a timer and an event of brokers."""
    made = sending()
    assert made.step(Received("n1", OTHER)) == made.step(Cancelled(CallId(0))) == []
    with pytest.raises(ValueError, match="sundial"):
        made.step(TimerFired("sundial"))
    with pytest.raises(TypeError, match="DiskDone"):
        made.step(DiskDone(OpId(1), LogGeneration(0), DiskOk()))
