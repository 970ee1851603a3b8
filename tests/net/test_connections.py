"""Connections of one broker: their number, slow and half-open peers, bytes in flight."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator

import pytest
from aiohttp import WSMessage, WSMsgType, web

from tests.net.cluster_tools import wait_for
from tests.net.http_tools import ScriptedGateway, WorldGateway
from tests.net.raw_server import BODY, GET, POST, Peer, Server, server
from tests.net.storage_tools import batches
from yak_core.contract.messages import FetchRequest, FetchResponse, Request, Response
from yak_core.errors import ErrorCode
from yak_core.ids import CallId, Epoch
from yak_core.wire.codec import encode
from yak_net.http import connections as limits
from yak_net.http import request_parsing
from yak_net.http.connections import HEADROOM
from yak_net.http.streams import ClientStream, accept
from yak_net.runtime.backend import OnAnswer
from yak_net.runtime.budget import Budget
from yak_net.runtime.wire import CLIENT_PATH, PEER_PATH

POLL = b"GET /fetch?offset=latest&wait_ms=60000 HTTP/1.1\r\nHost: localhost\r\n\r\n"
FETCH = b"GET /fetch?offset=0 HTTP/1.1\r\nHost: localhost\r\n\r\n"
ANSWER_BYTES = 8 << 20
"""More than the buffers of a connection hold."""


def large_answers() -> ScriptedGateway:
    """Return a gateway whose fetch answers have ANSWER_BYTES."""
    records = batches(*[1 << 19] * (ANSWER_BYTES >> 19))

    def answer(_: Request) -> Response:
        return FetchResponse(0, ErrorCode.NONE, records, 99, 0, "n1", Epoch(1))

    return ScriptedGateway(answer)


# -- number --------------------------------------------------------------------------------------


async def test_too_many_idle_connections_close_the_one_that_waited_longest(
    alone: WorldGateway,
) -> None:
    """Goal: a new connection is always accepted and served; the number stays at the maximum."""
    async with server(alone, most=HEADROOM + 2) as one:
        peers = [await one.connect() for _ in range(HEADROOM + 2)]
        peers[0].send(GET)
        assert (await peers[0].answer())[0] == 200  # waits again, behind all others
        for number in range(1, 5):
            newest = await one.connect(GET)
            assert (await newest.answer())[0] == 200
            assert await peers[number].closed()
            assert len(one.connections) == HEADROOM + 2
        peers[0].send(GET)
        assert (await peers[0].answer())[0] == 200


async def test_too_many_long_requests_are_refused(alone: WorldGateway) -> None:
    """Goal: 503 with reason, retriable, not written; health still answers; then there is room."""
    async with server(alone, most=HEADROOM + 3) as one:
        polls = [await one.connect(POLL) for _ in range(3)]
        await wait_for(lambda: one.connections.busy == 3, "three polls")
        for data, outcome in ((POLL, None), (POST % len(BODY) + BODY, "not_written")):
            refused = await one.connect(data)
            status, problem = await refused.answer()
            assert (status, problem["error"]) == (503, "THROTTLING_QUOTA_EXCEEDED")
            assert problem["retriable"] is True
            assert problem.get("outcome") == outcome
            assert await refused.closed()
        assert alone.node.log.leo == 0
        assert (await (await one.connect(GET)).answer())[0] == 200
        polls[0].writer.transport.abort()
        await wait_for(lambda: one.connections.busy == 2, "the end of a poll")
        written = await (await one.connect(POST % len(BODY) + BODY)).answer()
        assert written[0] == 200


# -- slow and half-open peers ----------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"GET /health HT", GET[:-2], GET + GET[:20]])
async def test_a_head_that_does_not_end_is_closed(
    data: bytes, alone: WorldGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: silence, half a head, and half a second head end at the deadline."""
    monkeypatch.setattr(limits, "IDLE_S", 0.1)
    async with server(alone) as one:
        peer = await one.connect(data)
        assert await peer.closed()
        await wait_for(lambda: len(one.connections) == 0, "the end of the connection")


