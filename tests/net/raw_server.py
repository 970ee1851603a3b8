"""Raw connections to a server that is set up as in a broker process, with its limits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from tests.net.cluster_tools import wait_for
from yak_net.http.connections import RESERVED, Connections
from yak_net.http.gateway import Gateway
from yak_net.http.hosts import check_hosts, hosts_of
from yak_net.http.routes import BODY_BYTES_MAX, middlewares, routes
from yak_net.runtime.budget import Budget

GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = (
    b"POST /produce HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n"
)
BODY = b'{"records": [{"value": "a"}]}'


@dataclass
class Peer:
    """One raw connection to the server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, dict[str, object]]:
        """Read one answer with a JSON body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        return int(head[9:12]), json.loads(await self.reader.readexactly(length))

    async def closed(self) -> bool:
        """Wait until the server has closed the connection."""
        try:
            return await self.reader.read() is not None
        except ConnectionResetError:
            return True


class Server:
    """A server on a free port with room for ``most`` connections."""

    def __init__(
        self, gateway: Gateway, most: int, budget: Budget, routes_of_tests: Iterable[web.RouteDef]
    ) -> None:
        self.connections = Connections(most + RESERVED)
        self.budget = budget
        app = web.Application(
            client_max_size=BODY_BYTES_MAX,
            middlewares=[
                *middlewares(),
                check_hosts(hosts_of("127.0.0.1", [], [])),
                self.connections.counted(),
            ],
        )
        app.add_routes([*routes(gateway, budget=budget), *routes_of_tests])
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        self._port = 0
        self._peers: list[Peer] = []

    async def start(self) -> None:
        await self._runner.setup()
        self._port = await self.connections.listen(self._runner, "127.0.0.1", 0)

    async def connect(self, data: bytes = b"") -> Peer:
        """Open a connection, wait until the server has it, and send bytes."""
        before = self.connections.accepted
        # A small limit, so that the kernel takes little of an answer that is not read.
        peer = Peer(*await asyncio.open_connection("127.0.0.1", self._port, limit=1024))
        self._peers.append(peer)
        await wait_for(lambda: self.connections.accepted > before, "the connection")
        peer.send(data)
        return peer

    async def close(self) -> None:
        self.connections.close()
        for peer in self._peers:
            peer.writer.transport.abort()
        await self._runner.cleanup()


@asynccontextmanager
async def server(
    gateway: Gateway,
    most: int = 200,
    budget_bytes: int = 1 << 30,
    more: Iterable[web.RouteDef] = (),
) -> AsyncIterator[Server]:
    """Yield a server with ``more`` routes; at the end, no byte is in flight."""
    found = Server(gateway, most, Budget(budget_bytes), more)
    await found.start()
    try:
        yield found
    finally:
        await found.close()
    assert found.budget.used == 0
    assert found.connections.frames.used == 0
