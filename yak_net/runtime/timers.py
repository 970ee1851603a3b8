"""The timers of one node on the event loop."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Final

from yak_core.ids import Micros

MICRO: Final = 1_000_000


def now_us() -> Micros:
    """Return the machine's monotonic clock in microseconds."""
    return time.monotonic_ns() // 1_000


def wall_ms() -> int:
    """Return the wall clock in ms since 1970, for record timestamps."""
    return time.time_ns() // 1_000_000


class Timers:
    """One timer for each key; a timer fires once and never early.

    ``fire(key, cause)`` is called on the event loop, never from :meth:`set`. ``draw(lo, hi)`` picks
    the delay; tests replace it.
    """

    def __init__(
        self,
        fire: Callable[[str, int], None],
        draw: Callable[[Micros, Micros], Micros] = random.randint,
    ) -> None:
        self._fire = fire
        self._draw = draw
        self._loop = asyncio.get_running_loop()
        self._handles: dict[str, asyncio.Handle] = {}

    def set(self, key: str, lo_us: Micros, hi_us: Micros, cause: int) -> None:
        """Set or replace the timer of ``key``; it fires ``lo_us`` to ``hi_us`` from now."""
        wait = lo_us if lo_us >= hi_us else self._draw(lo_us, hi_us)
        self.cancel(key)
        self._arm(key, now_us() + wait, cause, wait)

    def cancel(self, key: str) -> None:
        """Cancel the timer of ``key``, if there is one."""
        handle = self._handles.pop(key, None)
        if handle is not None:
            handle.cancel()

    def clear(self) -> None:
        """Cancel all timers."""
        for handle in self._handles.values():
            handle.cancel()
        self._handles.clear()

    def _arm(self, key: str, due: Micros, cause: int, wait: Micros) -> None:
        # Add 1 us: the loop computes with floats and could otherwise fire too early.
        self._handles[key] = self._loop.call_later(
            (wait + 1) / MICRO, self._on_due, key, due, cause
        )

    def _on_due(self, key: str, due: Micros, cause: int) -> None:
        remaining_us = due - now_us()
        if remaining_us > 0:
            self._arm(key, due, cause, remaining_us)
            return
        del self._handles[key]
        self._fire(key, cause)
