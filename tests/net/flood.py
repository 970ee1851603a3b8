"""Hostile clients of one broker: idle, half-sent, slow and garbled connections."""

from __future__ import annotations

import asyncio
import resource
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from tests.require import missing

BODY_BYTES = 8 << 20
HALF = bytes(BODY_BYTES // 2)
FETCH = b"GET /fetch?offset=0&max_bytes=4194304 HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = (
    b"POST /produce HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n" % BODY_BYTES
)
RETRY_S = 1.0
"""Seconds after which a hostile client connects again."""
LOOK_S = 0.05


def need_descriptors(count: int) -> None:
    """Raise the soft limit of open files of this process to ``count``, or skip the test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        missing("open-files", f"the hard limit of open files is {hard}, {count} are needed")
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def peak_bytes(pid: int) -> int:
    """Return the largest resident memory of a process so far."""
    for line in Path("/proc", str(pid), "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM in /proc")


def open_descriptors(pid: int) -> int:
    """Return how many files a process has open."""
    return len(list(Path("/proc", str(pid), "fd").iterdir()))


class Flood:
    """Connections to ``address`` that are opened again when the broker closes them."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        #: Connections that are open now, and how often one was opened.
        self.open = 0
        self.opened = 0

    async def idle(self, number: int) -> None:
        """Send nothing, or half a head."""
        await self._hold(b"" if number % 2 else FETCH[:20], read=True)

    async def slow_reader(self, _: int) -> None:
        """Request records and do not read the answer."""
        await self._hold(FETCH, read=False)

    async def half_body(self, _: int) -> None:
        """Send half of a body and no more."""
        await self._hold(POST + HALF, read=True)

    async def _hold(self, sent: bytes, *, read: bool) -> None:
        loop = asyncio.get_running_loop()
        while True:
            with socket.socket() as peer, suppress(OSError):
                peer.setblocking(False)
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                await loop.sock_connect(peer, self.address)
                self.open += 1
                self.opened += 1
                try:
                    await loop.sock_sendall(peer, sent)
                    if read:
                        while await loop.sock_recv(peer, 65536):
                            continue
                    else:
                        await _until_reset(peer)
                finally:
                    self.open -= 1
            await asyncio.sleep(RETRY_S)


async def _until_reset(peer: socket.socket) -> None:
    """Wait until the other side has closed the connection, without reading."""
    while not peer.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) and not _is_closed(peer):
        await asyncio.sleep(LOOK_S)


def _is_closed(peer: socket.socket) -> bool:
    # The first byte of tcp_info is the state; 1 means established.
    return struct.unpack("B", peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1))[0] != 1


@asynccontextmanager
async def flooding(
    *kinds: tuple[int, Callable[[int], Coroutine[Any, Any, None]]],
) -> AsyncIterator[None]:
    """Run (count, kind) hostile clients until the end."""
    tasks = [
        asyncio.create_task(kind(number)) for count, kind in kinds for number in range(count)
    ]
    try:
        yield
        failed = [task for task in tasks if task.done()]
        assert not failed, failed[0].exception()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def reset(address: tuple[str, int], sent: bytes) -> None:
    """Send bytes, and reset the connection at once."""
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.settimeout(5)
        peer.connect(address)
        peer.sendall(sent)
