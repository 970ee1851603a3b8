"""Compressed batches over HTTP as JSON, with a real broker in a manual world."""

from __future__ import annotations

import sys
import zlib
from dataclasses import replace

import pytest

from tests.net.http_tools import WorldGateway, problem, serving
from tests.net.sse_tools import Events
from tests.net.test_http_fetch import append, batch, read, write
from yak_core.batch import BATCH_BYTES_MAX, Batch, Builder, Codec, compressed, seal
from yak_net.compression import LEVELS, compressor
from yak_net.http import record_stream
from yak_net.http.plain_batches import ANSWER_BYTES_MAX
from yak_net.runtime.budget import Budget

OURS = tuple(LEVELS)
KIB = 1024


def packed(plain: Batch, codec: Codec = Codec.GZIP) -> Batch:
    found = seal(compressed(plain, codec, compressor(codec)))
    assert found.size < plain.size
    return found


def repeated(size: int) -> Batch:
    """Return a batch of one record that becomes much smaller."""
    builder = Builder(1 << 20)
    builder.append(b"a" * size, timestamp_ms=7)
    return packed(builder.build())


def bomb() -> Batch:
    """Return a batch whose records are larger than a broker decompresses."""
    builder = Builder(1 << 20)
    builder.append(bytes(100 * KIB), timestamp_ms=7)
    huge = zlib.compress(bytes(BATCH_BYTES_MAX + 1), 9, 31)
    return seal(compressed(builder.build(), Codec.GZIP, lambda _: huge))


async def test_each_codec_is_read_like_uncompressed_records(gateway: WorldGateway) -> None:
    """Goal: the same answer whatever the codec is, also from within a batch, and as events."""
    values = [b"the same line %d" % number for number in range(40)]
    write(gateway, *values)
    for codec in OURS:
        append(gateway, packed(batch(*values), codec))
    async with serving(gateway) as client:
        found = await read(client)
        assert (found["next_offset"], len(found["records"])) == (160, 160)
        for at, record in enumerate(found["records"]):
            assert record == {**found["records"][at % 40], "offset": at}
        inside = await read(client, "?offset=150")
        assert inside["records"] == found["records"][150:]
        events = Events(await client.get("/v1/records/stream?offset=79"))
        for record, event in zip(found["records"][79:], await events.take(81), strict=True):
            assert (event.name, event.id, event.data) == (
                "message", str(record["offset"]), record,
            )  # fmt: skip
        events.answer.close()


async def test_max_bytes_bounds_the_decompressed_records(gateway: WorldGateway) -> None:
    """Goal: an answer is as large as one of uncompressed batches would be; at least one batch."""
    for _ in range(3):
        append(gateway, repeated(100 * KIB))
    async with serving(gateway) as client:
        assert (await read(client, f"?max_bytes={250 * KIB}"))["next_offset"] == 2
        assert (await read(client, f"?max_bytes={10 * KIB}"))["next_offset"] == 1
        assert (await read(client))["next_offset"] == 3


async def test_an_answer_has_its_own_limit(gateway: WorldGateway) -> None:
    """Goal: many small batches do not become a huge answer, whatever the client asks for."""
    for _ in range(10):
        append(gateway, repeated(1000 * KIB))
    async with serving(gateway) as client:
        assert (await read(client, f"?max_bytes={2**31 - 1}"))["next_offset"] == 4
        assert ANSWER_BYTES_MAX // (1000 * KIB) == 4


async def test_a_bomb_is_named_and_passed(gateway: WorldGateway) -> None:
    """Goal: records beyond the limit of a broker are 422 with the next offset, or an event."""
    write(gateway, b"a")
    append(gateway, bomb())
    write(gateway, b"z")
    async with serving(gateway) as client:
        assert (await read(client))["next_offset"] == 1
        body = await problem(await client.get("/v1/records?offset=1"), 422, "CORRUPT_MESSAGE")
        assert body["next_offset"] == 2
        assert str(BATCH_BYTES_MAX) in body["detail"]
        events = Events(await client.get("/v1/records/stream"))
        first, second, third = await events.take(3)
        assert (first.id, third.id, third.data["value"]) == ("0", "2", "z")
        assert (second.name, second.id, second.data["compressed"]) == ("skipped", "1", False)
        events.answer.close()


async def test_damaged_compressed_records_are_damage(gateway: WorldGateway) -> None:
    """Goal: a stream that ends too early, with a valid CRC, is a corrupt batch."""
    good = packed(batch(*[b"line"] * 50))
    torn = replace(good, data=good.data[:-9] + bytes(9))
    append(gateway, seal(torn))
    async with serving(gateway) as client:
        body = await problem(await client.get("/v1/records"), 422, "CORRUPT_MESSAGE")
        assert (body["next_offset"], "gzip" in body["detail"]) == (50, True)


async def test_a_codec_that_is_not_installed_is_named_with_its_extra(
    gateway: WorldGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: 422 that says what to install; the records around it are read."""
    lines = batch(*[b"line"] * 50)
    append(gateway, packed(lines, Codec.GZIP))
    append(gateway, packed(lines, Codec.LZ4))
    append(gateway, packed(lines, Codec.ZSTD))
    for module in ("lz4.frame", "zstandard"):
        monkeypatch.setitem(sys.modules, module, None)
    async with serving(gateway) as client:
        assert (await read(client))["next_offset"] == 50
        for offset, extra in ((50, "yak-log[lz4]"), (100, "yak-log[zstd]")):
            answer = await client.get(f"/v1/records?offset={offset}")
            body = await problem(answer, 422, "UNSUPPORTED_COMPRESSION_TYPE")
            assert (body["error_code"], body["next_offset"]) == (76, offset + 50)
            assert extra in body["detail"]
        events = Events(await client.get("/v1/records/stream?offset=49"))
        first, second, third = await events.take(3)
        assert (first.id, second.id, third.id) == ("49", "99", "149")
        assert [(each.name, each.data["compressed"]) for each in (second, third)] == [
            ("skipped", True),
            ("skipped", True),
        ]
        assert "yak-log[lz4]" in second.data["detail"]
        events.answer.close()


async def test_a_stream_waits_for_room_for_decompressed_records(
    gateway: WorldGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: the bytes in flight stay below their limit. Method: another request holds them."""
    monkeypatch.setattr(record_stream, "PAUSE_S", 0.01)
    budget = Budget(1 << 20)
    budget.add(1 << 19)
    append(gateway, repeated(300 * KIB))
    async with serving(gateway, budget=budget) as client:
        events = Events(await client.get("/v1/records/stream"))
        while await events.answer.content.readline() != b": heartbeat\n":
            continue
        assert budget.used == 1 << 19
        budget.add(-(1 << 19))
        (event,) = await events.take(1)
        assert (event.name, event.data["offset"]) == ("message", 0)
        events.answer.close()


async def test_a_fetch_without_room_for_decompressed_records_is_refused(
    gateway: WorldGateway,
) -> None:
    """Goal: 503 to retry while another request holds the bytes in flight; then the records."""
    budget = Budget(1 << 20)
    budget.add(1 << 19)
    append(gateway, repeated(300 * KIB))
    async with serving(gateway, budget=budget) as client:
        body = await problem(await client.get("/v1/records"), 503, "THROTTLING_QUOTA_EXCEEDED")
        assert body["retriable"] is True
        assert budget.used == 1 << 19
        budget.add(-(1 << 19))
        assert (await read(client))["next_offset"] == 1
    assert budget.used == 0
