"""Checks of one replica's log: appends, truncations, flushes and acks (R2, R3, R4).

By LogMatching, equal batches mean equal prefixes, so two whole logs are never compared.
"""

from __future__ import annotations

from collections.abc import Mapping

from yak_core.batch import Batch
from yak_core.broker.leader import Leader
from yak_core.broker.roles import Broker
from yak_core.contract.effects import AppendLog, FlushLog, Send, SendLog, TruncateLog
from yak_core.contract.events import DiskDone, NoSpace
from yak_core.contract.messages import ReplicateAck
from yak_core.ids import NodeId
from yak_core.invariants.context import CheckContext
from yak_core.invariants.replica import Replica
from yak_core.log.producers import ProducerEntry


class LogChecks:
    """Checks the disk effects, acks and positions of all replicas."""

    def __init__(self, context: CheckContext) -> None:
        self.context = context
        self._ledger = context.ledger

    def on_append(self, replica: Replica, node: Broker, effect: AppendLog) -> None:
        """Check an append, and that the producer table holds the newest batch of each producer."""
        log, may_hold = replica.log, self._ledger.may_hold
        ends, epochs = log.ends, log.run_epochs
        leading = node.leading
        led = None if leading is None else leading.epoch
        index = len(ends)
        log.appends[effect.op] = index
        newest: dict[int, Batch] = {}
        for batch in effect.batches:
            if batch.base_offset != (ends[-1] if index else 0):
                self._fail_log_shape(replica, f"an append at the log end {log.leo}", batch)
            epoch = batch.epoch
            if epochs and epoch < epochs[-1]:
                self._fail_log_shape(replica, f"an append of epoch {epochs[-1]} or higher", batch)
            link = log.append(batch)
            if not may_hold(epoch, index, link, epoch == led):
                self._fail_matching(replica, batch)
            newest[batch.producer_id] = batch
            index += 1
        replica.log_changed = True
        entries = node.log.producers.entries
        for producer, batch in newest.items():
            entry = entries.get(producer)
            if producer >= 0 and (
                entry is None
                or entry.epoch != batch.producer_epoch
                or entry.batches[-1][::2] != (batch.base_sequence, batch.base_offset)
            ):
                self._compare_producers(replica, node, log.producers(), [producer])
        if replica.current_produce is not None:
            replica.written[replica.current_produce] = True
        if leading is not None and node.log.pending_bytes > replica.config.append_bytes_max:
            self._fail_queue(
                replica,
                f"{replica.config.append_bytes_max} bytes in pending appends",
                f"{node.log.pending_bytes} bytes are pending",
            )

    def on_truncate(self, replica: Replica, node: Broker, effect: TruncateLog) -> None:
        """Check a truncation, which removes every batch that ends above ``end``."""
        log = replica.log
        keep = log.count_below(effect.end)
        if keep == len(log.links):
            return
        if node.leading is not None:
            self.context.fail(
                "LeaderAppendOnly",
                replica.node_id,
                f"no truncation of the log, which ends at {log.leo}, by the leader of epoch "
                f"{node.epoch}",
                f"the leader truncated it at {effect.end}",
            )
        committed = self._ledger.links
        if keep < len(committed) and log.links[keep] == committed[keep]:
            self._check_may_truncate(replica, effect.end)
        log.truncate(keep)
        replica.acked = min(replica.acked, keep)
        replica.log_changed = True
        replica.recompute = True

    def on_flush(self, replica: Replica, node: Broker, effect: FlushLog) -> None:
        """Record a flush; once it completes, all batches that the log holds now are durable."""
        replica.log.flushes[effect.op] = len(replica.log.links)

    def on_disk_done(self, replica: Replica, node: Broker, event: DiskDone) -> None:
        """Update the durable end after a disk effect completed, and check the broker's value."""
        log, op = replica.log, event.op
        if op in log.flushes:
            durable = log.flushed(op)
            claimed = node.log.durable_end
            if claimed > (log.ends[durable - 1] if durable else 0):
                self._fail_shape(
                    replica, f"durable end {log.durable_end}", f"the broker has {claimed}"
                )
        elif type(event.result) is NoSpace:
            replica.disk_full = True
            log.on_no_space(op)
        else:
            log.appends.pop(op, None)

    def on_send(self, replica: Replica, node: Broker, effect: Send) -> None:
        """Check an ack: the follower's log below ``match`` must equal the leader's log."""
        ack = effect.message
        if type(ack) is not ReplicateAck:
            return
        log, match = replica.log, ack.match
        ends = log.ends
        if ends and ends[-1] == match:
            count = len(ends)
        else:
            count = log.count_below(match)
            if (ends[count - 1] if count else 0) != match:
                self._fail_ack(
                    replica, ack, f"no batch of the log, which ends at {log.leo}, ends there"
                )
        if count:
            epoch = log.batches[count - 1].epoch
            if not self._ledger.leader_has(ack.epoch, count - 1, epoch):
                self._fail_ack(replica, ack, f"its batch below {match} has epoch {epoch}")
            if count > log.durable and replica.flush_each:
                self._fail_ack(replica, ack, f"only records below {log.durable_end} are flushed")
            if count > replica.acked:
                replica.acked = count
        key = (ack.broker_epoch, ack.epoch)
        acked_ends = replica.acked_ends
        known = acked_ends.get(key)
        if known is None or match > known:
            acked_ends[key] = match

    def check_progress(self, replica: Replica, leading: Leader, peer: NodeId) -> None:
        """Check that the leader counts no more than the follower acknowledged to it.

        Acks count by leader epoch and by the broker epoch of the follower.
        """
        progress = leading.progress.get(peer)
        if progress is None or progress.match <= 0:
            return
        follower = self.context.replicas[peer]
        claimed = follower.acked_ends.get((progress.broker_epoch, leading.epoch), -1)
        if progress.match > claimed:
            self.context.fail(
                "ProgressIsEvidence",
                replica.node_id,
                f"a match of at most {claimed} for broker epoch {progress.broker_epoch} of {peer}, "
                f"its highest ack in epoch {leading.epoch}",
                f"the leader has {progress.match}",
            )

    def on_send_log(self, replica: Replica, node: Broker, effect: SendLog) -> None:
        """Check that the messages in flight to the follower fit into the window."""
        leading = node.leading
        progress = None if leading is None else leading.progress.get(effect.peer)
        if progress is None:
            return
        waiting, limit = len(progress.inflight), replica.config.window_messages
        if waiting > limit:
            self._fail_queue(
                replica, f"{limit} messages in flight to {effect.peer}", f"{waiting} are in flight"
            )

    def check_log(self, replica: Replica, node: Broker) -> None:
        """Compare the broker's state of its log with the shadow log, after the log changed."""
        replica.log_changed = False
        log, live = replica.log, node.log
        ends = log.ends
        leo = ends[-1] if ends else 0
        if live.leo != leo:
            self._fail_shape(replica, f"log end {leo}", f"the broker has {live.leo}")
        if not live.durable_end <= live.appended_end <= leo:
            self._fail_shape(
                replica,
                "durable end <= appended end <= log end",
                f"they are {live.durable_end}, {live.appended_end}, {leo}",
            )
        if live.hw > leo:
            self.context.fail(
                "HwSound",
                replica.node_id,
                f"a high watermark of at most {leo}, the log end",
                f"it is {live.hw}",
            )
        if replica.recompute:
            replica.recompute = False
            self._check_epochs(replica, node)
            self._check_producers(replica, node)
            return
        if live.epochs.epochs != log.run_epochs:
            self._check_epochs(replica, node)

    # -- the folds ------------------------------------------------------------------------------

    def _check_epochs(self, replica: Replica, node: Broker) -> None:
        """Compare the whole epoch index with the shadow log."""
        log, index = replica.log, node.log.epochs
        starts = [log.batches[at].base_offset for at in log.run_firsts]
        count = len(starts)
        extra = len(index.epochs) - count
        # A leader adds its epoch before its first append (R2), so the last entry may be empty.
        sound = extra == 0 or (extra == 1 and index.starts[-1] == log.leo)
        if node.leading is not None and (not index.epochs or index.epochs[-1] != node.epoch):
            sound = False
        if not sound or index.epochs[:count] != log.run_epochs or index.starts[:count] != starts:
            self.context.fail(
                "EpochIndexIsFold",
                replica.node_id,
                f"an epoch index with {list(zip(log.run_epochs, starts, strict=True))}"
                f"{'' if node.leading is None else ' and the own epoch'} for a log that ends at "
                f"{log.leo}",
                f"the index holds {list(index.entries())}",
            )

    def _check_producers(self, replica: Replica, node: Broker) -> None:
        expected, live = replica.log.producers(), node.log.producers.entries
        # Beyond producers_max the broker forgets producers, which may come back later.
        if len(expected) <= replica.config.producers_max:
            self._compare_producers(replica, node, expected, [*expected, *live])

    def _compare_producers(
        self,
        replica: Replica,
        node: Broker,
        expected: Mapping[int, ProducerEntry],
        producers: list[int],
    ) -> None:
        for producer in producers:
            entry = node.log.producers.get(producer)
            if entry != expected.get(producer):
                self.context.fail(
                    "ProducerTableIsFold",
                    replica.node_id,
                    f"{expected.get(producer)}, which the log gives for producer {producer}",
                    f"the producer table holds {entry}",
                )

    # -- failures -------------------------------------------------------------------------------

    def _fail_log_shape(self, replica: Replica, expected: str, batch: Batch) -> None:
        self.context.fail("LogShape", replica.node_id, expected, f"{batch!r} was appended")

    def _check_may_truncate(self, replica: Replica, end: int) -> None:
        for member, broker_epoch in self.context.members:
            if member is replica and broker_epoch == replica.broker_epoch:
                self.context.fail(
                    "NoCutBelowCommitted",
                    replica.node_id,
                    f"no truncation below {self._ledger.end}, where the committed records end, by "
                    "a member of ISR or ELR",
                    f"the replica truncated its log at {end}",
                )

    def _fail_matching(self, replica: Replica, batch: Batch) -> None:
        start = self._ledger.starts.get(batch.epoch)
        leader: NodeId | str = "no node" if start is None else start.node
        self.context.fail(
            "LogMatching",
            replica.node_id,
            f"the batch that {leader}, the leader of epoch {batch.epoch}, appended at offset "
            f"{batch.base_offset}, with the same records below",
            f"{batch!r} was appended",
        )

    def _fail_ack(self, replica: Replica, ack: ReplicateAck, happened: str) -> None:
        self.context.fail(
            "AckIsVerified",
            replica.node_id,
            f"a log that equals the log of the leader of epoch {ack.epoch} below the acknowledged "
            f"offset {ack.match}",
            happened,
        )

    def _fail_shape(self, replica: Replica, expected: str, happened: str) -> None:
        self.context.fail("ReplicaShape", replica.node_id, expected, happened)

    def _fail_queue(self, replica: Replica, limit: str, happened: str) -> None:
        self.context.fail("QueuesBounded", replica.node_id, f"at most {limit}", happened)
