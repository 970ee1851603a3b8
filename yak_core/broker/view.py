"""The numbers of a broker for metrics, dashboards and operators: a plain view at one time.

All values are from the broker's own memory. A leader knows how far its followers are, from their
acks; a follower knows only itself. Nothing in the core reads a view back.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

from yak_core.broker.context import Context
from yak_core.broker.fetch import Readers
from yak_core.broker.follower import Follower
from yak_core.broker.leader import Leader
from yak_core.broker.phases import Phase, Role
from yak_core.broker.produce import Writers
from yak_core.broker.progress import UNKNOWN, Progress
from yak_core.broker.replica_log import Log
from yak_core.broker.store_session import StoreSession
from yak_core.ids import BrokerEpoch, Epoch, Micros, NodeId, Offset
from yak_core.metadata.partition_state import PartitionState
from yak_core.value import value


@value
class ReplicaView:
    """One replica, as the broker that made the view knows it; None means unknown.

    ``leo`` is the end of its log: on the leader, for another replica, the offset up to which its
    log is acknowledged. ``lag_records`` is the distance to the leader's LEO. ``lag_us`` is the time
    since the replica last had all records of the leader's log (KIP-16), 0 if it has them now.
    ``heard_us`` is the time since the last message of the replica.
    """

    node: NodeId
    in_isr: bool
    in_elr: bool
    leo: Offset | None
    hw: Offset | None
    lag_records: int | None
    lag_us: Micros | None
    heard_us: Micros | None


@value
class BrokerView:
    """The state of one broker; ``leader`` is None while it is unknown.

    ``lease_us`` is the rest of a leader's lease, 0 after its end, None on a follower. ``silent_us``
    is the time since a follower heard its leader, None on the leader. ``replicas`` are all replicas
    of the partition state, by node id; none before the broker has read it.
    """

    node: NodeId
    phase: Phase
    role: Role
    epoch: Epoch
    leader: NodeId | None
    broker_epoch: BrokerEpoch
    partition_epoch: int
    isr: tuple[NodeId, ...]
    elr: tuple[NodeId, ...]
    min_isr: int
    log_start: Offset
    hw: Offset
    leo: Offset
    appended_end: Offset
    flushed_end: Offset
    pending_bytes: int
    waiting_produce: int
    waiting_fetch: int
    lease_us: Micros | None
    silent_us: Micros | None
    replicas: tuple[ReplicaView, ...]


class ViewedBroker(Protocol):
    """The attributes of a broker that a view reads."""

    node_id: NodeId
    phase: Phase
    broker_epoch: BrokerEpoch
    partition: PartitionState | None
    context: Context
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


def view_of(broker: ViewedBroker, now: Micros) -> BrokerView:
    """Return the view at ``now``, the time on the broker's own clock."""
    log, partition, leading = broker.log, broker.partition, broker.leading
    return BrokerView(
        node=broker.node_id,
        phase=broker.phase,
        role=broker.role,
        epoch=broker.epoch,
        leader=broker.leader,
        broker_epoch=broker.broker_epoch,
        partition_epoch=0 if partition is None else partition.partition_epoch,
        isr=() if partition is None else partition.isr,
        elr=() if partition is None else partition.elr,
        min_isr=broker.context.config.min_isr if partition is None else partition.effective_min_isr,
        log_start=log.log_start,
        hw=log.hw,
        leo=log.leo,
        appended_end=log.appended_end,
        flushed_end=log.durable_end,
        pending_bytes=log.pending_bytes,
        waiting_produce=len(broker.writers.awaiting_commit) + len(broker.writers.awaiting_append),
        waiting_fetch=len(broker.readers.long_polls),
        lease_us=None if leading is None else max(0, broker.session.lease_deadline - now),
        silent_us=None if leading is not None else max(0, now - broker.follower.heard_at),
        replicas=()
        if partition is None
        else tuple(_replica(broker, partition, node, now) for node in sorted(partition.replicas)),
    )


def _replica(
    broker: ViewedBroker, partition: PartitionState, node: NodeId, now: Micros
) -> ReplicaView:
    log, leading = broker.log, broker.leading
    in_isr, in_elr = node in partition.isr, node in partition.elr
    if node == broker.node_id:
        lag = None if leading is None else 0
        return ReplicaView(node, in_isr, in_elr, log.leo, log.hw, lag, lag, 0)
    progress = None if leading is None else leading.progress.get(node)
    if progress is None:
        return ReplicaView(node, in_isr, in_elr, None, None, None, None, None)
    return _of_follower(progress, node, in_isr, in_elr, log.leo, now)


def _of_follower(
    progress: Progress, node: NodeId, in_isr: bool, in_elr: bool, leo: Offset, now: Micros
) -> ReplicaView:
    heard_us = max(0, now - progress.heard_at)
    if progress.match == UNKNOWN:
        return ReplicaView(node, in_isr, in_elr, None, None, None, _since(progress, now), heard_us)
    lag = leo - progress.match
    lag_us = 0 if lag == 0 else _since(progress, now)
    return ReplicaView(node, in_isr, in_elr, progress.match, None, lag, lag_us, heard_us)


def _since(progress: Progress, now: Micros) -> Micros | None:
    """Return the time since the follower was caught up; None if it never was in this epoch."""
    return None if progress.caught_up_at < 0 else max(0, now - progress.caught_up_at)


class Claim(Protocol):
    """What a broker says about the cluster; None or 0 for what it does not know."""

    @property
    def epoch(self) -> int | None: ...
    @property
    def version(self) -> int | None: ...
    @property
    def role(self) -> str | None: ...


C = TypeVar("C", bound=Claim)


def newest(claims: Iterable[C]) -> C | None:
    """Return the claim that is most likely still true; None if there is none.

    It has the largest leader epoch, then the largest partition epoch. Among those, the leader's own
    claim is preferred, because only the leader knows all log ends.
    """
    return max(claims, key=_rank, default=None)


def _rank(claim: Claim) -> tuple[int, int, bool]:
    return (claim.epoch or 0, claim.version or 0, claim.role == Role.LEADER)
