"""What a broker does with the leader's log; must never cut what is committed.

A follower refuses epochs that are over, cuts only what disagrees with the leader's epochs, compares
before it cuts, and acknowledges what it has verified (R3). With flush=batch an ack waits for the
flush of what it names.
"""

from __future__ import annotations

from yak_core.broker.context import Desk
from yak_core.broker.replica_log import Log
from yak_core.contract.effects import Send
from yak_core.contract.messages import Replicate, ReplicateAck, ReplicateReject
from yak_core.contract.notes import HighWatermarkAdvanced, IgnoredMessage, LogDiverged, Truncated
from yak_core.ids import Epoch, Incarnation, NodeId, Offset


class Follower:
    """A follower's state in one epoch; ``verified`` is what it proved equal to the leader's log."""

    __slots__ = ("desk", "log", "verified", "fresh", "leader", "owed", "seq", "acked")

    def __init__(self, desk: Desk, log: Log) -> None:
        self.desk = desk
        self.log = log
        self.begin(None)

    def begin(self, leader: NodeId | None) -> None:
        """A new epoch: nothing is verified, nothing is owed."""
        self.verified: Offset = 0
        self.fresh = True
        self.leader = leader
        self.owed = False
        self.seq = 0
        self.acked: Offset = -1

    def on_replicate(self, message: Replicate, epoch: Epoch, incarnation: Incarnation) -> None:
        """A message of this epoch's leader."""
        self._cut(self._where_to_cut(message), epoch)
        self.fresh = False
        if not self._attaches(message):
            self._reject(message, epoch, incarnation)
            return
        if not _is_well_formed(message):
            self.desk.note(IgnoredMessage(message.leader, "Replicate", "batches do not fit"))
            return
        self._cut(
            self.desk.rules.conflict_point(self.log.epochs, self.log.leo, message), epoch
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
        self.owed = True
        if not new:
            self._ack(self._claim(), epoch, incarnation)

    def on_log_progress(self, epoch: Epoch, incarnation: Incarnation) -> None:
        """A write or flush completed: what is owed may be acknowledged."""
        if self.owed and self.leader is not None:
            claim = self._claim()
            if claim > self.acked:
                self._ack(claim, epoch, incarnation)

    def _where_to_cut(self, message: Replicate) -> Offset:
        log = self.log
        return self.desk.rules.truncation_point(
            log.epochs, log.leo, log.hw, self.fresh, message
        )

    def _cut(self, point: Offset, epoch: Epoch) -> None:
        before = self.log.leo
        if point < before:
            end = self.log.truncate(point)
            self.verified = min(self.verified, end)
            self.desk.note(Truncated(before, end, epoch))

    def _attaches(self, message: Replicate) -> bool:
        """Does the log have the record that the message builds on?"""
        at = message.prev_offset
        return at <= self.log.leo and self.log.epochs.before(at) == message.prev_epoch

    def _reject(self, message: Replicate, epoch: Epoch, incarnation: Incarnation) -> None:
        """Say how far this log could match: its end of the largest epoch not above theirs."""
        log = self.log
        known, end = log.epochs.end_of(message.prev_epoch, log.leo)
        hint = min(end, log.leo, message.prev_offset)
        hint_epoch = log.epochs.before(hint) if known >= 0 else -1
        self.desk.note(LogDiverged(message.prev_offset, hint, hint_epoch))
        self.desk.emit(
            Send(
                message.leader,
                ReplicateReject(epoch, incarnation, message.prev_offset, hint, hint_epoch),
            )
        )

    def _raise_hw(self, message: Replicate) -> None:
        log = self.log
        hw = self.desk.rules.follower_high_watermark(log.hw, message.hw, self.verified, log.leo)
        if log.raise_hw(hw):
            self.desk.note(HighWatermarkAdvanced(hw))

    def _claim(self) -> Offset:
        return min(self.desk.rules.ack_position(self.verified, self.log.leo), self.log.position)

    def _ack(self, claim: Offset, epoch: Epoch, incarnation: Incarnation) -> None:
        assert self.leader is not None
        self.acked = claim
        self.owed = claim < self.verified
        self.desk.emit(
            Send(self.leader, ReplicateAck(epoch, incarnation, self.acked, self.seq))
        )

    def fork(self, desk: Desk, log: Log) -> Follower:
        """A copy on another desk and log."""
        other = Follower(desk, log)
        other.verified = self.verified
        other.fresh = self.fresh
        other.leader = self.leader
        other.owed = self.owed
        other.seq = self.seq
        other.acked = self.acked
        return other


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
