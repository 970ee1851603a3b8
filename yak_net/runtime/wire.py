"""What both ends of a WebSocket agree on: paths, headers, the greeting.

Whoever accepts a connection greets first, with one text frame that says who it is. Everything after
that is binary, a message a frame (:mod:`yak_core.wire.codec`).
"""

from __future__ import annotations

import json
from typing import Final

from aiohttp import web

from yak_core.ids import NodeId
from yak_core.value import value
from yak_core.wire.codec import FRAME_BYTES_MAX

PEER_PATH: Final = "/v1/peer"
"""Dialled by a broker that wants to hear another one."""
CLIENT_PATH: Final = "/v1/client"
"""Dialled by a client: requests up, answers down."""

NODE_HEADER: Final = "Yak-Node"
CLUSTER_HEADER: Final = "Yak-Cluster"
"""On every answer of a broker, and on what a broker dials."""

HEARTBEAT_S: Final = 5.0
"""A connection that is silent for so long is asked whether it still is one, and given up."""


class NotYak(Exception):
    """Whoever answered is no broker of this version; one sentence."""


@value
class Greeting:
    """Who answered. ``cluster`` is its name, not its store's id."""

    node: NodeId
    cluster: str


async def accept(request: web.Request, node: NodeId, cluster: str) -> web.WebSocketResponse:
    """Accept a WebSocket and greet. Raises HTTPForbidden for a web page.

    No rule of browsers keeps pages from connecting to this machine. A browser always sends the
    page's origin, and nothing else does.
    """
    if "Origin" in request.headers:
        raise web.HTTPForbidden(text="a web page may not connect here\n")
    socket = web.WebSocketResponse(
        compress=False, heartbeat=HEARTBEAT_S, max_msg_size=FRAME_BYTES_MAX
    )
    await socket.prepare(request)
    await socket.send_str(json.dumps({"yak": 1, "node": node, "cluster": cluster}))
    return socket


def read_greeting(text: object) -> Greeting:
    """Return what the first frame says. Raises NotYak for anything but a greeting."""
    try:
        if not isinstance(text, str):
            raise TypeError("no text")
        said = json.loads(text)
        if said["yak"] != 1:
            raise NotYak(f"it speaks version {said['yak']!r} of the protocol, this is version 1")
        return Greeting(str(said["node"]), str(said["cluster"]))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise NotYak("it is no YAK broker: its first words are no greeting") from error
