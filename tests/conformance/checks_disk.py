"""Checks of the clauses on disk, restarts and record bytes; see checks.py."""

from __future__ import annotations

from tests.conformance.bench import (
    FIRST,
    SECOND,
    Bench,
    Maker,
    Orders,
    Probe,
    append,
    batch,
    happened,
    numbered,
    quiet,
    ready,
    ship,
    shipped_to,
    start_both,
)
from yak_core.batch import records
from yak_core.contract.effects import (
    AnswerLog,
    CallMeta,
    FlushLog,
    SaveState,
    Send,
    SetTimer,
    TruncateLog,
)
from yak_core.contract.events import (
    Called,
    DiskDone,
    DiskOk,
    MetaReply,
    NoSpace,
    NotShipped,
    Received,
    Shipped,
    TimerFired,
)
from yak_core.contract.messages import DescribeRequest, FetchResponse
from yak_core.errors import ErrorCode
from yak_core.ids import CallId, Epoch, LogGeneration, OpId
from yak_core.metadata.store_calls import Read


def done(probe: Probe) -> list[tuple[int, int, object]]:
    """Return the completions as (op, generation, result)."""
    return [(event.op, event.generation, event.result) for event in probe.events(DiskDone)]


def ops(probe: Probe) -> list[int]:
    """Return the completed operations, in order."""
    return [op for op, _, _ in done(probe)]


# Clause 6: the disk.


def writes_complete_once_in_issue_order(maker: Maker) -> None:
    """Issue appends, flushes, truncations and saves at once: each completes once, in order."""
    bench, one, _, orders = ready(maker)
    orders.give(
        append(OpId(1), batch(0, 1, b"a")),
        FlushLog(OpId(2), LogGeneration(0)),
        append(OpId(3), batch(1, 1, b"b")),
        SaveState(OpId(4), "key", b"value"),
        TruncateLog(OpId(5), LogGeneration(1), 1),
        FlushLog(OpId(6), LogGeneration(1)),
        append(OpId(7), batch(1, 2, b"c"), generation=LogGeneration(1)),
        SaveState(OpId(8), "key", None),
        FlushLog(OpId(9), LogGeneration(1)),
    )
    happened(bench, lambda: 9 in ops(one), "the last flush")
    quiet(bench)
    generations = {1: 0, 2: 0, 3: 0, 4: 0, 5: 1, 6: 1, 7: 1, 8: 0, 9: 1}
    assert done(one) == [(op, generations[op], DiskOk()) for op in range(1, 10)]


def read_waits_for_no_write(maker: Maker) -> None:
    """Stall the disk: an issued append can be sent (tail cache)."""
    bench, one, two, orders = ready(maker)
    bench.stall_disk("n1")
    sent = batch(0, 1, b"a")
    orders.give(append(OpId(1), sent), FlushLog(OpId(2), LogGeneration(0)), ship(OpId(3), 0, 1))
    happened(bench, lambda: bool(shipped_to(two)), "the message")
    happened(bench, lambda: 3 in ops(one), "the report of the shipment")
    assert shipped_to(two) == [(sent,)]
    assert done(one) == [(3, 0, Shipped(1, sent.size))]
    bench.release_disk("n1")
    happened(bench, lambda: ops(one) == [3, 1, 2], "the append and the flush")


def order_of_effects_decides_what_is_read(maker: Maker) -> None:
    """Send before the append in the same step: there is nothing to send (clause 2)."""
    bench, one, two, orders = ready(maker)
    orders.give(ship(OpId(1), 0, 1), append(OpId(2), batch(0, 1, b"a")), ship(OpId(3), 0, 1))
    happened(bench, lambda: sorted(ops(one)) == [1, 2, 3], "all three")
    quiet(bench)
    assert (1, 0, NotShipped()) in done(one)
    assert len(shipped_to(two)) == 1


def ships_whole_batches_within_bounds(maker: Maker) -> None:
    """Send parts of the log: whole batches below the end, at least one, bounded by size."""
    bench, one, two, orders = ready(maker)
    parts = (batch(0, 1, b"a", b"b"), batch(2, 1, b"c"), batch(3, 1, b"d", b"e", b"f"))
    orders.give(append(OpId(1), *parts), FlushLog(OpId(2), LogGeneration(0)))
    happened(bench, lambda: ops(one) == [1, 2], "the flush")
    wanted = {
        ship(OpId(3), 0, 6): parts,
        ship(OpId(4), 2, 6): parts[1:],
        ship(OpId(5), 0, 5): parts[:2],
        ship(OpId(6), 0, 6, size=1): parts[:1],
        ship(OpId(7), 0, 6, size=parts[0].size + parts[1].size): parts[:2],
    }
    for number, (order, expected) in enumerate(wanted.items(), start=1):
        orders.give(order)
        happened(bench, lambda n=number: len(shipped_to(two)) == n, "a shipment")  # type: ignore[misc]
        assert shipped_to(two)[-1] == expected
        size = sum(part.size for part in expected)
        happened(bench, lambda op=order.op: op in ops(one), "its report")  # type: ignore[misc]
        assert done(one)[-1] == (order.op, 0, Shipped(expected[-1].end, size))
    orders.give(ship(OpId(8), 6, 9))
    happened(bench, lambda: 8 in ops(one), "the completion without records")
    assert done(one)[-1] == (8, 0, NotShipped())


