"""Checks of commits: high watermarks, the maximal ISR, and the logs of members (R5).

The shadow logs decide which replica holds which record; reported positions are only compared.
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
    """Checks each high watermark and ISR, and extends the committed chain."""

    def __init__(self, context: CheckContext) -> None:
        self.context = context
        self.failed: dict[tuple[int, int, int], str] = {}
        """(producer id, producer epoch, sequence) reported as not written -> the reporting node."""
        self._ledger = context.ledger

    def on_hw(self, replica: Replica, node: Broker) -> None:
        """Check a high watermark that changed."""
        hw, old = node.log.hw, replica.hw
        log, ledger = replica.log, self._ledger
        leading = node.leading
        if hw < old and leading is not None:
            self._fail_hw(replica, f"of at least {old}, its value in epoch {node.epoch}", hw)
        count = log.count_below(hw)
        if (log.ends[count - 1] if count else 0) != hw:
            self._fail_hw(replica, f"at the end of a batch in a log that ends at {log.leo}", hw)
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
            self._fail_hw(replica, f"of at most {ledger.end}, the true high watermark", hw)
        if count and log.links[count - 1] != committed[count - 1]:
            self._fail_agreement(replica, count)

    def on_isr(self, replica: Replica, node: Broker, leading: Leader) -> None:
        """Check a change of a leader's partition state or of its proposed ISR."""
        partition = node.partition
        assert partition is not None
        pending = leading.pending_isr
        known = replica.leader_partition
        if (
            known is not None
            and replica.pending_isr is not None
            and pending != replica.pending_isr
            and partition.partition_epoch <= known.partition_epoch
        ):
            self.context.fail(
                "PendingKept",
                replica.node_id,
                f"the proposed ISR {replica.pending_isr} until a partition epoch above "
                f"{known.partition_epoch} is observed",
                f"the leader proposes {pending} at partition epoch {partition.partition_epoch}",
            )
        replica.leader_partition = partition
        replica.pending_isr = pending
        members = partition.isr if pending is None else (*partition.isr, *pending)
        maximal = tuple(sorted(dict.fromkeys(members)))
        if tuple(sorted(leading.maximal_isr)) != maximal:
            self.context.fail(
                "QuorumSuperset",
                replica.node_id,
                f"{maximal}, the committed and the proposed ISR, as the maximal ISR",
                f"the leader uses {leading.maximal_isr}",
            )
        replica.maximal_isr = [self.context.replicas[member] for member in maximal]
        self.check_superset()

    def check_superset(self) -> None:
        """Check that the leader's maximal ISR contains every replica that could be elected."""
        leader = self.context.recorded_leader()
        if leader is None or leader.leader_partition is None:
            return
        partition = leader.leader_partition
        if len(partition.isr) < partition.effective_min_isr:
            return
        quorum = leader.maximal_isr
        for member, _ in self.context.members:
            if member not in quorum:
                state = self.context.state
                number = "?" if state is None else state.partition_epoch
                self.context.fail(
                    "QuorumSuperset",
                    leader.node_id,
                    f"a maximal ISR with {member.node_id}, which could be elected by partition "
                    f"epoch {number}",
                    f"the maximal ISR is {tuple(each.node_id for each in quorum)}",
                )

    def check_complete(self) -> None:
        """Check that every member of ISR and ELR holds every committed record."""
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
            log = self._log_to_check(member, broker_epoch)
            if log is not None and not log.holds(count, link):
                self._fail_completeness(member, log)

    # -- parts of on_hw -------------------------------------------------------------------------

    def _check_justified(self, replica: Replica, leading: Leader, count: int) -> bool:
        """Check a leader's new high watermark, the end of ``count`` batches.

        Return True if the present logs of all members of ISR and ELR hold these batches.
        """
        partition = replica.leader_partition
        assert partition is not None, "the leader's high watermark moved before on_isr was called"
        if len(partition.isr) < partition.effective_min_isr:
            self._fail_hw_justified(
                replica,
                f"{partition.effective_min_isr} members in the ISR",
                f"the ISR is {partition.isr}",
            )
        hw, quorum, progress_of = replica.hw, replica.maximal_isr, leading.progress
        link = replica.log.links[count - 1]
        seen = True
        for member in quorum:
            broker_epoch = member.broker_epoch
            if member is not replica:
                progress = progress_of[member.node_id]
                # An ack names its broker epoch, so the leader may know of a registration before
                # it observes the partition state.
                broker_epoch = progress.broker_epoch
                if progress.match < hw:
                    self._fail_hw_justified(
                        replica,
                        f"an ack of {hw} by {member.node_id} of the maximal ISR in this epoch",
                        f"{member.node_id} has acknowledged {progress.match}",
                    )
            if broker_epoch != member.broker_epoch or not _holds_prefix(member, count, link):
                seen = False
                self._check_holds(replica, member, broker_epoch, count)
        if self.context.recorded_leader() is not replica:
            return False
        complete = True
        for member, broker_epoch in self.context.members:
            if broker_epoch != member.broker_epoch or not (
                (seen and member in quorum) or _holds_prefix(member, count, link)
            ):
                complete = False
                self._check_holds(replica, member, broker_epoch, count)
            elif not member.up:
                complete = False  # check_complete looks at the log on the disk of the member.
        return complete

    def _check_holds(
        self, replica: Replica, member: Replica, broker_epoch: BrokerEpoch, count: int
    ) -> None:
        log = member.log_of_epoch(broker_epoch)
        if log is None:
            return
        if not log.holds(count, replica.log.links[count - 1]):
            self._fail_hw_justified(
                replica,
                f"all records below {replica.hw} in the log of {member.node_id}",
                f"the log of {member.node_id} ends at {log.leo} or differs below that",
            )
        if member.flush_each and log.durable < count:
            self._fail_hw_justified(
                replica,
                f"a flush of all records below {replica.hw} by {member.node_id}",
                f"{member.node_id} has flushed only the records below {log.durable_end}",
            )

    def _commit(self, replica: Replica, count: int) -> None:
        """Extend the committed chain to ``count`` batches of the leader's log."""
        log, ledger = replica.log, self._ledger
        known = len(ledger.links)
        if known and log.links[known - 1] != ledger.links[known - 1]:
            self._fail_agreement(replica, known)
        for index in range(known, count):
            batch = log.batches[index]
            if batch.producer_id >= 0 and (self.failed or not ledger.is_next(batch)):
                self._check_sequence(replica, batch)
            ledger.commit(batch, log.links[index])

    def _check_sequence(self, replica: Replica, batch: Batch) -> None:
        ledger = self._ledger
        producer, epoch, sequence = batch.producer_id, batch.producer_epoch, batch.base_sequence
        if ledger.is_committed(producer, epoch, sequence):
            self.context.fail(
                "NoDuplicate",
                replica.node_id,
                f"one commit of sequence {sequence} of producer {producer} (epoch {epoch})",
                f"{batch!r} commits it again",
            )
        expected = ledger.next_sequence(producer, epoch)
        if sequence != expected:
            self.context.fail(
                "ProducerOrder",
                replica.node_id,
                f"sequence {expected} of producer {producer} (epoch {epoch}) as the next commit",
                f"{batch!r} was committed",
            )
        if epoch < ledger.producer_epochs.get(producer, -1):
            self.context.fail(
                "ProducerOrder",
                replica.node_id,
                f"epoch {ledger.producer_epochs[producer]} or a higher one of producer {producer}",
                f"{batch!r} was committed",
            )
        if self.failed:
            reporter = self.failed.get((producer, epoch, sequence))
            if reporter is not None:
                self.context.fail(
                    "HonestFailure",
                    replica.node_id,
                    f"no commit of sequence {sequence} of producer {producer}, which {reporter} "
                    "reported as not written",
                    f"{batch!r} was committed",
                )

    def _log_to_check(self, member: Replica, broker_epoch: BrokerEpoch) -> ShadowLog | None:
        """Return the log that a member of ISR or ELR must be checked by; None if none is known.

        A running broker is checked by its log, once it has registered. Otherwise, with flush=batch,
        it is checked by the log on its disk; with flush=os its next registration decides.
        """
        if member.up and member.broker_epoch == broker_epoch:
            return member.log
        if not member.flush_each or member.damaged:
            return None
        return member.log if member.disk is None else member.disk

    # -- failures -------------------------------------------------------------------------------

    def _fail_hw(self, replica: Replica, expected: str, hw: int) -> None:
        self.context.fail("HwSound", replica.node_id, f"a high watermark {expected}", f"it is {hw}")

    def _fail_hw_justified(self, replica: Replica, expected: str, happened: str) -> None:
        self.context.fail(
            "HwJustified",
            replica.node_id,
            f"{expected} before the high watermark reaches {replica.hw}",
            happened,
        )

    def _fail_agreement(self, replica: Replica, count: int) -> None:
        ledger = self._ledger
        at = replica.log.common_prefix(ledger.links)
        self.context.fail(
            "CommittedAgreement",
            replica.node_id,
            f"the committed {ledger.batches[at]!r} below the high watermark {replica.hw}",
            f"the replica holds {replica.log.batches[at]!r}",
        )

    def _fail_completeness(self, member: Replica, log: ShadowLog) -> None:
        leads = self.context.recorded_leader() is member
        end = self._ledger.end
        same = log.common_prefix(self._ledger.links)
        at = log.ends[same - 1] if same else 0
        self.context.fail(
            "LeaderCompleteness" if leads else "CandidateCompleteness",
            member.node_id,
            f"all committed records, which end at {end}, in the log of "
            f"{'the leader' if leads else 'a member of ISR or ELR'}",
            f"the log agrees with them up to {at} and ends at {log.leo}",
        )


def _holds_prefix(member: Replica, count: int, link: int) -> bool:
    """Return whether the member's log holds this prefix, flushed if flush=batch."""
    log = member.log
    links = log.links
    return (
        len(links) >= count <= log.written
        and links[count - 1] == link
        and (log.durable >= count or not member.flush_each)
    )
