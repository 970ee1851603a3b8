"""What waits to be written to one WebSocket; must never wait for it, nor grow without bound."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import Final, Protocol

OUTBOX_BYTES: Final = 32 << 20
"""So much waits at most behind a slow reader."""


class Sink(Protocol):
    """A WebSocket of either side."""

    async def send_bytes(self, data: bytes) -> None:
        """Send one binary frame, and wait while the peer reads too slowly."""
        ...

    async def close(self) -> object:
        """End the connection."""
        ...


class Outbox:
    """Frames in order; :meth:`put` takes one at once, :meth:`run` sends them."""

    def __init__(self, bytes_max: int = OUTBOX_BYTES) -> None:
        self.bytes_max = bytes_max
        self.size = 0
        self._frames: deque[bytes] = deque()
        self._waker: asyncio.Future[None] | None = None
        self._closed = False

    def put(self, frame: bytes) -> bool:
        """Take a frame; False if it is closed, or full. An empty one takes a frame of any size."""
        if self._closed or (self.size and self.size + len(frame) > self.bytes_max):
            return False
        self._frames.append(frame)
        self.size += len(frame)
        waker = self._waker
        if waker is not None and not waker.done():
            waker.set_result(None)
        return True

    def close(self) -> None:
        """Take no more, drop what waits, and let :meth:`run` return."""
        self._closed = True
        self._frames.clear()
        self.size = 0
        waker = self._waker
        if waker is not None and not waker.done():
            waker.set_result(None)

    async def run(self, sink: Sink) -> None:
        """Send until closed. Raises what sending raises, and is closed then."""
        frames = self._frames
        loop = asyncio.get_running_loop()
        try:
            while not self._closed:
                while frames:
                    frame = frames.popleft()
                    await sink.send_bytes(frame)
                    # Counted until it is written: a slow reader must make the outbox full.
                    self.size = max(0, self.size - len(frame))
                if not self._closed:
                    self._waker = loop.create_future()
                    await self._waker
        finally:
            self.close()

    async def write_to(self, sink: Sink) -> None:
        """Send until the link breaks, and then see to it that whoever reads from it ends, too."""
        # What aiohttp raises for a broken link is an OSError as well.
        with suppress(OSError, RuntimeError):
            await self.run(sink)
        await sink.close()
