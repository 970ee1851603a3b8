"""The producer outside of its node: batches, order, memory; the node is a fake."""

from __future__ import annotations

import asyncio

import pytest

from tests.net.client_tools import LOST, REFUSED, Made, cancelled, producer, run_ready
from yak_core.batch import records
from yak_net.client.errors import MessageSizeTooLargeError, RequestTimedOutError, YakError
from yak_net.client.producer import Resolved, Sent


async def test_records_within_the_linger_share_a_batch(made: Made) -> None:
    """Goal: records sent within the linger form one batch, and get their offsets."""

    async with producer(made, linger_ms=1) as sender:
        sent = [
            await sender.send(b"a", timestamp_ms=5),
            await sender.send(None, b"k", (("h", b"1"), ("h", None)), timestamp_ms=6),
            await sender.send(b"", b"", timestamp_ms=4),
        ]
        runtime = made.runtimes[0]
        await runtime.asked(1)
        taken = [(r.timestamp_ms, r.key, r.value, r.headers) for r in records(runtime.batch(0))]
        assert taken == [
            (5, None, b"a", ()),
            (6, b"k", None, (("h", b"1"), ("h", None))),
            (4, b"", b"", ()),
        ]
        assert not sent[0].done()
        with pytest.raises(asyncio.InvalidStateError):
            sent[0].result()
        runtime.confirm(0, 10, epoch=3)
        assert [await each for each in sent] == [(10, 5, 3), (11, 6, 3), (12, 4, 3)]
        assert await sent[2] == sent[2].result()
        assert sent[2].outcome == "written"
    assert len(runtime.calls) == 1
    assert runtime.closed


async def test_a_record_costs_no_task(made: Made) -> None:
    """Goal: ten thousand records take one task and call for each batch. Method: count."""

    async with producer(made) as sender:
        for _ in range(10_000):
            await sender.send(b"x" * 100)
        assert len(asyncio.all_tasks()) == 2  # this task and the one of the timeout
        flushing = asyncio.create_task(sender.flush())
        await run_ready()
        runtime = made.runtimes[0]
        assert len(runtime.calls) <= 10_000 * 112 // (64 * 1024) + 1
        for index in range(len(runtime.calls)):
            assert runtime.batch(index).size <= 64 * 1024
            runtime.confirm(index, -1)
        await flushing


async def test_order_of_sends_is_the_order_of_batches(made: Made) -> None:
    """Method: many tasks, little memory, small batches; compare with the order of the calls."""

    called: list[bytes] = []
    words = {"max_batch_size": 200, "buffer_memory": 500, "linger_ms": 0}
    async with producer(made, **words) as sender:

        async def send(name: int) -> None:
            for number in range(20):
                value = b"%d-%d" % (name, number) + b"." * (name * 9)
                called.append(value)
                await (await sender.send(value))

        tasks = [asyncio.create_task(send(name)) for name in range(12)]
        await run_ready(1)
        runtime = made.runtimes[0]
        answered = 0
        while not all(task.done() for task in tasks):
            while answered < len(runtime.calls):
                runtime.confirm(answered, 0)
                answered += 1
            await asyncio.sleep(0)
        assert runtime.values() == called
        assert sender.confirmed == len(called) == 240


async def test_send_waits_for_memory_in_order(made: Made) -> None:
    """Goal: with all memory in use senders queue; each resolved batch admits the next one."""

    async with producer(made, max_batch_size=200, buffer_memory=400) as sender:
        runtime = made.runtimes[0]
        for number in range(3):
            await sender.send(b"%d" % number * 120)
        # Two batches are in flight and a third is being built, which is the limit.
        assert len(runtime.calls) == 2
        waiting = [asyncio.create_task(sender.send(b"%d" % n * 120)) for n in (3, 4, 5)]
        await run_ready()
        assert len(runtime.calls) == 3
        assert not any(task.done() for task in waiting)
        await cancelled(waiting[1])
        runtime.confirm(0, 0)
        await run_ready()
        assert [task.done() for task in waiting] == [True, True, False]
        runtime.confirm(1, 1)
        await waiting[2]
        stopping = asyncio.create_task(sender.stop())
        await runtime.asked(5)
        for index in (2, 3, 4):
            runtime.confirm(index, index)
        await stopping
        values = [value[:1] for value in runtime.values() if value]
        assert values == [b"0", b"1", b"2", b"3", b"5"]
        assert sender.confirmed == 5


async def test_large_record_is_sent_alone_and_in_order(made: Made) -> None:
    """Goal: a record above max_batch_size is sent alone; its neighbours keep their order."""

    async with producer(made, max_batch_size=1000) as sender:
        await sender.send(b"before")
        large = await sender.send(b"x" * 5000)
        await sender.send(b"after")
        flushing = asyncio.create_task(sender.flush())
        runtime = made.runtimes[0]
        await runtime.asked(3)
        assert runtime.values() == [b"before", b"x" * 5000, b"after"]
        assert [runtime.batch(index).count for index in range(3)] == [1, 1, 1]
        for index in range(3):
            runtime.confirm(index, index)
        await flushing
        assert (await large).offset == 1


