"""The WebSocket of one client: requests come, answers go, in any order; must never hold records.

The client's own correlation number is in both, so nothing here has to remember which answer belongs
to which request, only which calls the node still owes this client.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final, Protocol

import structlog
from aiohttp import WSMsgType, web

from yak_core.contract.client_calls import ClientResult
from yak_core.contract.messages import (
    DescribeRequest,
    FetchRequest,
    ListOffsetsRequest,
    ProduceRequest,
    ProduceResponse,
    Request,
    Response,
)
from yak_core.errors import ErrorCode, Outcome
from yak_core.ids import NO_EPOCH, CallId, NodeId
from yak_core.wire.codec import FRAME_BYTES_MAX, CodecError, decode, encode
from yak_net.runtime.backend import OnAnswer
from yak_net.runtime.outbox import Outbox
from yak_net.runtime.wire import HEARTBEAT_S, greeting, refuse_pages

IN_FLIGHT_MAX: Final = 1024
"""Requests of one client that wait for their answers; it is not read from while there are more."""

_REQUESTS: Final = (ProduceRequest, FetchRequest, ListOffsetsRequest, DescribeRequest)

log = structlog.get_logger("yak.clients")


class Desk(Protocol):
    """Who takes requests; None from :meth:`begin` says that nobody does."""

    node_id: NodeId
    cluster: str

    def begin(self, request: Request, on_answer: OnAnswer) -> CallId | None:
        """Give a request to the node."""
        ...

    def cancel(self, call: CallId) -> None:
        """The client went away."""
        ...


class ClientStream:
    """One connection of a client."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._outbox = Outbox()
        self._open: set[CallId] = set()
        self._room = asyncio.Event()
        self._room.set()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Handle the connection until it ends."""
        refuse_pages(request)
        socket = web.WebSocketResponse(
            compress=False, heartbeat=HEARTBEAT_S, max_msg_size=FRAME_BYTES_MAX
        )
        await socket.prepare(request)
        await socket.send_str(greeting(self._desk.node_id, self._desk.cluster))
        writer = asyncio.create_task(self._write(socket))
        try:
            async for frame in socket:
                if frame.type is not WSMsgType.BINARY:
                    await socket.close(code=1003, message=b"requests are binary frames")
                    break
                reason = self._take(frame.data)
                if reason:
                    await socket.close(code=1002, message=reason)
                    break
                await self._room.wait()
        finally:
            self._outbox.close()
            for call in sorted(self._open):
                self._desk.cancel(call)
            await writer
        return socket

    async def _write(self, socket: web.WebSocketResponse) -> None:
        with suppress(OSError, RuntimeError):
            await self._outbox.run(socket)
        self._room.set()
        await socket.close()

    def _take(self, frame: bytes) -> bytes:
        """Pass a request on; a reason if that cannot be, and the connection is to be closed."""
        try:
            request = decode(frame)
        except CodecError as error:
            return b"" if self._refuse(error) else b"that was no request"
        if not isinstance(request, _REQUESTS):
            log.warning("a client sent what is no request", kind=type(request).__name__)
            return b"that was no request"
        # The answer may come within begin(), before there is an id to remember.
        answered: list[bool] = []
        call_ids: list[CallId] = []

        def on_answer(result: Response | ClientResult) -> None:
            answered.append(True)
            if call_ids:
                self._open.discard(call_ids[0])
                if len(self._open) < IN_FLIGHT_MAX:
                    self._room.set()
            if not self._outbox.put(encode(result)):  # type: ignore[arg-type]
                # It reads too slowly, or is gone. It cannot tell a lost answer from a late one.
                self._outbox.close()

        call = self._desk.begin(request, on_answer)
        if call is None:
            return b"this broker is starting or stopping"
        if not answered:
            call_ids.append(call)
            self._open.add(call)
            if len(self._open) >= IN_FLIGHT_MAX:
                self._room.clear()
        return b""

    def _refuse(self, error: CodecError) -> bool:
        """A produce request whose batch was damaged on the way is answered; the rest is not."""
        log.warning("a client sent a broken frame", reason=str(error))
        if error.kind is not ProduceRequest or not error.damaged or error.correlation is None:
            return False
        answer = ProduceResponse(
            error.correlation,
            ErrorCode.CORRUPT_MESSAGE,
            Outcome.NOT_WRITTEN,
            -1,
            NO_EPOCH,
            -1,
            None,
            NO_EPOCH,
            str(error),
        )
        return self._outbox.put(encode(answer))
