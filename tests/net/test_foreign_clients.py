"""Clients that speak Kafka's protocol or TLS to a broker: one line with advice, and the end."""

from __future__ import annotations

import ssl
import struct

import pytest
from structlog.testing import capture_logs

from tests.net.cluster_tools import wait_for
from tests.net.http_tools import WorldGateway
from tests.net.raw_server import BODY, GET, POST, server
from yak_net.http.foreign import foreign_protocol


def api_versions() -> bytes:
    """Return the first request of librdkafka: ApiVersions, version 3 (KIP-511)."""
    header = struct.pack(">hhih", 18, 3, 1, 7) + b"rdkafka" + b"\0"
    request = header + b"\x0blibrdkafka" + b"\x062.8.0" + b"\0"
    return struct.pack(">i", len(request)) + request


def client_hello() -> bytes:
    """Return the first bytes of Python's TLS client."""
    sent = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), sent, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return sent.read()


@pytest.mark.parametrize(
    ("sent", "event", "advice"),
    [
        (api_versions(), "Kafka client refused", "yak consume"),
        (api_versions()[:1], "Kafka client refused", "yak consume"),
        (api_versions()[:6], "Kafka client refused", "yak consume"),
        (struct.pack(">ihhih", 10, 3, 0, 1, -1), "Kafka client refused", "yak consume"),
        (client_hello(), "TLS client refused", "http://"),
        (client_hello()[:1], "TLS client refused", "http://"),
    ],
)
async def test_client_of_another_protocol_is_refused_with_advice(
    sent: bytes, event: str, advice: str, alone: WorldGateway
) -> None:
    """Goal: one line with protocol and advice, the end of the connection, and no harm to others."""
    async with server(alone) as one:
        with capture_logs() as logs:
            peer = await one.connect(sent)
            reply = await peer.reader.read()
            await wait_for(lambda: len(one.connections) == 0, "the end of the connection")
        assert reply.startswith(b"HTTP/1.1 400 ")
        assert reply.count(b"HTTP/1.1 ") == 1
        assert advice.encode() in reply
        (line,) = logs
        assert (line["event"], line["log_level"], line["peer"]) == (event, "warning", "127.0.0.1")
        assert advice in line["reason"]
        assert (await (await one.connect(GET)).answer())[0] == 200


async def test_only_the_first_bytes_are_compared(alone: WorldGateway) -> None:
    """Goal: a body may begin like another protocol. Method: it is sent after its head."""
    async with server(alone) as one:
        peer = await one.connect(POST % len(BODY))
        await wait_for(lambda: one.connections.busy == 1, "the head")
        with capture_logs() as logs:
            peer.send(client_hello()[:3].ljust(len(BODY), b"\0"))
            status, problem = await peer.answer()
        assert (status, problem["error"], logs) == (400, "INVALID_REQUEST", [])


@pytest.mark.parametrize(
    "first",
    [GET, b"G", b"\0\0\0\x14\x12\x12\0\3", b"\0" * 6 + b"\x12\x12", b"\x16\x16", b"\r\n", b"\xff"],
)
def test_other_bytes_are_left_to_http(first: bytes) -> None:
    """Goal: no advice for what only resembles these protocols."""
    assert foreign_protocol(first) is None
