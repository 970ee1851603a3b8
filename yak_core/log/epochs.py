"""The epoch index: the start offset of each leader epoch in a log.

Entries are (epoch, start), both ascending. A new leader adds its epoch at its log end offset before
it appends a record (KAFKA-7415), so an entry may have no records. The index answers two queries:
the epoch of the record before an offset, and the end of the largest epoch that is not above a given
epoch (KIP-279).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from yak_core.ids import NO_EPOCH, Epoch, Offset


class EpochIndex:
    """The (epoch, start) pairs of one log, in two parallel lists."""

    __slots__ = ("epochs", "starts")

    def __init__(self, entries: tuple[tuple[Epoch, Offset], ...] = ()) -> None:
        #: The epochs, in ascending order.
        self.epochs: list[Epoch] = [epoch for epoch, _ in entries]
        #: The start offset of each epoch, in ascending order.
        self.starts: list[Offset] = [start for _, start in entries]

    def check(self, leo: Offset) -> None:
        """Assert that the starts increase and that the last one is at most ``leo``.

        The rules decide whether the epochs increase, so the invariant LogShape checks that.
        """
        assert len(self.epochs) == len(self.starts), "a start for each epoch"
        for at in range(1, len(self.epochs)):
            assert self.starts[at - 1] < self.starts[at], "starts rise"
        assert not self.starts or self.starts[-1] <= leo, "an epoch begins within the log"

    def entries(self) -> tuple[tuple[Epoch, Offset], ...]:
        """Return all (epoch, start) pairs in order."""
        return tuple(zip(self.epochs, self.starts, strict=True))

    def add(self, epoch: Epoch, start: Offset) -> None:
        """Add an entry: ``epoch`` begins at ``start``; remove other entries at or above ``start``.

        The removed entries have no records. Such an entry may have a higher epoch, if this node led
        that epoch without an append (F09).
        """
        epochs, starts = self.epochs, self.starts
        while epochs and epochs[-1] != epoch and starts[-1] >= start:
            starts.pop()
            epochs.pop()
        if epochs and epochs[-1] == epoch:
            return
        epochs.append(epoch)
        starts.append(start)

    def prev_epoch(self, offset: Offset) -> Epoch:
        """Return the epoch of the record before ``offset``; NO_EPOCH if there is none."""
        at = bisect_left(self.starts, offset) - 1
        return self.epochs[at] if at >= 0 else NO_EPOCH

    def end_of(self, epoch: Epoch, leo: Offset) -> tuple[Epoch, Offset]:
        """Return the largest epoch that is not above ``epoch``, and its end offset (KIP-279).

        Return (NO_EPOCH, start of the lowest epoch) if all epochs are higher.
        """
        at = bisect_right(self.epochs, epoch)
        if at == 0:
            return (NO_EPOCH, self.starts[0] if self.starts else leo)
        return (self.epochs[at - 1], self.starts[at] if at < len(self.starts) else leo)

    def truncate(self, end: Offset) -> None:
        """Remove all entries that begin at or above ``end``, also those without records (F09)."""
        keep = bisect_left(self.starts, end)
        del self.epochs[keep:]
        del self.starts[keep:]
