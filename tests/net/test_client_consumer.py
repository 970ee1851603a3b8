"""The consumer outside of its node: decoding, positions, cancellation; the node is a fake."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.net.client_tools import FakeRuntime, Made, batch_of, cancelled, run_ready
from yak_core.batch import Batch, Builder, placed, seal
from yak_core.contract.client_calls import Poll, PollResult, Seek
from yak_core.errors import ErrorCode
from yak_core.ids import Epoch
from yak_net.client.consumer import Consumer, ConsumerRecord
from yak_net.client.errors import (
    CorruptRecordError,
    IllegalStateError,
    NoBrokersAvailable,
    OffsetOutOfRangeError,
    RequestTimedOutError,
    UnknownError,
    UnsupportedCompressionTypeError,
)

GONE = PollResult(ErrorCode.OFFSET_OUT_OF_RANGE, (), 0, 0, 0, Epoch(1), "the log holds [5, 9)")


@asynccontextmanager
async def reading(**words: Any) -> AsyncIterator[tuple[Consumer, FakeRuntime]]:
    """Yield a consumer that starts at offset 0, and its runtime."""
    made = Made()
    async with Consumer("h:1", runtime=made, auto_offset_reset=0, **words) as consumer:
        yield consumer, made.runtimes[-1]
    assert all(runtime.closed for runtime in made.runtimes)


def damaged(batch: Batch, at: int) -> Batch:
    """Return the batch with one byte changed."""
    data = bytearray(batch.data)
    data[at] ^= 0xFF
    return replace(batch, data=bytes(data))


def compressed(batch: Batch) -> Batch:
    """Return the batch with a header that says snappy."""
    data = bytearray(batch.data)
    data[22] |= 2
    return replace(batch, data=bytes(data))


async def test_records_come_in_order_with_all_their_fields() -> None:
    """Goal: whole batches in, records out, and none below the position."""

    builder = Builder()
    builder.append(b"v", key=b"k", headers=(("h", b"1"),), timestamp_ms=9)
    builder.append(None, timestamp_ms=-1)
    second = placed(seal(builder.build()), 3, 6)
    async with reading() as (consumer, runtime):
        consumer.seek(2)
        await runtime.asked(2)
        getting = asyncio.create_task(consumer.getone())
        await runtime.asked(3)
        runtime.deliver(2, batch_of(0, b"a", b"b", b"c", epoch=4), second, position=2, hw=44)
        assert await getting == ConsumerRecord(2, 7, None, b"c", (), 4)
        assert await consumer.position() == 3
        assert consumer.highwater() == 44
        assert await consumer.getmany() == [
            ConsumerRecord(3, 9, b"k", b"v", (("h", b"1"),), 6),
            ConsumerRecord(4, -1, None, None, (), 6),
        ]
        assert await consumer.position() == 5


async def test_next_fetch_is_in_flight_while_records_are_processed() -> None:
    """Goal: one fetch in flight, never two."""

    async with reading() as (consumer, runtime):
        assert consumer.highwater() is None
        assert len(runtime.calls) == 1
        runtime.deliver(0, batch_of(0, b"a", b"b"), position=0)
        assert (await consumer.getone()).value == b"a"
        assert len(runtime.calls) == 2
        assert (await consumer.getone()).value == b"b"
        runtime.deliver(1, batch_of(2, b"c"), position=2)
        await run_ready()
        assert len(runtime.calls) == 2
        assert (await consumer.getone()).value == b"c"
        assert [type(call) for call, _ in runtime.calls] == [Poll] * 3


async def test_getmany_returns_available_records_or_times_out() -> None:
    """Goal: an empty list after the timeout, and later records are not lost."""

    async with reading() as (consumer, runtime):
        assert await consumer.getmany() == []
        assert await consumer.getmany(timeout_ms=5) == []
        assert len(runtime.calls) == 1
        getting = asyncio.create_task(consumer.getmany(timeout_ms=60_000, max_records=2))
        await run_ready()
        runtime.deliver(0, batch_of(0, b"a", b"b", b"c"), position=0)
        assert [record.value for record in await getting] == [b"a", b"b"]
        assert await consumer.position() == 2
        assert [record.value for record in await consumer.getmany(max_records=9)] == [b"c"]
        with pytest.raises(ValueError, match=r"max_records .*1.*0"):
            await consumer.getmany(max_records=0)
        with pytest.raises(ValueError, match=r"timeout_ms .*0.*-1"):
            await consumer.getmany(timeout_ms=-1)


async def test_cancelled_getone_loses_no_record() -> None:
    """Goal: a cancelled getone() leaves its fetch to the next; two waiters share the records."""

    async with reading() as (consumer, runtime):
        first = asyncio.create_task(consumer.getone())
        await run_ready()
        await cancelled(first)
        waiters = [asyncio.create_task(consumer.getone()) for _ in range(2)]
        await run_ready()
        assert len(runtime.calls) == 1
        runtime.deliver(0, batch_of(0, b"a", b"b"), position=0)
        assert [(await each).offset for each in waiters] == [0, 1]


async def test_empty_answers_do_not_cause_a_busy_loop() -> None:
    """Goal: a broker that answers at once gets few requests a second."""

    async with reading() as (consumer, runtime):
        loop = asyncio.get_running_loop()
        began = loop.time()
        getting = asyncio.create_task(consumer.getone())
        for index in range(5):
            await runtime.asked(index + 1)
            runtime.deliver(index, position=0, hw=index)
        await runtime.asked(6)
        assert loop.time() - began >= 5 * 0.02
        assert consumer.highwater() == 4
        runtime.deliver(5, batch_of(0, b"a"), position=0)
        assert (await getting).value == b"a"


async def test_seek_drops_fetched_and_in_flight_records() -> None:
    """Goal: after a seek in any state the next record is the one at the position."""

    async with reading() as (consumer, runtime):
        runtime.deliver(0, batch_of(0, b"a", b"b"), position=0)
        assert (await consumer.getone()).value == b"a"
        consumer.seek(0)
        assert runtime.calls[1][1].cancelled()
        assert runtime.calls[2][0] == Seek(0)
        assert await consumer.position() == 0
        waiting = asyncio.create_task(consumer.getone())
        await runtime.asked(4)
        consumer.seek(1)  # as another task of the application could
        await runtime.asked(6)
        runtime.deliver(5, batch_of(0, b"a", b"b"), position=1)
        assert (await waiting).value == b"b"
        with pytest.raises(ValueError, match=r"offset .*0.*-1"):
            consumer.seek(-1)


async def test_error_is_raised_once_and_the_fetch_repeated() -> None:
    """Goal: the application gets the error and decides; no record is skipped."""

    async with reading() as (consumer, runtime):
        runtime.answer(0, GONE)
        with pytest.raises(OffsetOutOfRangeError, match=re.escape("[5, 9)")) as info:
            await consumer.getone()
        assert (info.value.code, info.value.retriable) == (1, False)
        assert await consumer.position() == 0
        consumer.seek(5)
        getting = asyncio.create_task(consumer.getone())
        await runtime.asked(3)
        runtime.deliver(2, batch_of(5, b"x"), position=5)
        assert (await getting).offset == 5


async def test_unreadable_batch_is_raised_once_and_then_skipped() -> None:
    """Goal: the records before it, its error with the offsets, then the records after it."""

    good = batch_of(0, b"a" * 10, b"b" * 10, b"c" * 10)
    packed = compressed(batch_of(3, b"d"))
    async with reading() as (consumer, runtime):
        half = damaged(good, 61 + 17 + 3)  # the offset delta of the second record
        runtime.deliver(0, half, packed, batch_of(4, b"e"), position=0)
        assert [record.offset for record in await consumer.getmany()] == [0]
        with pytest.raises(CorruptRecordError, match="offset 3") as caught:
            await consumer.getone()
        assert (caught.value.offset, caught.value.next_offset) == (1, 3)
        assert await consumer.position() == 3
        with pytest.raises(UnsupportedCompressionTypeError, match=r"snappy.*offset 4") as second:
            await consumer.getmany()
        assert (second.value.offset, second.value.next_offset) == (3, 4)
        assert (await consumer.getone()).value == b"e"
        assert await consumer.position() == 5


async def test_seek_drops_the_error_of_an_unreadable_batch() -> None:
    """Goal: a seek continues where it says, also back to the records before the damage."""

    good = batch_of(0, b"a" * 10, b"b" * 10)
    async with reading() as (consumer, runtime):
        runtime.deliver(0, damaged(good, 61 + 17 + 3), position=0)
        assert (await consumer.getone()).offset == 0
        consumer.seek(0)
        await runtime.asked(3)
        getting = asyncio.create_task(consumer.getone())
        await runtime.asked(4)
        runtime.deliver(3, good, position=0)
        assert (await getting).offset == 0


async def test_getmany_returns_up_to_the_number_asked_for() -> None:
    """Goal: records of several batches and of the next fetch, none twice, none past an error."""

    async with reading() as (consumer, runtime):
        singles = [batch_of(offset, b"v") for offset in range(4)]
        consumer.seek(0)
        await runtime.asked(2)
        getting = asyncio.create_task(consumer.getone())
        await runtime.asked(3)
        runtime.deliver(2, *singles, position=0)
        assert (await getting).offset == 0
        broken = damaged(batch_of(7, b"d"), 64)
        runtime.deliver(3, batch_of(4, b"x", b"y", b"z"), broken, position=4)
        found = [await consumer.getmany(max_records=count) for count in (2, 2, 9)]
        assert [[record.offset for record in some] for some in found] == [[1, 2], [3, 4], [5, 6]]
        with pytest.raises(CorruptRecordError) as caught:
            await consumer.getmany(max_records=9)
        assert (caught.value.offset, caught.value.next_offset) == (7, 8)


async def test_getmany_without_a_limit_returns_everything_fetched() -> None:
    """Goal: not only the first batch; an error of the next fetch is left to the next call."""

    async with reading() as (consumer, runtime):
        runtime.deliver(0, *(batch_of(offset, b"v") for offset in range(5)), position=0)
        getting = asyncio.create_task(consumer.getone())
        assert (await getting).offset == 0
        runtime.answer(1, GONE)
        assert [record.offset for record in await consumer.getmany()] == [1, 2, 3, 4]
        with pytest.raises(OffsetOutOfRangeError):
            await consumer.getmany()


@pytest.mark.parametrize(("word", "at"), [("latest", -1), ("earliest", -2)])
async def test_start_position_is_fixed_at_start(word: str, at: int, made: Made) -> None:
    """Goal: a separate node looks up the position, and the consumer's node starts there."""

    consumer = Consumer("h:1", runtime=made, auto_offset_reset=word, client_id="me")
    starting = asyncio.create_task(consumer.start())
    asking = await made.number(0)
    assert (asking.config.start_offset, asking.config.fetch_wait_us) == (at, 0)
    await asking.asked(1)
    # A record was appended in between: the position is where the node started.
    asking.deliver(0, batch_of(30, b"x"), position=30)
    await starting
    assert asking.closed
    assert made.runtimes[1].config.start_offset == 30
    assert await consumer.position() == 30
    assert made.names == ["me of build_consumer at http://h:1"] * 2
    await consumer.stop()


