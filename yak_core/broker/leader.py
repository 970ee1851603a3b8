"""The leader role: replicate the log, count acks, advance the high watermark, propose ISR changes.

A follower counts only up to the offset that it acknowledged in this epoch and broker epoch. The
high watermark is the minimum over the maximal ISR (committed and proposed members). So every
broker that could be elected has all records below the high watermark (R5).
"""

from __future__ import annotations

from yak_core.broker.context import Context
from yak_core.broker.progress import PROBE, UNKNOWN, Progress
from yak_core.broker.replica_log import Log
from yak_core.broker.store_session import Proposal, StoreSession
from yak_core.contract.effects import Send, SendLog
from yak_core.contract.events import NotShipped, Shipped
from yak_core.contract.messages import Replicate, ReplicateAck, ReplicateReject
from yak_core.contract.notes import HighWatermarkAdvanced, IgnoredMessage, IgnoreReason, IsrProposed
from yak_core.ids import NO_BROKER_EPOCH, BrokerEpoch, Epoch, NodeId, Offset, OpId
from yak_core.metadata.partition_state import PartitionState
from yak_core.metadata.store_calls import ProposalKind
from yak_core.metadata.transitions import Rejected, alter_isr
from yak_core.rules import JoinFacts


class Leader:
    """The leader role of one start of a broker in one epoch."""

    __slots__ = (
        "context", "log", "session", "epoch", "start", "partition", "broker_epoch", "progress",
        "pending_isr", "maximal_isr", "shipping", "seq", "heartbeat_at",
    )  # fmt: skip

    def __init__(
        self,
        context: Context,
        log: Log,
        session: StoreSession,
        epoch: Epoch,
        partition: PartitionState,
        broker_epoch: BrokerEpoch,
    ) -> None:
        self.context = context
        self.log = log
        self.session = session
        #: The epoch of this leader; the newest epoch that this broker knows.
        self.epoch = epoch
        #: The start of the epoch: the log end offset at the election.
        self.start: Offset = log.leo
        #: The newest partition state of this epoch.
        self.partition = partition
        #: The registered broker epoch of this broker.
        self.broker_epoch = broker_epoch
        #: The ISR of the pending proposal; None without one.
        self.pending_isr: tuple[NodeId, ...] | None = None
        #: Committed and proposed members together, sorted.
        self.maximal_isr = partition.isr
        #: The follower of each SendLog in flight.
        self.shipping: dict[OpId, NodeId] = {}
        #: Sequence number of the newest message.
        self.seq = 0
        #: Time of the last heartbeat.
        self.heartbeat_at = context.now
        #: The progress of each other replica.
        # ISR members start as caught up; otherwise the first append would remove them (F33).
        self.progress: dict[NodeId, Progress] = {
            node: Progress(
                partition.broker_epoch_of(node),
                log.leo,
                context.now if node in partition.isr else -(1 << 62),
                context.now,
            )
            for node in partition.replicas
            if node != context.node
        }

    def check(self) -> None:
        """Assert the invariants of the fields and of each follower's progress."""
        assert self.start <= self.log.leo, "the epoch starts after the leader's log end"
        members = {*self.partition.isr, *(self.pending_isr or ())}
        assert self.maximal_isr == tuple(sorted(members)), "maximal ISR != committed and proposed"
        assert self.pending_isr is None or self.session.proposal is not None, "no ISR proposal"
        for node, progress in self.progress.items():
            progress.check(self.log.leo)
            known = self.shipping.get(progress.shipping)
            assert progress.shipping == 0 or known == node, "SendLog belongs to another follower"

    # -- sending --------------------------------------------------------------------------------

    def on_heartbeat(self) -> None:
        """Send heartbeats to idle followers and propose to remove lagging ISR members."""
        config = self.context.config
        due = self.context.now - config.replicate_heartbeat_us // 2
        # After its own stall, a leader handles the queued acks before it shrinks the ISR (KIP-501).
        stalled = self.context.now - self.heartbeat_at > config.replica_lag_us // 2
        self.heartbeat_at = self.context.now
        for node, progress in self.progress.items():
            progress.paused = False
            if progress.state is PROBE or progress.sent_at <= due:
                self._send_empty(node, progress)
        if not stalled:
            self.maybe_shrink_isr()

    def send_pending(self, node: NodeId) -> None:
        """Send this follower its missing records, within the window."""
        progress = self.progress[node]
        if progress.state is PROBE:
            if not progress.paused:
                self._send_empty(node, progress)
            return
        start, end = progress.next, self.log.leo
        if start >= end or progress.shipping != 0:
            return
        config = self.context.config
        waiting, size = len(progress.inflight), progress.inflight_bytes
        if waiting < config.window_messages and size < config.window_bytes:
            op = self.context.new_op()
            progress.shipping = op
            progress.sent_at = self.context.now
            self.shipping[op] = node
            generation, bytes_max = self.log.generation, config.message_bytes_max
            self.context.emit(
                SendLog(op, generation, node, self._header(start), start, end, bytes_max)
            )

    def send_pending_all(self) -> None:
        """Send every follower its missing records."""
        for node in self.progress:
            self.send_pending(node)

    def on_shipped(self, op: OpId, result: object) -> bool:
        """Handle the completion of a SendLog; return False if this leader did not issue it."""
        node = self.shipping.pop(op, None)
        if node is None:
            return False
        progress = self.progress[node]
        if progress.shipping != op:
            return True
        if isinstance(result, Shipped):
            progress.shipped(result.end, result.size)
            self.send_pending(node)
        elif isinstance(result, NotShipped):
            progress.begin_probe(max(progress.match, 0))
        return True

    def on_peer_lost(self, node: NodeId) -> None:
        """Probe the follower again, because messages in flight may be lost."""
        progress = self.progress.get(node)
        if progress is not None:
            progress.begin_probe(progress.next if progress.match == UNKNOWN else progress.match)

    def _send_empty(self, node: NodeId, progress: Progress) -> None:
        progress.paused = progress.state is PROBE
        progress.sent_at = self.context.now
        self.context.emit(Send(node, self._header(progress.next)))

    def _header(self, at: Offset) -> Replicate:
        self.seq += 1
        log = self.log
        return Replicate(
            self.epoch,
            self.context.node,
            self.start,
            at,
            log.epochs.prev_epoch(at),
            (),
            log.hw,
            log.log_start,
            self.seq,
        )

    # -- answers --------------------------------------------------------------------------------

    def on_ack(self, src: NodeId, message: ReplicateAck) -> None:
        """Handle an ack: the follower's log equals the leader's log below ``match``."""
        progress = self._progress_of(src, message.broker_epoch, "ReplicateAck")
        if progress is None:
            return
        if message.match > self.log.leo:
            self.context.note(IgnoredMessage(src, "ReplicateAck", IgnoreReason.BEYOND_LOG_END))
            return
        progress.acked(message.match)
        progress.track_lag(self.context.now, self.log.leo)
        self.advance_hw()
        self._maybe_expand_isr(src, progress)
        self.send_pending(src)

    def on_reject(self, src: NodeId, message: ReplicateReject) -> None:
        """Handle a reject: probe again at an offset where the follower's log may match."""
        progress = self._progress_of(src, message.broker_epoch, "ReplicateReject")
        if progress is None:
            return
        _, end = self.log.epochs.end_of(message.hint_epoch, self.log.leo)
        if progress.rejected(message.at, min(message.hint_offset, end)):
            self.send_pending(src)
        else:
            self.context.note(IgnoredMessage(src, "ReplicateReject", IgnoreReason.STALE))

    def _progress_of(self, src: NodeId, broker_epoch: BrokerEpoch, kind: str) -> Progress | None:
        """Return the progress of ``src``, or None if its message must be ignored."""
        progress = self.progress.get(src)
        if progress is None:
            self.context.note(IgnoredMessage(src, kind, IgnoreReason.NO_REPLICA))
            return None
        if broker_epoch < progress.broker_epoch:
            self.context.note(IgnoredMessage(src, kind, IgnoreReason.EARLIER_BROKER_EPOCH))
            return None
        self._on_broker_epoch(src, progress, broker_epoch)
        progress.heard_at = self.context.now
        return progress

    def _on_broker_epoch(self, node: NodeId, progress: Progress, broker_epoch: BrokerEpoch) -> None:
        """Handle a new broker epoch of a follower, seen in a message or in the partition state."""
        if broker_epoch == progress.broker_epoch:
            return
        if not self.context.rules.progress_survives(progress.broker_epoch, broker_epoch):
            progress.begin_probe(self.log.leo)
            progress.match = UNKNOWN
            progress.acked_at = -1
        progress.broker_epoch = broker_epoch

    # -- the high watermark ---------------------------------------------------------------------

    def on_log_progress(self) -> None:
        """Advance the high watermark after the leader's own position moved (F61)."""
        if self.log.position > self.log.hw:
            self.advance_hw()

    def positions(self) -> dict[NodeId, Offset]:
        """Return the position of each replica; replicas without an ack in this epoch are absent."""
        positions = {self.context.node: self.log.position}
        for node, progress in self.progress.items():
            if progress.match != UNKNOWN:
                positions[node] = progress.match
        return positions

    def advance_hw(self) -> None:
        """Advance the high watermark as far as the maximal ISR allows."""
        log, partition = self.log, self.partition
        hw = self.context.rules.advance_high_watermark(
            log.hw, partition.isr, self.maximal_isr, self.positions(), partition.effective_min_isr
        )
        if hw > log.hw and log.raise_hw(min(hw, log.leo)):
            self.context.note(HighWatermarkAdvanced(log.hw))

    # -- the ISR --------------------------------------------------------------------------------

    def on_partition(self, state: PartitionState, resolved: Proposal | None) -> None:
        """Adopt a newer partition state of this epoch; ``resolved`` is the proposal it resolves."""
        self.partition = state
        if resolved is not None or self.session.proposal is None:
            self.pending_isr = None
        self._set_maximal_isr()
        for node, progress in self.progress.items():
            seen = state.broker_epoch_of(node)
            if seen > progress.broker_epoch:
                self._on_broker_epoch(node, progress, seen)
        self.advance_hw()
        for node, progress in self.progress.items():
            self._maybe_expand_isr(node, progress)

    def on_proposal_dropped(self) -> None:
        """Drop the proposed ISR after its proposal was refused or forgotten."""
        self.pending_isr = None
        self._set_maximal_isr()
        self.advance_hw()

    def maybe_shrink_isr(self) -> None:
        """Propose an ISR without the members that lag for longer than ``replica_lag_us``."""
        if not self.session.may_propose(self.partition):
            return
        replica_lag_us = self.context.config.replica_lag_us
        lagging = tuple(
            node
            for node, progress in self.progress.items()
            if node in self.partition.isr
            and self.context.rules.in_lag(
                self.context.now,
                progress.caught_up_at,
                progress.match,
                self.log.leo,
                replica_lag_us,
            )
        )
        if lagging:
            self._propose_isr(tuple(node for node in self.partition.isr if node not in lagging), ())

    def _maybe_expand_isr(self, node: NodeId, progress: Progress) -> None:
        if node in self.partition.isr or not self.session.may_propose(self.partition):
            return
        entry = self.partition.node(node)
        now = self.context.now
        facts = JoinFacts(
            match=progress.match,
            hw=self.log.hw,
            leo=self.log.leo,
            epoch_start=self.start,
            progress_broker_epoch=progress.broker_epoch,
            recorded_broker_epoch=NO_BROKER_EPOCH if entry is None else entry.broker_epoch,
            draining=entry is not None and entry.draining,
            caught_up=progress.match >= self.log.leo
            or now - progress.caught_up_at <= self.context.config.replica_lag_us,
            isr_size=len(self.partition.isr),
            min_isr=self.partition.effective_min_isr,
        )
        if self.context.rules.may_join(facts):
            joined = tuple(sorted((*self.partition.isr, node)))
            self._propose_isr(joined, ((node, progress.broker_epoch),))

    def _propose_isr(
        self, isr: tuple[NodeId, ...], added: tuple[tuple[NodeId, BrokerEpoch], ...]
    ) -> None:
        state = alter_isr(
            self.partition,
            attempt=self.context.new_attempt(),
            node=self.context.node,
            broker_epoch=self.broker_epoch,
            isr=isr,
            added=added,
        )
        if isinstance(state, Rejected):
            return
        self.pending_isr = isr
        self._set_maximal_isr()
        self.context.note(IsrProposed(isr, self.partition.partition_epoch))
        self.session.propose(ProposalKind.ALTER_ISR, self.partition, state, None)

    def _set_maximal_isr(self) -> None:
        members = dict.fromkeys((*self.partition.isr, *(self.pending_isr or ())))
        self.maximal_isr = tuple(sorted(members))
