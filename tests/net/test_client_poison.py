"""Batches with a right CRC over records that no client can decode."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from tests.net.brokers import BrokerProcess, brokers, get
from tests.net.client_commands import PATIENCE_S, send, yak
from yak_core.batch import Batch, Builder, seal
from yak_core.contract.messages import ProduceRequest, ProduceResponse
from yak_core.errors import ErrorCode, Outcome
from yak_core.ids import Epoch
from yak_core.wire.codec import decode, encode
from yak_net.client.consumer import Consumer
from yak_net.client.errors import CorruptRecordError, UnsupportedCompressionTypeError
from yak_net.metadata.embedded import EmbeddedMetadata
from yak_net.runtime.wire import CLIENT_PATH

SECOND = 1_000_000


def built(*values: bytes) -> Batch:
    """Return a batch that is not sealed."""
    builder = Builder(1 << 20)
    for value in values:
        assert builder.append(value, timestamp_ms=1) is not None
    return builder.build()


def garbage() -> Batch:
    """Return a sealed batch of three records whose bytes are garbage."""
    batch = built(b"a", b"b", b"c")
    return seal(replace(batch, data=batch.data[:61] + b"\xff" * (batch.size - 61)))


def falsely_compressed() -> Batch:
    """Return a sealed batch of two records whose header says gzip."""
    batch = built(b"d", b"e")
    return seal(replace(batch, data=batch.data[:22] + b"\x01" + batch.data[23:]))


POISON = (garbage, falsely_compressed)


def produce(broker: BrokerProcess, *batches: Batch) -> list[ProduceResponse]:
    """Send sealed batches as they are on one connection; return the responses in their order."""

    async def work() -> list[ProduceResponse]:
        async with (
            asyncio.timeout(PATIENCE_S),
            aiohttp.ClientSession() as session,
            session.ws_connect(broker.url + CLIENT_PATH) as socket,
        ):
            await socket.receive_str()
            for number, batch in enumerate(batches):
                request = ProduceRequest(number, Epoch(-1), -1, 5 * SECOND, batch)
                await socket.send_bytes(encode(request))
            answers = [decode(await socket.receive_bytes()) for _ in batches]
        found = [each for each in answers if isinstance(each, ProduceResponse)]
        return sorted(found, key=lambda each: each.correlation)

    return asyncio.run(work())


@pytest.fixture
def log(metadata: EmbeddedMetadata, tmp_path: Path) -> Iterator[BrokerProcess]:
    """Yield a broker with: good 0, garbage 1 to 3, good 4, compressed 5 and 6, good 7."""
    with brokers() as start:
        words = ["--listen", "127.0.0.1:0", "--redis", metadata.url]
        words += ["--data-dir", str(tmp_path / "d")]
        broker = start(tmp_path / "log", *words)
        broker.wait_until_ready()
        send(broker.url, b"0")
        for poison, value in zip(POISON, (b"4", b"7"), strict=True):
            assert [each.outcome for each in produce(broker, poison())] == [Outcome.WRITTEN]
            send(broker.url, value)
        yield broker


def test_consumer_goes_on_after_the_damage(log: BrokerProcess) -> None:
    """Goal: each unreadable batch is one error with its offsets; all other records are read."""

    async def work() -> list[object]:
        seen: list[object] = []
        async with asyncio.timeout(PATIENCE_S), Consumer(log.url, auto_offset_reset=0) as consumer:
            while await consumer.position() < 8:
                try:
                    async for record in consumer:
                        seen.append(record.value)
                        if record.offset == 7:
                            break
                except (CorruptRecordError, UnsupportedCompressionTypeError) as error:
                    seen.append((type(error).__name__, error.offset, error.next_offset))
        return seen

    assert asyncio.run(work()) == [
        b"0",
        ("CorruptRecordError", 1, 4),
        b"4",
        ("UnsupportedCompressionTypeError", 5, 7),
        b"7",
    ]


def test_consume_names_the_damage_and_skips_it_on_request(log: BrokerProcess) -> None:
    """Goal: exit code 1 with the offsets and the next step, or 0 and a note for each batch."""
    words = ("consume", "-b", log.url, "--from-beginning", "-e")
    done = yak(*words)
    assert (done.returncode, done.stdout) == (1, b"0\n")
    assert b"offsets 1 to 3" in done.stderr
    assert b"--skip-damaged" in done.stderr
    assert b"--offset 4" in done.stderr
    done = yak("consume", "-b", log.url, "--offset", "4", "-n", "1")
    assert (done.returncode, done.stdout) == (0, b"4\n")
    done = yak(*words, "--skip-damaged")
    assert (done.returncode, done.stdout) == (0, b"0\n4\n7\n")
    first, second, summary = done.stderr.splitlines()
    assert (b"offsets 1 to 3" in first, b"offsets 5 to 6" in second) == (True, True)
    assert b"3 records" in summary
    assert b"5 skipped" in summary
    assert yak(*words, "--skip-message-on-error").stdout == b"0\n4\n7\n"


def test_http_fetch_names_the_next_offset(log: BrokerProcess) -> None:
    """Goal: the same over HTTP: 422, and a fetch from next_offset works."""
    for at, next_offset in ((1, 4), (5, 7)):
        status, body = get(f"{log.url}/v1/records?offset={at}")
        assert (status, body["next_offset"]) == (422, next_offset)
    status, body = get(f"{log.url}/v1/records?offset=4")
    assert [record["value"] for record in body["records"]] == ["4"]


def test_broker_refuses_what_no_client_can_read(metadata: EmbeddedMetadata, tmp_path: Path) -> None:
    """Goal: with the option nothing unreadable gets into the log, and the order is kept."""
    with brokers() as start:
        words = ["--listen", "127.0.0.1:0", "--redis", metadata.url]
        words += ["--data-dir", str(tmp_path / "d")]
        broker = start(tmp_path / "log", *words, "--check-records")
        broker.wait_until_ready()
        large = seal(built(*[b"x" * 1000] * 100))
        batches = (seal(built(b"0")), garbage(), large, falsely_compressed(), seal(built(b"last")))
        found = produce(broker, *batches)
        assert [(each.outcome, each.error, each.base_offset) for each in found] == [
            (Outcome.WRITTEN, ErrorCode.NONE, 0),
            (Outcome.NOT_WRITTEN, ErrorCode.CORRUPT_MESSAGE, -1),
            (Outcome.WRITTEN, ErrorCode.NONE, 1),
            (Outcome.NOT_WRITTEN, ErrorCode.INVALID_REQUEST, -1),
            (Outcome.WRITTEN, ErrorCode.NONE, 101),
        ]
        assert "record 0 of 3" in found[1].detail
        assert "gzip" in found[3].detail
        assert send(broker.url, b"from the client") == 102
