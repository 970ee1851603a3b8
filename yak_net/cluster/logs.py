"""Reads what the brokers of a local cluster have logged; must never write or lock a log."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

CHUNK_BYTES: Final = 64 * 1024
LINE_BYTES_MAX: Final = 1 << 20
LOOK_S: Final = 0.1


def log_path(folder: Path, node: str) -> Path:
    """Where a broker's output goes. Not into its data directory: that holds the broker's own."""
    return folder / f"{node}.log"


def tail(path: Path, lines: int, since: int = 0, until: int | None = None) -> list[str]:
    """The last lines of what stands in a log between two bytes; by default, of all of it."""
    if lines <= 0:
        return []
    try:
        with path.open("rb") as file:
            start = file.seek(0, os.SEEK_END) if until is None else until
            data, chunk = b"", CHUNK_BYTES
            while start > since and data.count(b"\n") <= lines:
                step = min(chunk, start - since)
                chunk *= 2
                start -= step
                file.seek(start)
                data = file.read(step) + data
    except OSError:
        return []
    return [_text(line) for line in data.removesuffix(b"\n").split(b"\n")[-lines:] if data]


def last_words(path: Path, since: int = 0) -> str:
    """The last line that says something, empty if there is none."""
    return next((line.strip() for line in reversed(tail(path, 20, since)) if line.strip()), "")


class Log:
    """A log as it was when this was made, and then what is added to it, each line once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._at = path.stat().st_size if path.exists() else 0
        self._rest = b""

    def last(self, lines: int) -> list[str]:
        """The last lines of what was there."""
        return tail(self.path, lines, until=self._at)

    def more(self) -> list[str]:
        """The whole lines that were added since; a log that got shorter is read from the start."""
        try:
            with self.path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < self._at:
                    self._at, self._rest = 0, b""
                file.seek(self._at)
                data = file.read()
        except OSError:
            return []
        self._at += len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_BYTES_MAX:
            whole, self._rest = [*whole, self._rest], b""
        return [_text(line) for line in whole]


def follow(logs: Mapping[str, Log]) -> Iterator[tuple[str, str]]:
    """(node, line) as the lines come, for ever."""
    while True:
        quiet = True
        for node, log in logs.items():
            for line in log.more():
                quiet = False
                yield node, line
        if quiet:
            time.sleep(LOOK_S)


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r")
