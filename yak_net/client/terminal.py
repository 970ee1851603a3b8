"""Signals, line input, output and progress of the commands ``yak produce`` and ``yak consume``."""

from __future__ import annotations

import asyncio
import os
import re
import select
import signal
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final

from yak_net.runtime.standard_streams import STDOUT, wait

CHUNK_BYTES: Final = 64 * 1024
POLL_S: Final = 0.1
"""Interval at which a blocked write checks for signals."""
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(ms|s|m|h|)")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}


class OutputInterrupted(Exception):
    """A signal arrived while the output was blocked."""


class Interrupts:
    """Handles SIGINT and SIGTERM: the first one stops the work, the second one exits at once.

    ``number`` is the number of the first signal, 0 before it.
    """

    def __init__(self) -> None:
        self.number = 0
        self._event = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._previous_handlers: dict[int, Any] = {}

    @property
    def exit_code(self) -> int:
        """The exit code, 128 plus the number of the signal."""
        return 128 + self.number

    def __enter__(self) -> Interrupts:
        """Install the signal handlers, if this is the main thread."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous_handlers[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the previous signal handlers."""
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.number:
            os._exit(128 + number)
        self.number = number
        self._loop.call_soon_threadsafe(self._event.set)

    async def run_until_signal(self, coroutine: Coroutine[Any, Any, object]) -> bool:
        """Run ``coroutine``; return whether it completed before a signal, which cancels it."""
        task = asyncio.ensure_future(coroutine)
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
        """Write to standard output. Raises OSError, and Stopped for a signal while it is blocked.

        The event loop is blocked while the pipe is full, and that slows down the sender. Each
        write is as small as fits without blocking, so that a signal is noticed.
        """
        rest = memoryview(data)
        while rest:
            _, ready, _ = select.select((), (STDOUT,), (), POLL_S)
            if ready:
                with suppress(BlockingIOError):  # a socket with less room than PIPE_BUF
                    rest = rest[os.write(STDOUT, rest[: select.PIPE_BUF]) :]
            elif self.number:
                raise OutputInterrupted


@dataclass(frozen=True)
class LongLine:
    """A line of ``size`` bytes, which is more than the limit; its bytes were not kept."""

    size: int


class LineSplitter:
    """Splits bytes into lines; of a line above ``line_bytes_max``, it keeps the size only."""

    def __init__(self, line_bytes_max: int) -> None:
        self._line_bytes_max = line_bytes_max
        self._rest = b""
        self._dropped = 0

    def feed(self, chunk: bytes) -> list[bytes | LongLine]:
        """Return the lines that end in this chunk, without their newlines."""
        *ended, rest = chunk.split(b"\n")
        most = self._line_bytes_max
        lines = [line if len(line) <= most else LongLine(len(line)) for line in ended]
        if ended:
            lines[0] = self._line(ended[0])
            self._rest, self._dropped = b"", 0
        self._rest += rest
        if len(self._rest) > most:
            self._dropped += len(self._rest)
            self._rest = b""
        return lines

    def finish(self) -> list[bytes | LongLine]:
        """Return the last line, if it has no newline."""
        line = self._line(b"")
        self._rest, self._dropped = b"", 0
        return [line] if line != b"" else []

    def _line(self, end: bytes) -> bytes | LongLine:
        size = self._dropped + len(self._rest) + len(end)
        return LongLine(size) if size > self._line_bytes_max else self._rest + end


async def lines_of(
    fd: int, line_bytes_max: int, on_bytes: Callable[[int], None] = lambda count: None
) -> AsyncIterator[list[bytes | LongLine]]:
    """Yield the lines of a file descriptor, in lists as they arrive. Raises OSError.

    A daemon thread reads the terminal, pipe or file. The process can exit while the thread is
    blocked in a read from a terminal.
    """
    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[bytes | OSError] = asyncio.Queue()
    chunks_allowed = threading.Semaphore(2)

    def read() -> None:
        chunk: bytes | OSError = b"-"
        while chunk and not isinstance(chunk, OSError):
            chunks_allowed.acquire()
            try:
                chunk = _read(fd)
            except OSError as error:
                chunk = error
            with suppress(RuntimeError):  # the event loop is closed, so the chunk is not needed
                loop.call_soon_threadsafe(chunks.put_nowait, chunk)

    threading.Thread(target=read, daemon=True, name="lines").start()
    splitter = LineSplitter(line_bytes_max)
    while chunk := await chunks.get():
        if isinstance(chunk, OSError):
            raise chunk
        chunks_allowed.release()
        on_bytes(len(chunk))
        yield splitter.feed(chunk)
    yield splitter.finish()


def _read(fd: int) -> bytes:
    """Read a chunk; wait for it if the descriptor is non-blocking, as another process may set."""
    while True:
        try:
            return os.read(fd, CHUNK_BYTES)
        except BlockingIOError:
            wait(fd, select.POLLIN)


@dataclass(frozen=True)
class Amount:
    """How much is done, of a total that may be unknown, in ``unit``."""

    done: int
    total: int | None = None
    unit: str = "records"


async def show_progress(
    describe: Callable[[], str], amount: Callable[[], Amount], after_s: float = 0.5
) -> None:
    """Show progress on standard error, from ``after_s`` on until cancelled.

    The rate is shown; with a total also a bar, and the time that remains.
    """
    await asyncio.sleep(after_s)
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        SpinnerColumn,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    always = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.fields[rate]}"))
    with_total = (BarColumn(), TaskProgressColumn(), TextColumn("ETA"), TimeRemainingColumn())
    now = amount()
    # The total may become known later, such as the end of the log.
    while True:
        known = now.total is not None
        columns = (*always, *(with_total if known else (TimeElapsedColumn(),)))
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(describe(), total=now.total, completed=now.done, rate="")
            while known == (now.total is not None):
                speed = progress.tasks[0].speed
                rate = "" if speed is None else f"{speed:,.0f} {now.unit}/s"
                progress.update(
                    task, description=describe(), completed=now.done, total=now.total, rate=rate
                )
                await asyncio.sleep(0.1)
                now = amount()


def parse_duration(text: str) -> float:
    """Return the seconds of a duration such as ``5``, ``5s``, ``250ms``, ``1m``.

    Raises ValueError, also for 0.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None or not float(found[1]):
        raise ValueError(f"invalid duration {text!r}; give a positive one, such as 5s or 250ms")
    return float(found[1]) * _UNITS[found[2]]
