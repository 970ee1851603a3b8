"""A metadata server in this process, for clusters on one machine; its data is not durable.

fakeredis stores the data and runs the Lua scripts. One thread runs an event loop. Each connection
has its own fakeredis connection, used through redis-py's public interface.

fakeredis' own TCP server (TcpFakeServer, 2.40) has four defects:

- It closes a connection after each error, so the call after a NOSCRIPT fails.
- It has one thread for each connection, which wakes a hundred times per second.
- It truncates a reply that does not fit into the socket's buffer.
- It prints a traceback when a client disconnects.

The server supports only the commands for a metadata store and for its inspection. A blocking
command would block all clients, because fakeredis blocks the calling thread.

The number of connections has a maximum, because the supervisor needs descriptors for other things,
too. At the maximum, the oldest connection without a command is closed, else the one that has been
idle for longest. So a new client is always served, and brokers keep their connections.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final, TypeVar

import hiredis
from fakeredis import FakeServer, FakeStrictRedis
from redis.exceptions import NoScriptError, ResponseError

from yak_net.metadata.redis_store import EMBEDDED_FIELD
from yak_net.storage.system import descriptor_limit

HOST: Final = "127.0.0.1"
REQUEST_BYTES_MAX: Final = 16 << 20
READ_BYTES: Final = 1 << 16
CONNECTIONS_MAX: Final = 256
"""A broker has a few connections; the rest is for people who look at the metadata."""
DESCRIPTORS_SHARE: Final = 4
"""At most one of this many open files that the process may have is a connection."""
REPORT_S: Final = 10.0
"""Seconds between two reports of closed connections."""

_COMMANDS: Final = frozenset(
    b"PING ECHO SELECT HELLO CLIENT EVAL EVALSHA SCRIPT GET SET DEL EXISTS KEYS SCAN TYPE TTL"
    b" HGET HSET HDEL HMGET HGETALL DBSIZE FLUSHALL FLUSHDB".split()
)

_INFO: Final = f"# Server\r\nredis_mode:standalone\r\nrole:master\r\n{EMBEDDED_FIELD}:1\r\n"
_INCOMPLETE: Final = object()
_T = TypeVar("_T")


class EmbeddedMetadata:
    """An in-memory Redis server for metadata on 127.0.0.1; ``port`` 0 means any free port.

    ``on_problem`` is called on the server's thread with the reason why connections are closed, at
    most once in REPORT_S. ``connections_max`` is their largest number.

    All methods may be called from any thread except the server's own. A stopped server cannot start
    again.
    """

    def __init__(
        self, port: int = 0, on_problem: Callable[[str], None] = lambda _: None
    ) -> None:
        self._port = port
        self._on_problem = on_problem
        self.connections_max = min(CONNECTIONS_MAX, descriptor_limit() // DESCRIPTORS_SHARE)
        #: Number of connections closed because there were too many.
        self._closed = 0
        self._reported_at = -REPORT_S
        self._fake = FakeServer()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="yak-embedded-metadata", daemon=True
        )
        self._listener: asyncio.Server | None = None
        #: The open connections; the one that has been idle for longest is the first.
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        #: Those that have not sent anything, the oldest first.
        self._unused: dict[asyncio.Task[None], None] = {}

    def start(self) -> str:
        """Start the server; return its redis:// URL. Raises OSError if the port is in use."""
        assert not self._thread.is_alive()
        assert not self._loop.is_closed()
        self._thread.start()
        try:
            self._run(self._open())
        except OSError:
            self.stop()
            raise
        return self.url

    @property
    def url(self) -> str:
        """URL of the server, known after :meth:`start`; it stays the same after :meth:`up`."""
        assert self._port
        return f"redis://{HOST}:{self._port}/0"

    def stop(self) -> None:
        """Close all connections, end the thread, and delete the data; may be called again."""
        if self._loop.is_closed():
            return
        if self._thread.is_alive():
            self._run(self._end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()
        self.delete_all()

    def down(self) -> None:
        """Close and refuse connections, like a crashed server; the data remains."""
        self._run(self._close())

    def up(self) -> None:
        """Listen again on the same port after :meth:`down`. Raises OSError if it is in use."""
        self._run(self._open())

    def delete_all(self) -> None:
        """Delete all data and scripts, like a restart of a server without persistence."""
        with _client_of(self._fake) as client:
            client.flushall()
            client.script_flush()

    def __enter__(self) -> EmbeddedMetadata:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self, coroutine: Coroutine[None, None, _T]) -> _T:
        assert threading.current_thread() is not self._thread
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _open(self) -> None:
        if self._listener is None:
            self._listener = await asyncio.start_server(self._accept, HOST, self._port)
            self._port = self._listener.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        tasks = list(self._connections)
        for task in tasks:
            self._connections[task].transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _end(self) -> None:
        await self._close()
        # Also cancel connections that were accepted but whose handler has not started yet.
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._connections) >= self.connections_max:
            self._close_one()
        self._connections[task] = writer
        self._unused[task] = None
        try:
            if self._listener is not None:
                await self._serve(task, reader, writer)
        except (OSError, hiredis.HiredisError):
            writer.transport.abort()  # The client disconnected, or does not use Redis' protocol.
        finally:
            self._connections.pop(task, None)
            self._unused.pop(task, None)
            writer.close()

    def _close_one(self) -> None:
        """Close the oldest unused connection, else the one that is idle for longest; report it."""
        victim = next(iter(self._unused or self._connections))
        self._unused.pop(victim, None)
        self._connections.pop(victim).transport.abort()
        self._closed += 1
        now = time.monotonic()
        if now - self._reported_at >= REPORT_S:
            self._reported_at = now
            self._on_problem(
                f"more than {self.connections_max} connections to the embedded metadata server; "
                f"closed {self._closed} idle ones so far; find their process with "
                f"ss -tnp dport = :{self._port}"
            )

    async def _serve(
        self, task: asyncio.Task[None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        # A request is an array of bulk strings, so the parser for replies can parse it.
        parser = hiredis.Reader(notEnoughData=_INCOMPLETE)
        protocol, unparsed = 2, 0
        with _client_of(self._fake) as client:
            fake = client.connection_pool.get_connection()
            while data := await reader.read(READ_BYTES):
                self._unused.pop(task, None)
                if task in self._connections:  # move it to the end: it is not idle
                    self._connections[task] = self._connections.pop(task)
                parser.feed(data)
                unparsed += len(data)
                while (command := parser.gets()) is not _INCOMPLETE:
                    unparsed = 0
                    for reply in _replies(fake, command):
                        if _name_of(command) == b"HELLO" and not isinstance(reply, Exception):
                            protocol = 3 if command[1:2] == [b"3"] else 2
                        writer.write(_encode(reply, protocol))
                    await writer.drain()
                if unparsed > REQUEST_BYTES_MAX:
                    return


def _client_of(fake: FakeServer) -> FakeStrictRedis:
    """Return a client of the data, in RESP2 until HELLO 3, as on a real server."""
    return FakeStrictRedis(server=fake, protocol=2)


def _name_of(command: object) -> bytes:
    """Return the command's name in capitals; b"" if ``command`` is not a command."""
    if isinstance(command, list) and command and all(isinstance(part, bytes) for part in command):
        name: bytes = command[0]
        return name.upper()
    return b""


def _replies(fake: Any, command: list[bytes]) -> Iterator[object]:
    """Run one command; yield its reply, or nothing after CLIENT REPLY OFF."""
    name = _name_of(command)
    if name == b"INFO":
        yield _INFO
    elif name not in _COMMANDS:
        shown = name[:30].decode("ascii", "backslashreplace")
        yield ResponseError(f"unknown command {shown!r} for the embedded metadata server")
    else:
        fake.send_command(*command)
        while fake.can_read():
            try:
                reply = fake.read_response()
            except ResponseError as error:
                reply = error
            yield reply


def _encode(reply: object, protocol: int) -> bytes:
    """Return the wire form of a reply; fakeredis has already converted types missing in RESP2."""
    if reply is None:
        return b"_\r\n" if protocol == 3 else b"$-1\r\n"
    if isinstance(reply, bytes | str):
        data = reply.encode() if isinstance(reply, str) else reply
        return b"$%d\r\n%s\r\n" % (len(data), data)
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, list | tuple):
        return b"*%d\r\n" % len(reply) + b"".join(_encode(part, protocol) for part in reply)
    if isinstance(reply, dict):
        parts = [part for pair in reply.items() for part in pair]
        head = b"%%%d\r\n" % len(reply) if protocol == 3 else b"*%d\r\n" % len(parts)
        return head + b"".join(_encode(part, protocol) for part in parts)
    text = " ".join(str(reply).split())
    # redis-py removes the error code at the start of some error texts: add it again.
    if isinstance(reply, NoScriptError):
        text = f"NOSCRIPT {text}"
    elif not re.match("[A-Z]{4,} ", text):
        text = f"ERR {text}"
    return f"-{text}\r\n".encode()
