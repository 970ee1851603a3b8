"""The broker that a client believes to be the leader.

A client uses a leader hint if its epoch is not older than the newest known epoch. A leader that did
not answer, or could not commit, is suspect. Hints to a suspect in the same epoch are ignored until
the client has changed its target ``SUSPECT_TURNS`` times. Meanwhile the client asks the other
brokers in turn, because one of them may become leader or know a new leader.
"""

from __future__ import annotations

from typing import Final

from yak_core.ids import Epoch, NodeId

SUSPECT_TURNS: Final = 20
"""Number of changes of the target broker after which a suspect is asked again."""


class LeaderFinder:
    """The broker to ask next (``target``), and the highest leader epoch seen in a response."""

    __slots__ = ("brokers", "epoch", "suspect", "suspect_turns", "target")

    def __init__(self, brokers: tuple[NodeId, ...]) -> None:
        assert brokers, "brokers must name at least one broker, got none"
        self.brokers = brokers
        self.target = brokers[0]
        self.epoch: Epoch = Epoch(0)
        self.suspect: NodeId | None = None
        self.suspect_turns = 0

    def answered(self, src: NodeId, epoch: Epoch) -> None:
        """Handle a response from ``src`` as the leader of ``epoch``."""
        if epoch >= self.epoch:
            self.epoch = epoch
            self.target = src
            self.suspect = None

    def redirected(self, src: NodeId, leader: NodeId | None, epoch: Epoch) -> None:
        """Handle a redirect: ``src`` does not lead; its hint is ``leader`` in ``epoch``."""
        newer = epoch > self.epoch
        if (
            leader is not None
            and leader != src
            and (newer or (epoch == self.epoch and leader != self.suspect))
        ):
            self.epoch = epoch
            self.target = leader
        elif src == self.target:
            self.next_broker()

    def on_no_answer(self, src: NodeId) -> None:
        """Handle a timeout of ``src``, or its failure to commit; ask the next broker."""
        if src == self.target:
            self.suspect = src
            self.suspect_turns = SUSPECT_TURNS
            self.next_broker()

    def next_broker(self) -> None:
        """Select the next broker that is not suspect."""
        at = self.brokers.index(self.target) if self.target in self.brokers else -1
        self.suspect_turns -= 1
        if self.suspect_turns <= 0:
            self.suspect = None
        for step in range(1, len(self.brokers) + 1):
            self.target = self.brokers[(at + step) % len(self.brokers)]
            if self.target != self.suspect:
                return
