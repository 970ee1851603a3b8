"""A limit on repeated log lines: they are counted, not repeated.

Other processes cause many log lines: a peer that cannot connect, a client that sends garbage. Their
number must not fill the disk.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from structlog.typing import EventDict

PERIOD_S: Final = 1.0
"""Seconds in which the same line appears at most once."""
WARNINGS_MAX: Final = 10
"""Warnings and errors of one event in PERIOD_S; the rest is counted, whatever its fields are."""
KEYS_MAX: Final = 1_000
"""Different lines that are remembered."""
LIMITED_LEVELS: Final = ("warning", "error", "critical")


@dataclass
class _Seen:
    """A line that was logged at ``since``, and how often it was dropped afterwards."""

    since: float
    line: EventDict
    #: Lines logged in this period, for the limit of an event.
    logged: int = 1
    dropped: int = 0


class RepeatLimit:
    """Decides which lines are logged; the time comes from ``clock`` in seconds.

    A line that follows dropped ones has a field ``repeated``, with their number. If no line
    follows, :meth:`take_due` returns one. Dropped warnings with different fields are counted
    together, in the field ``more``.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Reentrant: a finalizer that logs may interrupt a line of the same thread.
        self._lock = threading.RLock()
        self._lines: dict[object, _Seen] = {}
        self._events: dict[object, _Seen] = {}

    def admit(self, line: EventDict) -> EventDict | None:
        """Return the line to log, which may contain a count, or None to drop the line."""
        now = self._clock()
        key = tuple((name, _comparable(value)) for name, value in line.items())
        counts: dict[str, int] = {}
        with self._lock:
            seen = self._lines.get(key)
            if seen is not None and now - seen.since < PERIOD_S:
                seen.dropped += 1
                return None
            if line.get("level") in LIMITED_LEVELS:
                event = self._events.get(line.get("event"))
                if event is None or now - event.since >= PERIOD_S:
                    short = {name: line[name] for name in ("event", "level") if name in line}
                    self._events[line.get("event")] = _Seen(now, short)
                    counts["more"] = 0 if event is None else event.dropped
                elif event.logged == WARNINGS_MAX:
                    event.dropped += 1
                    return None
                else:
                    event.logged += 1
            self._forget(now)
            self._lines[key] = _Seen(now, line)
        counts["repeated"] = 0 if seen is None else seen.dropped
        return {**line, **{name: count for name, count in counts.items() if count}}

    def take_due(self) -> list[EventDict]:
        """Return a line with a count for each that was dropped, and appeared PERIOD_S ago."""
        now = self._clock()
        due: list[EventDict] = []
        with self._lock:
            for name, table in (("repeated", self._lines), ("more", self._events)):
                for key, seen in tuple(table.items()):
                    if now - seen.since < PERIOD_S:
                        continue
                    del table[key]
                    if seen.dropped:
                        due.append({**seen.line, name: seen.dropped})
                        table[key] = _Seen(now, seen.line)
        return due

    def _forget(self, now: float) -> None:
        """Make room for one more line: forget those that are over, then the oldest ones."""
        for table in (self._lines, self._events):
            if len(table) >= KEYS_MAX:
                for key, seen in tuple(table.items()):
                    if now - seen.since >= PERIOD_S and not seen.dropped:
                        del table[key]
            while len(table) >= KEYS_MAX:
                del table[next(iter(table))]


def _comparable(value: Any) -> object:
    if isinstance(value, str | int | float | None):
        return value
    try:
        return repr(value)
    except Exception:  # a value whose text cannot be made must not prevent the line
        return id(value)
