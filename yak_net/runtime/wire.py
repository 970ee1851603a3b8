"""Constants of the WebSocket protocol, and its greeting.

The side that accepts a connection sends one text frame first, the greeting, with its node id and
cluster. All later frames are binary, one message in each (:mod:`yak_core.wire.codec`).
"""

from __future__ import annotations

import json
import ssl
from functools import cache
from typing import Final

from yak_core.ids import NodeId
from yak_core.value import value

PEER_PATH: Final = "/v1/peer"
"""Path to which a broker connects to receive messages of a peer."""
CLIENT_PATH: Final = "/v1/client"
"""Path to which a client connects, for requests and responses."""

NODE_HEADER: Final = "Yak-Node"
CLUSTER_HEADER: Final = "Yak-Cluster"
"""Both headers are in each HTTP response of a broker, and in its requests to peers."""

HEARTBEAT_S: Final = 5.0
"""Seconds without a frame after which a WebSocket ping is sent; no pong closes the connection."""


@cache
def certificates(url: str) -> ssl.SSLContext | bool:
    """Return aiohttp's ``ssl`` argument: the system's certificates for an https URL, else True."""
    return ssl.create_default_context() if url.startswith("https:") else True


class NotYak(Exception):
    """The other side is not a broker of this protocol version; the message says why."""


@value
class Greeting:
    """The identity of a broker. ``cluster`` is the cluster's name, not the store id."""

    node: NodeId
    cluster: str


def greeting(node: NodeId, cluster: str) -> str:
    """Return the text of the first frame."""
    return json.dumps({"yak": 1, "node": node, "cluster": cluster})


def read_greeting(text: object) -> Greeting:
    """Parse the text of the first frame. Raises NotYak if it is not a valid greeting."""
    try:
        if not isinstance(text, str):
            raise TypeError("the greeting is not text")
        fields = json.loads(text)
        if fields["yak"] != 1:
            raise NotYak(f"expected protocol version 1, got {fields['yak']!r}")
        return Greeting(str(fields["node"]), str(fields["cluster"]))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise NotYak("not a YAK broker: invalid greeting") from error
