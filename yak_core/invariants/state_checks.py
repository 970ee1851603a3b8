"""Checks of the metadata record, and of who acts on it (R0, R1, R7, R14, R17).

Must never ask whether a lease held: no safety rests on one (INV-E7).
"""

from __future__ import annotations

from yak_core.broker.roles import Broker
from yak_core.ids import NO_BROKER_EPOCH, BrokerEpoch, Epoch, NodeId
from yak_core.invariants.commit_checks import CommitChecks
from yak_core.invariants.context import STORE, CheckContext
from yak_core.invariants.replica import Replica
from yak_core.metadata.partition_state import PartitionState
from yak_core.metadata.transitions import check_partition_state, check_step


class StateChecks:
    """Follows the store's record and the roles that brokers take by it."""

    def __init__(self, context: CheckContext, commits: CommitChecks) -> None:
        self.context = context
        self.commits = commits
        self._elected: dict[Epoch, tuple[NodeId, BrokerEpoch]] = {}
        self._registered: dict[tuple[NodeId, BrokerEpoch], PartitionState] = {}
        """The record that each registration wrote."""
        self._ledger = context.ledger

    def on_state(self, state: PartitionState) -> None:
        """The store accepted a record."""
        context = self.context
        older = context.state
        broken = check_partition_state(state)
        if older is not None:
            broken = (*broken, *check_step(older, state))
        elif state.partition_epoch != 1:
            broken = (*broken, "INV-E4 the first version is 1")
        if broken:
            context.fail(
                "RecordChain",
                STORE,
                "a well-formed successor of "
                f"{'nothing' if older is None else f'partition_epoch {older.partition_epoch}'}",
                f"version {state.partition_epoch} breaks {'; '.join(broken)}",
            )
        context.state = state
        context.members = tuple(
            (context.replicas[node], state.broker_epoch_of(node))
            for node in (*state.isr, *state.elr)
        )
        for node, entry in state.nodes:
            if older is None or older.broker_epoch_of(node) != entry.broker_epoch:
                self._registered[node, entry.broker_epoch] = state
        if older is not None:
            self._check_admissions(older, state)
        if state.leader is not None:
            self._elected[state.leader_epoch] = (state.leader, state.leader_broker_epoch)
        self.commits.check_superset()
        self.commits.check_complete()

    def on_partition(self, replica: Replica, node: Broker) -> None:
        """A broker acts on another record than before."""
        partition, seen = node.partition, replica.seen
        if seen is not None and (
            partition is None or partition.partition_epoch < seen.partition_epoch
        ):
            self.context.fail(
                "ViewNeverFalls",
                replica.node_id,
                f"to act on version {seen.partition_epoch} of the record, or a later one",
                "it acts on none"
                if partition is None
                else f"it acts on version {partition.partition_epoch}",
            )
        replica.seen = partition

    def on_turn(self, replica: Replica, node: Broker) -> None:
        """A broker's epoch, role or incarnation changed."""
        if node.epoch < replica.epoch:
            self._fell(replica, node.epoch, replica.epoch)
        if node.broker_epoch != replica.broker_epoch:
            self._on_registered(replica, node)
        replica.epoch = node.epoch
        if node.broker_epoch != NO_BROKER_EPOCH:
            if node.epoch < replica.registered_epoch:
                self._fell(replica, node.epoch, replica.registered_epoch)
            replica.registered_epoch = node.epoch
        if node.leading is not replica.leading:
            replica.leading = node.leading
            replica.partition = None
            replica.pending = None
            replica.refold = True
            replica.moved = True
            if node.leading is not None:
                self._on_leader(replica, node)
        if node.leading is not None and node.leading.epoch != node.epoch:
            self.context.fail(
                "ReplicaShape",
                replica.node_id,
                f"the leader of epoch {node.leading.epoch} to be in that epoch",
                f"it is in {node.epoch}",
            )

    # -- parts ----------------------------------------------------------------------------------

    def _check_admissions(self, older: PartitionState, state: PartitionState) -> None:
        if state.unclean_generation != older.unclean_generation:
            return
        if state.leader is not None and state.leader_epoch != older.leader_epoch:
            if state.leader not in older.isr and state.leader not in older.elr:
                self._not_admitted(
                    state.leader,
                    f"a leader from ISR {older.isr} or ELR {older.elr}",
                    f"{state.leader} was elected by version {state.partition_epoch}",
                )
            return
        for node in state.isr:
            if node not in older.isr:
                self._check_joined(node, state)

    def _check_joined(self, node: NodeId, state: PartitionState) -> None:
        """Did the newcomer show, in this epoch and start, all that the leader was elected with?"""
        replica = self.context.replicas[node]
        broker_epoch = state.broker_epoch_of(node)
        start = self._ledger.starts.get(state.leader_epoch)
        log = replica.log_of_epoch(broker_epoch)
        if start is None or log is None:
            self._not_admitted(
                node,
                f"a newcomer that was led in epoch {state.leader_epoch}",
                f"incarnation {broker_epoch} of {node} never was",
            )
            return
        if not log.holds(start.count, start.link) or (
            replica.flush_each and log.durable < start.count
        ):
            self._not_admitted(
                node,
                f"a newcomer that holds all {start.count} batches with which epoch "
                f"{state.leader_epoch} began",
                f"{node} joined by version {state.partition_epoch} "
                f"with a log of {len(log.links)} batches "
                f"that ends at {log.leo}, durable to {log.durable_end}",
            )
        if (broker_epoch, state.leader_epoch) not in replica.acked_ends:
            self._not_admitted(
                node,
                f"a newcomer that acknowledged something in epoch {state.leader_epoch}",
                f"incarnation {broker_epoch} of {node} joined by version {state.partition_epoch}",
            )

    def _on_registered(self, replica: Replica, node: Broker) -> None:
        if replica.broker_epoch != 0 or node.broker_epoch == 0:
            self.context.fail(
                "ReplicaShape",
                replica.node_id,
                "one incarnation a start",
                f"it went from {replica.broker_epoch} to {node.broker_epoch}",
            )
        replica.broker_epoch = node.broker_epoch
        replica.damaged = False
        place = self._registered.get((replica.node_id, node.broker_epoch))
        if place is None or not replica.tainted:
            return
        me = replica.node_id
        if me == place.leader or me in place.isr or me in place.elr:
            self.context.fail(
                "UncleanExclusion",
                me,
                "a replica that lost what it had acknowledged to leave ISR and ELR when it "
                "registers",
                f"incarnation {node.broker_epoch} registered into ISR {place.isr}, ELR "
                f"{place.elr}, leader {place.leader}",
            )
        replica.tainted = False

    def _on_leader(self, replica: Replica, node: Broker) -> None:
        me, epoch = replica.node_id, node.epoch
        start = self._ledger.begin_epoch(epoch, me, replica.start, replica.log)
        if (start.node, start.node_start) != (me, replica.start):
            self.context.fail(
                "OneLeaderPerEpoch",
                me,
                f"epoch {epoch} to be led by {start.node} in its start {start.node_start} only",
                f"{me} leads it in its start {replica.start}",
            )
        elected = self._elected.get(epoch)
        if elected is not None and elected != (me, node.broker_epoch):
            self.context.fail(
                "OneLeaderPerEpoch",
                me,
                f"epoch {epoch} to be led by {elected[0]} in incarnation {elected[1]}, as recorded",
                f"{me} leads it in incarnation {node.broker_epoch}",
            )
        partition = node.partition
        named = partition is not None and (
            partition.leader,
            partition.leader_epoch,
            partition.leader_broker_epoch,
        )
        if named != (me, epoch, node.broker_epoch):
            self.context.fail(
                "ReplicaShape",
                me,
                f"a leader that its view of the record names, in epoch {epoch} and incarnation "
                f"{node.broker_epoch}",
                "its view has no record" if partition is None else f"its view names {named}",
            )
        assert node.leading is not None
        if node.leading.start != replica.log.leo:
            self.context.fail(
                "ReplicaShape",
                me,
                f"epoch {epoch} to start at the end of its log, {replica.log.leo}",
                f"it says {node.leading.start}",
            )
        if self.context.recorded_leader() is replica:
            self.commits.check_complete()

    # -- sentences ------------------------------------------------------------------------------

    def _fell(self, replica: Replica, epoch: Epoch, known: Epoch) -> None:
        self.context.fail(
            "EpochNeverFalls",
            replica.node_id,
            f"epoch {known} or a higher one",
            f"it is in epoch {epoch}",
        )

    def _not_admitted(self, node: NodeId, expected: str, happened: str) -> None:
        self.context.fail("IsrAdmission", node, expected, happened)
