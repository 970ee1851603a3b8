"""Checks of what is committed: high watermarks, the maximal ISR, who holds what (R5, S1 to S4).

Must never take a reported position for a held record: the shadow logs decide.
"""

from __future__ import annotations

from yak_core.batch import Batch
from yak_core.broker.leader import Leader
from yak_core.broker.roles import Broker
from yak_core.ids import BrokerEpoch
from yak_core.invariants.context import CheckContext
from yak_core.invariants.replica import Replica
from yak_core.invariants.shadow_log import ShadowLog


class CommitChecks:
    """Owns the growth of the committed chain."""

    def __init__(self, context: CheckContext) -> None:
        self.context = context
        self.failed: dict[tuple[int, int, int], str] = {}
        """(producer id, producer epoch, sequence) reported as never written, to who said so."""
        self._ledger = context.ledger

    def on_hw(self, replica: Replica, node: Broker) -> None:
        """A high watermark moved."""
        hw, old = node.log.hw, replica.hw
        log, ledger = replica.log, self._ledger
        leading = node.leading
        if hw < old and leading is not None:
            self._unsound(replica, f"{old} or more, where it was in epoch {node.epoch}", hw)
        count = log.count_below(hw)
        if (log.ends[count - 1] if count else 0) != hw:
            self._unsound(replica, f"the end of a batch of its log, which ends at {log.leo}", hw)
        replica.hw = hw
        committed = ledger.links
        if leading is not None and hw > old:
            complete = self._check_justified(replica, leading, count)
            if count > replica.acked:
                replica.acked = count
            if count > len(committed):
                self._commit(replica, count)
                if not complete:
                    self.check_complete()
        if count > len(committed):
            self._unsound(replica, f"at most the true high watermark {ledger.end}", hw)
        if count and log.links[count - 1] != committed[count - 1]:
            self._disagrees(replica, count)

    def on_isr(self, replica: Replica, node: Broker, leading: Leader) -> None:
        """A leader's view, or what it proposes, changed."""
        partition = node.partition
        assert partition is not None
        pending = leading.pending_isr
        known = replica.partition
        if (
            known is not None
            and replica.pending is not None
            and pending != replica.pending
            and partition.partition_epoch <= known.partition_epoch
        ):
            self.context.fail(
                "PendingKept",
                replica.node_id,
                f"the proposed ISR {replica.pending} to count until a record newer than version "
                f"{known.partition_epoch} is observed",
                f"{pending} is proposed now, at version {partition.partition_epoch}",
            )
        replica.partition = partition
        replica.pending = pending
        members = partition.isr if pending is None else (*partition.isr, *pending)
        maximal = tuple(sorted(dict.fromkeys(members)))
        if tuple(sorted(leading.maximal_isr)) != maximal:
            self.context.fail(
                "QuorumSuperset",
                replica.node_id,
                f"{maximal}, the recorded and the proposed ISR, as the maximal ISR",
                f"it is {leading.maximal_isr}",
            )
        replica.quorum = [self.context.replicas[member] for member in maximal]
        self.check_superset()

    def check_superset(self) -> None:
        """Whom the store could elect is in the maximal ISR of the leader that it names."""
        leader = self.context.recorded_leader()
        if leader is None or leader.partition is None:
            return
        partition = leader.partition
        if len(partition.isr) < partition.effective_min_isr:
            return
        quorum = leader.quorum
        for member, _ in self.context.members:
            if member not in quorum:
                state = self.context.state
                version = "?" if state is None else state.partition_epoch
                self.context.fail(
                    "QuorumSuperset",
                    leader.node_id,
                    f"{member.node_id}, who could be elected by version {version}, to be in "
                    "its maximal ISR",
                    f"that is {tuple(each.node_id for each in quorum)}",
                )

    def check_complete(self) -> None:
        """Everybody in ISR or ELR holds all that is committed."""
        ledger = self._ledger
        count = len(ledger.links)
        if not count:
            return
        link = ledger.links[-1]
        for member, broker_epoch in self.context.members:
            if member.up and member.broker_epoch == broker_epoch:
                links = member.log.links
                if len(links) >= count and links[count - 1] == link:
                    continue
            log = self._log_that_counts(member, broker_epoch)
            if log is not None and not log.holds(count, link):
                self._incomplete(member, log)

    # -- parts of on_hw -------------------------------------------------------------------------

    def _check_justified(self, replica: Replica, leading: Leader, count: int) -> bool:
        """Judge a leader's new high watermark, the end of ``count`` batches.

        Returns True if the present logs of all in ISR and ELR were found to hold these batches.
        """
        partition = replica.partition
        assert partition is not None, "a leader's view is known before its high watermark moves"
        if len(partition.isr) < partition.effective_min_isr:
            self._unjustified(
                replica,
                f"{partition.effective_min_isr} members in the ISR",
                f"it is {partition.isr}",
            )
        hw, quorum, progress_of = replica.hw, replica.quorum, leading.progress
        link = replica.log.links[count - 1]
        seen = True
        for member in quorum:
            broker_epoch = member.broker_epoch
            if member is not replica:
                progress = progress_of[member.node_id]
                # The start that acknowledged: the leader may know of it before the record does.
                broker_epoch = progress.broker_epoch
                if progress.match < hw:
                    self._unjustified(
                        replica,
                        f"{member.node_id} of the maximal ISR to have shown {hw} in this epoch",
                        f"it has shown {progress.match}",
                    )
            if broker_epoch != member.broker_epoch or not _has(member, count, link):
                seen = False
                self._check_holds(replica, member, broker_epoch, count)
        if self.context.recorded_leader() is not replica:
            return False
        complete = True
        for member, broker_epoch in self.context.members:
            if broker_epoch != member.broker_epoch or not (
                (seen and member in quorum) or _has(member, count, link)
            ):
                complete = False
                self._check_holds(replica, member, broker_epoch, count)
            elif not member.up:
                complete = False  # The log on its disk decides.
        return complete

    def _check_holds(
        self, replica: Replica, member: Replica, broker_epoch: BrokerEpoch, count: int
    ) -> None:
        log = member.log_of_epoch(broker_epoch)
        if log is None:
            return
        if not log.holds(count, replica.log.links[count - 1]):
            self._unjustified(
                replica,
                f"{member.node_id} to hold all records below {replica.hw}",
                f"its log ends at {log.leo} or differs below that",
            )
        if member.flush_each and log.durable < count:
            self._unjustified(
                replica,
                f"{member.node_id} to have flushed all records below {replica.hw}",
                f"it has flushed only those below {log.durable_end}",
            )

    def _commit(self, replica: Replica, count: int) -> None:
        """Records up to the leader's new high watermark are committed."""
        log, ledger = replica.log, self._ledger
        known = len(ledger.links)
        if known and log.links[known - 1] != ledger.links[known - 1]:
            self._disagrees(replica, known)
        for index in range(known, count):
            batch = log.batches[index]
            if batch.producer_id >= 0 and (self.failed or not ledger.is_next(batch)):
                self._check_sequence(replica, batch)
            ledger.commit(batch, log.links[index])

    def _check_sequence(self, replica: Replica, batch: Batch) -> None:
        ledger = self._ledger
        producer, epoch, sequence = batch.producer_id, batch.producer_epoch, batch.base_sequence
        if ledger.is_behind(producer, epoch, sequence):
            self.context.fail(
                "NoDuplicate",
                replica.node_id,
                f"sequence {sequence} of producer {producer} (epoch {epoch}) to be committed once",
                f"{batch!r} commits it again",
            )
        expected = ledger.next_sequence(producer, epoch)
        if sequence != expected:
            self.context.fail(
                "ProducerOrder",
                replica.node_id,
                f"sequence {expected} of producer {producer} (epoch {epoch}) to be committed next",
                f"{batch!r} was committed",
            )
        if epoch < ledger.producer_epochs.get(producer, -1):
            self.context.fail(
                "ProducerOrder",
                replica.node_id,
                f"producer {producer} to be in epoch {ledger.producer_epochs[producer]}",
                f"{batch!r} of an older one was committed",
            )
        if self.failed:
            said = self.failed.get((producer, epoch, sequence))
            if said is not None:
                self.context.fail(
                    "HonestFailure",
                    replica.node_id,
                    f"sequence {sequence} of producer {producer} never to be committed, because "
                    f"{said} said that it was not written",
                    f"{batch!r} was committed",
                )

    def _log_that_counts(self, member: Replica, broker_epoch: BrokerEpoch) -> ShadowLog | None:
        """The log by which a member of ISR or ELR is judged, None while nobody can tell.

        A registered start is judged by its log. A start that has ended, or has not registered yet,
        is judged by what it flushed where acks mean flushed; elsewhere its registration decides.
        """
        if member.up and member.broker_epoch == broker_epoch:
            return member.log
        if not member.flush_each or member.damaged:
            return None
        return member.log if member.disk is None else member.disk

    # -- sentences ------------------------------------------------------------------------------

    def _unsound(self, replica: Replica, expected: str, hw: int) -> None:
        self.context.fail(
            "HwSound", replica.node_id, f"a high watermark of {expected}", f"it is {hw}"
        )

    def _unjustified(self, replica: Replica, expected: str, happened: str) -> None:
        self.context.fail(
            "HwJustified",
            replica.node_id,
            f"{expected} before the high watermark reaches {replica.hw}",
            happened,
        )

    def _disagrees(self, replica: Replica, count: int) -> None:
        ledger = self._ledger
        at = replica.log.common_with(ledger.links)
        self.context.fail(
            "CommittedAgreement",
            replica.node_id,
            f"{ledger.batches[at]!r}, as committed, below its high watermark {replica.hw}",
            f"it holds {replica.log.batches[at]!r}",
        )

    def _incomplete(self, member: Replica, log: ShadowLog) -> None:
        leads = self.context.recorded_leader() is member
        end = self._ledger.end
        same = log.common_with(self._ledger.links)
        at = log.ends[same - 1] if same else 0
        self.context.fail(
            "LeaderCompleteness" if leads else "CandidateCompleteness",
            member.node_id,
            f"{'the leader' if leads else 'a member of ISR or ELR'} to hold every record below "
            f"{end}, which is committed",
            f"its log agrees up to {at} and ends at {log.leo}",
        )


def _has(member: Replica, count: int, link: int) -> bool:
    """Does its present log hold this prefix, flushed where acks mean flushed?"""
    log = member.log
    links = log.links
    return (
        len(links) >= count <= log.written
        and links[count - 1] == link
        and (log.durable >= count or not member.flush_each)
    )
