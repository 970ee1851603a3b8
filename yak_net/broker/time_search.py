"""Searches of the log by time, in threads, while the disk is open."""

from __future__ import annotations

import asyncio
from typing import Final

from yak_core.ids import Offset
from yak_net.storage import Storage
from yak_net.storage.times import TimePosition, first_since

AT_ONCE: Final = 2
"""Searches at the same time; further ones wait."""


class TimeSearch:
    """The searches of one broker."""

    def __init__(self, storage: Storage) -> None:
        self._log = storage.log
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._running: set[asyncio.Future[TimePosition | None]] = set()

    async def find(self, timestamp_ms: int, end: Offset) -> TimePosition | None:
        """Return the first record below ``end`` since a time. Raises BatchError, OSError."""
        async with self._slots:
            work = asyncio.ensure_future(
                asyncio.to_thread(first_since, self._log, timestamp_ms, end)
            )
            self._running.add(work)
            work.add_done_callback(self._running.discard)
            return await asyncio.shield(work)

    async def close(self) -> None:
        """Wait for the searches: the file is closed afterwards."""
        await asyncio.gather(*self._running, return_exceptions=True)
