"""What a leader knows of one follower's log; its transitions are made here and nowhere else.

Three facts: ``match`` (the end up to which the follower proved in this epoch that its log equals
ours; -1 while nothing is proved), ``next`` (where the next message attaches) and the state.

- probe: the position is a guess. One empty message at a time, then wait for an answer or the next
  heartbeat. Entered at the beginning of an epoch or incarnation, after a reject, after a lost link.
- replicate: messages are sent ahead of the acks, within a window of messages and bytes.

Kept per incarnation of the follower: what an earlier start acknowledged may be gone (F22). The
shape is etcd-io/raft's, less its assumption that a peer never loses its log.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum

from yak_core.ids import BrokerEpoch, Micros, Offset, OpId

UNKNOWN: Offset = -1


class ProgressState(StrEnum):
    """Whether the position is a guess, or messages are sent ahead of the acks."""

    PROBE = "probe"
    REPLICATE = "replicate"


class Progress:
    """One follower, in one epoch, in one incarnation."""

    __slots__ = (
        "broker_epoch",
        "state",
        "match",
        "next",
        "paused",
        "inflight",
        "inflight_bytes",
        "shipping",
        "sent_at",
        "caught_up_at",
        "acked_at",
        "leo_at_ack",
    )

    def __init__(self, broker_epoch: BrokerEpoch, at: Offset, caught_up_at: Micros) -> None:
        self.broker_epoch = broker_epoch
        self.state = ProgressState.PROBE
        self.match: Offset = UNKNOWN
        self.next = at
        self.paused = False
        self.inflight: deque[tuple[Offset, int]] = deque()
        self.inflight_bytes = 0
        self.shipping: OpId = OpId(0)
        self.sent_at: Micros = -1
        self.caught_up_at = caught_up_at
        self.acked_at: Micros = -1
        self.leo_at_ack: Offset = -1

    def begin_probe(self, at: Offset) -> None:
        """Back to guessing, from ``at``; what was in flight is given up."""
        self.state = ProgressState.PROBE
        self.next = at
        self.paused = False
        self.inflight.clear()
        self.inflight_bytes = 0
        self.shipping = OpId(0)

    def has_room(self, messages: int, size: int) -> bool:
        """May another message with batches be sent ahead of the acks?"""
        return len(self.inflight) < messages and self.inflight_bytes < size

    def shipped(self, end: Offset, size: int) -> None:
        """A message with batches up to ``end`` went out."""
        self.shipping = OpId(0)
        self.next = end
        self.inflight.append((end, size))
        self.inflight_bytes += size

    def acked(self, match: Offset) -> None:
        """The follower proved its log up to ``match``."""
        self.match = max(self.match, match)
        inflight = self.inflight
        while inflight and inflight[0][0] <= self.match:
            self.inflight_bytes -= inflight.popleft()[1]
        if self.state is ProgressState.PROBE:
            self.begin_probe(self.match)
            self.state = ProgressState.REPLICATE
        elif self.next < self.match:
            self.next = self.match

    def rejected(self, at: Offset, retry_at: Offset) -> bool:
        """The log did not match at ``at``; try ``retry_at``. False for a stale reject."""
        if self.state is ProgressState.REPLICATE:
            if at <= self.match:
                return False
            self.begin_probe(self.match)
            return True
        if at != self.next:
            return False
        self.begin_probe(max(self.match, min(retry_at, at)))
        return True

    def track_lag(self, now: Micros, leo: Offset) -> None:
        """Note when the follower last had all that the leader had (KIP-16).

        Either it has all of it now, or it has what the leader had at an earlier ack: then it was
        caught up at that time. That mark stays until it is reached, because with several messages
        in flight the acks are closer together than a round trip.
        """
        if self.match >= leo:
            self.caught_up_at = now
        elif self.acked_at >= 0:
            if self.match < self.leo_at_ack:
                return
            self.caught_up_at = max(self.caught_up_at, self.acked_at)
        self.acked_at = now
        self.leo_at_ack = leo
