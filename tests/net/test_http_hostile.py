"""Hostile requests: each gets a problem, the log is unchanged, the server continues."""

from __future__ import annotations

import gzip
import json
import zlib
from io import BytesIO

import pytest
from aiohttp import ClientSession

from tests.net.http_tools import (
    JSON,
    Client,
    WorldGateway,
    cluster,
    problem,
    raw,
    records_of,
    serving,
)
from yak_net.http import request_parsing as asking

RECORD = b'{"records": [{"value": "a"}]'
BODIES = {
    "nothing": b"",
    "not_json": b"hello",
    "cut": b'{"records": [',
    "trailing": RECORD + b"}}",
    "mark_of_byte_order": b"\xef\xbb\xbf" + RECORD + b"}",
    "utf16": (RECORD + b"}").decode().encode("utf-16"),
    "latin1": b'{"records": [{"value": "\xe9"}]}',
    "nul": b'{"records": [{"value": "\0"}]}',
    "lone_surrogate": b'{"records": [{"value": "\\ud800, or so"}]}',
    "swapped_surrogates": b'{"records": [{"value": "\\udc00\\ud800"}]}',
    "nan": b'{"records": [{"value": NaN}]}',
    "infinity": RECORD + b', "timeout_ms": Infinity}',
    "huge_float": RECORD + b', "timeout_ms": 1e999}',
    "float": RECORD + b', "timeout_ms": 1.5}',
    "huge_number": RECORD + b', "timeout_ms": ' + b"9" * 100_000 + b"}",
    "long_timeout": RECORD + b', "timeout_ms": 600001}',
    "negative_timeout": RECORD + b', "timeout_ms": -1}',
    "bool": RECORD + b', "timeout_ms": true}',
    "null_acks": RECORD + b', "acks": null}',
    "array": b"[]",
    "null": b"null",
    "no_records": b'{"acks": 1}',
    "empty_records": b'{"records": []}',
    "records_object": b'{"records": {}}',
    "record_string": b'{"records": ["a"]}',
    "record_without_value": b'{"records": [{"key": "a"}]}',
    "number_value": b'{"records": [{"value": 1}]}',
    "null_b64": b'{"records": [{"value_b64": null}]}',
    "unknown_member": RECORD + b', "ack": 1}',
    "unknown_member_of_a_record": b'{"records": [{"value": "a", "offset": 5}]}',
    "both_values": b'{"records": [{"value": "a", "value_b64": "YQ=="}]}',
    "null_and_b64": b'{"records": [{"value": null, "value_b64": "YQ=="}]}',
    "both_keys": b'{"records": [{"value": "a", "key": "a", "key_b64": ""}]}',
    "bad_base64": b'{"records": [{"value_b64": "YQ="}]}',
    "spaced_base64": b'{"records": [{"value_b64": "YQ ==" }]}',
    "foreign_base64": '{"records": [{"value_b64": "é"}]}'.encode(),
    "url_base64": b'{"records": [{"key_b64": "_w==", "value": "a"}]}',
    "header_object": b'{"records": [{"value": "a", "headers": {"a": "b"}}]}',
    "header_without_key": b'{"records": [{"value": "a", "headers": [{}]}]}',
    "header_base64": b'{"records": [{"value": "a", "headers": [{"key": "a", "value_b64": "."}]}]}',
    "early_timestamp": b'{"records": [{"value": "a", "timestamp_ms": -2}]}',
    "late_timestamp": b'{"records": [{"value": "a", "timestamp_ms": 9223372036854775808}]}',
    "twice_the_same_member": RECORD + b', "acks": 0, "acks": "all"}',
    "twice_the_same_value": b'{"records": [{"value": "a", "value": "a"}]}',
    "twice_in_disguise": b'{"records": [{"value": "a", "\\u0076alue": "b"}]}',
    "twice_records": RECORD + b', "records": [{"value": ":"}]}',
    "twice_in_a_header": b'{"records": [{"value": "a", "headers": [{"key": "a", "key": "b"}]}]}',
    "deep_arrays": b"[" * 1_000_000,
    "deep_objects": b'{"records":' * 100_000,
    "deep_records": b'{"records": [' + b'{"headers": [' * 100_000,
    "long_name": b'{"' + b"x" * 1_000_000 + b'": 1}',
}


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (b"\xef\xbb\xbf" + RECORD + b"}", "(UTF-8)"),
        ((RECORD + b"}").decode().encode("utf-16"), "UTF-16"),
        (b"\xfe\xff" + (RECORD + b"}").decode().encode("utf-16-be"), "(UTF-16)"),
    ],
)
async def test_a_byte_order_mark_is_named(
    body: bytes, encoding: str, gateway: WorldGateway
) -> None:
    """Post what some editors and shells write: the problem names the byte order mark."""
    async with serving(gateway) as client:
        answer = await client.post("/v1/records", data=BytesIO(body), headers=JSON)
        found = await problem(answer, 400, "INVALID_REQUEST")
        assert ("byte order mark" in found["detail"], encoding in found["detail"]) == (True, True)
    assert gateway.node.log.leo == 0


