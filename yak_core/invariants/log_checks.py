"""Checks of one replica's own log: what it appends, cuts, flushes and claims (R2, R3, R4).

Must never compare two whole logs: by LogMatching one batch stands for everything below it.
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
    """Follows the disk orders of all replicas."""

    def __init__(self, context: CheckContext) -> None:
        self.context = context
        self._ledger = context.ledger

    def on_append(self, replica: Replica, node: Broker, effect: AppendLog) -> None:
        """Batches join the log, and the newest one of each producer is in the table."""
        log, admits = replica.log, self._ledger.admits
        ends, epochs = log.ends, log.run_epochs
        leading = node.leading
        led = None if leading is None else leading.epoch
        index = len(ends)
        log.appends[effect.op] = index
        newest: dict[int, Batch] = {}
        for batch in effect.batches:
            if batch.base_offset != (ends[-1] if index else 0):
                self._misplaced(replica, f"an append at the log's end {log.leo}", batch)
            epoch = batch.epoch
            if epochs and epoch < epochs[-1]:
                self._misplaced(replica, f"no epoch below {epochs[-1]} at the log's end", batch)
            link = log.append(batch)
            if not admits(epoch, index, link, epoch == led):
                self._mismatch(replica, batch)
            newest[batch.producer_id] = batch
            index += 1
        replica.moved = True
        entries = node.log.producers.entries
        for producer, batch in newest.items():
            entry = entries.get(producer)
            if producer >= 0 and (
                entry is None
                or entry.epoch != batch.producer_epoch
                or entry.batches[-1][::2] != (batch.base_sequence, batch.base_offset)
            ):
                self._compare(replica, node, log.producers(), [producer])
        if replica.asking is not None:
            replica.written[replica.asking] = True
        if leading is not None and node.log.pending_bytes > replica.config.append_bytes_max:
            self._overflow(
                replica,
                f"{replica.config.append_bytes_max} bytes of unfinished appends",
                f"{node.log.pending_bytes} bytes were unfinished",
            )

    def on_truncate(self, replica: Replica, node: Broker, effect: TruncateLog) -> None:
        """Every batch that ends above ``end`` goes."""
        log = replica.log
        keep = log.count_below(effect.end)
        if keep == len(log.links):
            return
        if node.leading is not None:
            self.context.fail(
                "LeaderAppendOnly",
                replica.node_id,
                f"the leader of epoch {node.epoch} to keep its log up to {log.leo}",
                f"it cut it at {effect.end}",
            )
        committed = self._ledger.links
        if keep < len(committed) and log.links[keep] == committed[keep]:
            self._check_may_cut(replica, effect.end)
        log.truncate(keep)
        replica.acked = min(replica.acked, keep)
        replica.moved = True
        replica.refold = True

    def on_flush(self, replica: Replica, node: Broker, effect: FlushLog) -> None:
        """When this completes, all that is in the log now is durable."""
        replica.log.flushes[effect.op] = len(replica.log.links)

    def on_disk_done(self, replica: Replica, node: Broker, event: DiskDone) -> None:
        """A disk order ended; after a flush, what was in the log at its order is durable."""
        log, op = replica.log, event.op
        if op in log.flushes:
            durable = log.flushed(op)
            claimed = node.log.durable_end
            if claimed > (log.ends[durable - 1] if durable else 0):
                self._misshapen(
                    replica,
                    f"{log.durable_end} to be the end of what is flushed",
                    f"it believes in {claimed}",
                )
        elif type(event.result) is NoSpace:
            replica.starved = True
            log.found_no_space(op)
        else:
            log.appends.pop(op, None)

    def on_send(self, replica: Replica, node: Broker, effect: Send) -> None:
        """A message goes out; in an ack a follower claims to hold the leader's log so far."""
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
                self._lies(replica, ack, f"its log ends at {log.leo}")
        if count:
            epoch = log.batches[count - 1].epoch
            if not self._ledger.leader_has(ack.epoch, count - 1, epoch):
                self._lies(replica, ack, f"its record below {match} is of epoch {epoch}")
            if count > log.durable and replica.flush_each:
                self._lies(replica, ack, f"only what is below {log.durable_end} is flushed")
            if count > replica.acked:
                replica.acked = count
        key = (ack.broker_epoch, ack.epoch)
        acked_ends = replica.acked_ends
        known = acked_ends.get(key)
        if known is None or match > known:
            acked_ends[key] = match

    def check_evidence(self, replica: Replica, leading: Leader, peer: NodeId) -> None:
        """Does the leader count the follower for more than it said in this epoch and start?"""
        progress = leading.progress.get(peer)
        if progress is None or progress.match <= 0:
            return
        follower = self.context.replicas[peer]
        claimed = follower.acked_ends.get((progress.broker_epoch, leading.epoch), -1)
        if progress.match > claimed:
            self.context.fail(
                "ProgressIsEvidence",
                replica.node_id,
                f"at most {claimed} to be counted for incarnation {progress.broker_epoch} of "
                f"{peer}, as it acknowledged in epoch {leading.epoch}",
                f"{progress.match} is counted",
            )

    def on_send_log(self, replica: Replica, node: Broker, effect: SendLog) -> None:
        """Another message with batches goes out: the window holds it."""
        leading = node.leading
        progress = None if leading is None else leading.progress.get(effect.peer)
        if progress is None:
            return
        waiting, limit = len(progress.inflight), replica.config.window_messages
        if waiting > limit:
            self._overflow(replica, f"{limit} messages on their way", f"{waiting} were")

    def check_moved(self, replica: Replica, node: Broker) -> None:
        """The log moved: does the broker's own picture of it agree?"""
        replica.moved = False
        log, live = replica.log, node.log
        ends = log.ends
        leo = ends[-1] if ends else 0
        if live.leo != leo:
            self._misshapen(replica, f"log end {leo}", f"it believes in {live.leo}")
        if not live.durable_end <= live.appended_end <= leo:
            self._misshapen(
                replica,
                "durable end <= appended end <= log end",
                f"they are {live.durable_end}, {live.appended_end}, {leo}",
            )
        if live.hw > leo:
            self.context.fail(
                "HwSound",
                replica.node_id,
                f"no high watermark above the log's end {leo}",
                f"it is {live.hw}",
            )
        if replica.refold:
            replica.refold = False
            self._check_epochs(replica, node)
            self._check_producers(replica, node)
            return
        if live.epochs.epochs != log.run_epochs:
            self._check_epochs(replica, node)

    # -- the folds ------------------------------------------------------------------------------

    def _check_epochs(self, replica: Replica, node: Broker) -> None:
        """The whole index; an append that opens no epoch needs only its last entry."""
        log, index = replica.log, node.log.epochs
        starts = [log.batches[at].base_offset for at in log.run_firsts]
        count = len(starts)
        extra = len(index.epochs) - count
        # A leader notes its epoch before it writes (R2), so one entry may have no records yet.
        sound = extra == 0 or (extra == 1 and index.starts[-1] == log.leo)
        if node.leading is not None and (not index.epochs or index.epochs[-1] != node.epoch):
            sound = False
        if not sound or index.epochs[:count] != log.run_epochs or index.starts[:count] != starts:
            self.context.fail(
                "EpochIndexIsFold",
                replica.node_id,
                f"the epochs {list(zip(log.run_epochs, starts, strict=True))} of a log that "
                f"ends at {log.leo}{'' if node.leading is None else ', and the own one'}",
                f"the index holds {list(index.entries())}",
            )

    def _check_producers(self, replica: Replica, node: Broker) -> None:
        expected = replica.log.producers()
        # Of more producers some have been forgotten, and may have come back since.
        if len(expected) <= replica.config.producers_max:
            self._compare(replica, node, expected, [*expected, *node.log.producers.entries])

    def _compare(
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
                    f"{expected.get(producer)} for producer {producer}, as its log says",
                    f"the table holds {entry}",
                )

    # -- sentences ------------------------------------------------------------------------------

    def _misplaced(self, replica: Replica, expected: str, batch: Batch) -> None:
        self.context.fail("LogShape", replica.node_id, expected, f"{batch!r} was appended")

    def _check_may_cut(self, replica: Replica, end: int) -> None:
        for member, broker_epoch in self.context.members:
            if member is replica and broker_epoch == replica.broker_epoch:
                self.context.fail(
                    "NoCutBelowCommitted",
                    replica.node_id,
                    f"a member of ISR or ELR to keep what is committed below {self._ledger.end}",
                    f"it cut its log at {end}",
                )

    def _mismatch(self, replica: Replica, batch: Batch) -> None:
        start = self._ledger.starts.get(batch.epoch)
        leader: NodeId | str = "nobody" if start is None else start.node
        self.context.fail(
            "LogMatching",
            replica.node_id,
            f"offset {batch.base_offset} of epoch {batch.epoch} to be what {leader}, its leader, "
            "has written there, with the same records below",
            f"{batch!r} was appended",
        )

    def _lies(self, replica: Replica, ack: ReplicateAck, happened: str) -> None:
        self.context.fail(
            "AckIsVerified",
            replica.node_id,
            f"the log below {ack.match} to be that of epoch {ack.epoch}'s leader, as it said",
            happened,
        )

    def _misshapen(self, replica: Replica, expected: str, happened: str) -> None:
        self.context.fail("ReplicaShape", replica.node_id, expected, happened)

    def _overflow(self, replica: Replica, limit: str, happened: str) -> None:
        self.context.fail("QueuesBounded", replica.node_id, f"at most {limit}", happened)
