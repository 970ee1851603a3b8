"""A client's connections to brokers, by node id; must never look into a record.

A connection is made when something is sent, and told of as lost when it breaks: whether to send
again, and to whom, is the node's to decide. Where the brokers are is learnt from them: each new
connection asks first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, TypeAlias

import aiohttp

from yak_core.contract.messages import (
    DescribeRequest,
    DescribeResponse,
    FetchResponse,
    ListOffsetsResponse,
    ProduceResponse,
    Request,
    Response,
    sealed,
)
from yak_core.ids import NodeId
from yak_core.wire.codec import FRAME_BYTES_MAX, CodecError, decode, encode
from yak_net.runtime.outbox import Outbox
from yak_net.runtime.wire import (
    CLIENT_PATH,
    HEARTBEAT_S,
    Greeting,
    NotYak,
    certificates,
    read_greeting,
)

DIAL_TIMEOUT_S: Final = 2.0
WHERE: Final = -1
"""Correlation number of this module's own questions."""

_RESPONSES: Final = (ProduceResponse, FetchResponse, ListOffsetsResponse, DescribeResponse)
_Socket: TypeAlias = "aiohttp.ClientWebSocketResponse[bool]"
_BREAKS: Final = (aiohttp.ClientError, OSError, TimeoutError, NotYak, CodecError)


class Links:
    """All connections of one client; ``receive`` and ``lost`` are called on the loop.

    ``lost(broker)``: the connection to it broke, or never came about.
    """

    def __init__(
        self,
        receive: Callable[[NodeId, Response], None],
        lost: Callable[[NodeId], None],
    ) -> None:
        self._receive = receive
        self._lost = lost
        self._outboxes: dict[NodeId, Outbox] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=DIAL_TIMEOUT_S)
        )
        self.urls: dict[NodeId, str] = {}

    def learn(self, description: DescribeResponse) -> None:
        """Take in where the brokers are, as one of them says."""
        for row in description.replicas:
            if row.url:
                self.urls[row.node] = row.url

    def send(self, dst: NodeId, request: Request) -> None:
        """Send to a broker, connecting first if need be; to nobody known, it is lost."""
        outbox = self._outboxes.get(dst)
        if outbox is None:
            url = self.urls.get(dst)
            if url is None:
                for known in self._outboxes.values():
                    known.put(encode(DescribeRequest(WHERE)))
                return
            outbox = self._outboxes[dst] = Outbox()
            outbox.put(encode(DescribeRequest(WHERE)))
            task = asyncio.create_task(self._keep(dst, url, outbox))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        outbox.put(encode(sealed(request)))

    async def discover(self, servers: Iterable[str]) -> DescribeResponse | None:
        """Ask where the brokers are; None if nobody answers who knows any."""
        asking = [asyncio.create_task(self._describe(url)) for url in servers]
        try:
            for answer in asyncio.as_completed(asking):
                with suppress(*_BREAKS):
                    found = await answer
                    self.learn(found)
                    if self.urls:
                        return found
            return None
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)

    async def close(self) -> None:
        """End all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    async def _describe(self, url: str) -> DescribeResponse:
        async with asyncio.timeout(DIAL_TIMEOUT_S):
            async with self._connect(url) as socket:
                await _greet(socket)
                await socket.send_bytes(encode(DescribeRequest(WHERE)))
                answer = await socket.receive()
                if answer.type is not aiohttp.WSMsgType.BINARY:
                    raise NotYak("it does not answer: it may be starting")
                message = decode(answer.data)
                if not isinstance(message, DescribeResponse):
                    raise NotYak("it answers something else")
                return message

    def _connect(self, url: str) -> aiohttp.client._WSRequestContextManager:
        return self._session.ws_connect(
            url.rstrip("/") + CLIENT_PATH,
            ssl=certificates(url),
            heartbeat=HEARTBEAT_S,
            max_msg_size=FRAME_BYTES_MAX,
        )

    async def _keep(self, dst: NodeId, url: str, outbox: Outbox) -> None:
        """One connection, from its making to its end."""
        try:
            with suppress(*_BREAKS):  # however it ends, the node is told that it did
                await self._talk(dst, url, outbox)
        finally:
            outbox.close()
            del self._outboxes[dst]
        self._lost(dst)

    async def _talk(self, dst: NodeId, url: str, outbox: Outbox) -> None:
        async with self._connect(url) as socket:
            met = await _greet(socket)
            if met.node != dst:
                raise NotYak(f"{met.node} answers at {url}, not {dst}")
            writer = asyncio.create_task(outbox.write_to(socket))
            try:
                await self._read(dst, socket)
            finally:
                outbox.close()
                await writer

    async def _read(self, src: NodeId, socket: _Socket) -> None:
        async for frame in socket:
            if frame.type is not aiohttp.WSMsgType.BINARY:
                raise NotYak("it says what no broker says")
            message = decode(frame.data)
            if not isinstance(message, _RESPONSES):
                raise NotYak(f"it sends a {type(message).__name__}")
            if isinstance(message, DescribeResponse) and message.correlation == WHERE:
                self.learn(message)
            else:
                self._receive(src, message)


async def _greet(socket: _Socket) -> Greeting:
    first = await socket.receive(DIAL_TIMEOUT_S)
    return read_greeting(first.data)
