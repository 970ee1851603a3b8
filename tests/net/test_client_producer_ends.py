"""Start and stop of a producer, also with failures, and its options; its runtime is a fake."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.net.client_tools import Made, cancelled, producer, run_ready
from yak_core.contract.client_calls import SendResult
from yak_core.errors import ErrorCode, Outcome
from yak_core.ids import Epoch
from yak_net.client.errors import (
    IllegalStateError,
    NetworkExceptionError,
    NoBrokersAvailable,
    UnknownError,
)
from yak_net.client.producer import Producer


async def test_stop_flushes_and_refuses_later_records(made: Made) -> None:
    """Goal: the last records are sent; waiting and later sends are refused as not written."""

    sender = producer(made, max_batch_size=200, buffer_memory=200)
    await sender.start()
    runtime = made.runtimes[0]
    for _ in range(2):
        await sender.send(b"a" * 120)
    waiting = asyncio.create_task(sender.send(b"b" * 120))
    await run_ready()
    stopping = asyncio.create_task(sender.stop())
    await runtime.asked(2)
    with pytest.raises(IllegalStateError, match="written"):
        await waiting
    assert not stopping.done()
    runtime.confirm(0, 0)
    runtime.confirm(1, 1)
    await stopping
    assert runtime.closed
    assert sender.confirmed == 2
    with pytest.raises(IllegalStateError) as caught:
        await sender.send(b"c")
    assert caught.value.outcome == "not_written"
    await sender.stop()
    with pytest.raises(IllegalStateError, match="new"):
        await sender.start()


@pytest.mark.parametrize("way", ["time-out", "cancelled"])
async def test_abrupt_stop_resolves_every_waiter(way: str, made: Made) -> None:
    """Goal: unresolved records end as unknown, and their waiters get an exception."""

    sender = producer(made)
    await sender.start()
    sent = await sender.send(b"a")
    waiter = asyncio.ensure_future(sender.flush())
    stopping = asyncio.create_task(sender.stop(timeout_ms=1 if way == "time-out" else None))
    if way == "cancelled":
        await made.runtimes[0].asked(1)
        await run_ready()
        await cancelled(stopping)
    else:
        await stopping
    await waiter
    with pytest.raises(NetworkExceptionError, match="stopped") as caught:
        await sent
    assert caught.value.outcome == "unknown"
    assert (sender.unknown, sender.unresolved, made.runtimes[0].closed) == (1, 0, True)


@pytest.mark.parametrize("when", ["start", "stop"])
async def test_cancelled_stop_closes_connections(when: str, made: Made) -> None:
    """Goal: all connections are closed. Method: cancel during a slow close."""

    made.turns_to_close = 10
    sender = producer(made)
    if when == "start":
        made.refusal = NoBrokersAvailable("no broker")
        ending = asyncio.create_task(sender.start())
    else:
        await sender.start()
        ending = asyncio.create_task(sender.stop())
    await run_ready(4)
    assert not made.runtimes[0].closed
    await cancelled(ending)
    assert made.runtimes[0].closed


async def test_bug_in_the_node_ends_the_producer(made: Made) -> None:
    """Goal: open records are unknown, later ones refused; the exception is raised."""

    sender = producer(made)
    await sender.start()
    runtime = made.runtimes[0]
    asked = await sender.send(b"a")
    flushing = asyncio.create_task(sender.flush())
    await runtime.asked(1)
    building = await sender.send(b"b")
    runtime.fail("AssertionError: no")
    await flushing
    with pytest.raises(UnknownError, match="AssertionError: no") as caught:
        await asked
    assert caught.value.outcome == "unknown"
    await sender.flush()
    with pytest.raises(UnknownError, match="a bug") as caught:
        await building
    assert caught.value.outcome == "not_written"
    with pytest.raises(UnknownError, match="written"):
        await sender.send(b"c")
    await sender.stop()
    other = producer(made)
    await other.start()
    made.bug = AssertionError("in the step")
    record = await other.send(b"d")
    with pytest.raises(AssertionError, match="in the step"):
        await other.flush()
    with pytest.raises(UnknownError, match="in the step"):
        await record
    await other.stop()


async def test_no_broker_answers(made: Made) -> None:
    """Goal: start() raises the runtime's error, leaves nothing open and may be repeated."""

    made.refusal = NoBrokersAvailable("no broker answers at h:1: start one")
    sender = producer(made, bootstrap_timeout_ms=1500)
    with pytest.raises(NoBrokersAvailable, match="start one"):
        await sender.start()
    assert made.runtimes[0].closed
    assert made.runtimes[0].within_s == 1.5
    with pytest.raises(IllegalStateError, match="not started"):
        await sender.send(b"x")
    made.refusal = None
    await sender.start()
    await sender.stop()
    assert [runtime.closed for runtime in made.runtimes] == [True, True]


async def test_options_reach_the_node(made: Made) -> None:
    """Goal: milliseconds become microseconds, acks a number; idempotence follows acks."""

    words = {"request_timeout_ms": 2, "delivery_timeout_ms": 3, "retry_backoff_ms": 4}
    for more in ({}, {"acks": 1}, {"acks": "all", "enable_idempotence": False}, {"acks": 0}):
        async with producer(made, client_id="me", **words, **more):
            pass
    configs = [runtime.config for runtime in made.runtimes]
    assert {(c.request_timeout_us, c.delivery_timeout_us) for c in configs} == {(2000, 3000)}
    assert {(c.retry_backoff_us, c.brokers) for c in configs} == {(4000, ("n1", "n2"))}
    assert [(c.acks, c.idempotent) for c in configs] == [
        (-1, True),
        (1, False),
        (-1, False),
        (0, False),
    ]
    assert made.names[0] == "me of build_producer_on_connections at http://h:1"


async def test_unconfirmed_records_have_no_offset(made: Made) -> None:
    """Goal: with acks=0 awaiting a record returns -1, without an error; it is unknown."""

    async with producer(made, acks=0) as sender:
        sent = await sender.send(b"a", timestamp_ms=9)
        flushing = asyncio.create_task(sender.flush())
        await made.runtimes[0].asked(1)
        made.runtimes[0].answer(0, SendResult(ErrorCode.NONE, Outcome.UNKNOWN, -1, Epoch(-1)))
        await flushing
        assert await sent == (-1, 9, -1)
        assert (sent.outcome, sender.unknown) == ("unknown", 1)


@pytest.mark.parametrize(
    ("words", "kind", "sentence"),
    [
        ({"acks": 2}, ValueError, "acks .*'all', 1 or 0.* 2"),
        ({"acks": 1, "enable_idempotence": True}, ValueError, "acks=.all.*acks=1"),
        ({"compression_type": "gzip"}, ValueError, "compression_type .*'gzip'"),
        ({"linger_ms": -1}, ValueError, "linger_ms .*0.*-1"),
        ({"linger_ms": "5"}, TypeError, "linger_ms .*'5'"),
        ({"buffer_memory": True}, TypeError, "buffer_memory .*True"),
        ({"max_batch_size": 10}, ValueError, "max_batch_size .*10"),
        ({"max_request_size": 1 << 30}, ValueError, f"max_request_size .*{1 << 30}"),
        ({"bootstrap_servers": "ftp://x"}, ValueError, "ftp://x"),
        ({"bootstrap_servers": []}, ValueError, "bootstrap server"),
    ],
)
def test_invalid_option_is_refused(
    words: dict[str, Any], kind: type[Exception], sentence: str
) -> None:
    """Goal: the constructor raises an error with the option, the value and the range."""

    with pytest.raises(kind, match=sentence):
        Producer(**{"bootstrap_servers": "h:1", **words})
