"""The epoch index: where each leader epoch begins in a log; must never hold anything else.

Entries are (epoch, start), both growing. A leader notes its epoch at its log's end before it
writes anything (KAFKA-7415), so an entry may have no records. Two questions are asked: of which
epoch is the record before an offset, and where does the largest epoch not above a given one end
(KIP-279).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from yak_core.ids import NO_EPOCH, Epoch, Offset


class EpochIndex:
    """(epoch, start) pairs of one log, in two parallel lists."""

    __slots__ = ("epochs", "starts")

    def __init__(self, entries: tuple[tuple[Epoch, Offset], ...] = ()) -> None:
        #: The epochs, each larger than the one before it.
        self.epochs: list[Epoch] = [epoch for epoch, _ in entries]
        #: Where they begin, each above the one before it.
        self.starts: list[Offset] = [start for _, start in entries]

    def check(self, leo: Offset) -> None:
        """Assert that the starts rise within a log that ends at ``leo``.

        Whether the epochs rise is decided by the rules, so the invariants judge it (LogShape).
        """
        assert len(self.epochs) == len(self.starts), "a start for each epoch"
        for at in range(1, len(self.epochs)):
            assert self.starts[at - 1] < self.starts[at], "starts rise"
        assert not self.starts or self.starts[-1] <= leo, "an epoch begins within the log"

    def entries(self) -> tuple[tuple[Epoch, Offset], ...]:
        """All (epoch, start) pairs in order."""
        return tuple(zip(self.epochs, self.starts, strict=True))

    def note(self, epoch: Epoch, start: Offset) -> None:
        """``epoch`` begins at ``start``; other entries there had no records and are dropped.

        Such an entry may even be of a later epoch: one that this node led without writing (F09).
        """
        epochs, starts = self.epochs, self.starts
        while epochs and epochs[-1] != epoch and starts[-1] >= start:
            starts.pop()
            epochs.pop()
        if epochs and epochs[-1] == epoch:
            return
        epochs.append(epoch)
        starts.append(start)

    def before(self, offset: Offset) -> Epoch:
        """Epoch of the record just below ``offset``; NO_EPOCH when there is none."""
        at = bisect_left(self.starts, offset) - 1
        return self.epochs[at] if at >= 0 else NO_EPOCH

    def end_of(self, epoch: Epoch, leo: Offset) -> tuple[Epoch, Offset]:
        """(largest epoch not above ``epoch``, its end), as KIP-279 answers.

        (NO_EPOCH, start of the lowest epoch) when all epochs are higher.
        """
        at = bisect_right(self.epochs, epoch)
        if at == 0:
            return (NO_EPOCH, self.starts[0] if self.starts else leo)
        return (self.epochs[at - 1], self.starts[at] if at < len(self.starts) else leo)

    def truncate(self, end: Offset) -> None:
        """Drop every entry that begins at or above ``end``, also those without records (F09)."""
        keep = bisect_left(self.starts, end)
        del self.epochs[keep:]
        del self.starts[keep:]
