"""Run a command's coroutine so that Ctrl-C interrupts it at any time."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run ``coroutine`` like :func:`asyncio.run`; block SIGINT while the loop opens and closes.

    An interrupt cancels the coroutine at its next await, also if it arrives before the start. After
    the clean-up of the coroutine, KeyboardInterrupt is raised. A second interrupt cancels again.
    """
    if threading.current_thread() is not threading.main_thread():
        return asyncio.run(coroutine)  # only the main thread receives signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    interrupted = False

    async def cancellable() -> T:
        nonlocal interrupted
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(coroutine)

        def on_interrupt() -> None:
            nonlocal interrupted
            interrupted = True
            task.cancel()

        loop.add_signal_handler(signal.SIGINT, on_interrupt)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        try:
            return await task
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

    try:
        result = asyncio.run(cancellable())
    except asyncio.CancelledError:
        if interrupted:
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if interrupted:
        raise KeyboardInterrupt
    return result
