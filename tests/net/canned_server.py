"""A server that sends the same reply to every Redis command."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import hiredis


@asynccontextmanager
async def canned_server(reply: bytes) -> AsyncIterator[str]:
    """Serve while the block runs; yield ``host:port``."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parser = hiredis.Reader()
        try:
            while data := await reader.read(1 << 16):
                parser.feed(data)
                while parser.gets() is not False:
                    writer.write(reply)
        except OSError:
            writer.transport.abort()  # The client went away.
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()
