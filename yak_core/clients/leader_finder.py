"""Where a client believes the leader to be; must never decide anything else.

A hint counts if its epoch is not older than what is known. A leader that did not answer, or could
commit nothing, is suspect: hints that name it again in the same epoch are passed over for a while
and the other brokers are asked in turn, for one of them will soon lead or know who does.
"""

from __future__ import annotations

from typing import Final

from yak_core.ids import Epoch, NodeId

SUSPECT_TURNS: Final = 20
"""How many brokers are asked before a suspect gets another chance."""


class LeaderFinder:
    """The broker to ask next, and the highest leader epoch that any broker has named."""

    __slots__ = ("brokers", "epoch", "suspect", "target", "turns")

    def __init__(self, brokers: tuple[NodeId, ...]) -> None:
        assert brokers, "a client needs at least one broker to ask"
        self.brokers = brokers
        self.target = brokers[0]
        self.epoch: Epoch = Epoch(0)
        self.suspect: NodeId | None = None
        self.turns = 0

    def answered(self, src: NodeId, epoch: Epoch) -> None:
        """``src`` answered as the leader of ``epoch``."""
        if epoch >= self.epoch:
            self.epoch = epoch
            self.target = src
            self.suspect = None

    def redirected(self, src: NodeId, leader: NodeId | None, epoch: Epoch) -> None:
        """``src`` does not lead; it named ``leader`` in ``epoch``, if it knows of one."""
        news = epoch > self.epoch
        if (
            leader is not None
            and leader != src
            and (news or (epoch == self.epoch and leader != self.suspect))
        ):
            self.epoch = epoch
            self.target = leader
        elif src == self.target:
            self.next()

    def on_no_answer(self, src: NodeId) -> None:
        """``src`` did not answer in time, or could not commit what it was given."""
        if src == self.target:
            self.suspect = src
            self.turns = SUSPECT_TURNS
            self.next()

    def next(self) -> None:
        """Ask another broker, without suspecting anybody."""
        at = self.brokers.index(self.target) if self.target in self.brokers else -1
        self.turns -= 1
        if self.turns <= 0:
            self.suspect = None
        for step in range(1, len(self.brokers) + 1):
            self.target = self.brokers[(at + step) % len(self.brokers)]
            if self.target != self.suspect:
                return
