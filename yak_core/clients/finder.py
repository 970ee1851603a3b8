"""Where a client believes the leader to be; must never decide anything else.

A hint counts if its epoch is not older than what is known. Without one the brokers are tried in
turn.
"""

from __future__ import annotations

from yak_core.ids import Epoch, NodeId


class Finder:
    """The broker to ask next, and the highest leader epoch that any broker has named."""

    __slots__ = ("brokers", "epoch", "target")

    def __init__(self, brokers: tuple[NodeId, ...]) -> None:
        assert brokers, "a client needs at least one broker to ask"
        self.brokers = brokers
        self.target = brokers[0]
        self.epoch: Epoch = 0

    def answered(self, src: NodeId, epoch: Epoch) -> None:
        """``src`` answered as the leader of ``epoch``."""
        if epoch >= self.epoch:
            self.epoch = epoch
            self.target = src

    def turned_away(self, src: NodeId, leader: NodeId | None, epoch: Epoch) -> None:
        """``src`` does not lead; it named ``leader`` in ``epoch``, if it knows of one."""
        if leader is not None and leader != src and epoch >= self.epoch:
            self.epoch = epoch
            self.target = leader
        elif src == self.target:
            self.next()

    def next(self) -> None:
        """No answer from the target: try another broker."""
        at = self.brokers.index(self.target) if self.target in self.brokers else -1
        self.target = self.brokers[(at + 1) % len(self.brokers)]

    def fork(self) -> Finder:
        """A copy that shares nothing."""
        other = Finder(self.brokers)
        other.target = self.target
        other.epoch = self.epoch
        return other
