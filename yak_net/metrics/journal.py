"""The journal of a broker: the newest events that a person wants to see after a failover."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from msgspec import Struct

from yak_core.contract.notes import (
    BecameFollower,
    BecameLeader,
    Campaigned,
    IsrExpanded,
    IsrShrunk,
    Note,
    Registered,
    SteppedDown,
    Truncated,
)

KEPT_MAX: Final = 20
"""Entries kept, the newest ones."""


class Entry(Struct, frozen=True):
    """One event of broker ``node``; ``at_ms`` is its wall clock.

    ``event`` is one of registered, campaigned, elected, follows, stepped_down, isr_shrunk,
    isr_expanded, truncated. ``subject`` is whom or what it concerns.
    """

    at_ms: int
    node: str
    event: str
    subject: str


class Journal:
    """The newest entries of one broker, oldest first."""

    def __init__(self, node: str, wall_ms: Callable[[], int]) -> None:
        self._node = node
        self._wall_ms = wall_ms
        self._kept: deque[Entry] = deque(maxlen=KEPT_MAX)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._kept)

    def on_note(self, note: Note) -> None:
        """Add a note if it is one of those that the journal has."""
        match note:
            case Registered(broker_epoch=number, clean=clean):
                self._add("registered", f"start {number}" + ("" if clean else ", after a crash"))
            case Campaigned(epoch=epoch):
                self._add("campaigned", f"epoch {epoch}")
            case BecameLeader(epoch=epoch):
                self._add("elected", f"epoch {epoch}")
            case BecameFollower(epoch=epoch, leader=str(leader)):
                self._add("follows", f"{leader}, epoch {epoch}")
            case SteppedDown(epoch=epoch):
                self._add("stepped_down", f"epoch {epoch}")
            case IsrShrunk(removed=removed):
                self._add("isr_shrunk", ", ".join(removed))
            case IsrExpanded(added=added):
                self._add("isr_expanded", ", ".join(added))
            case Truncated(end_before=before, end=end):
                self._add("truncated", f"{before} to {end}")

    def _add(self, event: str, subject: str) -> None:
        self._kept.append(Entry(self._wall_ms(), self._node, event, subject))
