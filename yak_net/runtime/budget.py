"""A bound for bytes that all connections of a process together hold in memory."""

from __future__ import annotations


class Budget:
    """Counts bytes in flight, at most ``bytes_max``; ``used`` is their number."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.used = 0

    def has_room(self, size: int, own: int = 0) -> bool:
        """Return whether ``size`` more bytes are within the bound.

        ``own`` are the bytes that the caller has already added. A caller that is alone has room for
        any size: otherwise a large request could never succeed.
        """
        return self.used == own or self.used + size <= self.bytes_max

    def add(self, size: int) -> None:
        """Count ``size`` more bytes, or fewer if it is negative, whatever the bound is."""
        self.used += size
        assert self.used >= 0, "more bytes returned than taken"
