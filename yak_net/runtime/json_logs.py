"""Log lines as JSON, one object a line, for programs that collect logs."""

from __future__ import annotations

import io
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from yak_net.runtime.log_sink import TEXT_CHARS_MAX, LogSink

VALUE_CHARS_MAX: Final = 500
"""Longer values are shortened."""
TRACEBACK_CHARS_MAX: Final = 4_000
"""A longer traceback loses its beginning: its end says what went wrong."""
STDERR_EVENT: Final = "standard error"
"""The event of a line that something else wrote to standard error."""

_ENCODER: Final = msgspec.json.Encoder(enc_hook=repr)


class JsonRenderer:
    """Makes a line of a log event; never raises, and a line is always one whole JSON object.

    The first members are ``time`` (ISO 8601, UTC), ``level`` and ``event``.
    """

    def render(self, line: Mapping[str, Any]) -> str:
        """Return the line, without a line end."""
        head = {
            "time": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": line.get("level", "info"),
            "event": _shown(line.get("event", "")),
        }
        try:
            known = {*head, "exc_info"}
            fields = {str(name): _shown(value) for name, value in line.items() if name not in known}
            if line.get("exc_info"):
                fields["traceback"] = _traceback(line["exc_info"])
            text = _ENCODER.encode(head | fields).decode()
        except Exception as error:  # a value whose text cannot be made
            text = _ENCODER.encode(head | {"lost": type(error).__name__}).decode()
        if len(text) >= TEXT_CHARS_MAX:
            text = _ENCODER.encode(head | {"lost": f"{len(text)} characters"}).decode()
        return text


def _shown(value: object) -> object:
    """Return a value as JSON can have it; a long text is shortened."""
    if value is None or isinstance(value, bool | float | int):
        return value
    text = value if isinstance(value, str) else str(value)
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= VALUE_CHARS_MAX else f"{text[:VALUE_CHARS_MAX]}..."


def _traceback(info: Any) -> str:
    """Return the text of the error of a log line, which may be True for the present one."""
    error = sys.exc_info()[1] if info is True else info[1] if isinstance(info, tuple) else info
    text = "".join(traceback.format_exception(error)) if error is not None else ""
    return text[-TRACEBACK_CHARS_MAX:]


class JsonLines(io.TextIOBase):
    """A text file that can replace ``sys.stderr``: each line becomes one object in ``sink``."""

    def __init__(self, sink: LogSink, renderer: JsonRenderer) -> None:
        self._sink = sink
        self._renderer = renderer
        self._rest = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the text."""
        return self._sink.encoding

    @property
    def errors(self) -> str:  # type: ignore[override]
        """How characters are written that UTF-8 does not have."""
        return self._sink.errors

    def write(self, text: str) -> int:
        """Queue the complete lines, and keep the rest."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._put(line)
        return len(text)

    def flush(self) -> None:
        """Queue a line without its end, such as a prompt."""
        rest, self._rest = self._rest, ""
        self._put(rest)

    def _put(self, line: str) -> None:
        if line:
            found = {"level": "error", "event": STDERR_EVENT, "text": line}
            self._sink.write(self._renderer.render(found) + "\n")

    def writable(self) -> bool:
        """Return True."""
        return True

    def isatty(self) -> bool:
        """Return whether a terminal shows the text."""
        return self._sink.isatty()

    def fileno(self) -> int:
        """Return the descriptor. Raises OSError if there is none."""
        return self._sink.fileno()
