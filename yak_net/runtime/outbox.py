"""The bounded queue of frames to send on one WebSocket.

An idle outbox sends a frame at once, within :meth:`Outbox.put`: a wake-up of the sending task would
cost an iteration of the event loop. Only a frame that must wait, because the reader is slow, goes
to the task.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Generator
from contextlib import suppress
from types import coroutine
from typing import Any, Final, Protocol

from yak_net.runtime.budget import Budget

OUTBOX_BYTES: Final = 32 << 20
"""Maximum number of queued bytes for one slow reader."""


class Sink(Protocol):
    """A WebSocket, of the client side or the server side."""

    def send_bytes(self, data: bytes) -> Coroutine[Any, None, None]:
        """Send one binary frame; wait while the peer reads too slowly."""
        ...

    async def close(self) -> object:
        """Close the connection."""
        ...


class Outbox:
    """A queue of frames: :meth:`put` adds one without waiting, :meth:`run` sends them in order.

    ``size`` is the number of bytes that are not sent; ``budget`` counts those of many outboxes.
    With ``keep_unsent``, ``unsent`` holds the frames that were in the queue when the outbox was
    closed: no byte of them was sent. A frame that was being sent is not among them.
    """

    def __init__(
        self,
        bytes_max: int = OUTBOX_BYTES,
        budget: Budget | None = None,
        *,
        keep_unsent: bool = False,
    ) -> None:
        self.bytes_max = bytes_max
        self.size = 0
        self._budget = budget
        self.unsent: list[bytes] = []
        self._keep_unsent = keep_unsent
        self._frames: deque[bytes] = deque()
        self._sink: Sink | None = None
        # Set while run() waits for a frame.
        self._waker: asyncio.Future[None] | None = None
        # What put() has begun and run() continues: a frame in a partial write, or an error.
        self._begun: Coroutine[Any, None, None] | None = None
        self._begun_size = 0
        self._error: Exception | None = None
        self._closed = False

    def put(self, frame: bytes) -> bool:
        """Add a frame; return False if the outbox is closed or full.

        An empty outbox accepts a frame of any size.
        """
        if self._closed or (self.size and self.size + len(frame) > self.bytes_max):
            return False
        waker = self._waker
        if waker is None or waker.done():
            self._frames.append(frame)
            self._count(len(frame))
        elif not self._sent_at_once(frame):
            waker.set_result(None)
        return True

    def _sent_at_once(self, frame: bytes) -> bool:
        """Begin to send a frame while run() waits; return whether run() has nothing to do."""
        assert self._sink is not None, "run() waits without a sink"
        sending = self._sink.send_bytes(frame)
        try:
            waiting = sending.send(None)
        except StopIteration:
            return True
        except Exception as error:  # run() raises it
            self._error = error
            return False
        self._begun = _continued(sending, waiting)
        self._begun_size = len(frame)
        self._count(len(frame))
        return False

    def close(self) -> None:
        """Reject further frames, drop queued frames, and let :meth:`run` return."""
        self._closed = True
        if self._keep_unsent:
            self.unsent.extend(self._frames)
        self._frames.clear()
        self._count(-self.size)
        waker = self._waker
        if waker is not None and not waker.done():
            waker.set_result(None)

    async def run(self, sink: Sink) -> None:
        """Send frames until the outbox is closed.

        An exception of ``sink`` closes the outbox and is raised.
        """
        frames = self._frames
        loop = asyncio.get_running_loop()
        self._sink = sink
        try:
            while not self._closed:
                if self._error is not None:
                    raise self._error
                if self._begun is not None:
                    begun, self._begun = self._begun, None
                    await begun
                    self._count(-min(self.size, self._begun_size))
                while frames:
                    frame = frames.popleft()
                    await sink.send_bytes(frame)
                    # Count the frame until it is sent, so that a slow reader fills the outbox.
                    self._count(-min(self.size, len(frame)))
                if not self._closed:
                    self._waker = loop.create_future()
                    await self._waker
        finally:
            self.close()
            if self._begun is not None:
                self._begun.close()

    def _count(self, more: int) -> None:
        self.size += more
        if self._budget is not None:
            self._budget.add(more)

    async def write_to(self, sink: Sink) -> None:
        """Send frames until the connection breaks; then close it, which also ends its reader."""
        # aiohttp's exceptions for a broken connection are subclasses of OSError.
        with suppress(OSError, RuntimeError):
            await self.run(sink)
        await sink.close()


@coroutine
def _continued(
    sending: Coroutine[Any, None, None], waiting: object
) -> Generator[Any, Any, None]:
    """Continue a coroutine that has run up to its first wait, for ``waiting``."""
    try:
        yield waiting
    except BaseException:
        sending.close()
        raise
    yield from sending