async def test_a_body_that_stalls_is_refused(
    alone: WorldGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: 408 long before the deadline of a whole body; nothing is written."""
    monkeypatch.setattr(request_parsing, "STALL_S", 0.1)
    monkeypatch.setattr(limits, "LINGER_S", 0.1)
    async with server(alone) as one:
        peer = await one.connect(POST % 1_000_000 + BODY)
        status, problem = await peer.answer()
        assert (status, problem["outcome"]) == (408, "not_written")
        assert await peer.closed()
        assert alone.node.log.leo == 0


async def test_an_answer_that_is_not_read_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: the connection of a reader that stalls ends, and its bytes are free again."""
    monkeypatch.setattr(limits, "STALL_S", 0.1)
    async with server(large_answers()) as one:
        peer = await one.connect()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        peer.send(FETCH)
        await wait_for(lambda: one.budget.used >= ANSWER_BYTES, "the answer")
        await wait_for(lambda: len(one.connections) == 0, "the end of the connection")
        await wait_for(lambda: one.budget.used == 0, "the end of the answer")


async def test_a_reader_that_is_slow_but_reads_gets_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Goal: a reader that makes progress in each period is not dropped."""
    monkeypatch.setattr(limits, "STALL_S", 0.5)
    async with server(large_answers()) as one:
        peer = await one.connect(b"GET /fetch?offset=0 HTTP/1.0\r\nHost: localhost\r\n\r\n")
        size = 0
        while part := await peer.reader.read(1 << 16):
            size += len(part)
            await asyncio.sleep(0.005)
        assert size > ANSWER_BYTES


# -- bytes in flight -------------------------------------------------------------------------------


async def test_bodies_in_flight_are_bounded(alone: WorldGateway) -> None:
    """Method: two half-sent bodies fill the bound; a third is refused until one of them is gone."""
    async with server(alone, budget_bytes=1_000) as one:
        half = POST % 800 + b"x" * 490
        first, _ = await one.connect(half), await one.connect(half)
        await wait_for(lambda: one.budget.used == 980, "two half-sent bodies")
        status, problem = await (await one.connect(POST % len(BODY) + BODY)).answer()
        assert (status, problem["error"]) == (503, "THROTTLING_QUOTA_EXCEEDED")
        assert (problem["retriable"], problem["outcome"]) == (True, "not_written")
        first.writer.transport.abort()
        await wait_for(lambda: one.budget.used == 490, "the end of the first")
        assert (await (await one.connect(POST % len(BODY) + BODY)).answer())[0] == 200


async def test_answers_in_flight_are_bounded() -> None:
    """Method: the second of two answers that are not read exceeds the bound."""
    async with server(large_answers(), budget_bytes=7 * ANSWER_BYTES // 2) as one:
        slow = await one.connect()
        slow.writer.transport.pause_reading()  # type: ignore[attr-defined]
        slow.send(FETCH)
        await wait_for(lambda: one.connections.busy == 1 and one.budget.used, "the first answer")
        status, problem = await (await one.connect(FETCH)).answer()
        assert (status, problem["error"]) == (503, "THROTTLING_QUOTA_EXCEEDED")
        assert problem["retriable"] is True


# -- WebSockets ------------------------------------------------------------------------------------

HANDSHAKE = (
    b"GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
) % CLIENT_PATH.encode()
# A masked binary frame of 1,000,000 bytes; the mask is zero.
FRAME_HEAD = struct.pack(">BBQI", 0x82, 0x80 | 127, 1_000_000, 0)


def client_route(unsent: Budget) -> web.RouteDef:
    """Return the route of a broker's client streams; no node runs behind it."""

    async def serve(request: web.Request) -> web.StreamResponse:
        socket = await accept(request, "n1", "test")
        stream = ClientStream(socket, request.protocol, unsent, lambda *_: None, lambda _: None)
        return await stream.serve()

    return web.get(CLIENT_PATH, serve)


async def upgraded(one: Server) -> Peer:
    """Open a WebSocket; return it after the greeting."""
    peer = await one.connect(HANDSHAKE)
    assert (await peer.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    await peer.reader.readuntil(b"}")
    return peer


async def test_a_frame_that_stalls_ends_its_connection(
    alone: WorldGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: a part of a frame is not kept for ever, although its sender answers pings."""
    monkeypatch.setattr(limits, "STALL_S", 0.1)
    async with server(alone, more=[client_route(Budget(1 << 20))]) as one:
        peer = await upgraded(one)
        peer.send(FRAME_HEAD + bytes(200_000))
        assert await peer.closed()
        await wait_for(lambda: len(one.connections) == 0, "the end of the connection")
        assert one.connections.frames.used == 0


async def test_parts_of_frames_are_bounded(alone: WorldGateway) -> None:
    """Method: two parts fit, the third exceeds the bound and loses its connection."""
    async with server(alone, more=[client_route(Budget(1 << 20))]) as one:
        one.connections.frames.bytes_max = 500_000
        peers = [await upgraded(one) for _ in range(3)]
        for peer in peers[:2]:
            peer.send(FRAME_HEAD + bytes(200_000))
        await wait_for(lambda: one.connections.frames.used > 390_000, "two parts")
        peers[2].send(FRAME_HEAD + bytes(200_000))
        assert await peers[2].closed()
        assert len(one.connections) == 2


async def test_answers_to_slow_clients_are_bounded() -> None:
    """Goal: a fetch whose records exceed the bound gets an error that the client retries."""
    found: list[OnAnswer] = []

    def start_call(_: Request, on_answer: OnAnswer) -> CallId:
        found.append(on_answer)
        return CallId(len(found))

    unsent = Budget(1_000)
    socket = NeverSent()
    stream = ClientStream(socket, None, unsent, start_call, lambda _: None)  # type: ignore[arg-type]
    serving = asyncio.create_task(stream.serve())
    await wait_for(lambda: len(found) == 2, "two requests")
    records = FetchResponse(1, ErrorCode.NONE, batches(800), 1, 0, "n1", Epoch(1))
    found[0](records)
    assert 800 < unsent.used < 1_000
    found[1](records)
    assert 1_000 > unsent.used > 800, "the answer without records is small"
    assert not serving.done()
    socket.end.set()
    await serving
    assert unsent.used == 0


class NeverSent:
    """A WebSocket with two requests, whose peer receives nothing until ``end``."""

    def __init__(self) -> None:
        self.end = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[WSMessage]:
        request = encode(FetchRequest(1, 0, Epoch(-1), Epoch(-1), 1 << 20, 0))
        yield WSMessage(WSMsgType.BINARY, request, None)
        yield WSMessage(WSMsgType.BINARY, request, None)
        await self.end.wait()

    async def send_bytes(self, _: bytes) -> None:
        await self.end.wait()

    async def close(self) -> None:
        self.end.set()


async def test_a_single_large_request_has_room(alone: WorldGateway) -> None:
    """Goal: a bound that is smaller than one request does not refuse it for ever."""
    async with server(alone, budget_bytes=len(BODY) // 2) as one:
        assert (await (await one.connect(POST % len(BODY) + BODY)).answer())[0] == 200
        assert (await (await one.connect(FETCH)).answer())[0] == 200


async def test_peers_and_health_have_room_in_a_busy_broker(alone: WorldGateway) -> None:
    """Goal: clients that take all long requests keep no peer and no health check out."""

    async def peer(_: web.Request) -> web.Response:
        return web.json_response({"peer": True})

    async with server(alone, most=HEADROOM + 3, more=[web.get(PEER_PATH, peer)]) as one:
        for _ in range(one.connections.busy_max):
            await one.connect(POLL)
        await wait_for(lambda: one.connections.busy == one.connections.busy_max, "polls")
        assert (await (await one.connect(FETCH)).answer())[0] == 503
        for path in (PEER_PATH, "/health", "/v1/cluster"):
            sent = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
            assert (await (await one.connect(sent)).answer())[0] == 200
