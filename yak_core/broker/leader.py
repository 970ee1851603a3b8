"""What a leader does: push the log, count the acks, move the high watermark, propose the ISR.

Must never count a follower for more than it proved in this epoch and incarnation. The high
watermark is the minimum over the maximal ISR (what is recorded and what is proposed), so it cannot
pass anybody whom the store might elect (R5).
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
    """One leadership: from the election of this incarnation to its end."""

    __slots__ = (
        "context",
        "log",
        "session",
        "epoch",
        "start",
        "partition",
        "broker_epoch",
        "progress",
        "pending_isr",
        "maximal_isr",
        "shipping",
        "seq",
        "ticked_at",
    )

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
        #: The epoch that is led; the newest one that this broker knows.
        self.epoch = epoch
        #: Where the epoch begins: the log's end at the election.
        self.start: Offset = log.leo
        #: The newest record of this epoch.
        self.partition = partition
        #: What this start registered as.
        self.broker_epoch = broker_epoch
        #: The ISR of the outstanding proposal; None while there is none.
        self.pending_isr: tuple[NodeId, ...] | None = None
        #: Recorded and proposed members together, sorted.
        self.maximal_isr = partition.isr
        #: Shipments under way and whom they are for.
        self.shipping: dict[OpId, NodeId] = {}
        #: Number of the newest message.
        self.seq = 0
        #: When the last heartbeat was made.
        self.ticked_at = context.now
        #: What is known of each other replica.
        # Members of the ISR start as caught up, or the first write would throw them out (F33).
        self.progress: dict[NodeId, Progress] = {
            node: Progress(
                partition.broker_epoch_of(node),
                log.leo,
                context.now if node in partition.isr else -(1 << 62),
            )
            for node in partition.replicas
            if node != context.node
        }

    def check(self) -> None:
        """Assert the bounds above, and those of each follower's progress."""
        assert self.start <= self.log.leo, "a leader cuts nothing"
        members = {*self.partition.isr, *(self.pending_isr or ())}
        assert self.maximal_isr == tuple(sorted(members)), "who might be in sync"
        assert self.pending_isr is None or self.session.proposal is not None, "proposed and open"
        for node, progress in self.progress.items():
            progress.check(self.log.leo)
            known = self.shipping.get(progress.shipping)
            assert progress.shipping == 0 or known == node, "a shipment has one receiver"

    # -- sending --------------------------------------------------------------------------------

    def on_heartbeat(self) -> None:
        """Tell every follower where the log and the high watermark are; look after the ISR."""
        config = self.context.config
        due = self.context.now - config.replicate_heartbeat_us // 2
        # After a stall of its own a leader hears the acks that waited before it blames (KIP-501).
        stalled = self.context.now - self.ticked_at > config.replica_lag_us // 2
        self.ticked_at = self.context.now
        for node, progress in self.progress.items():
            progress.paused = False
            if progress.state is PROBE or progress.sent_at <= due:
                self._send_empty(node, progress)
        if not stalled:
            self.maybe_shrink()

    def send_pending(self, node: NodeId) -> None:
        """Send this follower what it lacks, as far as the window allows."""
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
            op = self.context.op()
            progress.shipping = op
            progress.sent_at = self.context.now
            self.shipping[op] = node
            generation, bytes_max = self.log.generation, config.message_bytes_max
            self.context.emit(
                SendLog(op, generation, node, self._header(start), start, end, bytes_max)
            )

    def send_pending_all(self) -> None:
        """Send every follower what it lacks."""
        for node in self.progress:
            self.send_pending(node)

    def on_shipped(self, op: OpId, result: object) -> bool:
        """A SendLog completed; True if it was one of this leadership."""
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
        """The link broke: what was in flight may be gone."""
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
            log.epochs.before(at),
            (),
            log.hw,
            log.log_start,
            self.seq,
        )

    # -- answers --------------------------------------------------------------------------------

    def on_ack(self, src: NodeId, message: ReplicateAck) -> None:
        """A follower proved its log up to ``match``."""
        progress = self._counted(src, message.broker_epoch, "ReplicateAck")
        if progress is None:
            return
        if message.match > self.log.leo:
            self.context.note(IgnoredMessage(src, "ReplicateAck", IgnoreReason.BEYOND_LOG_END))
            return
        progress.acked(message.match)
        progress.track_lag(self.context.now, self.log.leo)
        self.advance()
        self._maybe_expand(src, progress)
        self.send_pending(src)

    def on_reject(self, src: NodeId, message: ReplicateReject) -> None:
        """A follower's log does not match: probe where it could."""
        progress = self._counted(src, message.broker_epoch, "ReplicateReject")
        if progress is None:
            return
        _, end = self.log.epochs.end_of(message.hint_epoch, self.log.leo)
        if progress.rejected(message.at, min(message.hint_offset, end)):
            self.send_pending(src)
        else:
            self.context.note(IgnoredMessage(src, "ReplicateReject", IgnoreReason.STALE))

    def _counted(self, src: NodeId, broker_epoch: BrokerEpoch, kind: str) -> Progress | None:
        """The progress that this answer speaks of, or None if it must not count."""
        progress = self.progress.get(src)
        if progress is None:
            self.context.note(IgnoredMessage(src, kind, IgnoreReason.NO_REPLICA))
            return None
        if broker_epoch < progress.broker_epoch:
            self.context.note(IgnoredMessage(src, kind, IgnoreReason.EARLIER_BROKER_EPOCH))
            return None
        self._meet(src, progress, broker_epoch)
        return progress

    def _meet(self, node: NodeId, progress: Progress, broker_epoch: BrokerEpoch) -> None:
        """An answer or the record shows this incarnation of the follower."""
        if broker_epoch == progress.broker_epoch:
            return
        if not self.context.rules.progress_survives(progress.broker_epoch, broker_epoch):
            progress.begin_probe(self.log.leo)
            progress.match = UNKNOWN
            progress.acked_at = -1
        progress.broker_epoch = broker_epoch

    # -- the high watermark ---------------------------------------------------------------------

    def on_log_progress(self) -> None:
        """The own position may have moved: the leader is a follower of itself (F61)."""
        if self.log.position > self.log.hw:
            self.advance()

    def positions(self) -> dict[NodeId, Offset]:
        """What each replica is known to hold; without those who proved nothing."""
        positions = {self.context.node: self.log.position}
        for node, progress in self.progress.items():
            if progress.match != UNKNOWN:
                positions[node] = progress.match
        return positions

    def advance(self) -> None:
        """Move the high watermark as far as the maximal ISR allows."""
        log, partition = self.log, self.partition
        hw = self.context.rules.advance_high_watermark(
            log.hw,
            partition.isr,
            self.maximal_isr,
            self.positions(),
            partition.effective_min_isr,
        )
        if hw > log.hw and log.raise_hw(min(hw, log.leo)):
            self.context.note(HighWatermarkAdvanced(log.hw))

    # -- the ISR --------------------------------------------------------------------------------

    def on_partition(self, state: PartitionState, settled: Proposal | None) -> None:
        """The record of this epoch moved on; a proposal that it settles no longer counts."""
        self.partition = state
        if settled is not None or self.session.proposal is None:
            self.pending_isr = None
        self._set_maximal()
        for node, progress in self.progress.items():
            seen = state.broker_epoch_of(node)
            if seen > progress.broker_epoch:
                self._meet(node, progress, seen)
        self.advance()
        for node, progress in self.progress.items():
            self._maybe_expand(node, progress)

    def on_proposal_dropped(self) -> None:
        """The proposal ended without a newer record."""
        self.pending_isr = None
        self._set_maximal()
        self.advance()

    def maybe_shrink(self) -> None:
        """Propose an ISR without those who have lagged behind for too long."""
        if not self.session.may_propose(self.partition):
            return
        replica_lag_us = self.context.config.replica_lag_us
        out = tuple(
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
        if out:
            self._propose(tuple(node for node in self.partition.isr if node not in out), ())

    def _maybe_expand(self, node: NodeId, progress: Progress) -> None:
        if node in self.partition.isr or not self.session.may_propose(self.partition):
            return
        entry = self.partition.node(node)
        now = self.context.now
        partition = JoinFacts(
            match=progress.match,
            hw=self.log.hw,
            leo=self.log.leo,
            epoch_start=self.start,
            progress_broker_epoch=progress.broker_epoch,
            recorded_broker_epoch=NO_BROKER_EPOCH if entry is None else entry.broker_epoch,
            draining=entry is not None and entry.draining,
            in_time=progress.match >= self.log.leo
            or now - progress.caught_up_at <= self.context.config.replica_lag_us,
            isr_size=len(self.partition.isr),
            min_isr=self.partition.effective_min_isr,
        )
        if self.context.rules.may_join(partition):
            joined = tuple(sorted((*self.partition.isr, node)))
            self._propose(joined, ((node, progress.broker_epoch),))

    def _propose(
        self, isr: tuple[NodeId, ...], added: tuple[tuple[NodeId, BrokerEpoch], ...]
    ) -> None:
        state = alter_isr(
            self.partition,
            attempt=self.context.attempt(),
            node=self.context.node,
            broker_epoch=self.broker_epoch,
            isr=isr,
            added=added,
        )
        if isinstance(state, Rejected):
            return
        self.pending_isr = isr
        self._set_maximal()
        self.context.note(IsrProposed(isr, self.partition.partition_epoch))
        self.session.propose(ProposalKind.ALTER_ISR, self.partition, state, None)

    def _set_maximal(self) -> None:
        members = dict.fromkeys((*self.partition.isr, *(self.pending_isr or ())))
        self.maximal_isr = tuple(sorted(members))
