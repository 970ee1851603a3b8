"""Server-sent events (the WHATWG standard that browsers call EventSource), and their limits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
from aiohttp import web

from yak_net.http.problems import COMMON_HEADERS
from yak_net.http.shares import busy

CONTENT_TYPE: Final = "text/event-stream"
RETRY_MS: Final = 1_000
"""Milliseconds after which a browser connects again."""
PART_BYTES: Final = 64 * 1024
"""A larger event is sent in parts of this size: the transport would copy all of it."""
LAST_EVENT_ID: Final = "Last-Event-ID"

_ENCODER: Final = msgspec.json.Encoder()


def event(name: str, data: object, event_id: int | None = None) -> bytes:
    """Return one event. Without a name it is a "message"; JSON has no line breaks."""
    head = b"" if event_id is None else b"id: %d\n" % event_id
    if name:
        head += b"event: %s\n" % name.encode()
    return b"%sdata: %s\n\n" % (head, _ENCODER.encode(data))


class EventStream:
    """The answer to a request, as a stream of events that is sent as fast as its client reads."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        # A proxy such as nginx must not collect the events.
        headers = {**COMMON_HEADERS, "X-Accel-Buffering": "no"}
        self.response = web.StreamResponse(headers=headers)
        self.response.content_type = CONTENT_TYPE
        self.response.charset = "utf-8"

    async def open(self) -> None:
        """Send the headers, and the time after which a browser connects again."""
        await self.response.prepare(self._request)
        await self.response.write(b"retry: %d\n\n" % RETRY_MS)

    async def send(self, events: bytes) -> None:
        """Send events; wait until the client has room for them. Raises ConnectionError."""
        whole = memoryview(events)
        for at in range(0, len(events), PART_BYTES):
            await self.response.write(whole[at : at + PART_BYTES])

    async def heartbeat(self) -> None:
        """Send a comment, which clients ignore: it shows both sides that the other is there."""
        await self.response.write(b": heartbeat\n\n")

    async def close(self) -> web.StreamResponse:
        """End the stream."""
        await self.response.write_eof()
        return self.response


class Slots:
    """A maximum number of open streams of one kind, ``what``."""

    def __init__(self, most: int, what: str) -> None:
        self.most = most
        self.used = 0
        self._what = what

    @contextmanager
    def take(self) -> Iterator[None]:
        """Hold a slot. Raises Problem (503, retriable) if none is free."""
        if self.used >= self.most:
            raise busy(
                f"{self.used} {self._what} are open, at most {self.most} are allowed; "
                "close one, or retry later"
            )
        self.used += 1
        try:
            yield
        finally:
            self.used -= 1
