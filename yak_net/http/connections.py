"""The connections of one broker: how many there are, and how slow their peers may be.

Each connection costs a file descriptor, which the log, the metadata store and the links to peers
need, too. So the number of connections has a maximum, well below the limit of the process:

- At the maximum, the connection that has waited longest for a request is closed. A new connection
  is therefore always accepted, and a client with a request is served.
- ``busy_max`` is smaller. Requests that may take long, such as a WebSocket of a client, get 503
  above it. Peers and health checks do not count, so that room is left for them.

A request head must be complete IDLE_S seconds after the connection was opened or the last answer
was sent. While a peer receives too slowly, or has sent a frame in part, it must make progress.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from itertools import islice
from typing import Any, Final

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Middleware

from yak_core.errors import Outcome
from yak_net.http.foreign import Foreign, foreign_protocol
from yak_net.http.problems import Handler, set_outcome
from yak_net.http.shares import STREAM_BYTES_MAX, busy
from yak_net.runtime.budget import Budget
from yak_net.runtime.wire import PEER_PATH

IDLE_S: Final = 30.0
"""Seconds to the end of a request head: from the start of the connection, or from an answer."""
STALL_S: Final = 10.0
"""Seconds in which a slow peer must make progress."""
STALL_BYTES: Final = 64 * 1024
"""Bytes that count as progress."""
CONNECTIONS_MAX: Final = 4_096
RESERVED: Final = 128
"""Descriptors that are not for connections: log, store, links that this broker opens, trace."""
HEADROOM: Final = 64
"""Connections that are not for long requests: peers, health checks, requests to be refused."""
DESCRIPTORS_MIN: Final = 256
"""A broker does not start with a lower limit of open files."""
ACCEPTS: Final = 16
"""Connections accepted in one turn of the event loop; RESERVED has to be larger."""
PAUSE_S: Final = 0.2
"""Seconds without accepting, after an error such as a lack of descriptors."""
BACKLOG: Final = 1_024
"""Connections that wait to be accepted; the system refuses or delays further ones."""
LINGER_S: Final = 5.0
"""Seconds in which the rest of a refused body is read, so that the client sees the answer."""
SHORT_PATHS: Final = frozenset(
    {PEER_PATH, "/", "/health", "/livez", "/readyz", "/v1/cluster", "/metrics"}
)
"""Paths whose requests are short, or come from peers: they are not counted as busy."""

BAD_REQUEST: Final = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%b"
)

log = structlog.get_logger("yak.http")


class Connections:
    """The connections of one broker; ``limit`` is the number of files that it may open."""

    def __init__(self, limit: int) -> None:
        self.most = min(CONNECTIONS_MAX, limit - RESERVED)
        self.busy_max = self.most - HEADROOM
        self._open: set[Connection] = set()
        #: Those without a request, in the order in which their wait began.
        self._idle: dict[Connection, None] = {}
        #: Requests in progress that may take long.
        self.busy = 0
        #: Connections accepted so far.
        self.accepted = 0
        self._server: asyncio.Server | None = None
        self._listening: list[socket.socket] = []
        self._connecting: set[asyncio.Task[None]] = set()
        self._make: Callable[[], Connection]
        #: Bytes of WebSocket frames that are not complete.
        self.frames = Budget(STREAM_BYTES_MAX)

    def __len__(self) -> int:
        return len(self._open)

    async def listen(
        self, runner: web.BaseRunner, host: str, port: int, *, reuse_port: bool | None = None
    ) -> int:
        """Accept connections for ``runner``, which was set up; return the port. Raises OSError."""
        server = runner.server
        assert server is not None
        self._make = lambda: Connection(self, server)
        # asyncio binds the sockets to all addresses of the host. It does not accept: it would take
        # too many connections in a turn, and when none can be accepted, repeat that in a loop.
        self._server = await asyncio.get_running_loop().create_server(
            self._make, host, port, reuse_address=True, reuse_port=reuse_port, start_serving=False
        )
        for bound in self._server.sockets:
            listening = socket.socket(fileno=os.dup(bound.fileno()))
            listening.setblocking(False)
            listening.listen(BACKLOG)
            self._listening.append(listening)
            self._resume(listening)
        return int(self._listening[0].getsockname()[1])

    def close(self) -> None:
        """Accept no more connections."""
        for listening in self._listening:
            asyncio.get_running_loop().remove_reader(listening)
            listening.close()
        self._listening.clear()
        if self._server is not None:
            self._server.close()

    def _resume(self, listening: socket.socket) -> None:
        """Accept connections, unless the socket was closed meanwhile."""
        if listening.fileno() >= 0:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        """Accept up to ACCEPTS connections that wait; on an error, pause for PAUSE_S."""
        loop = asyncio.get_running_loop()
        for _ in range(ACCEPTS):
            try:
                peer = listening.accept()[0]
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptor or no memory: the connection keeps waiting
                log.warning("cannot accept connections", reason=error.strerror)
                for idle in tuple(islice(self._idle, ACCEPTS)):
                    idle.drop()
                loop.remove_reader(listening)
                loop.call_later(PAUSE_S, self._resume, listening)
                return
            peer.setblocking(False)
            task = loop.create_task(self._connect(peer))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect(self, peer: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._make, peer)
        except OSError as error:  # the peer has disconnected
            log.warning("connection failed", reason=error.strerror)
            peer.close()

    def counted(self) -> Middleware:
        """Return the middleware that counts requests and refuses long ones above ``busy_max``."""

        @web.middleware
        async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
            connection = request.protocol
            if not isinstance(connection, Connection):
                return await handler(request)
            counts = request.path not in SHORT_PATHS
            if counts and self.busy >= self.busy_max:
                log.warning("too many requests", busy=self.busy, most=self.busy_max)
                refusal = busy(
                    f"{self.busy} requests are in progress, at most {self.busy_max} are "
                    "allowed; retry later, or raise the limit of open files of the broker"
                )
                refusal.headers["Connection"] = "close"
                if request.method == "POST":
                    set_outcome(request, Outcome.NOT_WRITTEN)
                raise refusal
            self.busy += counts
            self._idle.pop(connection, None)
            try:
                return await handler(request)
            finally:
                self.busy -= counts
                if connection in self._open:
                    self._idle[connection] = None

        return count

    def opened(self, connection: Connection) -> None:
        """Count a connection; close the one that has waited longest if there are too many."""
        self.accepted += 1
        self._open.add(connection)
        self._idle[connection] = None
        if len(self._open) > self.most:
            victim = next(iter(self._idle))
            log.warning("too many connections", open=len(self._open), most=self.most)
            victim.drop()

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""
        self._open.discard(connection)
        self._idle.pop(connection, None)


class Connection(web.RequestHandler):
    """One connection; see the module for its limits."""

    __slots__ = (
        "_checked", "_group", "_is_new", "_partial", "_partial_timer", "_stall_timer", "_unsent"
    )  # fmt: skip

    def __init__(self, group: Connections, server: web.Server) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]
            auto_decompress=False,  # a small compressed body must not expand to a large one
            keepalive_timeout=IDLE_S,
            lingering_time=LINGER_S,
        )
        self._group = group
        #: Whether no byte was received.
        self._is_new = True
        self._stall_timer: asyncio.TimerHandle | None = None
        self._unsent = 0
        #: Bytes received since the last complete frame of a WebSocket, counted from STALL_BYTES on.
        self._partial = 0
        self._checked = 0
        self._partial_timer: asyncio.TimerHandle | None = None

    def drop(self) -> None:
        """Close the connection at once; unsent bytes are lost."""
        self._group.closed(self)
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection."""
        super().connection_made(transport)
        self._group.opened(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection."""
        self._group.closed(self)
        self._stop_timer()
        self.frame_taken()
        super().connection_lost(exc)

    # -- what is received -----------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Receive bytes; refuse clients of other protocols, and bound frames in part."""
        if self._is_new:
            self._is_new = False
            foreign = foreign_protocol(data)
            if foreign is not None:
                self._refuse(foreign)
                return
        super().data_received(data)
        if not self._upgraded or self.transport is None:
            return
        before, self._partial = self._partial, self._partial + len(data)
        if self._partial <= STALL_BYTES:
            return
        frames = self._group.frames
        frames.add(self._partial if before <= STALL_BYTES else len(data))
        if not frames.has_room(0, self._partial):
            log.warning("too many partial frames", peer=_address(self), bytes=frames.used)
            self.drop()
        elif self._partial_timer is None:
            self._checked = self._partial
            self._partial_timer = self._loop.call_later(STALL_S, self._check_partial)

    def _refuse(self, foreign: Foreign) -> None:
        """Log one line, answer in plain HTTP, which is all that this port speaks, and close."""
        log.warning(foreign.event, peer=_address(self), reason=foreign.reason)
        if self.transport is not None:
            body = f"{foreign.reason}\n".encode()
            self.transport.write(BAD_REQUEST % (len(body), body))
            self.transport.close()

    def frame_taken(self) -> None:
        """Forget the bytes of a frame: a complete one was received."""
        if self._partial > STALL_BYTES:
            self._group.frames.add(-self._partial)
        self._partial = 0
        if self._partial_timer is not None:
            self._partial_timer.cancel()
            self._partial_timer = None

    def _check_partial(self) -> None:
        """Drop the connection if a frame grows too slowly."""
        if self._partial - self._checked >= STALL_BYTES:
            self._checked = self._partial
            self._partial_timer = self._loop.call_later(STALL_S, self._check_partial)
        else:
            log.warning("slow sender dropped", peer=_address(self), received=self._partial)
            self.drop()

    # -- what is sent ---------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """Watch a peer that does not receive what is sent."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """Stop watching."""
        super().resume_writing()
        self._stop_timer()

    def _watch(self) -> None:
        if self.transport is not None:
            self._unsent = self.transport.get_write_buffer_size()
            self._stall_timer = self._loop.call_later(STALL_S, self._check_progress)

    def _check_progress(self) -> None:
        """Drop the connection if the peer has received too little since the last check."""
        if self.transport is None:
            return
        sent = self._unsent - self.transport.get_write_buffer_size()
        if sent >= STALL_BYTES:
            self._watch()
            return
        log.warning("slow reader dropped", peer=_address(self), unsent=self._unsent - sent)
        self.drop()

    def _stop_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    # -- errors, each of them one line ----------------------------------------------------------

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a request that is not HTTP, or a failed one, and close the connection."""
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        reason = (message or type(exc).__name__).partition("\n")[0].rstrip(": ")
        log.warning("malformed request", peer=request.remote, reason=reason)
        answer = web.Response(status=status, text=f"malformed request: {reason}\n")
        answer.force_close()
        return answer

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log an exception outside of the handlers, without a traceback if a peer caused it."""
        error = kw.get("exc_info")
        if isinstance(error, OSError | asyncio.CancelledError):
            reason = f"{type(error).__name__}: {error}"
            log.warning("connection failed", peer=_address(self), reason=reason)
        else:
            super().log_exception(*args, **kw)


def _address(connection: Connection) -> str:
    peer = connection.peername
    return peer[0] if isinstance(peer, tuple) else str(peer or "")
