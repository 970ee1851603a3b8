"""Pending calls, each waiting for an offset until a deadline.

To add, drop or take a call costs O(log n) for n pending calls. A dropped call stays in the two
heaps until it is at the top, or until more than half of the entries are dropped calls.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Final, Generic, TypeAlias, TypeVar

from yak_core.ids import CallId, Micros, Offset
from yak_core.value import value

W = TypeVar("W")
Key: TypeAlias = tuple[int, int, CallId]
"""(position or deadline, number, call)."""

COMPACT_MIN: Final = 64
"""Heaps with at most this number of entries are not cleared of dropped calls."""


@value
class PendingCall(Generic[W]):
    """One pending call: request, number in the order of arrival, position and deadline."""

    request: W
    number: int
    position: Offset
    deadline: Micros


class PendingCalls(Generic[W]):
    """Pending calls, ordered by position and by deadline.

    Invariant: for each call in ``entries``, each heap has one key with the number of that call.
    """

    __slots__ = ("by_deadline", "by_position", "entries", "last_number")

    def __init__(self) -> None:
        self.entries: dict[CallId, PendingCall[W]] = {}
        self.by_position: list[Key] = []
        self.by_deadline: list[Key] = []
        #: Number of the newest call; only grows.
        self.last_number = 0

    def __len__(self) -> int:
        return len(self.entries)

    def add(self, call: CallId, request: W, position: Offset, deadline: Micros) -> None:
        """Add a call that waits for ``position`` until ``deadline``."""
        assert call not in self.entries, f"call {call} is already pending"
        self.last_number += 1
        number = self.last_number
        self.entries[call] = PendingCall(request, number, position, deadline)
        heappush(self.by_position, (position, number, call))
        heappush(self.by_deadline, (deadline, number, call))

    def take_reached(self, position: Offset) -> list[tuple[CallId, PendingCall[W]]]:
        """Remove and return the calls that wait for ``position`` or a lower position.

        The calls are ordered by position, and for equal positions by arrival.
        """
        return self._take(self.by_position, position)

    def take_due(self, now: Micros) -> list[tuple[CallId, PendingCall[W]]]:
        """Remove and return the calls whose deadline is reached, ordered by position."""
        return self._take(self.by_deadline, now)

    def take_all(self) -> list[tuple[CallId, PendingCall[W]]]:
        """Remove and return all calls, ordered by position."""
        found = sorted(self.entries.items(), key=_by_position)
        self.entries = {}
        self.by_position = []
        self.by_deadline = []
        return found

    def drop(self, call: CallId) -> None:
        """Remove ``call`` if it is pending."""
        if self.entries.pop(call, None) is not None:
            self._compact()

    def next_deadline(self) -> Micros | None:
        """Return the earliest deadline of a pending call; None if no call is pending."""
        heap = self.by_deadline
        while heap:
            deadline, number, call = heap[0]
            entry = self.entries.get(call)
            if entry is not None and entry.number == number:
                return deadline
            heappop(heap)
        return None

    def check(self) -> None:
        """Assert the invariant of the class."""
        numbers = {(entry.number, call) for call, entry in self.entries.items()}
        for heap in (self.by_position, self.by_deadline) if numbers else ():
            pending = sorted(key[1:] for key in heap if key[1:] in numbers)
            assert pending == sorted(numbers), "each pending call must be in both heaps once"

    def _take(self, heap: list[Key], limit: int) -> list[tuple[CallId, PendingCall[W]]]:
        found: list[tuple[CallId, PendingCall[W]]] = []
        while heap and heap[0][0] <= limit:
            _, number, call = heappop(heap)
            entry = self.entries.get(call)
            if entry is not None and entry.number == number:
                del self.entries[call]
                found.append((call, entry))
        if found:
            found.sort(key=_by_position)
            self._compact()
        return found

    def _compact(self) -> None:
        """Remove dropped calls from a heap if they are more than half of its entries."""
        bound = max(COMPACT_MIN, 2 * len(self.entries))
        if len(self.by_position) > bound:
            self.by_position = [(e.position, e.number, c) for c, e in self.entries.items()]
            heapify(self.by_position)
        if len(self.by_deadline) > bound:
            self.by_deadline = [(e.deadline, e.number, c) for c, e in self.entries.items()]
            heapify(self.by_deadline)


def _by_position(found: tuple[CallId, PendingCall[W]]) -> tuple[Offset, int]:
    return (found[1].position, found[1].number)
