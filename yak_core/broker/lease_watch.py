"""The lease watch: how long a leader has not renewed its lease.

A lease expires if the leader's renewal count does not change for ``lease_us`` on the observer's own
clock; clocks of different nodes are not compared. The watch reads (leader, epoch, renewal count)
from one reply of the store. It restarts when one of these changes. It also restarts after the
observer got no reply for a while, because its own outage looks like an outage of the leader.
"""

from __future__ import annotations

from yak_core.ids import NO_EPOCH, Epoch, Micros, NodeId


class LeaseWatch:
    """One observer's watch over the current leader's lease."""

    __slots__ = ("leader", "epoch", "renewals", "since", "replied_at")

    def __init__(self) -> None:
        self.leader: NodeId | None = None
        self.epoch: Epoch = NO_EPOCH
        self.renewals = 0
        self.since: Micros = 0
        self.replied_at: Micros = -1

    def on_reply(
        self, now: Micros, leader: NodeId | None, epoch: Epoch, renewals: int, reply_gap_us: Micros
    ) -> None:
        """Handle one reply; more than ``reply_gap_us`` since the last reply restarts the watch."""
        silent = self.replied_at < 0 or now - self.replied_at > reply_gap_us
        if silent or (leader, epoch, renewals) != (self.leader, self.epoch, self.renewals):
            self.since = now
        self.leader = leader
        self.epoch = epoch
        self.renewals = renewals
        self.replied_at = now

    def expires_at(self, lease_us: Micros) -> Micros:
        """Return the time at which the lease expires without a further renewal."""
        return self.since + lease_us

    def has_expired(self, now: Micros, lease_us: Micros, reply_gap_us: Micros) -> bool:
        """Return whether the lease has expired, as seen without a gap in the replies."""
        recent = self.replied_at >= 0 and now - self.replied_at <= reply_gap_us
        return recent and self.leader is not None and now >= self.expires_at(lease_us)
