"""The policy of small appends: when the event loop writes them itself, without the disk thread.

A write of up to 64 KiB into the page cache takes 5 to 30 us. The hand-over to a thread and back
takes longer, because two threads have to be woken. So the loop writes a small append itself if no
operation is pending; flushes, truncations, saved values and large appends are left to the thread.
With ``flush=batch`` a flush follows each append, so the thread is woken anyway, and it writes all.

A write can also block for seconds, for example while the system limits dirty pages. The kernel
offers no write that fails instead on all file systems (ext4 refuses RWF_NOWAIT). So the loop stops
to write after one slow write of its own, or after an operation of the thread that took long. While
the thread is in an operation, the loop writes nothing. A pause ends after a second; if the disk is
still slow then, each further pause is twice as long, up to a minute.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from yak_core.config import FlushMode

LOOP_BYTES: Final = 64 * 1024
"""Largest append in bytes that the loop writes; a batch of the default producer is not larger."""
SLOW_S: Final = 0.01
"""Seconds that a write on the loop may take before a pause begins."""
STALLED_S: Final = 0.1
"""Seconds that a group of operations of the thread may take; a flush takes longer than a write."""
PAUSE_S: Final = 1.0
PAUSE_MAX_S: Final = 60.0


class LoopWrites:
    """Decides which appends the event loop writes; used on the loop only.

    With ``bytes_max`` 0, it writes none. ``clock`` returns seconds.
    """

    def __init__(
        self, bytes_max: int = LOOP_BYTES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.bytes_max = bytes_max
        self._clock = clock
        self._pause_s = PAUSE_S
        self._paused_until = float("-inf")

    @classmethod
    def of(cls, flush: FlushMode) -> LoopWrites:
        """Return the policy for a flush mode."""
        return cls(0 if flush == "batch" else LOOP_BYTES)

    def allowed(self, size: int) -> bool:
        """Return whether the loop may write ``size`` bytes now."""
        return size <= self.bytes_max and self._clock() >= self._paused_until

    def wrote(self, seconds: float) -> None:
        """Note the duration of a write on the loop."""
        if seconds > SLOW_S:
            self._pause()

    def thread_took(self, seconds: float) -> None:
        """Note the duration of a group of operations of the disk thread."""
        if seconds > STALLED_S:
            self._pause()

    def _pause(self) -> None:
        now = self._clock()
        again = now < self._paused_until + self._pause_s
        self._pause_s = min(2 * self._pause_s, PAUSE_MAX_S) if again else PAUSE_S
        self._paused_until = now + self._pause_s
