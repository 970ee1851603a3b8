"""The log of a broker process: structlog, Python's logging and standard error, in one sink.

A line is ``time [level] event key=value``, or one JSON object (:mod:`yak_net.runtime.json_logs`).
No line can raise into the code that logs, and control characters of other processes cannot forge a
line.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Final, TypeAlias

import structlog
from structlog.typing import EventDict

from yak_net.runtime.json_logs import VALUE_CHARS_MAX, JsonLines, JsonRenderer
from yak_net.runtime.log_limit import RepeatLimit
from yak_net.runtime.log_sink import LogSink

STANDARD_ERROR: Final = 2

_ExcInfo: TypeAlias = Any

log = structlog.get_logger("yak.process")


class LogFormat(StrEnum):
    """The form of a log line."""

    TEXT = "text"
    JSON = "json"


class ProcessLog:
    """The log on the descriptor ``fd``; None drops all lines."""

    def __init__(self, fd: int | None, form: LogFormat = LogFormat.TEXT) -> None:
        self._limit = RepeatLimit()
        self._stamp = structlog.processors.TimeStamper(fmt="%H:%M:%S.%f", utc=False)
        self._json = JsonRenderer() if form is LogFormat.JSON else None
        self.sink = LogSink(fd, self._due, self._dropped)
        self._console = structlog.dev.ConsoleRenderer(
            colors=self.sink.isatty(),
            pad_event_to=24,
            sort_keys=False,
            exception_formatter=structlog.dev.plain_traceback,
        )

    def install(self) -> None:
        """Configure structlog and Python's logging, and replace ``sys.stderr``."""
        structlog.configure(
            processors=[structlog.processors.add_log_level, self._admit, self._render],
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
            logger_factory=lambda *_: _Logger(self.sink),
            cache_logger_on_first_use=True,
        )
        logging.basicConfig(handlers=[_Forward()], level=logging.WARNING, force=True)
        # Tracebacks, warnings and print() go to the sink, too.
        sys.stderr = self.sink if self._json is None else JsonLines(self.sink, self._json)

    # Each line comes from one thread at a time, except those of _due().

    def _admit(self, _: object, __: str, line: EventDict) -> EventDict:
        admitted = self._limit.admit(line)
        if admitted is None:
            raise structlog.DropEvent
        return admitted

    def _render(self, _: object, method: str, line: EventDict) -> str:
        if self._json is not None:
            return self._json.render(line)
        try:
            shown = {name: _shown(value) for name, value in line.items()}
            return str(self._console(None, method, self._stamp(None, method, shown)))
        except Exception as error:  # a value whose text cannot be made
            return f"[error] log line lost event={line.get('event')!r} reason={error!r}"

    def _due(self) -> Iterator[str]:
        for line in self._limit.take_due():
            line.pop("exc_info", None)
            yield self._render(None, "", line)

    def _dropped(self, count: int) -> str:
        line = {"event": "log lines dropped", "level": "warning", "count": count}
        return self._render(None, "", line)


class _Logger:
    """What structlog calls with a finished line."""

    def __init__(self, sink: LogSink) -> None:
        self._sink = sink

    def msg(self, line: str) -> None:
        """Write a line."""
        self._sink.write(line + "\n")

    log = debug = info = warn = warning = error = critical = exception = fatal = msg


class _Forward(logging.Handler):
    """Logs the lines of libraries; an error that a peer can cause has no traceback."""

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, object] = {"logger": record.name}
        try:
            text = record.getMessage()
        except (TypeError, ValueError):
            text = str(record.msg)
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            fields |= _fields_of(error)
        structlog.get_logger("yak.library").log(record.levelno, text, **fields)


def open_log(form: LogFormat = LogFormat.TEXT) -> ProcessLog:
    """Return the log of this process, on standard error if that is open."""
    try:
        os.fstat(STANDARD_ERROR)
    except OSError:
        return ProcessLog(None, form)
    return ProcessLog(STANDARD_ERROR, form)


def log_loop_error(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an error that no task handles, for ``loop.set_exception_handler``."""
    error = context.get("exception")
    fields = {} if error is None else _fields_of(error)
    log.error("event loop", message=context.get("message", ""), **fields)


def _fields_of(error: BaseException) -> dict[str, object]:
    """Return the reason of an error, and its traceback unless the system caused it."""
    fields: dict[str, object] = {"reason": f"{type(error).__name__}: {error}"}
    if not isinstance(error, OSError | TimeoutError | asyncio.CancelledError):
        fields["exc_info"] = (type(error), error, error.__traceback__)
    return fields


def _shown(value: object) -> object:
    """Return a text on one line, without control characters; another value as it is."""
    if not isinstance(value, str):
        return value
    if len(value) > VALUE_CHARS_MAX:
        value = f"{value[:VALUE_CHARS_MAX]}..."
    return value if value.isprintable() else value.encode("unicode_escape").decode()
