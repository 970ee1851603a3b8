"""The links between brokers; must never look into a message beyond whose it is.

A directed link X to Y is a WebSocket that Y dials: frames from whoever accepted a connection are
not masked, so the bulk of the traffic, leader to followers, costs no pass over its bytes. X to Y
and Y to X are two connections.

A peer is known by the list that the broker was started with or by the metadata record; anybody else
is turned away, and so is a broker of another cluster. What is sent to a peer that is not connected,
or reads too slowly, is lost, as the contract allows.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import aiohttp
import structlog
from aiohttp import web

from yak_core.contract.messages import Fenced, PeerMessage, Replicate, ReplicateAck, ReplicateReject
from yak_core.ids import NodeId
from yak_core.wire.codec import FRAME_BYTES_MAX, CodecError, decode, encode
from yak_net.http.streams import accept
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
_PEER_MESSAGES: Final = (Replicate, ReplicateAck, ReplicateReject, Fenced)

log = structlog.get_logger("yak.peers")


class Peers:
    """All links of one broker. ``receive(src, message)`` and ``lost(peer)`` are called on the loop.

    ``receive`` is a plain attribute: a test puts a gate in front of it.
    """

    def __init__(self, node_id: NodeId, cluster: str, receive: Receive, lost: OnLost) -> None:
        self.node_id = node_id
        self.cluster = cluster
        self.receive = receive
        self._lost = lost
        self._urls: dict[NodeId, str] = {}
        self._out: dict[NodeId, Outbox] = {}
        self._dials: dict[NodeId, asyncio.Task[None]] = {}
        self._session: aiohttp.ClientSession | None = None
        self._said: dict[NodeId, str] = {}

    # -- who there is ---------------------------------------------------------------------------

    def learn(self, urls: Mapping[NodeId, str]) -> None:
        """Dial these peers from now on; a URL replaces the one known before."""
        for node, url in urls.items():
            if node != self.node_id and url and self._urls.get(node) != url:
                self._urls[node] = url
                if self._session is not None:
                    self._dial(node)

    def url_of(self, node: NodeId) -> str:
        """Where a peer is, as far as known; else empty."""
        return self._urls.get(node, "")

    @property
    def started(self) -> bool:
        """Whether peers are dialled."""
        return self._session is not None

    def reaches(self, node: NodeId) -> bool:
        """Whether the peer listens now, as far as known."""
        return node in self._out

    async def start(self) -> None:
        """Dial whoever is known."""
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=DIAL_TIMEOUT_S)
        )
        for node in self._urls:
            self._dial(node)

    async def close(self) -> None:
        """End all links."""
        session, self._session = self._session, None
        for task in self._dials.values():
            task.cancel()
        await asyncio.gather(*self._dials.values(), return_exceptions=True)
        for outbox in self._out.values():
            outbox.close()
        if session is not None:
            await session.close()

    # -- to a peer ------------------------------------------------------------------------------

    def send(self, dst: NodeId, message: PeerMessage) -> bool:
        """Put a message on the link; False if it certainly does not arrive."""
        outbox = self._out.get(dst)
        return outbox is not None and outbox.put(encode(message))

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """The other end of a dial: a peer wants to hear this broker."""
        node = request.headers.get(NODE_HEADER, "")
        cluster = request.headers.get(CLUSTER_HEADER, "")
        if cluster != self.cluster:
            self._say(node, f"turned away {node or 'a peer'}: it is of cluster {cluster!r}")
            raise web.HTTPForbidden(text=f"this is cluster {self.cluster}, not {cluster}\n")
        if node not in self._urls:
            self._say(node, f"turned away {node or 'a peer'}: it is no member of this cluster")
            raise web.HTTPForbidden(text=f"{node} is no member of this cluster as far as I know\n")
        socket = await accept(request, self.node_id, self.cluster)
        outbox = Outbox()
        before = self._out.get(node)
        self._out[node] = outbox
        if before is not None:
            before.close()
            self._lost(node)
        writer = asyncio.create_task(outbox.write_to(socket))
        try:
            async for _ in socket:
                break  # Nothing is said in this direction; whoever does is no peer.
        finally:
            outbox.close()
            await writer
            if self._out.get(node) is outbox:
                del self._out[node]
                self._lost(node)
            await socket.close()
        return socket

    # -- from a peer ----------------------------------------------------------------------------

    def _dial(self, node: NodeId) -> None:
        before = self._dials.get(node)
        if before is not None:
            before.cancel()
        self._dials[node] = asyncio.create_task(self._listen(node, self._urls[node]))

    async def _listen(self, node: NodeId, url: str) -> None:
        """Hear a peer for as long as this broker lives, through whatever happens to the link."""
        backoff = BACKOFF_MIN_S
        while True:
            try:
                if await self._hear(node, url):
                    backoff = BACKOFF_MIN_S
            except (aiohttp.ClientError, OSError, TimeoutError, NotYak, CodecError) as error:
                self._say(node, _reason(error))
            await asyncio.sleep(random.uniform(backoff / 2, backoff))
            backoff = min(2 * backoff, BACKOFF_MAX_S)

    async def _hear(self, node: NodeId, url: str) -> bool:
        """One connection; True if it came about."""
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
            met = read_greeting(first.data)
            if (met.node, met.cluster) != (node, self.cluster):
                raise NotYak(f"{met.node} of cluster {met.cluster} answers there")
            self._said.pop(node, None)
            log.info("hears a peer", peer=node, url=url)
            async for frame in socket:
                if frame.type is not aiohttp.WSMsgType.BINARY:
                    raise NotYak("it says what no broker says")
                message = decode(frame.data)
                if not isinstance(message, _PEER_MESSAGES):
                    raise NotYak(f"it sends a {type(message).__name__}")
                self.receive(node, message)
        log.info("lost a peer", peer=node)
        return True

    def _say(self, node: NodeId, what: str) -> None:
        """Once a change, not once an attempt."""
        if self._said.get(node) != what:
            self._said[node] = what
            log.warning("no link", peer=node, url=self.url_of(node), reason=what)


def _reason(error: BaseException) -> str:
    if isinstance(error, aiohttp.WSServerHandshakeError):
        return f"it refuses ({error.status}): is it of another cluster, or does it not know me?"
    return str(error) or type(error).__name__