async def test_log_offsets_are_looked_up_by_a_separate_node(made: Made) -> None:
    """Goal: end_offset() and beginning_offset() do not disturb reads; seeks use them."""

    async with Consumer("h:1", runtime=made, auto_offset_reset=4) as consumer:
        for number, (ask, at) in enumerate(
            [
                (consumer.end_offset, -1),
                (consumer.beginning_offset, -2),
                (consumer.seek_to_end, -1),
                (consumer.seek_to_beginning, -2),
            ],
            1,
        ):
            asking = asyncio.create_task(ask())
            runtime = await made.number(number)
            assert runtime.config.start_offset == at
            await runtime.asked(1)
            runtime.deliver(0, position=10 + number)
            assert await asking in (10 + number, None)
            assert runtime.closed
            assert await consumer.position() == (4 if number <= 2 else 10 + number)
        assert [call for call, _ in made.runtimes[0].calls][1:] == [Seek(13), Seek(14)]


async def test_no_leader_is_a_timeout(made: Made) -> None:
    """Goal: calls that need the leader time out and leave nothing open."""

    consumer = Consumer("h:1", runtime=made, default_api_timeout_ms=20)
    with pytest.raises(RequestTimedOutError, match=r"0\.02 s"):
        await consumer.start()
    assert made.runtimes[0].closed
    with pytest.raises(IllegalStateError, match="not started"):
        await consumer.getone()


