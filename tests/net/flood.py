"""Hostile clients of one broker: idle, half-sent and slow connections, in a process of their own.

``python -m tests.net.flood HOST PORT IDLE SLOW HALF`` opens these numbers of connections, and
prints how many it has opened. It ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.net.brokers import ROOT
from tests.require import missing

BODY_BYTES = 8 << 20
HALF = bytes(BODY_BYTES // 2)
FETCH = b"GET /fetch?offset=0&max_bytes=4194304 HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = (
    b"POST /produce HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n" % BODY_BYTES
)
RETRY_S = 5.0
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
        #: How often a connection was opened.
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
                self.opened += 1
                await loop.sock_sendall(peer, sent)
                if read:
                    while await loop.sock_recv(peer, 65536):
                        continue
                else:
                    await _until_reset(peer)
            await asyncio.sleep(RETRY_S)


async def _until_reset(peer: socket.socket) -> None:
    """Wait until the other side has closed the connection, without reading."""
    while not peer.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) and not _is_closed(peer):
        await asyncio.sleep(LOOK_S)


def _is_closed(peer: socket.socket) -> bool:
    # The first byte of tcp_info is the state; 1 means established.
    return peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) != b"\x01"


@asynccontextmanager
async def flooding(
    address: tuple[str, int], idle: int = 0, slow: int = 0, half: int = 0
) -> AsyncIterator[None]:
    """Attack a broker from another process, once every connection was opened, until the end."""
    words = [sys.executable, "-m", "tests.net.flood", address[0]]
    process = await asyncio.create_subprocess_exec(
        *words, *map(str, (address[1], idle, slow, half)),
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        while int(await process.stdout.readline()) < idle + slow + half:
            continue
        reading = asyncio.create_task(process.stdout.read())
        yield
        assert process.returncode is None, "the hostile clients have ended"
        process.stdin.close()
        await reading
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def reset(address: tuple[str, int], sent: bytes) -> None:
    """Send bytes, and reset the connection at once."""
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.settimeout(5)
        peer.connect(address)
        peer.sendall(sent)


async def main(host: str, port: int, idle: int, slow: int, half: int) -> None:
    """Run the hostile clients until standard input ends."""
    flood = Flood((host, port))
    tasks = [asyncio.create_task(flood.idle(number)) for number in range(idle)]
    tasks += [asyncio.create_task(flood.slow_reader(number)) for number in range(slow)]
    tasks += [asyncio.create_task(flood.half_body(number)) for number in range(half)]
    end = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    while not end.done():
        print(flood.opened, flush=True)
        await asyncio.wait((end,), timeout=0.2)
    for task in tasks:
        assert not task.done(), task.exception()


if __name__ == "__main__":
    need_descriptors(4_096)
    asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
