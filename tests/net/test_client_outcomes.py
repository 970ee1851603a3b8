"""The outcomes of a producer on sockets: what never left the process is not written."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest

from tests.net.client_scripts import script
from tests.net.fake_broker import FakeBroker, closed_port
from yak_core.errors import ErrorCode, Outcome
from yak_net.client.errors import NetworkExceptionError, RequestTimedOutError
from yak_net.client.links import Links
from yak_net.client.producer import Producer

STALLED = """
import asyncio, sys
from yak_net import Producer, YakError

async def main():
    words = {"request_timeout_ms": 300, "delivery_timeout_ms": 1000, "linger_ms": 0}
    async with Producer(sys.argv[1], **words) as producer:
        try:
            print(await producer.send_and_wait(b"a"), flush=True)
        except YakError as error:
            print(error.outcome, error, flush=True)

asyncio.run(main())
"""


@pytest.fixture
def reached_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let clients start as if their brokers could be reached at that time."""

    async def reach(*_: object) -> bool:
        return True

    monkeypatch.setattr(Links, "reach", reach)


@pytest.mark.usefixtures("reached_once")
async def test_a_broker_out_of_reach_means_not_written() -> None:
    """Goal: no byte left, so the outcome is certain. Method: a port without listener."""
    with closed_port() as nowhere:
        async with FakeBroker(nowhere) as broker:
            async with Producer(broker.url, linger_ms=0, delivery_timeout_ms=400) as producer:
                sent = [await producer.send(b"%d" % number * 40_000) for number in range(8)]
                await producer.flush()
                for record in sent:
                    with pytest.raises(RequestTimedOutError) as caught:
                        await record
                    assert caught.value.outcome == "not_written"
                assert (producer.not_written, producer.unknown) == (8, 0)
            assert broker.requests == []


async def test_a_request_without_a_response_means_unknown() -> None:
    """Goal: what left may be written. Method: a broker that does not respond, then a dead link."""
    async with FakeBroker() as broker:
        async with Producer(
            broker.url, linger_ms=0, delivery_timeout_ms=600, request_timeout_ms=100
        ) as producer:
            sent = await producer.send(b"a")
            await broker.received(1)
            await broker.requests[0][1].close()
            with pytest.raises(RequestTimedOutError) as caught:
                await sent
            assert caught.value.outcome == "unknown"
    assert len(broker.requests) > 1, "the record was sent again"


async def test_stop_resolves_what_was_not_sent_as_not_written() -> None:
    """Goal: an exact outcome at the end. Method: eight batches, five of them in flight; stop."""
    async with FakeBroker() as broker:
        producer = Producer(broker.url, linger_ms=0)
        await producer.start()
        sent = []
        for number in range(8):
            sent.append(await producer.send(b"%d" % number))
            flushing = asyncio.create_task(producer.flush())
            await asyncio.sleep(0)
            flushing.cancel()
        await broker.received(5)
        await producer.stop(timeout_ms=0)
        assert len(broker.requests) == 5
        assert [record.outcome for record in sent] == ["unknown"] * 5 + ["not_written"] * 3
        for record in sent:
            with pytest.raises(NetworkExceptionError, match="stopped"):
                record.result()
        assert (producer.unknown, producer.not_written, producer.unresolved) == (5, 3, 0)


@pytest.mark.usefixtures("reached_once")
async def test_stop_of_a_producer_without_a_connection() -> None:
    """Goal: what waits for a connection has not left. Method: stop while the address is wrong."""
    with closed_port() as nowhere:
        async with FakeBroker(nowhere) as broker:
            producer = Producer(broker.url, linger_ms=0)
            await producer.start()
            sent = await producer.send(b"a")
            await producer.stop(timeout_ms=50)
            assert sent.outcome == "not_written"


async def test_a_timeout_names_the_last_refusal() -> None:
    """Goal: reason with values, not written. Method: refusals until the delivery timeout."""
    async with FakeBroker() as broker:
        async with Producer(broker.url, linger_ms=0, delivery_timeout_ms=1_500) as producer:
            sent = await producer.send(b"a")
            few = "too few in-sync replicas: 1, need 2; retry later"
            answered = 0
            while not sent.done():
                for at in range(answered, len(broker.requests)):
                    refused = (ErrorCode.NOT_ENOUGH_REPLICAS, Outcome.NOT_WRITTEN, few)
                    await broker.respond(at, *refused)
                answered = len(broker.requests)
                await asyncio.sleep(0.01)
            with pytest.raises(RequestTimedOutError) as caught:
                await sent
            assert caught.value.outcome == "not_written"
    for part in ("NOT_ENOUGH_REPLICAS", "1", "2"):
        assert part in str(caught.value).split("; ")[0]


async def test_a_stalled_process_reads_its_responses_before_it_gives_up() -> None:
    """Goal: a confirmed record is not reported as unknown. Method: SIGSTOP for longer than the
    delivery timeout, with the response in the socket."""
    async with FakeBroker() as broker, script(STALLED, broker.url) as process:
        await broker.received(1)
        process.send_signal(signal.SIGSTOP)
        stopped_at = time.monotonic()
        await broker.respond(0, ErrorCode.NONE, Outcome.WRITTEN, base=7)
        while time.monotonic() < stopped_at + 1.5:
            await asyncio.sleep(0.05)
        process.send_signal(signal.SIGCONT)
        output, _ = await asyncio.wait_for(process.communicate(), 20)
    assert output.startswith(b"RecordMetadata(offset=7"), output
