"""Calls that wait for the log to reach a position, each until a deadline.

Adding, dropping and taking a call cost a logarithm of how many wait. A call that is gone stays in
the two heaps until it comes to their top, or until most of what they hold is gone.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Final, Generic, TypeAlias, TypeVar

from yak_core.ids import CallId, Micros, Offset
from yak_core.value import value

W = TypeVar("W")
Key: TypeAlias = tuple[int, int, CallId]
"""(position or deadline, number, call)."""

GONE_MIN: Final = 64
"""Heaps with fewer entries are not cleared of those that are gone."""


@value
class Entry(Generic[W]):
    """One waiting call: what waits, its number in the order of arrival, position, deadline."""

    waiter: W
    number: int
    position: Offset
    deadline: Micros


class Waiting(Generic[W]):
    """Waiting calls by position and by deadline; a call waits at most once.

    Invariant: each call of ``entries`` has one entry in each heap with its own number.
    """

    __slots__ = ("by_deadline", "by_position", "entries", "last_number")

    def __init__(self) -> None:
        self.entries: dict[CallId, Entry[W]] = {}
        self.by_position: list[Key] = []
        self.by_deadline: list[Key] = []
        #: Number of the newest call; grows for ever.
        self.last_number = 0

    def __len__(self) -> int:
        return len(self.entries)

    def add(self, call: CallId, waiter: W, position: Offset, deadline: Micros) -> None:
        """A call begins to wait."""
        assert call not in self.entries, "a call waits once"
        self.last_number += 1
        number = self.last_number
        self.entries[call] = Entry(waiter, number, position, deadline)
        heappush(self.by_position, (position, number, call))
        heappush(self.by_deadline, (deadline, number, call))

    def take_reached(self, position: Offset) -> list[tuple[CallId, Entry[W]]]:
        """Remove and return the calls that wait for ``position`` or one below it.

        Lower positions come first, calls for the same one as they came.
        """
        return self._take(self.by_position, position)

    def take_due(self, now: Micros) -> list[tuple[CallId, Entry[W]]]:
        """Remove and return the calls whose deadline has come, in the order of their positions."""
        return self._take(self.by_deadline, now)

    def take_all(self) -> list[tuple[CallId, Entry[W]]]:
        """Remove and return all calls, in the order of their positions."""
        found = sorted(self.entries.items(), key=_by_position)
        self.entries = {}
        self.by_position = []
        self.by_deadline = []
        return found

    def drop(self, call: CallId) -> None:
        """The call waits no more, if it did."""
        if self.entries.pop(call, None) is not None:
            self._clear()

    def next_deadline(self) -> Micros | None:
        """The first deadline of a call that waits."""
        heap = self.by_deadline
        while heap:
            deadline, number, call = heap[0]
            entry = self.entries.get(call)
            if entry is not None and entry.number == number:
                return deadline
            heappop(heap)
        return None

    def check(self) -> None:
        """Assert the invariant, in time of what waits."""
        numbers = {(entry.number, call) for call, entry in self.entries.items()}
        for heap in (self.by_position, self.by_deadline) if numbers else ():
            alive = sorted(key[1:] for key in heap if key[1:] in numbers)
            assert alive == sorted(numbers), "each waiting call is in both heaps once"

    def _take(self, heap: list[Key], limit: int) -> list[tuple[CallId, Entry[W]]]:
        found: list[tuple[CallId, Entry[W]]] = []
        while heap and heap[0][0] <= limit:
            _, number, call = heappop(heap)
            entry = self.entries.get(call)
            if entry is not None and entry.number == number:
                del self.entries[call]
                found.append((call, entry))
        if found:
            found.sort(key=_by_position)
            self._clear()
        return found

    def _clear(self) -> None:
        """Forget what is gone once it is the larger part."""
        bound = max(GONE_MIN, 2 * len(self.entries))
        if len(self.by_position) > bound:
            self.by_position = [(e.position, e.number, c) for c, e in self.entries.items()]
            heapify(self.by_position)
        if len(self.by_deadline) > bound:
            self.by_deadline = [(e.deadline, e.number, c) for c, e in self.entries.items()]
            heapify(self.by_deadline)


def _by_position(found: tuple[CallId, Entry[W]]) -> tuple[Offset, int]:
    return (found[1].position, found[1].number)
