"""WebSocket links between brokers.

A directed link X to Y is a WebSocket that Y opens to X. Frames from the accepting side are not
masked (RFC 6455), so most traffic, leader to followers, needs no extra pass over its bytes. X to Y
and Y to X are two connections.

A broker accepts the peers that its start-up options or the partition state name. It rejects all
other brokers, and brokers of another cluster. A message to a peer that is not connected or that
reads too slowly is lost; clause 5 of docs/contract.md allows this.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import aiohttp
import structlog
from aiohttp import web

from yak_core.contract.messages import Fenced, PeerMessage, Replicate, ReplicateAck, ReplicateReject
from yak_core.ids import NodeId
from yak_core.wire.codec import FRAME_BYTES_MAX, CodecError, decode, encode
from yak_net.http.streams import accept
from yak_net.runtime.connection_errors import connection_error
from yak_net.runtime.outbox import Outbox
from yak_net.runtime.wire import (
    CLUSTER_HEADER,
    HEARTBEAT_S,
    NODE_HEADER,
    PEER_PATH,
    NotYak,
    certificates,
    read_greeting,
)

Receive: TypeAlias = Callable[[NodeId, PeerMessage], None]
OnLost: TypeAlias = Callable[[NodeId], None]

BACKOFF_MIN_S: Final = 0.02
BACKOFF_MAX_S: Final = 0.5
DIAL_TIMEOUT_S: Final = 2.0
QUIET_S: Final = 10.0
"""Time for which a link may fail before that is logged; longer than the start of a cluster takes.

