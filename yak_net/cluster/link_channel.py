"""The supervisor's end of the private channel to the link gate of one broker.

:mod:`yak_net.broker.link_gate` has the other end, and describes the lines.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Sequence
from typing import Any, Final

CONFIRM_S: Final = 2.0
"""Seconds until a broker that runs confirms; one that is paused does not."""
READ_BYTES: Final = 4096


class LinkChannel:
    """One channel; ``child`` is the descriptor that the broker inherits."""

    def __init__(self) -> None:
        """Open both ends. Raises OSError."""
        self._socket, self._other = socket.socketpair()
        self._socket.setblocking(False)
        self.child = self._other.fileno()
        self._number = 0
        self._applied = 0
        self._rest = b""
        self._lock = asyncio.Lock()

    def close_child(self) -> None:
        """Close this process' copy of the broker's end, after the broker was started."""
        self._other.close()

    def close(self) -> None:
        """Close both ends."""
        self._other.close()
        self._socket.close()

    async def send(self, links: Sequence[dict[str, Any]]) -> bool:
        """Send all faults on the links of the broker; return whether it has confirmed them.

        Without a confirmation it applies them when it continues.
        """
        loop = asyncio.get_running_loop()
        async with self._lock:
            self._number += 1
            order = {"number": self._number, "links": list(links)}
            try:
                async with asyncio.timeout(CONFIRM_S):
                    await loop.sock_sendall(self._socket, json.dumps(order).encode() + b"\n")
                    while self._applied < self._number:
                        data = await loop.sock_recv(self._socket, READ_BYTES)
                        if not data:
                            return False
                        *lines, self._rest = (self._rest + data).split(b"\n")
                        for line in lines:
                            self._applied = int(json.loads(line)["applied"])
            except OSError:  # TimeoutError is an OSError
                return False
            return True

    def send_first(self, links: Sequence[dict[str, Any]]) -> None:
        """Send the faults before the broker starts, so that it has them when its node starts."""
        self._number += 1
        order = {"number": self._number, "links": list(links)}
        self._socket.send(json.dumps(order).encode() + b"\n")
