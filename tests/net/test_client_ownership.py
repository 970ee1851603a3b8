"""A client belongs to one event loop of one process, and does not lose records silently."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.net.client_commands import one_broker, read
from tests.net.client_scripts import script
from tests.net.client_tools import Made, producer, run_ready
from yak_net.client.consumer import Consumer
from yak_net.client.errors import IllegalStateError

FORK = """
import asyncio, atexit, gc, os, sys
from yak_net import Consumer, IllegalStateError, Producer

async def refused(call):
    try:
        await call
    except IllegalStateError as error:
        print(type(error).__name__, flush=True)
    else:
        print("accepted", flush=True)

async def child(producer, consumer):
    await refused(producer.send(b"child"))
    await refused(producer.flush())
    await refused(producer.stop())
    await refused(consumer.getone())
    gc.collect()
    atexit._run_exitfuncs()

async def main():
    words = {"linger_ms": 3_600_000}
    async with Producer(sys.argv[1], **words) as producer, Consumer(sys.argv[1]) as consumer:
        await producer.send(b"before")
        pid = os.fork()
        if not pid:
            try:
                await child(producer, consumer)
            finally:
                os._exit(0)
        code = await asyncio.to_thread(os.waitpid, pid, 0)
        await producer.send(b"after")
        await producer.stop()
        print(producer.confirmed, code[1], flush=True)

asyncio.run(main())
"""

DROPPED = """
import asyncio, sys
from yak_net import Producer

async def main():
    producer = Producer(sys.argv[1], linger_ms=3_600_000)
    await producer.start()
    for number in range(3):
        await producer.send(b"%d" % number)
    return producer

kept = asyncio.run(main())
print("end of the program", flush=True)
"""

NEVER_AWAITED = """
import sys
from yak_net import Producer

producer = Producer(sys.argv[1])
producer.send(b"a")
producer.flush()
"""


async def on_another_loop(call: Callable[[], Coroutine[Any, Any, Any]]) -> Exception:
    """Return the exception of a call on the event loop of another thread."""
    raised: list[Exception] = []

    def work() -> None:
        try:
            asyncio.run(call())
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive():
        await asyncio.sleep(0.001)
    thread.join()
    (error,) = raised
    return error


async def test_a_producer_is_used_on_its_own_loop_only(made: Made) -> None:
    """Goal: an error at once, not a hang. Method: each call on a loop of another thread.

    The open batch and the records in flight are not affected.
    """
    async with producer(made) as sender:
        sent = await sender.send(b"a")
        calls: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
            "send": lambda: sender.send(b"x"),
            "send_and_wait": lambda: sender.send_and_wait(b"x"),
            "flush": sender.flush,
            "stop": sender.stop,
            "await": lambda: waiting(sent),
        }
        for name, call in calls.items():
            error = await on_another_loop(call)
            assert isinstance(error, IllegalStateError), (name, error)
            assert "another event loop" in str(error)
            assert error.outcome == "not_written"
        assert sender.unresolved == 1
        flushing = asyncio.create_task(sender.flush())
        await made.runtimes[0].asked(1)
        made.runtimes[0].confirm(0, 5)
        await flushing
        assert (await sent).offset == 5


async def waiting(record: Any) -> Any:
    """Await a record."""
    return await record


async def test_a_resolved_record_can_be_awaited_on_any_loop(made: Made) -> None:
    """Method: await a confirmed record on a loop of another thread."""
    async with producer(made) as sender:
        sent = await sender.send(b"a")
        flushing = asyncio.create_task(sender.flush())
        await made.runtimes[0].asked(1)
        made.runtimes[0].confirm(0, 5)
        await flushing
        found = await asyncio.to_thread(lambda: asyncio.run(waiting(sent)))
        assert found.offset == 5


def test_a_producer_does_not_outlive_its_loop(made: Made) -> None:
    """Goal: a second asyncio.run raises at once. Method: start in one run, send in another."""
    sender = producer(made)
    asyncio.run(sender.start())
    for call in (lambda: sender.send_and_wait(b"x"), sender.flush, sender.stop):
        with pytest.raises(IllegalStateError, match="another event loop"):
            asyncio.run(call())


async def test_a_consumer_is_used_on_its_own_loop_only(made: Made) -> None:
    """Method: each call on a loop of another thread, and a call without a loop."""
    consumer = Consumer("h:1", runtime=made, auto_offset_reset=0)
    await consumer.start()

    async def seek() -> None:
        consumer.seek(3)

    for call in (consumer.getone, consumer.getmany, consumer.position, seek, consumer.stop):
        error = await on_another_loop(call)
        assert isinstance(error, IllegalStateError), call
    with pytest.raises(IllegalStateError, match="none is running"):
        await asyncio.to_thread(consumer.seek, 3)
    assert await consumer.position() == 0
    await consumer.stop()


async def test_flush_needs_a_started_producer(made: Made) -> None:
    """Goal: a forgotten start() is an error. Method: flush before the start, and after the stop."""
    sender = producer(made)
    with pytest.raises(IllegalStateError, match="not started"):
        await sender.flush()
    await sender.start()
    await sender.stop()
    await sender.flush()


def test_a_dropped_producer_warns_of_its_records(made: Made) -> None:
    """Goal: the number of records that may be lost. Method: garbage collection after the loop."""

    async def send() -> None:
        sender = producer(made)
        await sender.start()
        for _ in range(3):
            await sender.send(b"x")

    asyncio.run(send())
    made.runtimes.clear()
    with pytest.warns(ResourceWarning, match="producer.* 3 accepted records"):
        gc.collect()


def test_a_producer_without_unresolved_records_does_not_warn(made: Made) -> None:
    """Method: drop a stopped producer, and one without records."""

    async def send() -> None:
        sender = producer(made)
        await sender.start()
        sending = asyncio.create_task(sender.stop())
        await run_ready()
        await sending
        await producer(made).start()

    asyncio.run(send())
    made.runtimes.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gc.collect()


def test_programs_with_a_real_broker(tmp_path: Path) -> None:
    """Goal: fork, end of the program and a missing await. Method: a program for each.

    After a fork the child cannot use the clients of the parent, is silent at its end, and does not
    disturb the parent, whose records are in the log once.
    """

    async def output(text: str, url: str) -> list[str]:
        async with script(text, url) as process:
            out, _ = await asyncio.wait_for(process.communicate(), 30)
        return out.decode().splitlines()

    with one_broker(tmp_path) as broker:
        lines = asyncio.run(output(FORK, broker.url))
        assert lines == ["IllegalStateError"] * 4 + ["2 0"]
        assert [record.value for record in read(broker.url, 0, 2)] == [b"before", b"after"]
        lines = asyncio.run(output(DROPPED, broker.url))
        warned = [line for line in lines if "ResourceWarning" in line and "producer" in line]
        assert len(warned) == 1, lines
        assert "3 accepted records" in warned[0]
        lines = asyncio.run(output(NEVER_AWAITED, broker.url))
        warned = [line for line in lines if "was never awaited" in line]
        assert ["Producer.send" in warned[0], "Producer.flush" in warned[1]] == [True, True]
