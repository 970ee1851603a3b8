"""The moves of a walk that break something, or put it in order again; must never judge."""

from __future__ import annotations

from tests.property.cluster import NODES, Cluster
from tests.property.moves import NOTHING, run_without
from yak_core.contract.effects import AppendLog
from yak_core.fork import fork_of
from yak_core.ids import NodeId
from yak_core.metadata.store_calls import Cas
from yak_core.model.disk import DiskImage

# -- disks -----------------------------------------------------------------------------------------


def disk_step(cluster: Cluster, node: NodeId) -> str:
    if not cluster.up(node) or not cluster.world.nodes[node].disk.queue:
        return NOTHING
    order = cluster.world.nodes[node].disk.queue[0].order
    cluster.world.disk_complete(node)
    return f"{node}'s disk completes {type(order).__name__}"


def disk_run(cluster: Cluster, node: NodeId) -> str:
    return f"{node}'s disk completes {cluster.run_disk(node)} orders"


def disk_perform(cluster: Cluster, node: NodeId) -> str:
    """An order is carried out, and the node does not know it yet."""
    if not cluster.up(node):
        return NOTHING
    waiting = [p for p in cluster.world.nodes[node].disk.queue if p.result is None]
    if not waiting:
        return NOTHING
    cluster.world.disk_perform(node)
    return f"{node}'s disk carries out {type(waiting[0].order).__name__}, untold"


def disk_full(cluster: Cluster, node: NodeId) -> str:
    """The node gets a batch for which its disk has no space, and does not know that yet."""
    leader = cluster.leader()
    if not cluster.up(node) or not cluster.leads(leader):
        return NOTHING
    cluster.run_disk(node)
    cluster.produce_at(leader)
    cluster.run_link(leader, node)
    queue = cluster.world.nodes[node].disk.queue
    while cluster.up(node) and any(pending.result is None for pending in queue):
        order = next(pending.order for pending in queue if pending.result is None)
        full = isinstance(order, AppendLog)
        cluster.world.disk_perform(node, no_space=full)
        if full:
            cluster.counts.no_space += 1
            return f"{node}'s disk is full and it does not know yet"
    return f"{node} had nothing to append"


# -- the store -------------------------------------------------------------------------------------


def store_run(cluster: Cluster, node: NodeId) -> str:
    return f"the store answers {cluster.run_store(node)} calls of {node}"


def store_backwards(cluster: Cluster, node: NodeId) -> str:
    """The store has carried out all calls of a node; the answer to the last one arrives first."""
    calls = cluster.calls_of(node)
    for call in calls:
        if call.outcome is None:
            cluster.world.meta_execute(call.number)
    for call in reversed(calls):
        if call.number in cluster.world.transit.calls:
            cluster.world.meta_reply(call.number)
    return f"the store's answers reach {node} in reverse: {len(calls)}"


def store_execute(cluster: Cluster, at: int) -> str:
    waiting = [c for c in cluster.world.transit.calls.values() if c.outcome is None]
    if not waiting:
        return NOTHING
    call = waiting[at % len(waiting)]
    cluster.world.meta_execute(call.number)
    return f"the store carries out {call.node}'s {type(call.request).__name__}, untold"


def store_unknown(cluster: Cluster, at: int, executed: bool, lost: bool) -> str:
    """A call ends as unknown: carried out before, lost, or still on its way. Writes first."""
    waiting = [c for c in cluster.world.transit.calls.values() if c.waiting]
    writes = [c for c in waiting if isinstance(c.request, Cas)]
    chosen = writes or waiting
    if not chosen:
        return NOTHING
    call = chosen[at % len(chosen)]
    how = "lost" if lost else "still on its way"
    if executed:
        how = "carried out"
        if call.outcome is None:
            cluster.world.meta_execute(call.number)
    cluster.forget(call, lost=lost)
    return f"{call.node}'s {type(call.request).__name__} ends as unknown, {how}"


