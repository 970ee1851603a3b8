"""The elections that one broker has seen, with their times.

A failover has three phases, which the new leader measures on its own clock:

- detect: from the last message of the old leader to the start of the campaign;
- elect: from the start of the campaign to the leadership;
- first ack: from the leadership to the first acknowledged record with acks=all. Without a producer,
  this waits for one.

The other brokers know only the epoch, its leader, and when they learned of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from msgspec import Struct

from yak_core.config import MS, SECOND
from yak_core.contract.notes import BecameFollower, BecameLeader, Campaigned, Note, SteppedDown
from yak_core.ids import Micros

PHASES: Final = ("detect", "elect", "first_ack")
KEPT_MAX: Final = 20
"""Elections kept, the newest ones."""


class Election(Struct):
    """One election as one broker knows it; ``at_ms`` is when it learned of it, by its wall clock.

    Times are milliseconds, None if unknown.
    """

    epoch: int
    leader: str
    at_ms: int
    detect_ms: int | None = None
    elect_ms: int | None = None
    first_ack_ms: int | None = None


class Elections:
    """The newest elections, oldest first.

    ``on_phase(phase, seconds)`` is called for each measured phase.
    """

    def __init__(
        self,
        node: str,
        now: Callable[[], Micros],
        wall_ms: Callable[[], int],
        on_phase: Callable[[str, float], None],
    ) -> None:
        self._node = node
        self._now = now
        self._wall_ms = wall_ms
        self._on_phase = on_phase
        self._kept: dict[int, Election] = {}
        self._campaign_at: Micros | None = None
        self._detect_ms: int | None = None
        self._leads_since: Micros = 0
        #: The election of this leader, until its first ack; None otherwise.
        self.awaits_ack: Election | None = None

    def __iter__(self) -> Iterator[Election]:
        return iter(self._kept.values())

    def on_note(self, note: Note, silent_us: Callable[[], Micros | None]) -> None:
        """Handle a note.

        ``silent_us`` returns the time since the last message of the leader.
        """
        match note:
            case Campaigned():
                self._on_campaign(silent_us())
            case BecameLeader(epoch=epoch):
                self._on_elected(epoch)
            case BecameFollower(epoch=epoch, leader=str(leader)):
                self._campaign_at = None
                self._add(Election(epoch, leader, self._wall_ms()))
            case SteppedDown():
                self.awaits_ack = None

    def on_first_ack(self) -> None:
        """Handle the first acknowledged record of this leader."""
        election, self.awaits_ack = self.awaits_ack, None
        if election is not None:
            first_ack_us = self._now() - self._leads_since
            election.first_ack_ms = first_ack_us // MS
            self._on_phase("first_ack", first_ack_us / SECOND)

    def _on_campaign(self, silent_us: Micros | None) -> None:
        """Begin a failover; a campaign without news of a leader since the last one continues it."""
        now = self._now()
        heard_at = None if silent_us is None else now - silent_us
        began = self._campaign_at
        if began is None or (heard_at is not None and heard_at > began):
            self._campaign_at = now
            self._detect_us = silent_us

    def _on_elected(self, epoch: int) -> None:
        now = self._leads_since = self._now()
        election = Election(epoch, self._node, self._wall_ms())
        if self._campaign_at is not None:  # the creator of a cluster leads without a campaign
            elect_us = now - self._campaign_at
            election.elect_ms = elect_us // MS
            self._on_phase("elect", elect_us / SECOND)
            if self._detect_us is not None:
                election.detect_ms = self._detect_us // MS
                self._on_phase("detect", self._detect_us / SECOND)
        self._campaign_at = self._detect_us = None
        self.awaits_ack = election
        self._add(election)

    def _add(self, election: Election) -> None:
        """Add an election, unless this broker learns of it again."""
        if election.epoch in self._kept:
            return
        self._kept[election.epoch] = election
        if len(self._kept) > KEPT_MAX:
            del self._kept[next(iter(self._kept))]
