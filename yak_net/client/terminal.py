"""Signals, lines in and bytes out, for commands that end politely; must never know of records."""

from __future__ import annotations

import asyncio
import os
import re
import select
import signal
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from types import FrameType
from typing import Any, Final

CHUNK_BYTES: Final = 64 * 1024
LOOK_S: Final = 0.1
"""How often a write that has to wait looks for signals."""
STDIN: Final = 0
STDOUT: Final = 1
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(ms|s|m|h|)")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}


class Stopped(Exception):
    """A signal came, and nobody reads the output."""


class Interrupts:
    """Takes the first SIGINT or SIGTERM as a request to come to an end, the second as an order.

    ``number`` is that of the first signal, 0 before.
    """

    def __init__(self) -> None:
        self.number = 0
        self._event = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._before: dict[int, Any] = {}

    @property
    def exit_code(self) -> int:
        """By convention 128 and the number of the signal."""
        return 128 + self.number

    def __enter__(self) -> Interrupts:
        """Take over the two signals, if they are this thread's to take."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        """Give them back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.number:
            os._exit(128 + number)
        self.number = number
        self._loop.call_soon_threadsafe(self._event.set)

    async def outlasted_by(self, work: Coroutine[Any, Any, object]) -> bool:
        """Do the work, and say whether it came to its end before a signal; else it is cancelled."""
        task = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self._event.wait())
        try:
            await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait((task,))
        if task.cancelled():
            return False
        task.result()
        return True

    def write(self, data: bytes) -> None:
        """Write to standard output. Raises OSError, and Stopped if nobody reads after a signal.

        The loop stands still meanwhile, and so does whoever sends: that is what a pipe is for. But
        a signal must not be in vain when the pipe is full for good, so this never writes more than
        fits without waiting.
        """
        rest = memoryview(data)
        while rest:
            _, ready, _ = select.select((), (STDOUT,), (), LOOK_S)
            if ready:
                rest = rest[os.write(STDOUT, rest[: select.PIPE_BUF]) :]
            elif self.number:
                raise Stopped


class Splitter:
    """Cuts bytes into lines; of a line that is longer than ``longest``, only so much and a byte."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that end in this chunk, without their newlines."""
        *lines, rest = (self._rest + chunk).split(b"\n")
        self._rest = rest[: self._longest + 1]
        return lines

    def finish(self) -> list[bytes]:
        """The last line, if it lacked its newline."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []


async def lines_of(
    fd: int, longest: int, on_bytes: Callable[[int], None] = lambda count: None
) -> AsyncIterator[list[bytes]]:
    """The lines of a descriptor, as many at a time as come at a time. Raises OSError.

    A thread reads, whatever the descriptor is: a terminal, a pipe or a file. It is one that the end
    of the process does not wait for, since a read from a terminal ends when somebody types.
    """
    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[bytes | OSError] = asyncio.Queue()
    turn = threading.Semaphore(2)

    def read() -> None:
        chunk: bytes | OSError = b"-"
        while chunk and not isinstance(chunk, OSError):
            turn.acquire()
            try:
                chunk = os.read(fd, CHUNK_BYTES)
            except OSError as error:
                chunk = error
            with suppress(RuntimeError):  # the loop is over, and nobody wants to know any more
                loop.call_soon_threadsafe(chunks.put_nowait, chunk)

    threading.Thread(target=read, daemon=True, name="lines").start()
    splitter = Splitter(longest)
    while chunk := await chunks.get():
        if isinstance(chunk, OSError):
            raise chunk
        turn.release()
        on_bytes(len(chunk))
        yield splitter.feed(chunk)
    yield splitter.finish()


async def show_progress(describe: Callable[[], str], after_s: float = 0.5) -> None:
    """Keep a line on a terminal's standard error until cancelled, if the work takes a while."""
    await asyncio.sleep(after_s)
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(describe(), total=None)
        while True:
            progress.update(task, description=describe())
            await asyncio.sleep(0.1)


def parse_duration(word: str) -> float:
    """Seconds: ``5``, ``5s``, ``250ms``, ``1m``. Raises ValueError."""
    found = _DURATION.fullmatch(word.strip())
    if found is None or not float(found[1]):
        raise ValueError(f"{word!r} is no time; one is 5s, 250ms or 1m")
    return float(found[1]) * _UNITS[found[2]]
