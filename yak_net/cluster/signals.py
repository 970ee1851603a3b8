"""Signals as requests to come to an end, the second one as an order; must never end anything."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from types import TracebackType
from typing import Final

NUMBERS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """Takes SIGINT, SIGTERM and SIGHUP for the running loop, which must be the main thread's.

    ``asked`` is set by the first, or by :meth:`ask`. ``number`` is that of the first signal, 0
    before. The next one calls ``on_hurry``.
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.number = 0
        self.on_hurry: Callable[[], None] | None = None

    @property
    def exit_code(self) -> int:
        """By convention 128 and the number of the signal."""
        return 128 + self.number

    def __enter__(self) -> Signals:
        """Take them over."""
        loop = asyncio.get_running_loop()
        for number in NUMBERS:
            # After nohup the end of the terminal is to be ignored.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                loop.add_signal_handler(number, self._on_signal, number)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give them back."""
        loop = asyncio.get_running_loop()
        for number in NUMBERS:
            loop.remove_signal_handler(number)

    def ask(self) -> None:
        """Come to an end, though no signal came."""
        self.asked.set()

    async def outlasted_by(self, task: asyncio.Task[None]) -> bool:
        """Wait for the task, and say whether it came to its end before a signal did.

        A task that did not is cancelled, and has ended when this returns.
        """
        waiting = asyncio.create_task(self.asked.wait())
        try:
            await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
            return task.done()
        finally:
            waiting.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait((task,))

    def _on_signal(self, number: int) -> None:
        if not self.number:
            self.number = number
        elif self.on_hurry is not None:
            self.on_hurry()
        self.asked.set()
