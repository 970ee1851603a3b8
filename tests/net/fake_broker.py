"""A broker of the client protocol whose responses a test decides."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from aiohttp import WSMsgType, web

from yak_core.contract.messages import (
    DescribeRequest,
    DescribeResponse,
    ProduceRequest,
    ProduceResponse,
    ReplicaStatus,
)
from yak_core.errors import ErrorCode, Outcome
from yak_core.ids import BrokerEpoch, Epoch
from yak_core.wire.codec import FRAME_BYTES_MAX, decode, encode
from yak_net.runtime.wire import CLIENT_PATH, greeting

PATIENCE_S = 20.0


class FakeBroker:
    """Broker n1, the leader; ``advertised`` is the URL that it returns to clients.

    ``requests`` are the produce requests in order of arrival, with the connection of each.
    """

    def __init__(self, advertised: str = "") -> None:
        self.url = ""
        self.requests: list[tuple[ProduceRequest, web.WebSocketResponse]] = []
        self._advertised = advertised
        self._news = asyncio.Event()
        app = web.Application()
        app.router.add_get(CLIENT_PATH, self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def received(self, count: int) -> None:
        """Wait for this number of produce requests."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.requests) < count:
                self._news.clear()
                await self._news.wait()

    async def respond(
        self, at: int, error: ErrorCode, outcome: Outcome, detail: str = "", base: int = -1
    ) -> None:
        """Respond to produce request ``at``."""
        request, connection = self.requests[at]
        response = ProduceResponse(
            request.correlation, error, outcome, base, Epoch(1), 0, "n1", Epoch(1), detail
        )
        await connection.send_bytes(encode(response))

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        connection = web.WebSocketResponse(compress=False, max_msg_size=FRAME_BYTES_MAX)
        await connection.prepare(request)
        await connection.send_str(greeting("n1", "c"))
        async for frame in connection:
            assert frame.type is WSMsgType.BINARY
            message = decode(frame.data)
            if isinstance(message, DescribeRequest):
                await connection.send_bytes(encode(self._describe(message)))
            elif isinstance(message, ProduceRequest):
                self.requests.append((message, connection))
                self._news.set()
        return connection

    def _describe(self, request: DescribeRequest) -> DescribeResponse:
        replica = ReplicaStatus("n1", self._advertised or self.url, BrokerEpoch(1), 0)
        return DescribeResponse(
            request.correlation, "n1", "leader", "n1", Epoch(1), 1, ("n1",), (), 0, 0, 0, (replica,)
        )


@contextmanager
def closed_port() -> Iterator[str]:
    """Yield the URL of a port on which nothing listens; it stays reserved in the block."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{reserved.getsockname()[1]}"