async def test_error_instead_of_an_offset(made: Made) -> None:
    """Goal: an error answer is raised."""

    starting = asyncio.create_task(Consumer("h:1", runtime=made).start())
    asking = await made.number(0)
    await asking.asked(1)
    asking.answer(0, replace(GONE, error=ErrorCode.INVALID_REQUEST))
    with pytest.raises(Exception, match="same version") as caught:
        await starting
    assert getattr(caught.value, "name", "") == "INVALID_REQUEST"


async def test_no_broker_answers(made: Made) -> None:
    """Goal: start() raises the runtime's error and may be repeated."""

    made.refusal = NoBrokersAvailable("no broker answers: start one")
    consumer = Consumer("h:1", runtime=made, auto_offset_reset=0, bootstrap_timeout_ms=1500)
    with pytest.raises(NoBrokersAvailable, match="start one"):
        await consumer.start()
    assert (made.runtimes[0].closed, made.runtimes[0].within_s) == (True, 1.5)
    made.refusal = None
    async with consumer:
        with pytest.raises(IllegalStateError, match="new"):
            await consumer.start()


async def test_iteration_ends_when_the_consumer_is_stopped() -> None:
    """Goal: async for ends; every other call raises."""

    async with reading() as (consumer, runtime):
        seen: list[int] = []

        async def follow() -> None:
            async for record in consumer:
                seen.append(record.offset)

        following = asyncio.create_task(follow())
        getting = asyncio.create_task(consumer.getone())
        await run_ready()
        runtime.deliver(0, batch_of(0, b"a"), position=0)
        await run_ready()
        await consumer.stop()
        await following
        assert seen == [0]
        with pytest.raises(IllegalStateError, match="was stopped"):
            await getting
        with pytest.raises(IllegalStateError, match="was stopped"):
            await consumer.position()


