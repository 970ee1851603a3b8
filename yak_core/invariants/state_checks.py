"""Checks of the partition state and of the brokers that act on it (R0, R1, R7, R14, R17).

Leases are not checked, because safety does not depend on them.
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
    """Checks each partition state that the store accepts, and each change of a broker's role."""

    def __init__(self, context: CheckContext, commits: CommitChecks) -> None:
        self.context = context
        self.commits = commits
        self._elected: dict[Epoch, tuple[NodeId, BrokerEpoch]] = {}
        self._registered: dict[tuple[NodeId, BrokerEpoch], PartitionState] = {}
        """The partition state that each registration wrote."""
        self._ledger = context.ledger

    def on_state(self, state: PartitionState) -> None:
        """Check a partition state that the store accepted."""
        context = self.context
        older = context.state
        violated = check_partition_state(state)
        if older is not None:
            violated = (*violated, *check_step(older, state))
        elif state.partition_epoch != 1:
            violated = (*violated, "the first partition epoch is 1")
        if violated:
            context.fail(
                "RecordChain",
                STORE,
                "a well-formed first partition state"
                if older is None
                else f"a well-formed successor of partition epoch {older.partition_epoch}",
                f"partition epoch {state.partition_epoch} violates: {'; '.join(violated)}",
            )
        self._set_state(state)
        for node, entry in state.nodes:
            if older is None or older.broker_epoch_of(node) != entry.broker_epoch:
                self._registered[node, entry.broker_epoch] = state
        if older is not None:
            self._check_admissions(older, state)
        if state.leader is not None:
            self._elected[state.leader_epoch] = (state.leader, state.leader_broker_epoch)
        self.commits.check_superset()
        self.commits.check_complete()

    def on_store_rebuilt(self, state: PartitionState) -> None:
        """Go back to ``state``: the store has lost all later states."""
        self._elected = {
            epoch: leader for epoch, leader in self._elected.items() if epoch <= state.leader_epoch
        }
        self._registered = {
            key: written
            for key, written in self._registered.items()
            if written.partition_epoch <= state.partition_epoch
        }
        self._set_state(state)
        self.commits.check_superset()
        self.commits.check_complete()

    def on_partition(self, replica: Replica, node: Broker) -> None:
        """Check that a broker does not go back to an older partition state."""
        partition, seen = node.partition, replica.partition
        if seen is not None and (
            partition is None or partition.partition_epoch < seen.partition_epoch
        ):
            self.context.fail(
                "ViewNeverFalls",
                replica.node_id,
                f"a broker that acts on partition epoch {seen.partition_epoch} or a later one",
                "it acts on no partition state"
                if partition is None
                else f"it acts on partition epoch {partition.partition_epoch}",
            )
        replica.partition = partition

    def on_role_change(self, replica: Replica, node: Broker) -> None:
        """Check a change of a broker's leader epoch, role or broker epoch."""
        if node.epoch < replica.epoch:
            self._fail_epoch(replica, node.epoch, replica.epoch)
        if node.broker_epoch != replica.broker_epoch:
            self._on_registered(replica, node)
        replica.epoch = node.epoch
        if node.broker_epoch != NO_BROKER_EPOCH:
            if node.epoch < replica.registered_epoch:
                self._fail_epoch(replica, node.epoch, replica.registered_epoch)
            replica.registered_epoch = node.epoch
        if node.leading is not replica.leading:
            replica.leading = node.leading
            replica.leader_partition = None
            replica.pending_isr = None
            replica.recompute = True
            replica.log_changed = True
            if node.leading is not None:
                self._on_leader(replica, node)
        if node.leading is not None and node.leading.epoch != node.epoch:
            self.context.fail(
                "ReplicaShape",
                replica.node_id,
                f"leader epoch {node.leading.epoch}, which the broker leads",
                f"the broker is in epoch {node.epoch}",
            )

    # -- parts ----------------------------------------------------------------------------------

    def _set_state(self, state: PartitionState) -> None:
        context = self.context
        context.state = state
        context.members = tuple(
            (context.replicas[node], state.broker_epoch_of(node))
            for node in (*state.isr, *state.elr)
        )

    def _check_admissions(self, older: PartitionState, state: PartitionState) -> None:
        if state.unclean_generation != older.unclean_generation:
            return
        if state.leader is not None and state.leader_epoch != older.leader_epoch:
            if state.leader not in older.isr and state.leader not in older.elr:
                self._fail_admission(
                    state.leader,
                    f"a new leader from ISR {older.isr} or ELR {older.elr}",
                    f"partition epoch {state.partition_epoch} elected {state.leader}",
                )
            return
        for node in state.isr:
            if node not in older.isr:
                self._check_joined(node, state)

    def _check_joined(self, node: NodeId, state: PartitionState) -> None:
        """Check that a new member of the ISR holds all that the leader was elected with.

        It must have acknowledged in this leader epoch and under this broker epoch.
        """
        replica = self.context.replicas[node]
        broker_epoch = state.broker_epoch_of(node)
        start = self._ledger.starts.get(state.leader_epoch)
        log = replica.log_of_epoch(broker_epoch)
        if start is None or log is None:
            self._fail_admission(
                node,
                f"a new ISR member that followed a leader in epoch {state.leader_epoch}",
                f"broker epoch {broker_epoch} of {node} joined without it",
            )
            return
        if not log.holds(start.count, start.link) or (
            replica.flush_each and log.durable < start.count
        ):
            self._fail_admission(
                node,
                f"a new ISR member that holds all {start.count} batches below the start of "
                f"epoch {state.leader_epoch}",
                f"{node} joined in partition epoch {state.partition_epoch} "
                f"with {len(log.links)} batches, log end {log.leo}, durable end {log.durable_end}",
            )
        if (broker_epoch, state.leader_epoch) not in replica.acked_ends:
            self._fail_admission(
                node,
                f"a new ISR member that sent an ack in epoch {state.leader_epoch}",
                f"broker epoch {broker_epoch} of {node} joined without an ack in partition epoch "
                f"{state.partition_epoch}",
            )

    def _on_registered(self, replica: Replica, node: Broker) -> None:
        if replica.broker_epoch != 0 or node.broker_epoch == 0:
            self.context.fail(
                "ReplicaShape",
                replica.node_id,
                "one broker epoch per start",
                f"it changed from {replica.broker_epoch} to {node.broker_epoch}",
            )
        replica.broker_epoch = node.broker_epoch
        replica.damaged = False
        registered = self._registered.get((replica.node_id, node.broker_epoch))
        if registered is None or not replica.lost_acked:
            return
        node_id = replica.node_id
        if node_id == registered.leader or node_id in registered.isr or node_id in registered.elr:
            self.context.fail(
                "UncleanExclusion",
                node_id,
                "a registration outside ISR and ELR, because the replica lost acknowledged records",
                f"broker epoch {node.broker_epoch} registered with ISR {registered.isr}, ELR "
                f"{registered.elr}, leader {registered.leader}",
            )
        replica.lost_acked = False

    def _on_leader(self, replica: Replica, node: Broker) -> None:
        node_id, epoch = replica.node_id, node.epoch
        start = self._ledger.begin_epoch(epoch, node_id, replica.start, replica.log)
        if (start.node, start.node_start) != (node_id, replica.start):
            self.context.fail(
                "OneLeaderPerEpoch",
                node_id,
                f"start {start.node_start} of {start.node} as the only leader of epoch {epoch}",
                f"start {replica.start} of {node_id} leads it",
            )
        elected = self._elected.get(epoch)
        if elected is not None and elected != (node_id, node.broker_epoch):
            self.context.fail(
                "OneLeaderPerEpoch",
                node_id,
                f"broker epoch {elected[1]} of {elected[0]} as the leader of epoch {epoch}, as "
                "the partition state says",
                f"broker epoch {node.broker_epoch} of {node_id} leads it",
            )
        partition = node.partition
        named = partition is not None and (
            partition.leader,
            partition.leader_epoch,
            partition.leader_broker_epoch,
        )
        if named != (node_id, epoch, node.broker_epoch):
            self.context.fail(
                "ReplicaShape",
                node_id,
                f"a partition state with leader {(node_id, epoch, node.broker_epoch)}, as (node, "
                "leader epoch, broker epoch)",
                "the broker has none" if partition is None else f"the leader is {named}",
            )
        assert node.leading is not None
        if node.leading.start != replica.log.leo:
            self.context.fail(
                "ReplicaShape",
                node_id,
                f"{replica.log.leo}, the log end, as the start of epoch {epoch}",
                f"the leader has {node.leading.start}",
            )
        if self.context.recorded_leader() is replica:
            self.commits.check_complete()

    # -- failures -------------------------------------------------------------------------------

    def _fail_epoch(self, replica: Replica, epoch: Epoch, known: Epoch) -> None:
        self.context.fail(
            "EpochNeverFalls",
            replica.node_id,
            f"epoch {known} or a higher one",
            f"the broker is in epoch {epoch}",
        )

    def _fail_admission(self, node: NodeId, expected: str, happened: str) -> None:
        self.context.fail("IsrAdmission", node, expected, happened)
