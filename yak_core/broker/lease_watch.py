"""The lease watch: for how long has the leader's beat not moved; must never compare clocks.

A lease is a beat counter that has not moved for ``lease_us`` of the observer's own clock. What is
watched is (leader, epoch, beat) out of one reply of the store; the watch restarts when any of them
changes, and when the observer itself heard nothing from the store for a while, for then its own
outage could look like the leader's.
"""

from __future__ import annotations

from yak_core.ids import NO_EPOCH, Epoch, Micros, NodeId


class LeaseWatch:
    """One observer's watch over whoever leads."""

    __slots__ = ("leader", "epoch", "renewals", "since", "replied_at")

    def __init__(self) -> None:
        self.leader: NodeId | None = None
        self.epoch: Epoch = NO_EPOCH
        self.renewals = 0
        self.since: Micros = 0
        self.replied_at: Micros = -1

    def saw(
        self, now: Micros, leader: NodeId | None, epoch: Epoch, renewals: int, gap_us: Micros
    ) -> None:
        """Take in one reply; a gap of more than ``gap_us`` since the last restarts the watch."""
        silent = self.replied_at < 0 or now - self.replied_at > gap_us
        if silent or (leader, epoch, renewals) != (self.leader, self.epoch, self.renewals):
            self.since = now
        self.leader = leader
        self.epoch = epoch
        self.renewals = renewals
        self.replied_at = now

    def over_at(self, lease_us: Micros) -> Micros:
        """When the lease is over if nothing moves until then."""
        return self.since + lease_us

    def is_over(self, now: Micros, lease_us: Micros, gap_us: Micros) -> bool:
        """Has the beat stood still for a lease, as seen without a gap?"""
        fresh = self.replied_at >= 0 and now - self.replied_at <= gap_us
        return fresh and self.leader is not None and now >= self.over_at(lease_us)
