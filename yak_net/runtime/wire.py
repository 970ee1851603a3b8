"""What both ends of a WebSocket agree on: paths, headers, the greeting.

Whoever accepts a connection greets first, with one text frame that says who it is. Everything after
that is binary, a message a frame (:mod:`yak_core.wire.codec`).
"""

from __future__ import annotations

import json
import ssl
from functools import cache
from typing import Final

from yak_core.ids import NodeId
from yak_core.value import value

PEER_PATH: Final = "/v1/peer"
"""Dialled by a broker that wants to hear another one."""
CLIENT_PATH: Final = "/v1/client"
"""Dialled by a client: requests up, answers down."""

NODE_HEADER: Final = "Yak-Node"
CLUSTER_HEADER: Final = "Yak-Cluster"
"""On every answer of a broker, and on what a broker dials."""

HEARTBEAT_S: Final = 5.0
"""A connection that is silent for so long is asked whether it still is one, and given up."""


@cache
def certificates(url: str) -> ssl.SSLContext | bool:
    """Return the ``ssl`` argument of aiohttp: what the system trusts, if the URL is of TLS."""
    return ssl.create_default_context() if url.startswith("https:") else True


class NotYak(Exception):
    """Whoever answered is no broker of this version; one sentence."""


@value
class Greeting:
    """Who answered. ``cluster`` is its name, not its store's id."""

    node: NodeId
    cluster: str


def greeting(node: NodeId, cluster: str) -> str:
    """Return the text of the first frame."""
    return json.dumps({"yak": 1, "node": node, "cluster": cluster})


def read_greeting(text: object) -> Greeting:
    """Return what :func:`greeting` was given. Raises NotYak for anything else."""
    try:
        if not isinstance(text, str):
            raise TypeError("no text")
        said = json.loads(text)
        if said["yak"] != 1:
            raise NotYak(f"it speaks version {said['yak']!r} of the protocol, this is version 1")
        return Greeting(str(said["node"]), str(said["cluster"]))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise NotYak("it is no YAK broker: its first words are no greeting") from error
