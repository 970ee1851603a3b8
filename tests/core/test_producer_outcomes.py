"""What a producer reports of batches that it gives up: written, not written or unknown.

A result of not written is a promise: no copy of the batch is or comes into a log. The producer
gives it only for batches that were never sent, of which the world says that no try has left, or
that a broker refused: finally, or each time in a world that makes no copies of requests.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.core.client_driver import GAP, LATE, MOVED, PRODUCER, Driver, batch, sending
from yak_core.clients.session import PRODUCER_EPOCH_MAX, ProducerSession, producer_id_of
from yak_core.contract.client_calls import SendBatch
from yak_core.contract.effects import Exit, Send
from yak_core.contract.events import NotSent, PeerLost, StopAsked, TimerFired
from yak_core.contract.messages import sealed
from yak_core.contract.notes import ProducerReset
from yak_core.errors import ErrorCode, Outcome
from yak_core.ids import CallId, Micros

UNKNOWN_PRODUCER = ErrorCode.UNKNOWN_PRODUCER_ID
FEW = ErrorCode.NOT_ENOUGH_REPLICAS
NONE = ErrorCode.NONE
STALL: Micros = PRODUCER.delivery_timeout_us + 1
SHORT = replace(PRODUCER, delivery_timeout_us=2_000_000)


def outcomes(made: Driver) -> dict[int, str]:
    """Return the outcome of each call by its number."""
    return {call: outcome.name for call, _, outcome, _ in made.outcomes()}


def expire(made: Driver, until: int) -> None:
    """Fire the timers in order until this number of calls is resolved."""
    while len(made.results) < until:
        made.fire(min(made.timers, key=lambda key: made.timers[key]))


def test_a_batch_is_not_sent_after_its_delivery_timeout() -> None:
    """Goal: what waited in the queue is not written. Method: twelve batches, then a stall.

    Five were sent, so the process first takes in what has arrived; their outcome is unknown. The
    seven others have no sequence: one new producer epoch, which the five need.
    """
    made = sending(12)
    assert len(made.sent) == 5
    made.step(TimerFired("overdue"), STALL)
    assert outcomes(made) == dict.fromkeys(range(5, 12), "NOT_WRITTEN")
    assert made.resets == []
    made.fire("overdue")
    assert outcomes(made) | dict.fromkeys(range(5), "UNKNOWN") == outcomes(made)
    assert {error for _, error, _, _ in made.outcomes()} == {LATE}
    assert (len(made.sent), made.resets) == (5, [ProducerReset(1, 5)])


def test_a_batch_without_a_sequence_expires_without_a_new_producer_epoch() -> None:
    """Goal: later batches go on. Method: the first five are confirmed after the sixth expired."""
    made = sending(6)
    made.now += STALL
    made.call(6, SendBatch(batch()))
    assert len(made.sent) == 5
    made.step(TimerFired("overdue"))
    assert outcomes(made) == {5: "NOT_WRITTEN"}
    for at in range(5):
        made.produced(at, NONE, Outcome.WRITTEN)
    assert made.requests()[5:] == [("n1", 0, 5)], "the next sequence, in the same epoch"
    assert made.resets == []


@pytest.mark.parametrize("left_us", [200_001, 200_000])
def test_a_batch_is_not_sent_when_no_response_could_arrive_in_time(left_us: int) -> None:
    """Goal: not written, not unknown. Method: a tenth of the delivery timeout is left, or less.

    A batch of an idle producer has all of its time, however short that is.
    """
    made = sending(6, SHORT)
    made.now += SHORT.delivery_timeout_us - left_us
    made.produced(0, NONE, Outcome.WRITTEN)
    late = left_us <= SHORT.delivery_timeout_us // 10
    assert len(made.sent) == (5 if late else 6)
    assert outcomes(made) == {0: "WRITTEN"} | ({5: "NOT_WRITTEN"} if late else {})
    assert made.resets == []
    assert len(sending(1, replace(PRODUCER, delivery_timeout_us=1)).sent) == 1


def test_no_event_sends_an_expired_batch() -> None:
    """Goal: expiry comes before sending. Method: each event that can send, after a stall."""
    for event in (TimerFired("retry"), PeerLost("n1"), NotSent(1)):
        made = sending(6)
        made.produced(1, MOVED, Outcome.NOT_WRITTEN)
        made.step(event, STALL)
        made.produced(2, NONE, Outcome.WRITTEN)
        made.call(6, SendBatch(batch()))
        assert len(made.sent) == 5, event


def test_a_stalled_process_handles_what_has_arrived_before_it_gives_up() -> None:
    """Goal: no unknown outcome for a confirmed batch. Method: a response after a late timer."""
    made = sending(2)
    made.step(TimerFired("overdue"), STALL)
    assert made.timers["overdue"] == made.now + PRODUCER.retry_backoff_us
    made.produced(0, NONE, Outcome.WRITTEN)
    made.produced(1, NONE, Outcome.WRITTEN)
    made.fire("overdue")
    assert outcomes(made) == {0: "WRITTEN", 1: "WRITTEN"}


def test_a_process_that_is_always_late_still_gives_up() -> None:
    """Goal: one pause, not one after the other. Method: each timer fires late."""
    made = sending()
    made.step(TimerFired("overdue"), STALL)
    assert made.results == []
    made.step(TimerFired("overdue"), STALL)
    assert outcomes(made) == {0: "UNKNOWN"}


def test_a_try_that_never_left_does_not_count() -> None:
    """Goal: not written, and a new epoch. Method: each try of two batches is reported.

    The second batch gets a sequence of the new epoch.
    """
    made = sending(1, SHORT)
    made.now += 1_000_000
    made.call(1, SendBatch(batch()))
    reported = 0
    while not made.results:
        for at in range(reported, len(made.sent)):
            made.not_sent(at)
        reported = len(made.sent)
        made.fire(min(made.timers, key=lambda key: made.timers[key]))
    assert {dst for dst, *_ in made.requests()} == {"n1", "n2", "n3"}
    assert made.outcomes() == [(0, LATE, Outcome.NOT_WRITTEN, -1)]
    assert made.resets == [ProducerReset(1, 1)]
    assert made.requests()[-1][1:] == (1, 0), "the second batch, in the new epoch"
    made.produced(len(made.sent) - 1, NONE, Outcome.WRITTEN)
    assert outcomes(made) == {0: "NOT_WRITTEN", 1: "WRITTEN"}


@pytest.mark.parametrize("reported", [0, 1])
def test_one_try_that_may_have_left_makes_the_outcome_unknown(reported: int) -> None:
    """Goal: not written needs every try. Method: two tries, of which one is reported."""
    made = sending(1, SHORT)
    if reported == 0:
        made.not_sent(0)
    else:
        made.step(PeerLost("n1"))
    made.fire("retry")
    assert [dst for dst, *_ in made.requests()] == ["n1", "n2"]
    if reported == 1:
        made.not_sent(1)
    expire(made, 1)
    assert outcomes(made) == {0: "UNKNOWN"}


def test_a_refused_try_may_have_a_copy_in_flight() -> None:
    """Goal: only a try that never left is certain at the delivery timeout. Method: one refusal.

    A world that delivers each request at most once has no such copy.
    """
    for requests_once, outcome in ((False, "UNKNOWN"), (True, "NOT_WRITTEN")):
        made = sending(1, SHORT, requests_once=requests_once)
        made.produced(0, FEW, Outcome.NOT_WRITTEN)
        made.step(TimerFired("overdue"), SHORT.delivery_timeout_us)
        made.fire("overdue")
        assert outcomes(made) == {0: outcome}
        assert made.resets == [ProducerReset(1, 1)]


def test_a_refused_batch_is_not_sent_when_no_response_could_arrive_in_time() -> None:
    """Goal: not written, where one more try could only be unknown. Method: a late retry."""
    for requests_once in (False, True):
        made = sending(1, SHORT, requests_once=requests_once)
        made.produced(0, FEW, Outcome.NOT_WRITTEN)
        made.step(TimerFired("retry"), SHORT.delivery_timeout_us * 95 // 100)
        assert len(made.sent) == (1 if requests_once else 2)
        assert outcomes(made) == ({0: "NOT_WRITTEN"} if requests_once else {})


@pytest.mark.parametrize("refused", [(), (0,), (1,), (0, 1)])
def test_each_try_must_be_refused(refused: tuple[int, ...]) -> None:
    """Goal: one try without an answer leaves the outcome open. Method: two tries, at stop, too."""
    for at_stop in (False, True):
        made = sending(1, SHORT, requests_once=True)
        made.step(PeerLost("n1"))
        made.fire("retry")
        assert len(made.sent) == 2
        for at in refused:
            made.produced(at, FEW, Outcome.NOT_WRITTEN)
        if at_stop:
            made.step(StopAsked(0))
        else:
            made.step(TimerFired("overdue"), SHORT.delivery_timeout_us)
            expire(made, 1)
        last_is_open = len(made.sent) > 2  # the timer of a retry may send once more
        certain = len(refused) == 2 and not last_is_open
        assert outcomes(made) == {0: "NOT_WRITTEN" if certain else "UNKNOWN"}


def test_a_refused_gap_is_not_written() -> None:
    """Goal: a batch behind one that was given up is not in the log either. Method: its refusal."""
    for requests_once, outcome in ((False, "UNKNOWN"), (True, "NOT_WRITTEN")):
        made = sending(2, requests_once=requests_once)
        made.produced(0, ErrorCode.MESSAGE_TOO_LARGE, Outcome.NOT_WRITTEN)
        made.produced(1, GAP, Outcome.NOT_WRITTEN)
        made.fire("retry")
        made.produced(2, GAP, Outcome.NOT_WRITTEN)
        assert outcomes(made) == {0: "NOT_WRITTEN", 1: outcome}


def test_the_next_epoch_waits_for_every_batch_that_may_have_left() -> None:
    """Goal: F76. Method: the first batch is refused for good while the second is in flight.

    The third is reported as never sent: it gets its sequence of the next epoch.
    """
    made = sending(3)
    made.produced(0, ErrorCode.MESSAGE_TOO_LARGE, Outcome.NOT_WRITTEN)
    made.not_sent(2)
    made.fire("retry")
    assert (made.resets, len(made.sent)) == ([], 3)
    made.produced(1, GAP, Outcome.NOT_WRITTEN)
    made.fire("retry")
    assert made.requests()[-1][1:] == (0, 1), "its retry is the first of the old epoch"
    made.produced(3, GAP, Outcome.NOT_WRITTEN)
    assert made.resets == [ProducerReset(1, 2)]
    assert made.requests()[-1][1:] == (1, 0)
    made.produced(4, NONE, Outcome.WRITTEN)
    assert outcomes(made) == {0: "NOT_WRITTEN", 1: "UNKNOWN", 2: "WRITTEN"}


def test_a_forgotten_producer_starts_a_new_epoch_and_sends_again() -> None:
    """Goal: KIP-360. Method: a leader that does not know the producer refuses three batches."""
    made = sending()
    made.produced(0, NONE, Outcome.WRITTEN)
    for number in (1, 2, 3):
        made.call(number, SendBatch(batch()))
    for at in (2, 1, 3):
        made.produced(at, UNKNOWN_PRODUCER, Outcome.NOT_WRITTEN)
    assert made.resets == [ProducerReset(1, 0)]
    assert [request[1:] for request in made.requests()[4:]] == [(1, 0), (1, 1), (1, 2)]
    for at in (4, 5, 6):
        made.produced(at, NONE, Outcome.WRITTEN)
    assert set(outcomes(made).values()) == {"WRITTEN"}


def test_a_forgotten_producer_sends_nothing_again_that_may_be_written() -> None:
    """Goal: no batch twice. Method: one try without a response, then the refusal.

    Each try of the batch behind it was refused: it is sent again when the first one is resolved.
    """
    made = sending()
    made.produced(0, NONE, Outcome.WRITTEN)
    made.call(1, SendBatch(batch()))
    made.now += 1_000_000
    made.call(2, SendBatch(batch()))
    made.fire("overdue")
    made.produced(2, UNKNOWN_PRODUCER, Outcome.NOT_WRITTEN)
    made.fire("retry")
    assert [request[1:] for request in made.requests()[3:]] == [(0, 1), (0, 2)]
    made.produced(4, UNKNOWN_PRODUCER, Outcome.NOT_WRITTEN)
    assert len(made.results) == 1, "the first batch of the epoch is not resolved"
    made.produced(3, UNKNOWN_PRODUCER, Outcome.NOT_WRITTEN)
    assert made.outcomes()[1:] == [(1, UNKNOWN_PRODUCER, Outcome.UNKNOWN, -1)]
    assert made.resets == [ProducerReset(1, 1)]
    assert made.requests()[-1][1:] == (1, 0)


def test_a_stale_leader_that_does_not_know_the_producer_decides_nothing() -> None:
    """Goal: a deposed leader may lack the batches. Method: a refusal of an earlier leader epoch."""
    made = sending(2)
    made.produced(0, NONE, Outcome.WRITTEN, epoch=3)
    made.produced(1, UNKNOWN_PRODUCER, Outcome.NOT_WRITTEN, epoch=2)
    made.fire("retry")
    assert (made.requests()[-1], made.resets) == (("n2", 0, 1), [])


def test_after_the_last_producer_epoch_comes_a_new_producer_id() -> None:
    """Goal: sending goes on. Method: an epoch of 32,767, one expired batch, and the next batch."""
    made = Driver(SHORT)
    session = made.node.session  # type: ignore[union-attr]
    session.epoch = PRODUCER_EPOCH_MAX
    first = session.producer_id
    made.call(0, SendBatch(batch()))
    expire(made, 1)
    made.call(1, SendBatch(batch()))
    assert made.resets == [ProducerReset(0, 1)]
    request = made.sent[-1].message
    assert (request.batch.producer_epoch, request.batch.base_sequence) == (0, 0)  # type: ignore[union-attr]
    assert request.batch.producer_id == producer_id_of(1 << 127, 1) != first  # type: ignore[union-attr]
    sealed(request)


def test_all_epochs_of_a_producer_id_can_be_sealed() -> None:
    """Goal: each number fits its field. Method: 33,000 epochs, from the largest producer id."""
    session = ProducerSession((1 << 128) - 1, idempotent=True)
    used = set()
    for _ in range(33_000):
        stamped = session.stamp(batch())
        assert 0 <= stamped.producer_epoch <= PRODUCER_EPOCH_MAX
        assert 0 <= stamped.producer_id < 1 << 62
        used.add((stamped.producer_id, stamped.producer_epoch))
        session.start_epoch()
    assert len(used) == 33_000
    assert len({producer for producer, _ in used}) == 2


def test_a_timeout_has_the_last_refusal() -> None:
    """Goal: the reason, with its values. Method: too few replicas, then a broker out of reach.

    A redirect is no reason, and a success ends a reason.
    """
    made = sending(2, SHORT)
    made.produced(0, FEW, Outcome.NOT_WRITTEN)
    made.fire("retry")
    made.not_sent(2)
    made.produced(1, MOVED, Outcome.NOT_WRITTEN)
    expire(made, 2)
    for call in range(2):
        assert "NOT_ENOUGH_REPLICAS: why" in made.detail(call)
    made = sending(1, SHORT)
    made.produced(0, FEW, Outcome.NOT_WRITTEN)
    made.fire("retry")
    made.produced(1, NONE, Outcome.WRITTEN)
    made.call(1, SendBatch(batch()))
    expire(made, 2)
    assert "NOT_ENOUGH_REPLICAS" not in made.detail(1)


def test_a_stopped_producer_reports_what_it_never_sent_as_not_written() -> None:
    """Method: five in flight, of which one never left, and one in the queue."""
    made = sending(6)
    made.not_sent(3)
    effects = made.step(StopAsked(0))
    unsent = {3: "NOT_WRITTEN", 5: "NOT_WRITTEN"}
    assert outcomes(made) == dict.fromkeys(range(6), "UNKNOWN") | unsent
    assert effects[-1] == Exit(True)
    assert not any(isinstance(effect, Send) for effect in effects)


def test_a_fenced_producer_reports_each_batch_by_its_own_response() -> None:
    """Goal: what never left is not written. Method: the first of six batches is fenced."""
    made = sending(6)
    fenced = ErrorCode.INVALID_PRODUCER_EPOCH
    made.produced(0, fenced, Outcome.NOT_WRITTEN)
    assert outcomes(made) == {0: "NOT_WRITTEN", 5: "NOT_WRITTEN"}
    made.produced(1, fenced, Outcome.NOT_WRITTEN)
    made.produced(2, LATE, Outcome.UNKNOWN)
    made.fire("retry")
    made.produced(5, fenced, Outcome.NOT_WRITTEN)
    assert outcomes(made) == {0: "NOT_WRITTEN", 1: "NOT_WRITTEN", 2: "UNKNOWN", 5: "NOT_WRITTEN"}
    assert made.resets == []


def test_a_lost_link_ends_the_wait_for_its_own_requests_only() -> None:
    """Method: two batches at n1, the second of them again at n3 after a redirect; n1 is lost."""
    made = sending(2)
    made.produced(0, MOVED, Outcome.NOT_WRITTEN)
    made.fire("retry")
    assert [dst for dst, *_ in made.requests()] == ["n1", "n1", "n3"]
    made.step(PeerLost("n1"))
    made.fire("retry")
    assert made.requests()[3:] == [("n3", 0, 1)]


def test_without_idempotence_what_was_never_sent_is_not_written() -> None:
    """Method: acks=1; a batch that never left and one without a response."""
    made = sending(1, replace(SHORT, acks=1, idempotent=False))
    made.not_sent(0)
    made.step(TimerFired("overdue"), SHORT.delivery_timeout_us)
    made.call(1, SendBatch(batch()))
    expire(made, 2)
    assert outcomes(made) == {0: "NOT_WRITTEN", 1: "UNKNOWN"}
    assert made.resets == []


def test_a_report_for_a_resolved_batch_is_ignored() -> None:
    """Method: a report after the response, and one for a request that never was."""
    made = sending()
    made.produced(0, NONE, Outcome.WRITTEN)
    for number in (1, 99):
        assert made.step(NotSent(number)) == []
    assert outcomes(made) == {CallId(0): "WRITTEN"}