def store_repeat(cluster: Cluster, at: int) -> str:
    waiting = [c for c in cluster.world.transit.calls.values() if c.outcome is None]
    if not waiting or len(cluster.world.transit.calls) > 32:
        return NOTHING
    call = waiting[at % len(waiting)]
    cluster.world.meta_repeat(call.number)
    return f"{call.node}'s {type(call.request).__name__} is repeated"


# -- lives -----------------------------------------------------------------------------------------


def crash(cluster: Cluster, node: NodeId, keep: int) -> str:
    if not cluster.up(node):
        cluster.world.start(node)
        return f"{node} starts"
    unsynced = cluster.world.nodes[node].disk.image.unsynced
    cluster.world.crash(node, keep)
    return f"{node} crashes, {min(keep, unsynced)} of {unsynced} unflushed batches stay"


def crash_within(cluster: Cluster, node: NodeId, effects: int) -> str:
    if not cluster.up(node):
        cluster.bring_up(node)
        return f"{node} starts and registers"
    cluster.counts.crash_within += 1
    cluster.world.crash_within(node, effects)
    return f"{node} will crash after {effects} more effects"


def bring_up(cluster: Cluster, node: NodeId) -> str:
    cluster.bring_up(node)
    return f"{node} starts and registers"


def append_and_crash(cluster: Cluster, node: NodeId) -> str:
    """The node crashes when its next append is carried out and not yet flushed."""
    place = cluster.world.nodes[node]
    if not cluster.up(node):
        cluster.bring_up(node)
        return f"{node} starts and registers"
    while any(p.result is None for p in place.disk.queue) and not place.disk.image.unsynced:
        cluster.world.disk_perform(node)
    unsynced = place.disk.image.unsynced
    cluster.world.crash(node, 0)
    return f"{node} crashes with {unsynced} batches written and not flushed"


def leader_append_and_crash(cluster: Cluster) -> str:
    """A client's batch reaches the leader, is pushed, is written, and the leader crashes."""
    leader = cluster.leader()
    if not cluster.leads(leader):
        return NOTHING
    cluster.run_disk(leader)
    cluster.produce_at(leader)
    return append_and_crash(cluster, leader)


def stop(cluster: Cluster, node: NodeId) -> str:
    if not cluster.up(node):
        cluster.world.start(node)
        return f"{node} starts"
    cluster.world.ask_stop(node, 1_000_000)
    cluster.run_disk(node)
    return f"{node} is asked to stop"


def wipe(cluster: Cluster, node: NodeId) -> str:
    cluster.damage(node, DiskImage())
    return f"{node} goes down and its disk is emptied"


def old_copy(cluster: Cluster, node: NodeId) -> str:
    """The disk of an earlier start. An old copy of the same start's disk nobody could tell."""
    state = cluster.world.store.state
    start, copy = cluster.copies[node]
    if state is None or state.broker_epoch_of(node) == start:
        return NOTHING
    cluster.damage(node, fork_of(copy))
    return f"{node} goes down and its disk is replaced by an old copy"


# -- elections -------------------------------------------------------------------------------------


def campaign(cluster: Cluster, node: NodeId) -> str:
    """The node waits for a lease, and stands for election; the others hear nothing of it yet."""
    won = cluster.campaign(node)
    return f"{node} stands for election and {'leads' if won else 'does not lead'}"


def campaign_and_lead(cluster: Cluster, node: NodeId, without: NodeId) -> str:
    """A failover: ``node`` is elected while ``without`` hears nothing."""
    outcome = campaign(cluster, node)
    return f"{outcome}; {run_without(cluster, without)}"


def failover(cluster: Cluster) -> str:
    """The leader writes one batch that nobody gets, another is elected and writes one too."""
    old, new = cluster.leader(), cluster.followers()[0]
    if cluster.up(old):
        cluster.produce_at(old)
        cluster.run_disk(old)
    outcome = campaign(cluster, new)
    if cluster.up(new):
        cluster.produce_at(new)
    return f"{old} has a batch that nobody gets; {outcome}"


def renew_all(cluster: Cluster) -> str:
    """All brokers beat and look at the record."""
    for node in NODES:
        if cluster.fire(node, "lease-renewal"):
            cluster.run_alone(node)
    return "all brokers beat"