async def test_bug_in_the_node_is_raised() -> None:
    """Goal: a pending and a later read raise the error."""

    async with reading() as (consumer, runtime):
        getting = asyncio.create_task(consumer.getone())
        await run_ready()
        runtime.fail("AssertionError: no")
        with pytest.raises(UnknownError, match="AssertionError: no"):
            await getting
        with pytest.raises(UnknownError, match="a bug"):
            await anext(consumer)


async def test_options_reach_the_node() -> None:
    """Goal: milliseconds become microseconds."""

    words = {"fetch_max_wait_ms": 2, "fetch_max_bytes": 3, "request_timeout_ms": 4}
    async with reading(**words, retry_backoff_ms=5, metadata_max_age_ms=6) as (_, runtime):
        config = runtime.config
        assert (config.fetch_wait_us, config.fetch_bytes_max) == (2000, 3)
        assert (config.request_timeout_us, config.retry_backoff_us) == (4000, 5000)
        assert (config.metadata_max_age_us, config.start_offset) == (6000, 0)


@pytest.mark.parametrize(
    ("words", "kind", "sentence"),
    [
        ({"auto_offset_reset": "middle"}, ValueError, "auto_offset_reset .*'middle'"),
        ({"auto_offset_reset": -5}, ValueError, "auto_offset_reset .*0.*-5"),
        ({"fetch_max_bytes": 0}, ValueError, "fetch_max_bytes .*1.*0"),
        ({"fetch_max_wait_ms": 0.5}, TypeError, r"fetch_max_wait_ms .*0\.5"),
        ({"bootstrap_servers": "a:b"}, ValueError, "a:b"),
    ],
)
def test_invalid_option_is_refused(
    words: dict[str, Any], kind: type[Exception], sentence: str
) -> None:
    """Goal: the constructor raises an error with the option, the value and the range."""
    with pytest.raises(kind, match=sentence):
        Consumer(**{"bootstrap_servers": "h:1", **words})
