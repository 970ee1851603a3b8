"""The progress of one follower, as the leader knows it; all changes to it are made here.

``match`` is the end up to which the follower's log equals the leader's log, as acknowledged in this
epoch; -1 if unknown. ``next`` is the start offset of the next message. The states:

- probe: ``next`` is a guess. The leader sends one empty message and waits for an answer or the next
  heartbeat. A follower is in this state at the start of an epoch or broker epoch, after a reject,
  and after a lost connection.
- replicate: the leader sends messages ahead of the acks, within a window of messages and bytes.

Progress belongs to one broker epoch of the follower, because acknowledged records of an earlier
broker epoch may be lost (F22). The design is from etcd-io/raft, but without its assumption that a
peer keeps its log.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from typing import Final

from yak_core.ids import BrokerEpoch, Micros, Offset, OpId

UNKNOWN: Offset = -1
NO_OP: Final = OpId(0)


class ProgressState(StrEnum):
    """Whether ``next`` is a guess, or messages are sent ahead of the acks."""

    PROBE = "probe"
    REPLICATE = "replicate"


PROBE: Final = ProgressState.PROBE
REPLICATE: Final = ProgressState.REPLICATE


class Progress:
    """The progress of one broker epoch of a follower in one leader epoch."""

    __slots__ = (
        "broker_epoch", "state", "match", "next", "paused", "inflight", "inflight_bytes",
        "shipping", "sent_at", "heard_at", "caught_up_at", "acked_at", "leo_at_ack",
    )  # fmt: skip

    def __init__(
        self, broker_epoch: BrokerEpoch, at: Offset, caught_up_at: Micros, now: Micros
    ) -> None:
        #: The broker epoch of the follower; does not decrease.
        self.broker_epoch = broker_epoch
        #: Whether ``next`` is a guess.
        self.state: ProgressState = PROBE
        #: The acknowledged end: UNKNOWN or in [0, the leader's LEO].
        self.match: Offset = UNKNOWN
        #: The start offset of the next message: in [match, the leader's LEO].
        self.next = at
        #: Whether a probe is in flight; False in state replicate.
        self.paused = False
        #: (end, bytes) of each message in flight, in ascending order of the ends, the last at most
        #: ``next``; empty in state probe.
        self.inflight: deque[tuple[Offset, int]] = deque()
        #: The total bytes of ``inflight``.
        self.inflight_bytes = 0
        #: The pending SendLog, 0 for none; 0 in state probe.
        self.shipping: OpId = NO_OP
        #: Time of the last message to the follower; -1 before the first.
        self.sent_at: Micros = -1
        #: Time of the last ack or reject; before the first, the time of the election.
        self.heard_at = now
        #: The last time at which the follower was caught up, according to its acks.
        self.caught_up_at = caught_up_at
        #: Time of the ack at which ``leo_at_ack`` was taken; -1 before the first.
        self.acked_at: Micros = -1
        #: The leader's LEO at ``acked_at``; -1 before the first ack.
        self.leo_at_ack: Offset = -1

    def check(self, leo: Offset) -> None:
        """Assert the invariants of the fields; ``leo`` is the leader's LEO."""
        assert UNKNOWN <= self.match <= self.next <= leo, "expected match <= next <= LEO"
        assert self.inflight_bytes == sum(size for _, size in self.inflight), "wrong inflight_bytes"
        if self.state is PROBE:
            assert not self.inflight, "messages in flight in state probe"
            assert self.shipping == 0, "SendLog pending in state probe"
            return
        assert not self.paused, "paused in state replicate"
        before = self.match
        for end, _ in self.inflight:
            assert before < end <= self.next, "ends in flight must rise from match to next"
            before = end

    def begin_probe(self, at: Offset) -> None:
        """Enter state probe at ``at`` and forget the messages in flight."""
        self.state = PROBE
        self.next = at
        self.paused = False
        self.inflight.clear()
        self.inflight_bytes = 0
        self.shipping = NO_OP

    def shipped(self, end: Offset, size: int) -> None:
        """Record that a message with batches up to ``end`` was sent."""
        self.shipping = NO_OP
        self.next = end
        self.inflight.append((end, size))
        self.inflight_bytes += size

    def acked(self, match: Offset) -> None:
        """Handle an ack for ``match`` and enter state replicate."""
        if match > self.match:
            self.match = match
        inflight = self.inflight
        while inflight and inflight[0][0] <= self.match:
            self.inflight_bytes -= inflight.popleft()[1]
        if self.state is PROBE:
            self.begin_probe(self.match)
            self.state = REPLICATE
        elif self.next < self.match:
            self.next = self.match

    def rejected(self, at: Offset, retry_at: Offset) -> bool:
        """Probe at ``retry_at`` after a reject at ``at``; return False if the reject is stale."""
        if self.state is REPLICATE:
            if at <= self.match:
                return False
            self.begin_probe(self.match)
            return True
        if at != self.next:
            return False
        self.begin_probe(max(self.match, min(retry_at, at)))
        return True

    def track_lag(self, now: Micros, leo: Offset) -> None:
        """Update the last time at which the follower was caught up (KIP-16).

        The follower is caught up now if ``match`` has reached ``leo``. If ``match`` has reached the
        leader's LEO at an earlier ack, the follower was caught up at that time. With several
        messages in flight, the acks arrive more often than once per round trip. So the pair
        (``acked_at``, ``leo_at_ack``) is kept until ``match`` reaches it.
        """
        if self.match >= leo:
            self.caught_up_at = now
        elif self.acked_at >= 0:
            if self.match < self.leo_at_ack:
                return
            self.caught_up_at = max(self.caught_up_at, self.acked_at)
        self.acked_at = now
        self.leo_at_ack = leo
