"""Hostile neighbours on the same machine or in a browser: Host, Origin, heads and framing."""

from __future__ import annotations

import json

import pytest

from tests.net.http_tools import WorldGateway
from tests.net.raw_server import BODY, server
from yak_net.http.hosts import Hosts, canonical, hosts_of

DOCKER = hosts_of("0.0.0.0", ["http://broker-1:8080"], ["kafka.example"])
LOOPBACK = hosts_of("127.0.0.1", ["", "http://n1.Test.:9092"], [])


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("localhost", "localhost"),
        ("LOCALHOST.:80", "localhost"),
        ("127.0.0.1:8080", "127.0.0.1"),
        ("[::1]:8080", "::1"),
        ("[0:0:0:0:0:0:0:1]", "::1"),
        ("::1", "::1"),
        ("a b", ""),
        ("user@localhost", ""),
        ("localhost/x", ""),
        ("localhost:80:80", ""),
        ("localhost#", ""),
        ("[localhost]", ""),
        ("", ""),
    ],
)
def test_spellings_of_a_host(host: str, name: str) -> None:
    """Goal: one spelling for each name, and none for what is no host."""
    assert canonical(host) == name


@pytest.mark.parametrize(
    ("hosts", "allowed", "foreign"),
    [
        (
            LOOPBACK,
            ["localhost:1", "127.0.0.1", "[::1]:8080", "n1.test:9092"],
            ["evil.example", "10.0.0.5", "n1.test.evil.example", "", "127.0.0.1.evil.example"],
        ),
        (
            DOCKER,
            ["broker-1:8080", "10.0.0.5:8080", "[fe80::1]", "kafka.example", "localhost"],
            ["evil.example", "broker-2", "2130706433.example"],
        ),
        (hosts_of("::1", [], []), ["[::1]:8080", "localhost"], ["[::2]", "::ffff:127.0.0.1"]),
    ],
)
def test_hosts_of_a_broker(hosts: Hosts, allowed: list[str], foreign: list[str]) -> None:
    """Goal: its addresses, URLs, loopback and given names; every address if it listens on all."""
    assert [host for host in allowed if not hosts.allows(host)] == []
    assert [host for host in foreign if hosts.allows(host)] == []


def request(head: str, target: str = "/v1/records?offset=0", version: str = "1.1") -> bytes:
    """Return a GET with these header lines."""
    return f"GET {target} HTTP/{version}\r\n{head}\r\n".encode()


OWN = "Host: localhost:8080\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request(OWN), 200),
        (request("Host: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\n"), 200),
        (request("Host: [::1]:8080\r\n"), 200),
        (request("Host: evil.example\r\n"), 421),
        (request("Host: evil.example:8080\r\nX-Forwarded-Host: localhost\r\n"), 421),
        (request("", version="1.0"), 421),
        (request(OWN, "http://evil.example/v1/records?offset=0"), 421),
        (request(OWN + "Origin: http://evil.example\r\n"), 403),
        (request(OWN + "Origin: null\r\n"), 403),
        (request(OWN + "Origin: http://localhost:3000\r\n"), 403),
        (request(OWN + "Origin: https://localhost:8080\r\n"), 403),
        (request(OWN + "Origin: \r\n"), 403),
    ],
)
async def test_requests_of_other_sites_are_refused(
    sent: bytes, status: int, alone: WorldGateway
) -> None:
    """Goal: DNS rebinding and pages of other sites read nothing; the reply allows no origin."""
    async with server(alone) as one:
        peer = await one.connect(sent)
        head = (await peer.reader.readuntil(b"\r\n\r\n")).decode()
        assert head.startswith(f"HTTP/{'1.0' if b'HTTP/1.0' in sent else '1.1'} {status} ")
        assert "Access-Control" not in head
        if status != 200:
            length = int(head.lower().partition("content-length: ")[2].split("\r\n")[0])
            problem = json.loads(await peer.reader.readexactly(length))
            assert (problem["status"], problem["error"]) == (status, "INVALID_REQUEST")
            assert "records" not in problem