async def test_a_hostile_body_is_a_bad_request(alone: WorldGateway) -> None:
    """Post each body: 400 with a short reason, nothing is written; the next body is written."""

    async with serving(alone) as client:
        for name, body in BODIES.items():
            answer = await client.post("/v1/records", data=BytesIO(body), headers=JSON)
            found = await problem(answer, 400, "INVALID_REQUEST")
            assert (found["outcome"], found["retriable"]) == ("not_written", False), name
            assert len(found["detail"]) <= 400, name
            assert alone.node.log.leo == 0, name
        await check_server_works(client)


@pytest.mark.parametrize(
    ("record", "place"),
    [
        ({"value": "a", "key_b64": "_w=="}, "records[1].key_b64"),
        ({"value": "a", "offset": 5}, "`offset`"),
        ({"value": "a", "headers": [{"key": "a", "value_b64": "."}]}, "[1].headers[0].value_b64"),
    ],
)
async def test_a_problem_has_the_position(record: dict[str, object], place: str) -> None:
    """Post a bad record after a good one: the detail contains its path."""

    async with serving(WorldGateway(cluster(("n1",), 1))) as client:
        body = {"records": [{"value": "good"}, record]}
        answer = await client.post("/v1/records", json=body)
        assert place in (await problem(answer, 400, "INVALID_REQUEST"))["detail"]


async def check_server_works(client: Client) -> None:
    answer = await client.post("/v1/records", json=records_of("still here"))
    assert (await answer.json())["base_offset"] == 0


@pytest.mark.parametrize(
    "value", [":", '":"', '\\":', '\\\\":"', "\\", '"', '","value":"', "\\u0022:", '{"a": "b"}' * 9]
)
async def test_structure_within_a_text_is_text(value: str, alone: WorldGateway) -> None:
    """Post texts that look like JSON members: no duplicate member is reported."""
    record = {"value": value, "key": value, "headers": [{"key": value, "value": value}]}

    async with serving(alone) as client:
        answer = await client.post("/v1/records", json={"records": [record]})
        assert answer.status == 200, await answer.text()
        found = (await (await client.get("/fetch")).json())["records"]
        assert {name: found[0][name] for name in record} == record


