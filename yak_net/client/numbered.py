"""Values that ``yak produce --count`` makes, and that ``yak consume --verify`` recognises.

A value is ``yak.RUN.NUMBER/TOTAL``: the name of the run, the number of the record in it, from 0 to
TOTAL - 1. A value that has to be larger ends with a space and the letter x, repeated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

VALUE: Final = re.compile(rb"yak\.([A-Za-z0-9_-]{1,64})\.(\d{1,18})/(\d{1,18})(?: x*)?")
RUN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
CHUNK: Final = 1000


class Numbered(NamedTuple):
    """A value of a run: its ``number`` of ``total``."""

    run: str
    number: int
    total: int


def parse(value: bytes | None) -> Numbered | None:
    """Return what a value says; None for any other value."""
    found = None if value is None else VALUE.fullmatch(value)
    if found is None:
        return None
    return Numbered(found[1].decode(), int(found[2]), int(found[3]))


def values(run: str, total: int, size: int) -> Iterator[list[bytes]]:
    """Yield the values of a run, in lists; each value has at least ``size`` bytes, if it can."""
    for first in range(0, total, CHUNK):
        numbers = range(first, min(first + CHUNK, total))
        yield [_value(run, number, total, size) for number in numbers]


def _value(run: str, number: int, total: int, size: int) -> bytes:
    text = b"yak.%s.%d/%d" % (run.encode(), number, total)
    return text if len(text) >= size else text + b" " + b"x" * (size - len(text) - 1)
