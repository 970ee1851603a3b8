"""The contract's clauses as checks, the same for every world.

Each check takes a maker of benches and raises Violation, or fails an assertion, when the backend
breaks the clause. docs/contract.md has a section for each clause, which names its checks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TypeAlias

from tests.conformance.bench import (
    SECOND,
    Bench,
    Maker,
    Orders,
    Probe,
    Violation,
    append,
    arrived,
    batch,
    happened,
    numbered,
    quiet,
    ready,
    start_both,
)
from yak_core.contract.effects import (
    CallMeta,
    CancelTimer,
    Effect,
    FlushLog,
    SaveState,
    Send,
    SetTimer,
)
from yak_core.contract.events import Called, DiskDone, MetaReply, Received, TimerFired
from yak_core.contract.messages import DescribeRequest
from yak_core.ids import BrokerEpoch, CallId, LogGeneration, OpId
from yak_core.metadata.partition_state import PartitionState
from yak_core.metadata.store_calls import (
    Cas,
    MetaOutcome,
    Read,
    Refusal,
    Refused,
    RenewLease,
    StoreOk,
    Unknown,
)
from yak_core.metadata.transitions import create

Check: TypeAlias = Callable[[Maker], None]

MS = 1_000
HOUR = 3600 * SECOND


# Clause 1: serial.


def one_step_at_a_time(maker: Maker) -> None:
    """Issue all effects that can complete at once: no step within a step, none past the host."""
    bench, one, _, orders = ready(maker)
    for round_number in range(1, 6):
        orders.give(
            FlushLog(orders.op(), LogGeneration(0)),
            SetTimer(f"t{round_number}", 0, 0),
            SaveState(orders.op(), "key", b"value"),
            CallMeta(CallId(round_number), Read()),
        )
    happened(bench, lambda: len(one.events(MetaReply)) == 5, "five replies of the store")
    happened(bench, lambda: len(one.events(DiskDone)) == 10, "ten completions of the disk")
    happened(bench, lambda: len(one.events(TimerFired)) == 5, "five timers")
    assert [event for _, event in one.seen] == bench.monitor.taken_by("n1")


# Clause 2: effects in order.


def effects_start_before_the_next_event(maker: Maker) -> None:
    """Issue an effect at each completion: the monitor sees no event among a step's effects."""
    bench, one, two, orders = ready(maker)
    one.on(
        lambda event: isinstance(event, DiskDone) and event.op == 1,
        lambda: [Send("n2", numbered(2)), FlushLog(OpId(3), LogGeneration(0))],
    )
    orders.give(
        FlushLog(OpId(1), LogGeneration(0)),
        FlushLog(OpId(2), LogGeneration(0)),
        Send("n2", numbered(1)),
    )
    happened(bench, lambda: sorted(arrived(two)) == [1, 2], "both messages")
    happened(bench, lambda: len(one.events(DiskDone)) == 3, "three flushes")
    assert [event.op for event in one.events(DiskDone)] == [1, 2, 3]


# Clause 3: time.


def time_is_whole_and_never_goes_back(maker: Maker) -> None:
    """Check the clock of a node over timers, messages and disk operations."""
    bench = maker(False)
    one, two = start_both(bench)
    two.on(lambda event: isinstance(event, Received), lambda: [Send("n1", numbered(0))])
    orders = Orders(bench, "n1", one)
    for number in range(1, 11):
        orders.give(
            SetTimer("tick", MS, 3 * MS),
            Send("n2", numbered(number)),
            FlushLog(orders.op(), LogGeneration(0)),
        )
        happened(bench, lambda n=number: len(one.times("tick")) == n, "the timer")  # type: ignore[misc]
    happened(bench, lambda: len(arrived(one)) == 10, "ten messages")
    for probe in (one, two):
        times = [now for now, _ in probe.seen]
        assert all(type(now) is int for now in times)
        assert times == sorted(times)
    first, last = one.times("tick")[0], one.times("tick")[-1]
    assert last - first >= 9 * MS, "ten timers of a millisecond, one after the other"


# Clause 4: timers.


def timer_fires_once_and_never_early(maker: Maker) -> None:
    """Set timers with a range and without: each fires once, at its lower bound or later."""
    bench, one, _, orders = ready(maker)
    wanted = {"exact": (20 * MS, 20 * MS), "range": (5 * MS, 40 * MS), "now": (0, 0)}
    set_at = orders.give(*(SetTimer(key, low, high) for key, (low, high) in wanted.items()))
    happened(bench, lambda: all(one.times(key) for key in wanted), "all timers")
    quiet(bench)
    for key, (low, _) in wanted.items():
        assert len(one.times(key)) == 1, f"{key} fired more than once"
        assert one.times(key)[0] - set_at >= low, f"{key} fired early"


