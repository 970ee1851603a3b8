"""A client of server-sent events, for tests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientResponse


@dataclass
class Event:
    """One event; ``name`` is "message" if the stream gives none, ``id`` is empty without one."""

    name: str
    data: Any
    id: str


class Events:
    """The events of an answer, one at a time; ``comments`` counts those between them."""

    def __init__(self, answer: ClientResponse) -> None:
        self.answer = answer
        self.comments = 0

    async def __aenter__(self) -> Events:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.answer.close()

    async def next(self, within_s: float = 20.0) -> Event | None:
        """Return the next event; None at the end of the stream."""
        fields = {"event": "message", "data": "", "id": ""}
        async with asyncio.timeout(within_s):
            while line := (await self.answer.content.readline()).decode():
                name, colon, value = line.rstrip("\n").partition(": ")
                if colon and not name:
                    self.comments += 1
                elif colon:
                    fields[name] = value
                elif fields["data"]:
                    return Event(fields["event"], json.loads(fields["data"]), fields["id"])
        return None

    async def take(self, count: int) -> list[Event]:
        """Return the next events."""
        found = [await self.next() for _ in range(count)]
        assert None not in found, "the stream ended"
        return [event for event in found if event is not None]

    async def until(self, condition: Callable[[Event], object], within_s: float = 20.0) -> Event:
        """Skip events until one meets the condition; return it."""
        last: Event | None = None
        async with asyncio.timeout(within_s):
            while (event := await self.next(within_s)) is not None:
                last = event
                if condition(event):
                    return event
        raise AssertionError(f"the stream ended, the last event is {last}")
