"""The WebSocket of one client: requests come, answers go, in any order; must never hold records.

The client's own correlation number is in both, so nothing here has to remember which answer belongs
to which request, only which calls the node still owes this client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

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
from yak_net.runtime.wire import HEARTBEAT_S, greeting

IN_FLIGHT_MAX: Final = 1024
"""Requests of one client that wait for their answers; it is not read from while there are more."""

_REQUESTS: Final = (ProduceRequest, FetchRequest, ListOffsetsRequest, DescribeRequest)

log = structlog.get_logger("yak.clients")


async def accept(request: web.Request, node: NodeId, cluster: str) -> web.WebSocketResponse:
    """Accept a WebSocket and greet. Raises HTTPForbidden for a web page.

    No rule of browsers keeps pages from connecting to this machine. A browser always sends the
    page's origin, and nothing else does.
    """
    if "Origin" in request.headers:
        raise web.HTTPForbidden(text="a web page may not connect here\n")
    socket = web.WebSocketResponse(
        compress=False, heartbeat=HEARTBEAT_S, max_msg_size=FRAME_BYTES_MAX
    )
    await socket.prepare(request)
    await socket.send_str(greeting(node, cluster))
    return socket


class ClientStream:
    """One connection of a client to a broker.

    ``begin`` gives a request to the node, and returns None while there is no node that takes any.
    ``cancel`` cancels the call of a client that went away.
    """

    def __init__(
        self,
        socket: web.WebSocketResponse,
        begin: Callable[[Request, OnAnswer], CallId | None],
        cancel: Callable[[CallId], None],
    ) -> None:
        self._socket = socket
        self._begin = begin
        self._cancel = cancel
        self._outbox = Outbox()
        self._open: set[CallId] = set()
        self._room = asyncio.Event()
        self._room.set()

    async def serve(self) -> web.StreamResponse:
        """Handle the connection until it ends."""
        socket = self._socket
        writer = asyncio.create_task(self._outbox.write_to(socket))
        writer.add_done_callback(lambda _: self._room.set())
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
                self._cancel(call)
            await writer
        return socket

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
                self._room.set()

        call = self._begin(request, on_answer)
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
