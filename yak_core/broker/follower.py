"""The follower role: append the leader's batches, truncate conflicting records, acknowledge.

A follower refuses stale epochs. It compares logs before it truncates, and truncates only records
that conflict with the leader's epochs. It acknowledges the verified offset (R3). With flush=batch
the ack is sent after the flush of the acknowledged records.
"""

from __future__ import annotations

from typing import Protocol

from yak_core.broker.context import Context
from yak_core.broker.replica_log import Log
from yak_core.contract.effects import Send
from yak_core.contract.messages import Replicate, ReplicateAck, ReplicateReject
from yak_core.contract.notes import (
    HighWatermarkAdvanced,
    IgnoredMessage,
    IgnoreReason,
    LogDiverged,
    Truncated,
)
from yak_core.ids import NO_EPOCH, BrokerEpoch, Micros, NodeId, Offset


class Owner(Protocol):
    """The broker that this follower role belongs to."""

    def halt(self, reason: str) -> None:
        """Halt the broker; ``reason`` is one sentence."""
        ...


class Follower:
    """The state of a follower in one epoch."""

    __slots__ = (
        "context", "owner", "log", "verified", "first_of_epoch", "leader", "ack_pending", "seq",
        "acked", "heard_at", "join_end", "caught_up_at", "was_member",
    )  # fmt: skip

    def __init__(self, context: Context, owner: Owner, log: Log) -> None:
        self.context = context
        self.owner = owner
        self.log = log
        self.begin(None)

    def begin(self, leader: NodeId | None) -> None:
        """Reset the state for a new epoch, or for the leader of the current epoch."""
        #: The end up to which the log equals the leader's log: in [0, LEO].
        self.verified: Offset = 0
        #: Whether no message of this epoch's leader has arrived yet.
        self.first_of_epoch = True
        #: The leader of this epoch, which receives the acks; None if unknown.
        self.leader = leader
        #: Whether an ack is pending until the disk completes an append or flush.
        self.ack_pending = False
        #: The largest sequence number of an accepted message; 0 before the first.
        self.seq = 0
        #: The last acknowledged position; -1 before the first ack.
        self.acked: Offset = -1
        #: Time of the last message of this epoch's leader; before the first, the epoch's start.
        self.heard_at = self.context.now
        #: The position from which the leader may add this broker to the ISR.
        self.join_end: Offset = 0
        #: Time of the first ack at or above that position in this epoch; -1 before it.
        self.caught_up_at: Micros = -1
        #: Whether a partition state that was read in this epoch names this broker in the ISR.
        self.was_member = False

    def check(self) -> None:
        """Assert the invariants that do not depend on the rules."""
        assert self.verified >= 0, "negative verified offset"
        assert not self.ack_pending or self.leader is not None, "pending ack without a leader"
        if self.first_of_epoch:
            assert self.verified == 0, "verified offset in a new epoch"
            assert not self.ack_pending, "pending ack in a new epoch"

    def on_isr(self, isr: tuple[NodeId, ...]) -> None:
        """Handle the ISR of a newer partition state of this epoch."""
        self.was_member = self.was_member or self.context.node in isr

    def on_replicate(self, message: Replicate, broker_epoch: BrokerEpoch) -> None:
        """Handle a message of this epoch's leader."""
        self.heard_at = self.context.now
        self.join_end = max(message.hw, message.epoch_start)
        log, rules = self.log, self.context.rules
        point = rules.truncation_point(log.epochs, log.leo, log.hw, self.first_of_epoch, message)
        if point < log.leo and not self._truncate(point):
            return
        self.first_of_epoch = False
        self.leader = message.leader
        at = message.prev_offset
        if at > log.leo or not rules.log_matches(log.epochs, message):
            self._reject(message, broker_epoch)
            return
        end = _end_of(message)
        if end is None:
            self._ignore(message)
            return
        point = rules.conflict_point(log.epochs, log.leo, message)
        if point < log.leo and not self._truncate(point):
            return
        new = message.batches
        if new and new[0].base_offset < log.leo:
            new = tuple(batch for batch in new if batch.end > log.leo)
        if new and new[0].base_offset != log.leo:
            self._ignore(message)
            return
        if new:
            log.append(new)
        if end > self.verified:
            self.verified = end
        hw = rules.follower_high_watermark(log.hw, message.hw, self.verified, log.leo)
        if log.raise_hw(hw):
            self.context.note(HighWatermarkAdvanced(hw))
        if message.seq > self.seq:
            self.seq = message.seq
        self.ack_pending = True
        if not new:
            self._ack(self._ack_position(), broker_epoch)

    def on_log_progress(self, broker_epoch: BrokerEpoch) -> None:
        """Acknowledge more records after an append or flush completed, if an ack is pending."""
        if self.log.position > self.acked:
            ack = self._ack_position()
            if ack > self.acked:
                self._ack(ack, broker_epoch)

    def _truncate(self, point: Offset) -> bool:
        """Truncate the log to ``point``; halt instead if ``point`` is below the high watermark.

        Return whether the log was truncated.
        """
        before, hw = self.log.leo, self.log.hw
        if point < hw:
            self.owner.halt(
                f"the leader's log conflicts at offset {point}, below the high watermark {hw}; "
                "compare the logs of all brokers before you restart this broker"
            )
            return False
        end = self.log.truncate(point)
        self.verified = min(self.verified, end)
        self.context.note(Truncated(before, end, self.context.hint.epoch))
        return True

    def _ignore(self, message: Replicate) -> None:
        """Ignore a message whose batches do not continue the log."""
        self.context.note(
            IgnoredMessage(message.leader, "Replicate", IgnoreReason.BATCHES_DO_NOT_FIT)
        )

    def _reject(self, message: Replicate, broker_epoch: BrokerEpoch) -> None:
        """Send a reject; its hint is the end of the largest epoch not above ``prev_epoch``."""
        log = self.log
        known, end = log.epochs.end_of(message.prev_epoch, log.leo)
        hint = min(end, log.leo, message.prev_offset)
        hint_epoch = log.epochs.prev_epoch(hint) if known >= 0 else NO_EPOCH
        self.context.note(LogDiverged(message.prev_offset, hint, hint_epoch))
        epoch = self.context.hint.epoch
        reject = ReplicateReject(epoch, broker_epoch, message.prev_offset, hint, hint_epoch)
        self.context.emit(Send(message.leader, reject))

    def _ack_position(self) -> Offset:
        log = self.log
        return min(self.context.rules.ack_position(self.verified, log.leo), log.position)

    def _ack(self, ack: Offset, broker_epoch: BrokerEpoch) -> None:
        assert self.leader is not None
        self.acked = ack
        if self.caught_up_at < 0 and ack >= self.join_end:
            self.caught_up_at = self.context.now
        self.ack_pending = ack < self.verified
        epoch = self.context.hint.epoch
        self.context.emit(Send(self.leader, ReplicateAck(epoch, broker_epoch, ack, self.seq)))


def _end_of(message: Replicate) -> Offset | None:
    """Return the end of the last batch, or None if the batches are invalid.

    Valid batches follow each other without gaps. Their epochs do not decrease and are not above the
    leader's epoch.
    """
    at = message.prev_offset
    epoch = message.prev_epoch
    for batch in message.batches:
        if batch.base_offset != at or batch.epoch < epoch or batch.epoch > message.epoch:
            return None
        at += batch.count
        epoch = batch.epoch
    return at
