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
from typing import Final

from yak_core.ids import BrokerEpoch, Micros, Offset, OpId

UNKNOWN: Offset = -1
NO_OP: Final = OpId(0)


class ProgressState(StrEnum):
    """Whether the position is a guess, or messages are sent ahead of the acks."""

    PROBE = "probe"
    REPLICATE = "replicate"


PROBE: Final = ProgressState.PROBE
REPLICATE: Final = ProgressState.REPLICATE


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
        #: Which start of the follower this is about; never falls.
        self.broker_epoch = broker_epoch
        #: Whether ``next`` is a guess.
        self.state: ProgressState = PROBE
        #: What the follower proved: UNKNOWN or an end in [0, the leader's end].
        self.match: Offset = UNKNOWN
        #: Where the next message attaches: in [match, the leader's end].
        self.next = at
        #: A probe is under way; False while replicating.
        self.paused = False
        #: (end, bytes) of each message sent ahead of the acks, ends rising, the last at most
        #: ``next``; empty while probing.
        self.inflight: deque[tuple[Offset, int]] = deque()
        #: The bytes of ``inflight``, added up.
        self.inflight_bytes = 0
        #: The SendLog under way, 0 for none; 0 while probing.
        self.shipping: OpId = NO_OP
        #: When a message last left for the follower; -1 before the first.
        self.sent_at: Micros = -1
        #: When the follower last had all that the leader had, as far as acks tell.
        self.caught_up_at = caught_up_at
        #: When the ack came that ``leo_at_ack`` belongs to; -1 before the first.
        self.acked_at: Micros = -1
        #: The leader's end at ``acked_at``; -1 before the first ack.
        self.leo_at_ack: Offset = -1

    def check(self, leo: Offset) -> None:
        """Assert the bounds above; ``leo`` is the leader's end."""
        assert UNKNOWN <= self.match <= self.next <= leo, "match and next lie in the log in order"
        assert self.inflight_bytes == sum(size for _, size in self.inflight), "bytes in flight"
        if self.state is PROBE:
            assert not self.inflight, "nothing is in flight while probing"
            assert self.shipping == 0, "and nothing is shipped"
            return
        assert not self.paused, "only a probe is waited for"
        before = self.match
        for end, _ in self.inflight:
            assert before < end <= self.next, "what is in flight rises from match to next"
            before = end

    def begin_probe(self, at: Offset) -> None:
        """Back to guessing, from ``at``; what was in flight is given up."""
        self.state = PROBE
        self.next = at
        self.paused = False
        self.inflight.clear()
        self.inflight_bytes = 0
        self.shipping = NO_OP

    def shipped(self, end: Offset, size: int) -> None:
        """A message with batches up to ``end`` went out."""
        self.shipping = NO_OP
        self.next = end
        self.inflight.append((end, size))
        self.inflight_bytes += size

    def acked(self, match: Offset) -> None:
        """The follower proved its log up to ``match``."""
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
        """The log did not match at ``at``; try ``retry_at``. False for a stale reject."""
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
