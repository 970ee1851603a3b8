"""The bytes that the HTTP requests of a broker hold in memory, and their bound."""

from __future__ import annotations

from types import TracebackType
from typing import Final

from yak_core.errors import ErrorCode
from yak_net.http.problems import Problem, problem
from yak_net.runtime.budget import Budget

HTTP_BYTES_MAX: Final = 40 << 20
"""Bytes of HTTP bodies in flight: received in part, parsed, or not sent completely."""
STREAM_BYTES_MAX: Final = 32 << 20
"""Bytes of WebSocket frames of clients: received in part, and not sent completely (each)."""


class Share:
    """The bytes of one request in a budget, from ``with`` to its end."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._size = 0

    def __enter__(self) -> Share:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.resize(0)

    def resize(self, size: int) -> None:
        """Hold ``size`` bytes from now on. Raises Problem (503, retriable) if there is no room."""
        budget, more = self._budget, size - self._size
        if more > 0 and not budget.has_room(more, self._size):
            raise busy(
                f"{budget.used} bytes of requests and answers are in flight, {more} more exceed "
                f"the limit of {budget.bytes_max}; retry later, or use smaller requests"
            )
        budget.add(more)
        self._size = size


def busy(detail: str) -> Problem:
    """Return the problem of a broker that lacks a resource now; the request had no effect."""
    return problem(ErrorCode.THROTTLING_QUOTA_EXCEEDED, detail, status=503)