def replaced_timer_does_not_fire(maker: Maker) -> None:
    """Replace a timer by a later and by an earlier one: only the replacement fires.

    In a real world a timer may fire before the node replaces it.
    """
    bench, one, _, orders = ready(maker)
    orders.give(
        SetTimer("later", 10 * MS, 10 * MS),
        SetTimer("sooner", HOUR, HOUR),
        SetTimer("other", 10 * MS, 10 * MS),
    )
    set_at = orders.give(
        SetTimer("later", 300 * MS, 300 * MS), SetTimer("sooner", 10 * MS, 10 * MS)
    )
    happened(bench, lambda: bool(one.times("sooner")), "the sooner timer")
    happened(bench, lambda: any(at >= set_at for at in one.times("later")), "the later timer")
    quiet(bench)
    fired = [at for at in one.times("later") if at >= set_at]
    assert len(fired) == 1
    assert fired[0] - set_at >= 300 * MS
    assert (len(one.times("sooner")), len(one.times("other"))) == (1, 1)


def cancelled_timer_does_not_fire(maker: Maker) -> None:
    """Cancel timers in a later step and in the same one; set a cancelled key again."""
    bench, one, _, orders = ready(maker)
    orders.give(
        SetTimer("kept", 50 * MS, 50 * MS),
        SetTimer("gone", 50 * MS, 50 * MS),
        SetTimer("brief", 50 * MS, 50 * MS),
        CancelTimer("brief"),
        CancelTimer("never set"),
    )
    cancelled_at = orders.give(CancelTimer("gone"))
    happened(bench, lambda: bool(one.times("kept")), "the timer that was kept")
    quiet(bench)
    before = one.times("gone")
    assert all(at < cancelled_at for at in before), "only before the node cancelled it"
    assert one.times("brief") == []
    orders.give(SetTimer("gone", MS, MS))
    happened(bench, lambda: len(one.times("gone")) > len(before), "the timer that was set again")


# Clause 5: the network.


def fair_network_delivers_what_was_sent(maker: Maker) -> None:
    """Send numbered messages both ways: each arrives unchanged, with its sender."""
    bench = maker(False)
    one, two = start_both(bench)
    Orders(bench, "n1", one).give(*(Send("n2", numbered(n)) for n in range(1, 21)))
    Orders(bench, "n2", two).give(*(Send("n1", numbered(n)) for n in range(21, 31)))
    happened(bench, lambda: sorted(arrived(two)) == list(range(1, 21)), "n1's messages")
    happened(bench, lambda: sorted(arrived(one)) == list(range(21, 31)), "n2's messages")
    for probe, peer in ((one, "n2"), (two, "n1")):
        assert {event.src for event in probe.events(Received)} == {peer}
    for event in two.events(Received):
        assert event.message == numbered(event.message.match)  # type: ignore[union-attr]


def stormy_network_invents_nothing(maker: Maker) -> None:
    """Send many messages in a storm: some lost, duplicated or reordered, none invented."""
    bench = maker(True)
    one, two = start_both(bench)
    orders = Orders(bench, "n1", one)
    sent = range(1, 201)
    for number in sent[::10]:
        orders.give(*(Send("n2", numbered(n)) for n in range(number, number + 10)))
    quiet(bench)
    bench.heal_network()
    orders.give(Send("n2", numbered(1000)))
    happened(bench, lambda: 1000 in arrived(two), "a message after the storm")
    quiet(bench)
    came = [number for number in arrived(two) if number != 1000]
    counts = Counter(came)
    assert set(counts) <= set(sent), "a message arrived that was not sent"
    assert len(counts) < len(sent), "this storm lost nothing"
    assert max(counts.values()) > 1, "this storm repeated nothing"
    assert came != sorted(came), "this storm reordered nothing"
    if any(event.src != "n1" for event in two.events(Received)):
        raise Violation("a message arrived with a wrong sender")


# Clause 7: the metadata store.