@pytest.mark.parametrize("before", [0, 1])
async def test_refused_record_does_not_affect_others(before: int, made: Made) -> None:
    """Goal: an invalid record raises at once, and the next ones are sent."""

    async with producer(made, max_batch_size=1000, max_request_size=2000) as sender:
        for _ in range(before):
            await sender.send(b"before")
        with pytest.raises(MessageSizeTooLargeError, match="max_request_size") as caught:
            await sender.send(b"x" * 2000)
        assert (caught.value.outcome, caught.value.code) == ("not_written", 10)
        with pytest.raises(TypeError, match="got str"):
            await sender.send("text")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="got int"):
            await sender.send(b"", 1)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="-2"):
            await sender.send(b"", timestamp_ms=-2)
        assert sender.unresolved == before
        after = await sender.send(b"after")
        stopping = asyncio.create_task(sender.stop())
        runtime = made.runtimes[0]
        await runtime.asked(before + 1)
        for index in range(before + 1):
            runtime.confirm(index, index)
        await stopping
        assert (await after).offset == before
        assert runtime.values() == [b"before"] * before + [b"after"]


async def test_errors_have_class_outcome_and_message(made: Made) -> None:
    """Goal: each waiter gets its own exception with class, outcome and message."""

    async with producer(made) as sender:
        lost = [await sender.send(b"a"), await sender.send(b"b")]
        flushing = asyncio.create_task(sender.flush())
        runtime = made.runtimes[0]
        await runtime.asked(1)
        runtime.answer(0, LOST)
        await flushing
        caught: list[YakError] = []
        for each in (*lost, lost[0]):
            with pytest.raises(RequestTimedOutError, match="check") as info:
                await each
            caught.append(info.value)
        assert len({id(error) for error in caught}) == 3
        assert {(error.outcome, error.retriable) for error in caught} == {("unknown", True)}
        sending = asyncio.create_task(sender.send_and_wait(b"c"))
        await run_ready()
        flushing = asyncio.create_task(sender.flush())
        await runtime.asked(2)
        runtime.answer(1, REFUSED)
        with pytest.raises(YakError, match="written") as refused:
            await sending
        assert (refused.value.name, refused.value.code) == ("NOT_ENOUGH_REPLICAS", 19)
        await flushing
        assert (sender.confirmed, sender.not_written, sender.unknown) == (0, 1, 2)


async def test_cancelled_waiter_does_not_affect_others(made: Made) -> None:
    """Goal: cancelling a waiter or a flush leaves the records and other waiters alone."""

    async with producer(made) as sender:
        sent = [await sender.send(b"a"), await sender.send(b"b")]

        async def wait_for(record: Sent) -> int:
            return (await record).offset

        waiters = [asyncio.create_task(wait_for(record)) for record in sent]
        flushing = asyncio.create_task(sender.flush())
        await run_ready()
        await cancelled(waiters[0])
        await cancelled(flushing)
        assert sender.unresolved == 2
        made.runtimes[0].confirm(0, 7)
        assert await waiters[1] == 8
        assert (await sent[0]).offset == 7
        assert sender.unresolved == 0


async def test_batch_grows_while_the_node_is_busy(made: Made) -> None:
    """Goal: with five batches in flight the next one grows, and is sent when one is resolved."""

    async with producer(made, linger_ms=0) as sender:
        runtime = made.runtimes[0]
        for number in range(5):
            await sender.send(b"x")
            await runtime.asked(number + 1)
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(3):
            await sender.send(b"y")
            await run_ready()
        if loop.time() - began < 0.05:  # else the hold may have ended
            assert len(runtime.calls) == 5
            runtime.confirm(0, 0)
            await run_ready()
            assert runtime.batch(5).count == 3
        await runtime.asked(6)
        for index, (_, answer) in enumerate(runtime.calls):
            if not answer.done():
                runtime.confirm(index, index)


async def test_hold_of_a_batch_ends_by_itself(made: Made) -> None:
    """Goal: a held batch is sent without a resolved one, so that its timeout can start."""

    async with producer(made, linger_ms=0) as sender:
        runtime = made.runtimes[0]
        for number in range(6):
            await sender.send(b"x")
            await runtime.asked(number + 1)
        await sender.stop(timeout_ms=0)
        assert sender.unknown == 6


async def test_hook_gets_each_batch_once(made: Made) -> None:
    """Goal: the hook gets the records, their outcome and their offsets."""

    resolved: list[Resolved] = []
    async with producer(made, on_batch=resolved.append) as sender:
        runtime = made.runtimes[0]
        for size, answer in ((2, None), (3, LOST), (1, REFUSED)):
            for _ in range(size):
                await sender.send(b"x")
            before = sender.unresolved
            flushing = asyncio.create_task(sender.flush())
            await runtime.asked(len(resolved) + 1)
            assert sender.unresolved == before == size
            if answer is None:
                runtime.confirm(0, 40, epoch=2)
            else:
                runtime.answer(len(resolved), answer)
            await flushing
    shown = [(r.first, r.count, r.outcome, r.base_offset, r.leader_epoch) for r in resolved]
    assert shown == [
        (0, 2, "written", 40, 2),
        (2, 3, "unknown", -1, -1),
        (5, 1, "not_written", -1, -1),
    ]
    assert [None if r.error is None else r.error.name for r in resolved] == [
        None,
        "REQUEST_TIMED_OUT",
        "NOT_ENOUGH_REPLICAS",
    ]
