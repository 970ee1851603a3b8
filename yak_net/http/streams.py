"""The WebSocket connection of one client, with pipelined requests and responses in any order.

Requests and responses carry the client's correlation number. The connection therefore keeps only
the ids of the calls in flight, which it cancels when the client disconnects.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import structlog
from aiohttp import WSMsgType, web

from yak_core.batch import Batch, BatchError, Codec, UnsupportedCodec, codec_of, records
from yak_core.contract.client_calls import ClientResult
from yak_core.contract.messages import (
    DescribeRequest,
    FetchRequest,
    FetchResponse,
    ListOffsetsRequest,
    ProduceRequest,
    ProduceResponse,
    Request,
    Response,
    with_records,
)
from yak_core.errors import ErrorCode, Outcome
from yak_core.ids import NO_EPOCH, CallId, NodeId
from yak_core.wire.codec import FRAME_BYTES_MAX, CodecError, decode, encode
from yak_net.compression import BROKER_SECTION_BYTES_MAX, plain_in_broker
from yak_net.http.connections import Connection
from yak_net.http.request_parsing import offload
from yak_net.runtime.backend import OnAnswer
from yak_net.runtime.budget import Budget
from yak_net.runtime.outbox import Outbox
from yak_net.runtime.wire import HEARTBEAT_S, greeting

IN_FLIGHT_MAX: Final = 1024
"""Requests in flight on one connection at which the broker stops reading from it."""

_REQUESTS: Final = (ProduceRequest, FetchRequest, ListOffsetsRequest, DescribeRequest)

log = structlog.get_logger("yak.clients")


async def accept(request: web.Request, node: NodeId, cluster: str) -> web.WebSocketResponse:
    """Accept a WebSocket and send the greeting. Raises HTTPForbidden for a web page.

    Browsers let any web page open a WebSocket to this machine. They always send the header Origin,
    and other clients do not.
    """
    if "Origin" in request.headers:
        raise web.HTTPForbidden(text="connection from a web page rejected: header Origin found\n")
    socket = web.WebSocketResponse(
        compress=False, heartbeat=HEARTBEAT_S, max_msg_size=FRAME_BYTES_MAX
    )
    await socket.prepare(request)
    await socket.send_str(greeting(node, cluster))
    return socket


class ClientStream:
    """One connection of a client to a broker.

    ``connection`` is the protocol below the socket. ``unsent`` bounds the answers of all clients
    together that are not sent yet; above it, a fetch gets an error that the client retries.

    ``start_call`` delivers a request to the node, and returns None while no node runs. ``cancel``
    cancels a call whose client disconnected. With ``check_records``, a batch whose records cannot
    be decoded is refused; otherwise only its header and its CRC are checked.
    """

    def __init__(
        self,
        socket: web.WebSocketResponse,
        connection: object,
        unsent: Budget,
        start_call: Callable[[Request, OnAnswer], CallId | None],
        cancel: Callable[[CallId], None],
        *,
        check_records: bool = False,
    ) -> None:
        self._socket = socket
        self._check_records = check_records
        self._start_call = start_call
        self._cancel = cancel
        self._connection = connection
        self._unsent = unsent
        self._outbox = Outbox(budget=unsent)
        self._in_flight: set[CallId] = set()
        self._below_limit = asyncio.Event()
        self._below_limit.set()

    async def serve(self) -> web.StreamResponse:
        """Serve the connection until it closes."""
        socket = self._socket
        writer = asyncio.create_task(self._outbox.write_to(socket))
        writer.add_done_callback(lambda _: self._below_limit.set())
        try:
            async for frame in socket:
                if isinstance(self._connection, Connection):
                    self._connection.frame_taken()
                if frame.type is not WSMsgType.BINARY:
                    await socket.close(code=1003, message=b"expected a binary frame, got text")
                    break
                reason = await self._on_frame(frame.data)
                if reason:
                    await socket.close(code=1002, message=reason)
                    break
                await self._below_limit.wait()
        finally:
            self._outbox.close()
            for call in sorted(self._in_flight):
                self._cancel(call)
            await writer
        return socket

    async def _on_frame(self, frame: bytes) -> bytes:
        """Deliver a request to the node; return b"", or the reason to close the connection."""
        try:
            request = decode(frame)
        except CodecError as error:
            return b"" if self._reject(error) else b"invalid request frame"
        if not isinstance(request, _REQUESTS):
            log.warning("unexpected client message", kind=type(request).__name__)
            return b"invalid request frame"
        if self._check_records and isinstance(request, ProduceRequest):
            # Awaited before the next frame is read, so that requests stay in order.
            batch = request.batch
            grows = codec_of(batch) is not Codec.NONE
            size = BROKER_SECTION_BYTES_MAX if grows else batch.size
            problem = await offload(size, _records_problem, batch)
            if problem is not None:
                return b"" if self._refuse(request.correlation, *problem) else b"too many responses"
        # The node may respond within begin(), before the call id is known here.
        answered: list[bool] = []
        call_ids: list[CallId] = []

        def on_answer(result: Response | ClientResult) -> None:
            answered.append(True)
            if call_ids:
                self._in_flight.discard(call_ids[0])
                if len(self._in_flight) < IN_FLIGHT_MAX:
                    self._below_limit.set()
            if not self._outbox.put(self._frame_of(result)):
                # The client reads too slowly, or has disconnected. Without this response it would
                # wait for ever, so close the connection.
                self._outbox.close()
                self._below_limit.set()

        call = self._start_call(request, on_answer)
        if call is None:
            return b"the broker is starting or stopping"
        if not answered:
            call_ids.append(call)
            self._in_flight.add(call)
            if len(self._in_flight) >= IN_FLIGHT_MAX:
                self._below_limit.clear()
        return b""

    def _frame_of(self, result: Response | ClientResult) -> bytes:
        """Return the frame of an answer; without records if slow clients hold too many bytes."""
        if isinstance(result, FetchResponse) and result.batches:
            size = sum(batch.size for batch in result.batches)
            if not self._unsent.has_room(size):
                log.warning("fetch refused", unsent=self._unsent.used, most=self._unsent.bytes_max)
                header = replace(result, error=ErrorCode.THROTTLING_QUOTA_EXCEEDED)
                result = with_records(header, ())
        return encode(result)  # type: ignore[arg-type]

    def _reject(self, error: CodecError) -> bool:
        """Respond to a produce request with a damaged batch; return False for other errors."""
        log.warning("malformed client frame", reason=str(error))
        if error.kind is not ProduceRequest or not error.damaged or error.correlation is None:
            return False
        return self._refuse(error.correlation, ErrorCode.CORRUPT_MESSAGE, str(error))

    def _refuse(self, correlation: int, error: ErrorCode, detail: str) -> bool:
        """Respond to a produce request that does not reach the node; return whether that worked."""
        answer = ProduceResponse(
            correlation, error, Outcome.NOT_WRITTEN, -1, NO_EPOCH, -1, None, NO_EPOCH, detail
        )
        return self._outbox.put(encode(answer))


def _records_problem(batch: Batch) -> tuple[ErrorCode, str] | None:
    """Return the error code and the reason if the records cannot be decoded, else None."""
    try:
        for _ in records(plain_in_broker(batch)):
            continue
    except UnsupportedCodec as error:
        return ErrorCode.INVALID_REQUEST, str(error)
    except BatchError as error:
        return ErrorCode.CORRUPT_MESSAGE, str(error)
    return None