def shipment_is_of_the_moment_of_the_order(maker: Maker) -> None:
    """Truncate and append after a SendLog: only the old bytes may be sent."""
    bench, one, two, orders = ready(maker)
    old, new = batch(0, 1, b"old"), batch(0, 2, b"new")
    orders.give(append(OpId(1), old), FlushLog(OpId(2), LogGeneration(0)))
    happened(bench, lambda: 2 in ops(one), "the flush")
    orders.give(
        ship(OpId(3), 0, 1),
        TruncateLog(OpId(4), LogGeneration(1), 0),
        append(OpId(5), new, generation=LogGeneration(1)),
    )
    happened(bench, lambda: sorted(ops(one)) == [1, 2, 3, 4, 5], "all of it")
    quiet(bench)
    results = [result for op, _, result in done(one) if op == 3]
    assert results in ([Shipped(1, old.size)], [NotShipped()])
    assert shipped_to(two) == ([(old,)] if results == [Shipped(1, old.size)] else [])
    orders.give(ship(OpId(6), 0, 1, generation=LogGeneration(1)))
    happened(bench, lambda: (new,) in shipped_to(two), "the new batch")


def answer_carries_whole_batches(maker: Maker) -> None:
    """Answer a client from an offset within a batch: that batch is first, with its header."""
    bench, one, _, orders = ready(maker)
    parts = (batch(0, 1, b"a", b"b"), batch(2, 1, b"c"))
    orders.give(append(OpId(1), *parts))
    header = FetchResponse(7, ErrorCode.NONE, (), 3, 0, "n1", Epoch(1))
    question = DescribeRequest(99)

    def answers() -> list[AnswerLog]:
        return [AnswerLog(one.events(Called)[-1].call, header, 1, 3, 1 << 20)]

    one.on(
        lambda event: isinstance(event, Called) and event.request == question,
        lambda: list(answers()),
    )
    bench.call("n1", question)
    happened(bench, lambda: bool(bench.answers), "the answer")
    assert bench.answers == [FetchResponse(7, ErrorCode.NONE, parts, 3, 0, "n1", Epoch(1))]


def full_disk_appends_nothing(maker: Maker) -> None:
    """Fill the disk: an append and those after it end as NoSpace, without bytes."""
    bench, one, two, orders = ready(maker)
    bench.stall_disk("n1")
    bench.fill_disk("n1")
    orders.give(append(OpId(1), batch(0, 1, b"a")))
    orders.give(append(OpId(2), batch(1, 1, b"b")))
    bench.release_disk("n1")
    happened(bench, lambda: ops(one) == [1, 2], "both appends")
    assert done(one) == [(1, 0, NoSpace()), (2, 0, NoSpace())]
    orders.give(ship(OpId(3), 0, 2))
    happened(bench, lambda: 3 in ops(one), "the completion without records")
    assert done(one)[-1] == (3, 0, NotShipped())
    assert shipped_to(two) == []


# Clause 8: restarts.


def restarted(bench: Bench, probe: Probe, *, kill: bool = False) -> Probe:
    """Crash or kill n1 and start it again on a new node object."""
    end = bench.kill if kill else bench.crash
    end("n1")
    assert not bench.is_up("n1")
    before = len(probe.seen)
    again = Probe()
    bench.start("n1", again)
    happened(bench, lambda: bool(again.seen), "the restart")
    quiet(bench)
    assert len(probe.seen) == before, "a node object got events after its crash"
    return again


