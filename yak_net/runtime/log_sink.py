"""The output of a process's log: writing to it never raises, never blocks and ends no process.

A thread writes the text to a file descriptor. Its reader may be gone (closed pipe), paused (full
pipe), non-blocking, or a full disk. Text that cannot be written or queued is dropped and counted;
the next line that can be written is preceded by the count.
"""

from __future__ import annotations

import io
import os
import select
import threading
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from typing import Final

TEXTS_MAX: Final = 2_000
"""Texts that wait to be written; further ones are dropped."""
TEXT_CHARS_MAX: Final = 16_384
"""Longer texts, such as deep tracebacks, are shortened."""
IDLE_S: Final = 1.0
"""Seconds between two calls of ``idle``."""
FINISH_S: Final = 0.5
"""Seconds that :meth:`LogSink.finish` waits for a reader that does not read."""


def _nothing() -> Iterable[str]:
    return ()


def _plain_report(count: int) -> str:
    return f"log lines dropped count={count}"


class LogSink(io.TextIOBase):
    """A text file on the descriptor ``fd``; None drops all text.

    It can replace ``sys.stderr``. ``idle`` returns further lines to write, and is called about once
    in IDLE_S by the thread. ``report`` makes the line for a number of dropped lines.
    """

    def __init__(
        self,
        fd: int | None,
        idle: Callable[[], Iterable[str]] = _nothing,
        report: Callable[[int], str] = _plain_report,
    ) -> None:
        self._fd = fd
        self._idle = idle
        self._report = report
        # SimpleQueue.put is reentrant: a finalizer may write while this thread is in put().
        self._texts: SimpleQueue[str | None] = SimpleQueue()
        self._ending = threading.Event()
        #: Lines dropped because the queue was full, and because the descriptor failed. Each has
        #: one writer: the callers of write(), and the thread.
        self._dropped_full = 0
        self._dropped_failed = 0
        self._reported = 0
        #: Whether the last text that was written in part has no line end.
        self._torn = False
        self._thread = threading.Thread(target=self._run, name="yak-log", daemon=True)
        self._thread.start()

    # -- the text file --------------------------------------------------------------------------

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the text."""
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """How characters are written that UTF-8 does not have."""
        return "backslashreplace"

    @property
    def dropped(self) -> int:
        """Number of lines dropped so far."""
        return self._dropped_full + self._dropped_failed

    def write(self, text: str) -> int:
        """Queue a text; drop and count it if TEXTS_MAX texts are waiting."""
        if self._texts.qsize() >= TEXTS_MAX or self._ending.is_set():
            self._dropped_full += text.count("\n")
        else:
            self._texts.put(text)
        return len(text)

    def writable(self) -> bool:
        """Return True."""
        return True

    def flush(self) -> None:
        """Do nothing: the thread writes."""

    def isatty(self) -> bool:
        """Return whether a terminal shows the text."""
        return self._fd is not None and os.isatty(self._fd)

    def fileno(self) -> int:
        """Return the descriptor. Raises OSError if there is none."""
        if self._fd is None:
            raise OSError("the log has no descriptor")
        return self._fd

    def finish(self, within_s: float = FINISH_S) -> None:
        """Write what is queued, for at most ``within_s`` seconds; later texts are dropped."""
        self._ending.set()
        self._texts.put(None)
        self._thread.join(within_s)

    # -- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            try:
                text = self._texts.get(timeout=IDLE_S)
            except Empty:
                text = ""
            for line in self._idle():
                self._put_out(line + "\n")
            if text is None:
                return
            if text:
                self._put_out(text)

    def _put_out(self, text: str) -> None:
        """Write a text, after the number of dropped lines if there are any."""
        if len(text) > TEXT_CHARS_MAX:
            text = f"{text[:TEXT_CHARS_MAX]} [...]\n"
        data = text.encode("utf-8", "backslashreplace")
        dropped = self.dropped
        if dropped != self._reported:
            report = f"{self._report(dropped - self._reported)}\n"
            if not self._write(b"\n" * self._torn + report.encode()):
                self._dropped_failed += text.count("\n")
                return
            self._reported = dropped
        if not self._write(data):
            self._dropped_failed += text.count("\n")

    def _write(self, data: bytes) -> bool:
        """Write all of ``data``; return False if the descriptor takes no more."""
        if self._fd is None:
            return False
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                if not self._wait():
                    break
            except OSError:
                break
        if rest and len(rest) < len(data):
            self._torn = data[-len(rest) - 1 :][:1] != b"\n"
        elif not rest:
            self._torn = False
        return not rest

    def _wait(self) -> bool:
        """Wait until a non-blocking descriptor is writable; return False at the end."""
        assert self._fd is not None
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        while not poll.poll(100):
            if self._ending.is_set():
                return False
        return True