async def test_invalid_acks(alone: WorldGateway) -> None:
    """Post with an unknown acks: Kafka's error, nothing is written."""

    async with serving(alone) as client:
        for acks in (2, -2, "1", "ALL", "", 10**400, 2**64):
            answer = await client.post("/v1/records", json={**records_of("a"), "acks": acks})
            body = await problem(answer, 400, "INVALID_REQUIRED_ACKS")
            assert (body["error_code"], body["outcome"]) == (21, "not_written")
        await check_server_works(client)


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=a",
        "application/json; charset=utf-16",
        "application/jsonp",
        "nonsense",
    ],
)
async def test_only_json_is_accepted(kind: str | None, alone: WorldGateway) -> None:
    """Post JSON with another content type: 415 with the expected one."""
    sent = (
        b"POST /produce HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 29\r\n"
        + (b"" if kind is None else f"Content-Type: {kind}\r\n".encode())
        + b"\r\n"
        + RECORD
        + b"}"
    )

    async with serving(alone) as client:
        head, _, body = (await raw(client, sent)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 415 ")
        assert b"\r\nAccept: application/json" in head
        found = json.loads(body)
        assert "Content-Type: application/json" in found["detail"]
        assert found["outcome"] == "not_written"
        await check_server_works(client)


@pytest.mark.parametrize(
    ("encoding", "automatic"),
    [
        *((encoding, False) for encoding in ("gzip", "deflate", "br", "zstd", "gzip, gzip", "x")),
        ("gzip", True),
        ("deflate", True),
    ],
)
async def test_compressed_bodies_are_refused(
    encoding: str, automatic: bool, alone: WorldGateway
) -> None:
    """Post a decompression bomb with each encoding: 415, not written."""
    plain = RECORD + b"}" + b" " * 10_000_000
    bomb = zlib.compress(plain) if encoding == "deflate" else gzip.compress(plain)

    async with serving(alone, auto_decompress=automatic) as client:
        headers = {**JSON, "Content-Encoding": encoding}
        async with ClientSession() as session:
            url = client.make_url("/v1/records")
            answer = await session.post(url, data=BytesIO(bomb), headers=headers)
            body = await problem(answer, 415, "INVALID_REQUEST")
            assert "without Content-Encoding" in body["detail"]
            assert body["outcome"] == "not_written"
        await check_server_works(client)


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_is_too_large_is_refused(chunked: bool, alone: WorldGateway) -> None:
    """Post one byte more than the limit, with a length and chunked: 413, not written."""
    body = RECORD + b"}" + b" " * (1000 - len(RECORD))
    assert len(body) == 1001

    async with serving(alone, body_bytes_max=1000) as client:
        answer = await client.post(
            "/v1/records", data=BytesIO(body), headers=JSON, chunked=chunked or None
        )
        found = await problem(answer, 413, "MESSAGE_TOO_LARGE")
        assert found["outcome"] == "not_written"
        whole = BytesIO(body[:1000])
        answer = await client.post("/v1/records", data=whole, headers=JSON)
        assert (await answer.json())["base_offset"] == 0


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"rec\r\nZZ\r\n', b"400"),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", b"400"),
        (b"Content-Length: -1\r\n\r\n", b"400"),
        (b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", b"400"),
        (b"Content-Length: 99999999999999999999\r\n\r\n", b"4"),
    ],
)
async def test_garbled_framing_is_refused(body: bytes, status: bytes, alone: WorldGateway) -> None:
    """Post bodies with a wrong length: an error, nothing is written, the server works."""
    sent = b"POST /v1/records HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n" + body

    async with serving(alone) as client:
        answer = await raw(client, sent)
        assert answer.startswith((b"HTTP/1.1 " + status, b"HTTP/1.0 " + status))
        assert b"Traceback" not in answer
        assert alone.node.log.leo == 0
        await check_server_works(client)


async def test_a_body_that_stalls_times_out(
    monkeypatch: pytest.MonkeyPatch, alone: WorldGateway
) -> None:
    """Send half of a body: 408 after the timeout, not written, connection closed."""
    monkeypatch.setattr(asking, "BODY_TIMEOUT_S", 0.05)
    sent = (
        b"POST /v1/records HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        b"Connection: close\r\nContent-Length: 100\r\n\r\n" + RECORD
    )

    async with serving(alone, lingering_time=0) as client:
        head, _, body = (await raw(client, sent)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 ")
        found = json.loads(body)
        assert (found["status"], found["outcome"]) == (408, "not_written")
        await check_server_works(client)


TARGETS = [
    b"/\xff\xfe",
    b"/%ff%00",
    b"/..%2f..%2fetc/passwd",
    b"/%0d%0aX-Evil:1",
    b"//evil.example/v1/records",
    b"/v1/records/%7b%7b",
    b"http://evil.example/nothing",
    b"/" + b"a" * 4000,
]


async def test_invalid_paths_are_refused() -> None:
    """Request invalid paths: 4xx, and no control character in a header of the answer."""

    async with serving(WorldGateway(cluster(("n1",), 1))) as client:
        for target in TARGETS:
            sent = b"GET " + target + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            head, _, body = (await raw(client, sent)).partition(b"\r\n\r\n")
            assert head[:12] in (b"HTTP/1.1 404", b"HTTP/1.1 400", b"HTTP/1.0 400"), target
            assert b"X-Evil" not in head
            assert b"Traceback" not in body
            if b"404" in head[:12]:
                assert json.loads(body)["error"] == "INVALID_REQUEST"
        await check_server_works(client)


async def test_a_redirect_keeps_the_path() -> None:
    """Request a redirect with an absolute target of another host: Location is the leader."""
    gateway = WorldGateway(cluster(), "n2")

    async with serving(gateway) as client:
        sent = (
            b"GET http://evil.example/fetch?offset=%30&redirect=1 HTTP/1.1\r\n"
            b"Host: evil.example\r\nConnection: close\r\n\r\n"
        )
        head = (await raw(client, sent)).partition(b"\r\n\r\n")[0]
        assert head.startswith(b"HTTP/1.1 307 ")
        assert b"\r\nLocation: http://n1.invalid:8080/fetch?offset=%30&redirect=1" in head
