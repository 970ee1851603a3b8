"""What a broker does with the leader's log; must never cut what is committed.

A follower refuses epochs that are over, cuts only what disagrees with the leader's epochs, compares
before it cuts, and acknowledges what it has verified (R3). With flush=batch an ack waits for the
flush of what it names.
"""

from __future__ import annotations

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
from yak_core.ids import NO_EPOCH, BrokerEpoch, Epoch, NodeId, Offset


class Follower:
    """A follower's state in one epoch; ``verified`` is what it proved equal to the leader's log."""

    __slots__ = (
        "context",
        "log",
        "verified",
        "first_of_epoch",
        "leader",
        "ack_owed",
        "seq",
        "acked",
    )

    def __init__(self, context: Context, log: Log) -> None:
        self.context = context
        self.log = log
        self.begin(None)

    def begin(self, leader: NodeId | None) -> None:
        """A new epoch: nothing is verified, nothing is owed."""
        self.verified: Offset = 0
        self.first_of_epoch = True
        self.leader = leader
        self.ack_owed = False
        self.seq = 0
        self.acked: Offset = -1

    def on_replicate(self, message: Replicate, epoch: Epoch, broker_epoch: BrokerEpoch) -> None:
        """A message of this epoch's leader."""
        self._truncate(self._truncation_point(message), epoch)
        self.first_of_epoch = False
        if not self._attaches(message):
            self._reject(message, epoch, broker_epoch)
            return
        if not _is_well_formed(message):
            self.context.note(
                IgnoredMessage(message.leader, "Replicate", IgnoreReason.BATCHES_DO_NOT_FIT)
            )
            return
        self._truncate(
            self.context.rules.conflict_point(self.log.epochs, self.log.leo, message), epoch
        )
        new = message.batches
        if new and new[0].base_offset < self.log.leo:
            new = tuple(batch for batch in new if batch.base_offset >= self.log.leo)
        if new:
            self.log.append(new)
        end = message.batches[-1].end if message.batches else message.prev_offset
        self.verified = max(self.verified, end)
        self._raise_hw(message)
        self.seq = max(self.seq, message.seq)
        self.ack_owed = True
        if not new:
            self._ack(self._ack_position(), epoch, broker_epoch)

    def on_log_progress(self, epoch: Epoch, broker_epoch: BrokerEpoch) -> None:
        """A write or flush completed: what is owed may be acknowledged."""
        if self.ack_owed and self.leader is not None:
            ack = self._ack_position()
            if ack > self.acked:
                self._ack(ack, epoch, broker_epoch)

    def _truncation_point(self, message: Replicate) -> Offset:
        log = self.log
        return self.context.rules.truncation_point(
            log.epochs, log.leo, log.hw, self.first_of_epoch, message
        )

    def _truncate(self, point: Offset, epoch: Epoch) -> None:
        before = self.log.leo
        if point < before:
            end = self.log.truncate(point)
            self.verified = min(self.verified, end)
            self.context.note(Truncated(before, end, epoch))

    def _attaches(self, message: Replicate) -> bool:
        """Does the log have the record that the message builds on?"""
        at = message.prev_offset
        return at <= self.log.leo and self.log.epochs.before(at) == message.prev_epoch

    def _reject(self, message: Replicate, epoch: Epoch, broker_epoch: BrokerEpoch) -> None:
        """Say how far this log could match: its end of the largest epoch not above theirs."""
        log = self.log
        known, end = log.epochs.end_of(message.prev_epoch, log.leo)
        hint = min(end, log.leo, message.prev_offset)
        hint_epoch = log.epochs.before(hint) if known >= 0 else NO_EPOCH
        self.context.note(LogDiverged(message.prev_offset, hint, hint_epoch))
        self.context.emit(
            Send(
                message.leader,
                ReplicateReject(epoch, broker_epoch, message.prev_offset, hint, hint_epoch),
            )
        )

    def _raise_hw(self, message: Replicate) -> None:
        log = self.log
        hw = self.context.rules.follower_high_watermark(log.hw, message.hw, self.verified, log.leo)
        if log.raise_hw(hw):
            self.context.note(HighWatermarkAdvanced(hw))

    def _ack_position(self) -> Offset:
        return min(self.context.rules.ack_position(self.verified, self.log.leo), self.log.position)

    def _ack(self, ack: Offset, epoch: Epoch, broker_epoch: BrokerEpoch) -> None:
        assert self.leader is not None
        self.acked = ack
        self.ack_owed = ack < self.verified
        self.context.emit(
            Send(self.leader, ReplicateAck(epoch, broker_epoch, self.acked, self.seq))
        )


def _is_well_formed(message: Replicate) -> bool:
    """Batches lie back to back; their epochs never fall, nor pass the leader's."""
    at = message.prev_offset
    epoch = message.prev_epoch
    for batch in message.batches:
        if batch.base_offset != at or batch.epoch < epoch or batch.epoch > message.epoch:
            return False
        at = batch.end
        epoch = batch.epoch
    return True