@pytest.mark.parametrize("header", ["Host: evil.example\r\n", OWN + "Origin: null\r\n"])
async def test_records_of_other_sites_are_not_written(header: str, alone: WorldGateway) -> None:
    """Goal: a POST that a page makes a browser send is refused with outcome not_written."""
    sent = f"POST /produce HTTP/1.1\r\n{header}Content-Type: application/json\r\n"
    async with server(alone) as one:
        peer = await one.connect(sent.encode() + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
        assert (await peer.answer())[1]["outcome"] == "not_written"
        assert alone.node.log.leo == 0


POST = b"POST /produce HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
SMUGGLED = b"POST /produce HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        POST + b"Content-Length: 29\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        POST + b"Content-Length: 29\r\nContent-Length: 0\r\n\r\n" + BODY,
        POST + b"Content-Length: 29, 29\r\n\r\n" + BODY,
        POST + b"Content-Length: +29\r\n\r\n" + BODY,
        POST + b"Content-Length: 0x1d\r\n\r\n" + BODY,
        POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
        POST + b"X-Folded: a\r\n b\r\nContent-Length: 29\r\n\r\n" + BODY,
        b"GET /health HTTP/1.1\nHost: localhost\n\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"GET /health HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 9_000 + b"\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 200 + b"\r\n",
        b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x00\x00\x00\x14\x12\x12\x00\x03\x00\x00\x00\x01\x00\x04test",
        b"\x16\x16\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50),
    ],
)
async def test_what_is_not_one_clear_request_is_refused(
    sent: bytes, alone: WorldGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    """Goal: smuggling, oversize heads, other protocols: 400 and the end of the connection.

    Nothing is written, nothing behind the request is read, and the log has no traceback.
    """
    async with server(alone) as one:
        peer = await one.connect(sent)
        reply = await peer.reader.read()
        assert reply.split(b" ")[1] == b"400"
        assert reply.count(b"HTTP/1.") == 1
        assert b"Traceback" not in reply
        assert alone.node.log.leo == 0
    output = "".join(capsys.readouterr())
    assert "malformed request" in output
    assert "Traceback" not in output


@pytest.mark.parametrize("method", ["TRACE", "OPTIONS", "PATCH", "DELETE", "PUT"])
async def test_other_methods_are_refused(method: str, alone: WorldGateway) -> None:
    """Goal: 405 with the allowed methods; a preflight of a browser gets no permission."""
    sent = f"{method} /v1/records HTTP/1.1\r\n{OWN}Access-Control-Request-Method: POST\r\n\r\n"
    async with server(alone) as one:
        peer = await one.connect(sent.encode())
        head = await peer.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 405 ")
        assert b"Access-Control" not in head


@pytest.mark.parametrize("method", ["CONNECT a:80", "get /health", "X" * 1_000 + " /health"])
async def test_methods_that_are_none(method: str, alone: WorldGateway) -> None:
    """Goal: a tunnel, lower case and a long method do nothing."""
    async with server(alone) as one:
        peer = await one.connect(f"{method} HTTP/1.1\r\n{OWN}Connection: close\r\n\r\n".encode())
        reply = await peer.reader.read()
        assert reply.split(b" ")[1] in (b"400", b"404", b"405", b"421")
        assert b"Traceback" not in reply


async def test_chunk_extensions_and_trailers_are_no_records(alone: WorldGateway) -> None:
    """Goal: a long chunk extension is refused or ignored; a trailer changes nothing."""
    chunked = POST + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    trailer = chunked + b"1d\r\n" + BODY + b"\r\n0\r\nHost: evil.example\r\n\r\n"
    long = chunked + b"1d;" + b"a" * 1_000_000 + b"\r\n" + BODY + b"\r\n0\r\n\r\n"
    async with server(alone) as one:
        replies = [await (await one.connect(sent)).reader.read() for sent in (trailer, long)]
        written = [reply.split(b" ")[1] == b"200" for reply in replies]
        assert alone.node.log.leo == sum(written)
        assert all(reply.split(b" ")[1] in (b"200", b"400") for reply in replies)