def only_what_was_flushed_survives(maker: Maker) -> None:
    """Crash after a flushed and an unflushed append: recovery finds the flushed one."""
    bench, one, _, orders = ready(maker)
    flushed, unflushed = batch(0, 1, b"a", b"b"), batch(2, 3, b"c")
    orders.give(
        append(OpId(1), flushed),
        FlushLog(OpId(2), LogGeneration(0)),
        SaveState(OpId(3), "kept", b"1"),
    )
    orders.give(
        SaveState(OpId(4), "gone", b"2"),
        SaveState(OpId(5), "gone", None),
        append(OpId(6), unflushed),
    )
    happened(bench, lambda: ops(one) == [1, 2, 3, 4, 5, 6], "all of it")
    first = one.started()
    found = restarted(bench, one).started()
    assert first.recovered.leo == 0
    assert found.node == "n1"
    assert found.config == first.config
    assert found.nonce != first.nonce, "a nonce was used twice"
    recovered = found.recovered
    assert (recovered.log_start, recovered.leo, recovered.intact) == (0, 2, True)
    assert recovered.epochs == ((1, 0),)
    assert recovered.saved == (("kept", b"1"),)


def same_session_means_nothing_is_lost(maker: Maker) -> None:
    """Kill a process with unflushed writes: all are there in the same storage session.

    After a crash, which loses an append and undoes a truncation, the storage session is another.
    """
    bench, one, _, orders = ready(maker)
    orders.give(append(OpId(1), batch(0, 1, b"a"), batch(1, 1, b"b")), FlushLog(OpId(2), FIRST))
    orders.give(TruncateLog(OpId(3), LogGeneration(1), 1))
    orders.give(append(OpId(4), batch(1, 2, b"c"), generation=LogGeneration(1)))
    happened(bench, lambda: ops(one) == [1, 2, 3, 4], "all of it")
    session = one.started().recovered.storage_session
    killed = restarted(bench, one, kill=True)
    recovered = killed.started().recovered
    assert session != ""
    assert recovered.storage_session == session
    assert (recovered.leo, recovered.epochs) == (2, ((1, 0), (2, 1)))
    crashed = restarted(bench, killed)
    assert crashed.started().recovered.storage_session != session


def nothing_of_the_old_life_arrives(maker: Maker) -> None:
    """Crash with a timer, disk effects, a store call and a client's call open: none completes."""
    bench, _, _, orders = ready(maker)
    bench.stall_disk("n1")
    orders.give(
        SetTimer("old", 100_000, 100_000),
        append(OpId(1), batch(0, 1, b"a")),
        FlushLog(OpId(2), LogGeneration(0)),
        SaveState(OpId(3), "key", b"value"),
        CallMeta(CallId(1), Read()),
    )
    bench.crash("n1")
    again = Probe()
    bench.start("n1", again)
    bench.release_disk("n1")
    quiet(bench, 3 * SECOND)
    assert again.started().recovered.leo == 0
    for kind in (TimerFired, DiskDone, MetaReply, Called):
        assert again.events(kind) == [], f"{kind.__name__} of the old start arrived"
    Orders(bench, "n1", again).give(
        SetTimer("new", 0, 0), FlushLog(OpId(1), LogGeneration(0)), CallMeta(CallId(1), Read())
    )
    happened(bench, lambda: bool(again.events(MetaReply)), "a reply in the new start")
    happened(bench, lambda: ops(again) == [1], "a flush in the new start")
    happened(bench, lambda: len(again.times("new")) == 1, "a timer in the new start")
    assert again.times("old") == []


def node_that_is_down_takes_nothing_in(maker: Maker) -> None:
    """Send to a stopped node: the message is lost; one after the restart arrives."""
    bench = maker(False)
    one, two = start_both(bench)
    bench.crash("n1")
    orders = Orders(bench, "n2", two)
    orders.give(Send("n1", numbered(1)))
    quiet(bench)
    again = Probe()
    bench.start("n1", again)
    quiet(bench)
    orders.give(Send("n1", numbered(2)))
    happened(bench, lambda: bool(again.events(Received)), "the message after the restart")
    assert again.events(Received) == [Received("n2", numbered(2))]
    assert one.events(Received) == []


# Clause 9: bytes.


def bytes_stay_as_they_are(maker: Maker) -> None:
    """Append any bytes: the peer gets the same, and recovery has headers without payload."""
    bench, one, two, orders = ready(maker)
    values = (bytes(range(256)), b"", b"\0" * 1000)
    sent = batch(0, 4, *values)
    orders.give(append(OpId(1), sent), FlushLog(OpId(2), LogGeneration(0)))
    happened(bench, lambda: 2 in ops(one), "the flush")
    orders.give(ship(OpId(3), 0, 3))
    happened(bench, lambda: bool(shipped_to(two)), "the message")
    (got,) = shipped_to(two)[0]
    assert got == sent
    assert [record.value for record in records(got)] == list(values)
    headers = restarted(bench, one).started().recovered.headers
    assert [(h.base_offset, h.end, h.epoch, h.size, h.crc, h.data) for h in headers] == [
        (0, 3, 4, sent.size, sent.crc, b"")
    ]
