"""Produce requests that wait for their acks; must never decide what is committed.

A waiter is confirmed in its own epoch only, and is failed as unknown when its leader steps down:
the offset that it waits for may then be reused by another record (R10, F58).
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable

from yak_core.ids import CallId, Epoch, Micros, Offset
from yak_core.value import value


@value
class Waiter:
    """One unanswered produce request for the records of [base, end)."""

    end: Offset
    call: CallId
    correlation: int
    base: Offset
    record_epoch: Epoch
    waiting_epoch: Epoch
    deadline: Micros
    acks: int


def _by_end(waiter: Waiter) -> Offset:
    return waiter.end


class Waiters:
    """Waiting requests in the order of their end offsets."""

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        self.waiting: list[Waiter] = []

    def __len__(self) -> int:
        return len(self.waiting)

    def add(self, waiter: Waiter) -> None:
        """A request begins to wait."""
        if self.waiting and self.waiting[-1].end > waiter.end:
            insort(self.waiting, waiter, key=_by_end)
        else:
            self.waiting.append(waiter)

    def take(self, settled: Callable[[Waiter], bool], up_to: Offset) -> list[Waiter]:
        """Remove and return those that end at or below ``up_to`` and are ``settled``."""
        waiting = self.waiting
        if not waiting or waiting[0].end > up_to:
            return []
        taken: list[Waiter] = []
        kept: list[Waiter] = []
        for index, waiter in enumerate(waiting):
            if waiter.end > up_to:
                kept.extend(waiting[index:])
                break
            (taken if settled(waiter) else kept).append(waiter)
        self.waiting = kept
        return taken

    def take_all(self, chosen: Callable[[Waiter], bool]) -> list[Waiter]:
        """Remove and return the chosen ones, whatever they wait for."""
        taken = [waiter for waiter in self.waiting if chosen(waiter)]
        if taken:
            self.waiting = [waiter for waiter in self.waiting if not chosen(waiter)]
        return taken

    def drop_call(self, call: CallId) -> None:
        """The caller went away."""
        self.waiting = [waiter for waiter in self.waiting if waiter.call != call]

    def next_deadline(self) -> Micros | None:
        """When the first of them runs out of time."""
        return min((waiter.deadline for waiter in self.waiting), default=None)
