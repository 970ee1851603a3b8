"""The elections that one broker has seen, with their times.

A failover has three phases, which the new leader measures on its own clock:

- detect: from the last message of the old leader to the start of the campaign;
- elect: from the start of the campaign to the leadership;
- first ack: from the leadership to the first acknowledged record with acks=all. Without a producer,
  this waits for one.

The other brokers know only the epoch, its leader, and when they learned of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from yak_core.config import SECOND
from yak_core.contract.notes import BecameFollower, BecameLeader, Campaigned, Note, SteppedDown
from yak_core.ids import Micros

PHASES: Final = ("detect", "elect", "first_ack")
KEPT_MAX: Final = 32
"""Elections kept, the newest ones."""


@dataclass
class Election:
    """One election as one broker knows it; ``at_ms`` is its wall clock, a time is None if unknown.

    Times are seconds.
    """

    epoch: int
    leader: str
    at_ms: int
    detect_s: float | None = None
    elect_s: float | None = None
    first_ack_s: float | None = None


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
        self._kept: deque[Election] = deque(maxlen=KEPT_MAX)
        self._campaign_at: Micros | None = None
        self._detect_s: float | None = None
        self._leads_since: Micros = 0
        #: The election of this leader, until its first ack; None otherwise.
        self.awaits_ack: Election | None = None

    def __iter__(self) -> Iterator[Election]:
        return iter(self._kept)

    def on_note(self, note: Note, silent_us: Callable[[], Micros | None]) -> bool:
        """Handle a note; return whether it changed an election.

        ``silent_us`` returns the time since the last message of the leader.
        """
        match note:
            case Campaigned():
                self._on_campaign(silent_us())
                return False
            case BecameLeader(epoch=epoch):
                self._on_elected(epoch)
            case BecameFollower(epoch=epoch, leader=leader):
                if leader is None:
                    return False
                self._campaign_at = None
                self._add(Election(epoch, leader, self._wall_ms()))
            case SteppedDown():
                self.awaits_ack = None
                return False
            case _:
                return False
        return True

    def on_first_ack(self) -> None:
        """Handle the first acknowledged record of this leader."""
        election, self.awaits_ack = self.awaits_ack, None
        if election is not None:
            election.first_ack_s = (self._now() - self._leads_since) / SECOND
            self._on_phase("first_ack", election.first_ack_s)

    def _on_campaign(self, silent_us: Micros | None) -> None:
        """Begin a failover; a campaign without news of a leader since the last one continues it."""
        now = self._now()
        heard_at = None if silent_us is None else now - silent_us
        began = self._campaign_at
        if began is None or (heard_at is not None and heard_at > began):
            self._campaign_at = now
            self._detect_s = None if silent_us is None else silent_us / SECOND

    def _on_elected(self, epoch: int) -> None:
        now = self._leads_since = self._now()
        election = Election(epoch, self._node, self._wall_ms())
        if self._campaign_at is not None:  # the creator of a cluster leads without a campaign
            election.elect_s = (now - self._campaign_at) / SECOND
            self._on_phase("elect", election.elect_s)
            election.detect_s = self._detect_s
            if election.detect_s is not None:
                self._on_phase("detect", election.detect_s)
        self._campaign_at = self._detect_s = None
        self.awaits_ack = election
        self._add(election)

    def _add(self, election: Election) -> None:
        """Add an election; one of the same epoch, which this broker learns of again, stays."""
        if not self._kept or self._kept[-1].epoch < election.epoch:
            self._kept.append(election)
