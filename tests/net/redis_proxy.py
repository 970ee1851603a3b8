"""A TCP proxy in front of Redis that holds, delays and drops replies and resets connections."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol


class Fate(Protocol):
    """The treatment of one piece of a reply."""

    def __call__(self) -> float | None:
        """Return the delay in seconds; None drops the piece and keeps the connection."""


def at_once() -> float:
    return 0.0


class Proxy:
    """Listens on a free port of 127.0.0.1 and connects each client to the socket at ``path``.

    ``reply_fate`` is called for each piece of a reply. While ``holding`` is set replies wait;
    ``release`` writes them to their own connections, even to those that the client has closed.
    """

    def __init__(self, path: str, tls: ssl.SSLContext | None = None) -> None:
        self.path = path
        self.tls = tls
        self.holding = False
        self.reply_fate: Fate = at_once
        self.replies_seen = 0
        self.connections_seen = 0
        self.port = 0
        self._held: list[Callable[[], None]] = []
        self._changed = asyncio.Condition()
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"{'rediss' if self.tls else 'redis'}://127.0.0.1:{self.port}/0"

    def release(self) -> int:
        """Write the waiting pieces in order; return their number."""
        self.holding = False
        held, self._held = self._held, []
        for pass_on in held:
            pass_on()
        return len(held)

    def cut(self) -> None:
        """Reset every connection."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def until_replies(self, count: int) -> None:
        """Wait until the server has sent this number of pieces in all."""
        async with asyncio.timeout(30), self._changed:
            await self._changed.wait_for(lambda: self.replies_seen >= count)

    async def until_left(self) -> None:
        """Wait until no client is connected."""
        async with asyncio.timeout(30), self._changed:
            await self._changed.wait_for(lambda: not self._tasks)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client's connection."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections_seen += 1
        self._writers.append(writer)
        try:
            behind_reader, behind = await asyncio.open_unix_connection(self.path)
            self._writers.append(behind)
            answers = asyncio.create_task(self._answers(behind_reader, writer))
            try:
                while data := await reader.read(1 << 16):
                    behind.write(data)
            finally:
                behind.close()
                await answers
        except OSError:
            writer.transport.abort()  # A reset connection, or a server that is down.
        finally:
            writer.close()
            self._tasks.discard(task)
            async with self._changed:
                self._changed.notify_all()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        try:
            while data := await reader.read(1 << 16):
                self.replies_seen += 1
                async with self._changed:
                    self._changed.notify_all()
                delay = self.reply_fate()
                if self.holding:
                    self._held.append(lambda data=data: writer.write(data))  # type: ignore[misc]
                elif delay is not None:
                    due = max(due, loop.time() + delay)  # Keep the order of the bytes.
                    loop.call_at(due, writer.write, data)
        except OSError:
            return  # The server reset it.
        if not self.holding:
            loop.call_at(due, writer.close)

    async def end(self) -> None:
        """Reset all connections and wait for their ends."""
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def proxy_to(path: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[Proxy]:
    """Yield a proxy that runs during the block."""
    proxy = Proxy(path, tls)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, ssl=tls)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.end()