While a cluster starts, some brokers do not listen yet, and do not know all members yet."""
_PEER_MESSAGES: Final = (Replicate, ReplicateAck, ReplicateReject, Fenced)

log = structlog.get_logger("yak.peers")


class Peers:
    """All links of one broker.

    ``receive(src, message)`` and ``on_lost(peer)`` are called on the event loop. Tests replace the
    attribute ``receive`` to hold messages back.
    """

    def __init__(
        self,
        node_id: NodeId,
        cluster: str,
        receive: Receive,
        on_lost: OnLost,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.node_id = node_id
        self.cluster = cluster
        self.receive = receive
        self._on_lost = on_lost
        self._urls: dict[NodeId, str] = {}
        self._outboxes: dict[NodeId, Outbox] = {}
        self._dial_tasks: dict[NodeId, asyncio.Task[None]] = {}
        self._session: aiohttp.ClientSession | None = None
        self._clock = clock
        self._failing_since: dict[str, float] = {}
        self._logged_reasons: dict[str, str] = {}

    # -- known peers ----------------------------------------------------------------------------

    def update_urls(self, urls: Mapping[NodeId, str]) -> None:
        """Connect to these peers from now on; a new URL replaces the previous one."""
        for node, url in urls.items():
            if node != self.node_id and url and self._urls.get(node) != url:
                self._urls[node] = url
                if self._session is not None:
                    self._dial(node)

    def url_of(self, node: NodeId) -> str:
        """Return the URL of a peer, or "" if it is unknown."""
        return self._urls.get(node, "")

    @property
    def started(self) -> bool:
        """Whether :meth:`start` was called and :meth:`close` was not."""
        return self._session is not None

    def is_connected(self, node: NodeId) -> bool:
        """Return whether the peer has an open connection to this broker."""
        return node in self._outboxes

    def urls(self) -> dict[NodeId, str]:
        """Return the URLs of all known peers."""
        return dict(sorted(self._urls.items()))

    def queues(self) -> dict[NodeId, int | None]:
        """Return the bytes queued for each known peer; None if it is not connected."""
        return {
            node: None if (outbox := self._outboxes.get(node)) is None else outbox.size
            for node in sorted(self._urls)
        }

    async def start(self) -> None:
        """Connect to all known peers."""
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=DIAL_TIMEOUT_S)
        )
        for node in self._urls:
            self._dial(node)

    async def close(self) -> None:
        """Close all links."""
        session, self._session = self._session, None
        for task in self._dial_tasks.values():
            task.cancel()
        await asyncio.gather(*self._dial_tasks.values(), return_exceptions=True)
        for outbox in self._outboxes.values():
            outbox.close()
        if session is not None:
            await session.close()

    # -- to a peer ------------------------------------------------------------------------------

    def send(self, dst: NodeId, message: PeerMessage) -> bool:
        """Queue a message on the link; return False if it certainly does not arrive."""
        outbox = self._outboxes.get(dst)
        return outbox is not None and outbox.put(encode(message))

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Serve a connection that a peer opened to receive this broker's messages.

        Raises HTTPForbidden for a broker of another cluster and for an unknown node id.
        """
        node = request.headers.get(NODE_HEADER, "")
        cluster = request.headers.get(CLUSTER_HEADER, "")
        if cluster != self.cluster:
            name = node or "a peer without id"
            # No start takes a wrong name: this is logged at once.
            self._log_once(node, f"rejected {name}: cluster {cluster!r}, expected {self.cluster!r}")
            raise web.HTTPForbidden(
                text=f"cluster mismatch: expected {self.cluster}, got {cluster}\n"
            )
        if node not in self._urls:
            name = node or "a peer without id"
            self._log_later(node, f"rejected {name}: not a member of cluster {self.cluster}")
            raise web.HTTPForbidden(
                text=f"broker {node} is not a member of cluster {self.cluster}\n"
            )
        self._forget_failure(node)
        socket = await accept(request, self.node_id, self.cluster)
        outbox = Outbox()
        previous = self._outboxes.get(node)
        self._outboxes[node] = outbox
        if previous is not None:
            previous.close()
            self._on_lost(node)
        writer = asyncio.create_task(outbox.write_to(socket))
        try:
            async for _ in socket:
                break  # A peer sends nothing in this direction: close the connection.
        finally:
            outbox.close()
            await writer
            if self._outboxes.get(node) is outbox:
                del self._outboxes[node]
                self._on_lost(node)
            await socket.close()
        return socket

    # -- from a peer ----------------------------------------------------------------------------

    def _dial(self, node: NodeId) -> None:
        previous = self._dial_tasks.get(node)
        if previous is not None:
            previous.cancel()
        self._dial_tasks[node] = asyncio.create_task(self._keep_receiving(node, self._urls[node]))

    async def _keep_receiving(self, node: NodeId, url: str) -> None:
        """Receive from a peer until this broker stops; reconnect after each failure."""
        backoff = BACKOFF_MIN_S
        while True:
            try:
                if await self._receive_from(node, url):
                    backoff = BACKOFF_MIN_S
            except (aiohttp.ClientError, OSError, TimeoutError, NotYak, CodecError) as error:
                self._log_later(f"to {node}", _reason(error), node)
            await asyncio.sleep(random.uniform(backoff / 2, backoff))
            backoff = min(2 * backoff, BACKOFF_MAX_S)

    async def _receive_from(self, node: NodeId, url: str) -> bool:
        """Receive on one connection until it closes.

        Returns True if the connection was established. Raises NotYak if the other side is not the
        expected broker or sends an unexpected frame, CodecError for a malformed frame.
        """
        assert self._session is not None
        headers = {NODE_HEADER: self.node_id, CLUSTER_HEADER: self.cluster}
        async with self._session.ws_connect(
            url.rstrip("/") + PEER_PATH,
            headers=headers,
            ssl=certificates(url),
            heartbeat=HEARTBEAT_S,
            max_msg_size=FRAME_BYTES_MAX,
        ) as socket:
            first = await socket.receive(DIAL_TIMEOUT_S)
            peer = read_greeting(first.data)
            if (peer.node, peer.cluster) != (node, self.cluster):
                raise NotYak(
                    f"expected broker {node} of cluster {self.cluster}, "
                    f"got {peer.node} of cluster {peer.cluster}"
                )
            self._forget_failure(f"to {node}")
            log.info("connected to peer", peer=node, url=url)
            async for frame in socket:
                if frame.type is not aiohttp.WSMsgType.BINARY:
                    raise NotYak(f"expected a binary frame from {node}, got {frame.type.name}")
                message = decode(frame.data)
                if not isinstance(message, _PEER_MESSAGES):
                    kind = type(message).__name__
                    raise NotYak(f"expected a peer message from {node}, got {kind}")
                self.receive(node, message)
        log.info("connection to peer closed", peer=node)
        return True

    def _log_later(self, link: str, reason: str, node: NodeId = "") -> None:
        """Log why a link fails, once it has failed for longer than a start takes."""
        now = self._clock()
        if now - self._failing_since.setdefault(link, now) >= QUIET_S:
            self._log_once(link, reason, node)

    def _log_once(self, link: str, reason: str, node: NodeId = "") -> None:
        """Log a reason once, not after each attempt."""
        if self._logged_reasons.get(link) != reason:
            self._logged_reasons[link] = reason
            peer = node or link
            log.warning("link failed", peer=peer, url=self.url_of(peer), reason=reason)

    def _forget_failure(self, link: str) -> None:
        self._failing_since.pop(link, None)
        self._logged_reasons.pop(link, None)


def _reason(error: BaseException) -> str:
    """Return what is wrong with a link, without the names of a library's settings."""
    if isinstance(error, aiohttp.WSServerHandshakeError):
        return f"handshake rejected with status {error.status}: check --cluster and the broker list"
    reason = connection_error(error)
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect to {error.host}:{error.port}: {reason}"
    return reason
