"""Connections of a client to brokers, by node id.

The first request to a broker opens a connection. When it breaks, the node is notified and decides
whether to send the request again, and to which broker. The addresses of the brokers come from the
brokers: the first request on each new connection is a DescribeRequest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
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
from yak_net.runtime.connection_errors import connection_error
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
HEAD_START_S: Final = 0.3
"""Time for a broker to answer before the next one is tried, too."""
URLS_CORRELATION: Final = -1
"""Correlation number of the DescribeRequests that this module sends itself."""

_RESPONSES: Final = (ProduceResponse, FetchResponse, ListOffsetsResponse, DescribeResponse)
_Socket: TypeAlias = "aiohttp.ClientWebSocketResponse[bool]"
_CONNECTION_ERRORS: Final = (aiohttp.ClientError, OSError, TimeoutError, NotYak, CodecError)


class Links:
    """All connections of one client; the functions are called on the event loop.

    ``on_lost(broker)``: the connection to the broker broke, or could not be made.
    ``on_not_sent(correlation)``: no byte of this request has left; also called by :meth:`send`.
    ``failures`` has the cause for each broker to which the newest connection failed,
    ``server_failures`` for each bootstrap server that could not be used.
    """

    def __init__(
        self,
        on_response: Callable[[NodeId, Response], None],
        on_lost: Callable[[NodeId], None],
        on_not_sent: Callable[[int], None],
    ) -> None:
        self._on_response = on_response
        self._on_lost = on_lost
        self._on_not_sent = on_not_sent
        self._closed = False
        self._outboxes: dict[NodeId, Outbox] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=DIAL_TIMEOUT_S)
        )
        self.urls: dict[NodeId, str] = {}
        self.failures: dict[NodeId, str] = {}
        self.server_failures: dict[str, str] = {}

    def update_urls(self, description: DescribeResponse) -> None:
        """Store the URLs of the brokers from a response of one of them."""
        for row in description.replicas:
            if row.url:
                self.urls[row.node] = row.url

    def send(self, dst: NodeId, request: Request) -> None:
        """Send a request to a broker; connect first if there is no connection.

        If the URL of the broker is unknown, the request is not sent, and the connected brokers
        are asked for the URLs. It is not sent either while too many bytes are queued.
        """
        outbox = self._outboxes.get(dst)
        if outbox is None:
            url = self.urls.get(dst)
            if url is None or self._closed:
                for connected in self._outboxes.values():
                    connected.put(encode(DescribeRequest(URLS_CORRELATION)))
                self._on_not_sent(request.correlation)
                return
            outbox, _ = self._open(dst, url)
        if not outbox.put(encode(sealed(request))):
            self._on_not_sent(request.correlation)

    async def reach(self, brokers: Iterable[NodeId]) -> bool:
        """Connect to one of the brokers, the first one if possible; return False if none answers.

        If a broker does not answer within HEAD_START_S, the next one is tried, too.
        """
        connecting: dict[NodeId, asyncio.Future[bool]] = {}
        for node in brokers:
            if node not in self._outboxes:
                connecting[node] = self._open(node, self.urls[node])[1]
            elif node not in self.failures:
                return True
            if await _any_true(connecting.values(), HEAD_START_S):
                return True
        if await _any_true(connecting.values(), DIAL_TIMEOUT_S):
            return True
        for node in connecting:
            self.failures.setdefault(node, "no response before the timeout")
        return False

    def describe_failures(self) -> str:
        """Return the brokers to which the newest connection failed, with addresses and causes.

        Before any broker is known, return the same of the bootstrap servers.
        """
        if not self.urls:
            return ", ".join(f"{url}: {cause}" for url, cause in self.server_failures.items())
        return ", ".join(
            f"{node} at {self.urls.get(node, 'an unknown address')}: {cause}"
            for node, cause in sorted(self.failures.items())
        )

    def _open(self, dst: NodeId, url: str) -> tuple[Outbox, asyncio.Future[bool]]:
        """Start a connection; the future says whether it was established."""
        outbox = self._outboxes[dst] = Outbox(keep_unsent=True)
        outbox.put(encode(DescribeRequest(URLS_CORRELATION)))
        connected: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._run_connection(dst, url, outbox, connected))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return outbox, connected

    async def discover(self, servers: Iterable[str]) -> DescribeResponse | None:
        """Return the first response that has URLs of brokers; None if no server sends one."""
        tasks = [asyncio.create_task(self._describe_or_note(url)) for url in servers]
        try:
            for answer in asyncio.as_completed(tasks):
                found = await answer
                if found is not None:
                    self.update_urls(found)
                    if self.urls:
                        return found
            return None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """Close all connections, and report the requests that were not sent."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    async def _describe_or_note(self, url: str) -> DescribeResponse | None:
        """Return the response of a bootstrap server; None if it fails, and note the cause."""
        try:
            found = await self._describe(url)
        except _CONNECTION_ERRORS as error:
            self.server_failures[url] = connection_error(error)
            return None
        self.server_failures[url] = "the broker has not registered yet"
        return found

    async def _describe(self, url: str) -> DescribeResponse:
        async with asyncio.timeout(DIAL_TIMEOUT_S):
            async with self._connect(url) as socket:
                await _receive_greeting(socket)
                await socket.send_bytes(encode(DescribeRequest(URLS_CORRELATION)))
                answer = await socket.receive()
                if answer.type is not aiohttp.WSMsgType.BINARY:
                    raise NotYak(f"expected a binary frame from {url}, got {answer.type.name}")
                message = decode(answer.data)
                if not isinstance(message, DescribeResponse):
                    raise NotYak(f"expected a response from {url}, got {type(message).__name__}")
                return message

    def _connect(self, url: str) -> aiohttp.client._WSRequestContextManager:
        return self._session.ws_connect(
            url.rstrip("/") + CLIENT_PATH,
            ssl=certificates(url),
            heartbeat=HEARTBEAT_S,
            max_msg_size=FRAME_BYTES_MAX,
        )

    async def _run_connection(
        self, dst: NodeId, url: str, outbox: Outbox, connected: asyncio.Future[bool]
    ) -> None:
        """Serve one connection until it closes; the node gets PeerLost in each case."""
        try:
            await self._serve_connection(dst, url, outbox, connected)
        except _CONNECTION_ERRORS as error:
            self.failures[dst] = connection_error(error)
        finally:
            outbox.close()
            del self._outboxes[dst]
            if not connected.done():
                connected.set_result(False)
            for frame in outbox.unsent:
                correlation = decode(frame).correlation  # type: ignore[union-attr]
                if correlation != URLS_CORRELATION:
                    self._on_not_sent(correlation)
        self._on_lost(dst)

    async def _serve_connection(
        self, dst: NodeId, url: str, outbox: Outbox, connected: asyncio.Future[bool]
    ) -> None:
        async with self._connect(url) as socket:
            broker = await _receive_greeting(socket)
            if broker.node != dst:
                raise NotYak(f"expected broker {dst}, found {broker.node}")
            self.failures.pop(dst, None)
            if not connected.done():
                connected.set_result(True)
            writer = asyncio.create_task(outbox.write_to(socket))
            try:
                await self._read(dst, socket)
            finally:
                outbox.close()
                await writer

    async def _read(self, src: NodeId, socket: _Socket) -> None:
        async for frame in socket:
            if frame.type is not aiohttp.WSMsgType.BINARY:
                raise NotYak(f"expected a binary frame from {src}, got {frame.type.name}")
            message = decode(frame.data)
            if not isinstance(message, _RESPONSES):
                raise NotYak(f"expected a response from {src}, got {type(message).__name__}")
            if isinstance(message, DescribeResponse) and message.correlation == URLS_CORRELATION:
                self.update_urls(message)
            else:
                self._on_response(src, message)


async def _receive_greeting(socket: _Socket) -> Greeting:
    first = await socket.receive(DIAL_TIMEOUT_S)
    return read_greeting(first.data)


async def _any_true(futures: Iterable[asyncio.Future[bool]], within_s: float) -> bool:
    """Return whether one of the futures becomes true in time."""
    waiting = set(futures)
    deadline = asyncio.get_running_loop().time() + within_s
    while waiting:
        remaining = deadline - asyncio.get_running_loop().time()
        done, waiting = await asyncio.wait(
            waiting, timeout=max(0.0, remaining), return_when=asyncio.FIRST_COMPLETED
        )
        if any(future.result() for future in done):
            return True
        if not done:
            return False
    return False