def store_answers_each_call_once(maker: Maker) -> None:
    """Create, read, renew and compare-and-set: one reply for each call, with the stored state."""
    bench, one, _, orders = ready(maker)
    first = _first("a1")
    orders.give(CallMeta(CallId(1), Cas(None, first, None)))
    happened(bench, lambda: len(one.events(MetaReply)) == 1, "the record is created")
    orders.give(
        CallMeta(CallId(2), Read()),
        CallMeta(CallId(3), Cas(None, _first("a2"), None)),
        CallMeta(CallId(4), RenewLease("n1", BrokerEpoch(1), None)),
    )
    happened(bench, lambda: len(one.events(MetaReply)) == 4, "three more replies")
    quiet(bench)
    outcomes = _outcomes(one)
    assert sorted(outcomes) == [1, 2, 3, 4]
    assert all(len(replies) == 1 for replies in outcomes.values()), "a call was answered twice"
    for call in (1, 2, 4):
        done = outcomes[call][0]
        assert isinstance(done, StoreOk)
        assert done.value.state == first
    refused = outcomes[3][0]
    assert isinstance(refused, Refused)
    assert refused.reason == Refusal.STAMP
    assert refused.current.state == first


def store_out_of_reach_answers_unknown(maker: Maker) -> None:
    """Disconnect the store: each call ends once as Unknown, without an effect."""
    bench, one, _, orders = ready(maker)
    bench.cut_store()
    orders.give(CallMeta(CallId(1), Cas(None, _first("a1"), None)), CallMeta(CallId(2), Read()))
    happened(bench, lambda: len(one.events(MetaReply)) == 2, "two calls timed out")
    bench.heal_store()
    quiet(bench)
    assert _outcomes(one) == {1: [Unknown()], 2: [Unknown()]}
    orders.give(CallMeta(CallId(3), Read()))
    happened(bench, lambda: len(one.events(MetaReply)) == 3, "the store is back")
    done = _outcomes(one)[3][0]
    assert isinstance(done, StoreOk)
    assert done.value.state is None


def lost_reply_is_unknown_and_may_have_happened(maker: Maker) -> None:
    """Lose the reply of a write: it ends as Unknown, never as Refused, and has taken effect."""
    bench, one, _, orders = ready(maker)
    bench.lose_replies("n1")
    orders.give(CallMeta(CallId(1), Cas(None, _first("a1"), None)))
    happened(bench, lambda: len(one.events(MetaReply)) == 1, "the call timed out")
    assert _outcomes(one) == {1: [Unknown()]}
    bench.heal_store()
    orders.give(CallMeta(CallId(2), Read()))
    happened(bench, lambda: len(one.events(MetaReply)) == 2, "the record is read")
    quiet(bench)
    assert len(one.events(MetaReply)) == 2
    done = _outcomes(one)[2][0]
    assert isinstance(done, StoreOk)
    assert done.value.state == _first("a1")


# Clause 10: failure.


class Unheard(Exception):
    """The exception of the failing node."""


def exception_of_a_step_halts_and_is_heard(maker: Maker) -> None:
    """Raise in a step: the driver gets the exception, the node is down and gets no event."""
    bench = maker(False)
    one, two = start_both(bench)

    def fail() -> list[Effect]:
        raise Unheard("on purpose")

    one.on(lambda event: isinstance(event, Called), fail)
    _ends_and_is_heard(bench, one, two)


def exception_of_a_backend_halts_and_is_heard(maker: Maker) -> None:
    """Append with a gap: the backend raises, and later effects are not executed."""
    bench = maker(False)
    one, two = start_both(bench)
    gap = append(OpId(1), batch(7, 1, b"x"))
    one.on(lambda event: isinstance(event, Called), lambda: [gap, Send("n2", numbered(2))])
    _ends_and_is_heard(bench, one, two)
    assert two.events(Received) == []


def exception_of_an_observer_halts_and_is_heard(maker: Maker) -> None:
    """Raise in the observer at a call."""
    bench = maker(False)
    one, two = start_both(bench)
    bench.monitor.raising = Unheard("on purpose")
    _ends_and_is_heard(bench, one, two)


def _ends_and_is_heard(bench: Bench, one: Probe, two: Probe) -> None:
    """Call n1: the driver gets an exception, n1 is down and gets no event."""
    heard = False
    try:
        bench.call("n1", DescribeRequest(1))
        bench.run_until(lambda: False, SECOND)
    except (Unheard, AssertionError):
        heard = True
    if not heard:
        raise Violation("the exception was swallowed")
    bench.monitor.raising = None
    assert not bench.is_up("n1")
    before = len(one.seen)
    Orders(bench, "n2", two).give(Send("n1", numbered(1)))
    quiet(bench)
    assert len(one.seen) == before, "a halted node got an event"


def _first(attempt: str) -> PartitionState:
    return create(
        store_id="s", attempt=attempt, node="n1", url="", replicas=("n1", "n2"), min_isr=1
    )


def _outcomes(probe: Probe) -> dict[int, list[MetaOutcome]]:
    outcomes: dict[int, list[MetaOutcome]] = {}
    for event in probe.events(MetaReply):
        outcomes.setdefault(event.call, []).append(event.outcome)
    return outcomes
