"""GET /v1/records with a real broker: offsets, long polls, binary and malformed records."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from tests.net.http_tools import (
    NOW_MS,
    SECOND,
    Client,
    WorldGateway,
    cluster,
    problem,
    records_of,
    serving,
    url,
)
from yak_core.batch import Batch, Builder, Headers, seal
from yak_core.contract.messages import ProduceRequest
from yak_core.ids import Epoch
from yak_net.http import json_bodies as bodies


def write(gateway: WorldGateway, *values: bytes | None, headers: Headers = ()) -> None:
    """Append one batch as a producer does."""
    append(gateway, batch(*values, headers=headers))


def batch(*values: bytes | None, headers: Headers = ()) -> Batch:
    builder = Builder(1 << 20, 1 << 20)
    for value in values:
        builder.append(value, key=b"k", headers=headers, timestamp_ms=7)
    return seal(builder.build())


def append(gateway: WorldGateway, one: Batch) -> None:
    gateway.world.call(gateway.node_id, ProduceRequest(0, Epoch(-1), -1, SECOND, one))
    gateway.move()


def compressed() -> Batch:
    """Return a batch whose header declares snappy, a codec that YAK lacks."""
    plain = batch(b"a", b"b")
    return seal(replace(plain, data=plain.data[:21] + b"\0\x02" + plain.data[23:]))


async def read(client: Client, query: str = "") -> dict[str, Any]:
    answer = await client.get(f"/v1/records{query}")
    assert answer.status == 200, await answer.text()
    found: dict[str, Any] = await answer.json()
    return found


async def test_what_was_written_is_read(gateway: WorldGateway) -> None:
    """Write two batches and read: each record with its offset, then the same at /fetch."""
    write(gateway, b"a", None)
    write(gateway, b"\xff", headers=(("h", b"1"), ("h", b"\xfe"), ("n", None)))

    async with serving(gateway) as client:
        found = await read(client)
        common = {"epoch": 1, "timestamp_ms": 7, "key": "k"}
        headers = [
            {"key": "h", "value": "1"},
            {"key": "h", "value_b64": "/g=="},
            {"key": "n", "value": None},
        ]
        assert found == {
            "records": [
                {"offset": 0, "value": "a", **common},
                {"offset": 1, "value": None, **common},
                {"offset": 2, "value_b64": "/w==", "headers": headers, **common},
            ],
            "next_offset": 3,
            "hw": 3,
            "log_start": 0,
            "epoch": 1,
        }
        assert await (await client.get("/fetch?offset=0")).json() == found


async def test_read_records_can_be_posted(gateway: WorldGateway) -> None:
    """Post, read, post the result without offsets: the second read equals the first."""
    record = {
        "key_b64": "/w==",
        "value": "\u00e9\U0001f404\x00\n",
        "headers": [{"key": "a", "value": ""}, {"key": "a", "value_b64": "gA=="}],
        "timestamp_ms": -1,
    }

    async with serving(gateway) as client:
        await client.post("/v1/records", json={"records": [record]})
        first = (await read(client))["records"][0]
        again = {k: v for k, v in first.items() if k not in ("offset", "epoch")}
        assert again == record
        await client.post("/v1/records", json={"records": [again]})
        second = (await read(client, "?offset=1"))["records"][0]
        assert second == {**first, "offset": 1}


async def test_a_read_may_start_within_a_batch(gateway: WorldGateway) -> None:
    """Read from the middle of a batch: records below are omitted, the next offset is right."""
    write(gateway, b"a", b"b", b"c")

    async with serving(gateway) as client:
        found = await read(client, "?offset=2")
        assert [(r["offset"], r["value"]) for r in found["records"]] == [(2, "c")]
        assert found["next_offset"] == 3
        at_end = await read(client, "?offset=3")
        assert (at_end["records"], at_end["next_offset"]) == ([], 3)
        latest = await read(client, "?offset=latest")
        assert (latest["records"], latest["next_offset"]) == ([], 3)
        assert (await read(client, "?offset=earliest"))["next_offset"] == 3


async def test_max_bytes_bounds_the_answer_by_whole_batches(gateway: WorldGateway) -> None:
    """Read with a small max_bytes: one batch at a time."""
    for _ in range(3):
        write(gateway, b"x" * 100)

    async with serving(gateway) as client:
        for offset in range(3):
            found = await read(client, f"?offset={offset}&max_bytes=1")
            assert [r["offset"] for r in found["records"]] == [offset]
            assert found["next_offset"] == offset + 1


async def test_very_many_records_come_in_parts(
    monkeypatch: pytest.MonkeyPatch, gateway: WorldGateway
) -> None:
    """Read more records than fit into an answer: none is missing or duplicated."""
    monkeypatch.setattr(bodies, "RECORDS_MAX", 100)
    write(gateway, *[b"%d" % n for n in range(250)])
    write(gateway, *[b"%d" % n for n in range(250, 300)])

    values: list[str] = []
    sizes: list[int] = []
    async with serving(gateway) as client:
        while len(values) < 300:
            found = await read(client, f"?offset={len(values)}")
            sizes.append(len(found["records"]))
            values += [record["value"] for record in found["records"]]
    assert values == [str(n) for n in range(300)]
    assert sizes == [100, 100, 100]


async def test_a_large_answer_does_not_block_the_loop(gateway: WorldGateway) -> None:
    """Read a megabyte of binary data: it arrives whole, without a warning of aiohttp."""
    write(gateway, b"\xff" * 1_000_000)

    async with serving(gateway) as client:
        found = await read(client)
        assert len(found["records"][0]["value_b64"]) == 1_333_336


async def test_a_long_poll_ends_with_a_record(gateway: WorldGateway) -> None:
    """Wait at the end of the log and post: the waiting answer has the record."""

    async with serving(gateway) as client:
        poll = asyncio.create_task(read(client, "?offset=latest&wait_ms=30000"))
        await gateway.waits.wait()
        await client.post("/v1/records", json=records_of("a"))
        found = await poll
        assert [record["value"] for record in found["records"]] == ["a"]
        assert found["records"][0]["timestamp_ms"] == NOW_MS


async def test_a_long_poll_ends_in_time(gateway: WorldGateway) -> None:
    """Wait at the end of the log until the timeout: an empty answer."""

    async with serving(gateway) as client:
        poll = asyncio.create_task(read(client, "?wait_ms=250"))
        await gateway.waits.wait()
        gateway.move(SECOND // 5)
        assert len(gateway.node.readers.long_polls) == 1
        gateway.move(SECOND // 5)
        found = await poll
        assert (found["records"], found["next_offset"], found["hw"]) == ([], 0, 0)


async def test_call_of_a_disconnected_client_is_cancelled(gateway: WorldGateway) -> None:
    """Close the connection of a long poll: the node has no pending call."""

    async with serving(gateway) as client:
        poll = asyncio.create_task(client.get("/v1/records?wait_ms=30000"))
        await gateway.waits.wait()
        assert len(gateway.node.readers.long_polls) == 1
        poll.cancel()
        await gateway.left.wait()
        assert gateway.node.readers.long_polls.entries == {}


async def test_an_offset_out_of_range_has_the_range_in_its_answer(gateway: WorldGateway) -> None:
    """Read beyond the end: 416 with log start and high watermark."""
    write(gateway, b"a")

    async with serving(gateway) as client:
        for offset in (2, 2**63 - 1):
            answer = await client.get(f"/v1/records?offset={offset}")
            body = await problem(answer, 416, "OFFSET_OUT_OF_RANGE")
            assert (body["log_start_offset"], body["high_watermark"]) == (0, 1)
            assert body["leader"] == {"id": "n1", "url": url("n1")}
            assert "[0, 1)" in body["detail"]
            assert "outcome" not in body


async def test_a_follower_sends_readers_to_the_leader() -> None:
    """Read at a follower, by offset and by "latest": 421, and with redirect=1 a Location."""
    gateway = WorldGateway(cluster(), "n3")

    async with serving(gateway) as client:
        for offset in ("0", "latest", "earliest"):
            path = f"/v1/records?offset={offset}&wait_ms=5"
            body = await problem(await client.get(path), 421, "NOT_LEADER_OR_FOLLOWER")
            assert body["leader"] == {"id": "n1", "url": url("n1")}
            moved = await client.get(f"{path}&redirect=1", allow_redirects=False)
            assert moved.status == 307
            assert moved.headers["Location"] == f"{url('n1')}{path}&redirect=1"


async def test_a_poll_at_a_leader_that_steps_down_ends(gateway: WorldGateway) -> None:
    """Stop the leader during a long poll: 503, and no outcome."""

    async with serving(gateway) as client:
        poll = asyncio.create_task(client.get("/v1/records?wait_ms=30000"))
        await gateway.waits.wait()
        gateway.world.request_stop("n1", SECOND)
        gateway.move()
        body = await problem(await poll, 503, "NOT_LEADER_OR_FOLLOWER")
        assert "outcome" not in body
        answer = await client.get("/v1/records")
        body = await problem(answer, 503, "NETWORK_EXCEPTION")
        assert "outcome" not in body
        assert answer.headers["Retry-After"] == "1"


async def test_compressed_records_are_refused_with_their_codec(gateway: WorldGateway) -> None:
    """Read across a compressed batch: the records before it, then 422 with the codec."""
    write(gateway, b"a")
    append(gateway, compressed())
    write(gateway, b"z")

    async with serving(gateway) as client:
        before = await read(client)
        assert [record["value"] for record in before["records"]] == ["a"]
        assert before["next_offset"] == 1
        answer = await client.get("/v1/records?offset=1")
        body = await problem(answer, 422, "UNSUPPORTED_COMPRESSION_TYPE")
        assert body["error_code"] == 76
        assert "snappy" in body["detail"]
        assert body["next_offset"] == 3
        behind = await read(client, "?offset=3")
        assert [record["value"] for record in behind["records"]] == ["z"]


async def test_malformed_records_are_refused(gateway: WorldGateway) -> None:
    """Read a malformed batch with a valid CRC: 422 with the next offset."""
    plain = batch(b"a")
    append(gateway, seal(replace(plain, data=plain.data[:-4] + b"\xff" * 4)))

    async with serving(gateway) as client:
        body = await problem(await client.get("/v1/records"), 422, "CORRUPT_MESSAGE")
        assert body["next_offset"] == 1


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("offset=-1", "offset"),
        ("offset=", "offset"),
        ("offset=1e3", "offset"),
        ("offset=%2B1", "offset"),
        ("offset=%D9%A1", "offset"),
        ("offset=%FF%00", "offset"),
        ("offset=9223372036854775808", "9223372036854775807"),
        ("offset=" + "9" * 500, "9223372036854775807"),
        ("offset=1&offset=2", "parameter offset"),
        ("max_bytes=2147483648", "max_bytes"),
        ("wait_ms=600001", "wait_ms"),
        ("wait_ms=abc", "wait_ms"),
        ("ofset=1", "parameter 'ofset'"),
        ("%0d%0aX:1=1", "unknown query parameter"),
        ("redirect=yes", "redirect"),
    ],
)
async def test_invalid_queries_are_refused(query: str, reason: str, alone: WorldGateway) -> None:
    """Fetch with an invalid parameter: 400 with its name."""

    async with serving(alone) as client:
        body = await problem(await client.get(f"/v1/records?{query}"), 400, "INVALID_REQUEST")
        assert reason in body["detail"]
