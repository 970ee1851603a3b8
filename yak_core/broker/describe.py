"""Read-only views of a broker: snapshots, descriptions, status fields and notes."""

from __future__ import annotations

from typing import Protocol

from yak_core.broker.context import Context
from yak_core.broker.fetch import Readers
from yak_core.broker.follower import Follower
from yak_core.broker.leader import Leader
from yak_core.broker.phases import Phase, Role
from yak_core.broker.produce import Writers
from yak_core.broker.replica_log import Log
from yak_core.broker.store_session import StoreSession
from yak_core.contract.messages import DescribeRequest, DescribeResponse, ReplicaStatus
from yak_core.contract.node import Snapshot
from yak_core.contract.notes import IsrExpanded, IsrShrunk, PartitionStateObserved
from yak_core.ids import BrokerEpoch, Epoch, NodeId
from yak_core.metadata.partition_state import PartitionState


class DescribedBroker(Protocol):
    """The attributes of a broker that the views read."""

    node_id: NodeId
    phase: Phase
    broker_epoch: BrokerEpoch
    partition: PartitionState | None
    log: Log
    session: StoreSession
    follower: Follower
    leading: Leader | None
    readers: Readers
    writers: Writers

    @property
    def epoch(self) -> Epoch: ...
    @property
    def leader(self) -> NodeId | None: ...
    @property
    def role(self) -> Role: ...
    @property
    def pending_isr(self) -> tuple[NodeId, ...] | None: ...


def snapshot_of(broker: DescribedBroker) -> Snapshot:
    """Return the canonical snapshot of a broker (see docs/contract.md)."""
    log = broker.log
    partition = broker.partition
    leading = broker.leading
    proposal = broker.session.proposal
    progress: tuple[object, ...] = ()
    if leading is not None:
        progress = tuple(
            (node, p.broker_epoch, p.state, p.match, p.next, len(p.inflight))
            for node, p in leading.progress.items()
        )
    values: dict[str, object] = {
        "appended_end": log.appended_end,
        "durable_end": log.durable_end,
        "elr": () if partition is None else partition.elr,
        "epoch": broker.epoch,
        "epochs": log.epochs.entries(),
        "hw": log.hw,
        "broker_epoch": broker.broker_epoch,
        "isr": () if partition is None else partition.isr,
        "leader": broker.leader,
        "leo": log.leo,
        "log_start": log.log_start,
        "node": broker.node_id,
        "pending_isr": broker.pending_isr,
        "phase": broker.phase,
        "producers": tuple((pid, e.epoch, e.batches) for pid, e in log.producers.snapshot()),
        "progress": progress,
        "proposal": None if proposal is None else (proposal.kind, proposal.base_partition_epoch),
        "reading": len(broker.readers.long_polls),
        "role": broker.role,
        "verified": broker.follower.verified,
        "partition_epoch": 0 if partition is None else partition.partition_epoch,
        "waiting": len(broker.writers.awaiting_commit) + len(broker.writers.awaiting_append),
    }
    return Snapshot("broker", tuple(sorted(values.items())))


def describe(broker: DescribedBroker, request: DescribeRequest) -> DescribeResponse:
    """Return the broker's view of the cluster, for clients."""
    partition = broker.partition
    log = broker.log
    positions = {} if broker.leading is None else broker.leading.positions()
    return DescribeResponse(
        correlation=request.correlation,
        node=broker.node_id,
        role=broker.role,
        leader=broker.leader,
        leader_epoch=broker.epoch,
        partition_epoch=0 if partition is None else partition.partition_epoch,
        isr=() if partition is None else partition.isr,
        elr=() if partition is None else partition.elr,
        leo=log.leo,
        hw=log.hw,
        log_start=log.log_start,
        replicas=()
        if partition is None
        else tuple(
            ReplicaStatus(node, entry.url, entry.broker_epoch, positions.get(node, -1))
            for node, entry in partition.nodes
        ),
    )


def status_hash(broker: DescribedBroker) -> tuple[tuple[str, str], ...]:
    """Return the status fields that a leader publishes next to the partition state.

    The fields are for operators; no node reads them back.
    """
    partition = broker.partition
    assert partition is not None
    assert broker.leading is not None
    ends = tuple((f"leo:{n}", str(end)) for n, end in sorted(broker.leading.positions().items()))
    return (
        ("epoch", str(broker.epoch)),
        ("hw", str(broker.log.hw)),
        ("isr", ",".join(partition.isr)),
        ("leader", broker.node_id),
        *ends,
    )


def note_changes(context: Context, known: PartitionState | None, state: PartitionState) -> None:
    """Publish notes on the differences between two partition states."""
    context.note(PartitionStateObserved(state.partition_epoch, state.leader_epoch))
    before = state.isr if known is None else known.isr
    removed = tuple(node for node in before if node not in state.isr)
    added = tuple(node for node in state.isr if node not in before)
    if removed:
        context.note(IsrShrunk(state.isr, removed, state.partition_epoch))
    if added:
        context.note(IsrExpanded(state.isr, added, state.partition_epoch))
