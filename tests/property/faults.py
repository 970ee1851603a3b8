"""The moves of a walk that inject or end faults."""

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
    order = cluster.world.nodes[node].disk.queue[0].effect
    cluster.world.disk_complete(node)
    return f"{node}'s disk completes {type(order).__name__}"


def disk_run(cluster: Cluster, node: NodeId) -> str:
    return f"{node}'s disk completes {cluster.run_disk(node)} orders"


def disk_perform(cluster: Cluster, node: NodeId) -> str:
    """Perform a disk effect without its completion."""
    if not cluster.up(node):
        return NOTHING
    waiting = [p for p in cluster.world.nodes[node].disk.queue if p.result is None]
    if not waiting:
        return NOTHING
    cluster.world.disk_perform(node)
    return f"{node}'s disk carries out {type(waiting[0].effect).__name__}, without completion"


def disk_full(cluster: Cluster, node: NodeId) -> str:
    """Give the node a batch for which its disk has no space, without the completion."""
    leader = cluster.leader()
    if not cluster.up(node) or not cluster.leads(leader):
        return NOTHING
    cluster.run_disk(node)
    cluster.produce_at(leader)
    cluster.run_link(leader, node)
    queue = cluster.world.nodes[node].disk.queue
    while cluster.up(node) and any(pending.result is None for pending in queue):
        order = next(pending.effect for pending in queue if pending.result is None)
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
    """Execute all calls of a node; the answers arrive in reverse order."""
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
    return f"the store carries out {call.node}'s {type(call.request).__name__}, without reply"


def store_unknown(cluster: Cluster, at: int, executed: bool, lost: bool) -> str:
    """End a call as unknown: executed before, lost, or still in flight. Writes first."""
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


# -- starts and crashes ----------------------------------------------------------------------------


def crash(cluster: Cluster, node: NodeId, keep: int) -> str:
    if not cluster.up(node):
        cluster.world.start(node)
        return f"{node} starts"
    unsynced = cluster.world.nodes[node].disk.image.unsynced
    cluster.world.crash(node, keep)
    return f"{node} crashes, {min(keep, unsynced)} of {unsynced} unflushed batches stay"


def kill(cluster: Cluster, node: NodeId) -> str:
    """Kill the node's process; its machine goes on."""
    if not cluster.up(node):
        cluster.world.start(node)
        return f"{node} starts"
    unsynced = cluster.world.nodes[node].disk.image.unsynced
    cluster.world.kill(node)
    return f"{node} is killed; its {unsynced} unflushed batches stay"


def kill_while_starting(cluster: Cluster, node: NodeId) -> str:
    """Lose power, start, and kill the process before it registers; it starts again."""
    if not cluster.up(node):
        return NOTHING
    unsynced = cluster.world.nodes[node].disk.image.unsynced
    cluster.world.crash(node)
    cluster.world.start(node)
    for _ in range(2):
        cluster.run_disk(node)
        calls = [call for call in cluster.calls_of(node) if not isinstance(call.request, Cas)]
        for call in calls:
            if call.number in cluster.world.transit.calls:
                cluster.world.meta_complete(call.number)
    cluster.run_disk(node)
    if cluster.up(node):
        cluster.world.kill(node)
    cluster.bring_up(node)
    return f"{node} loses power and {unsynced} batches, and is killed before it registers"


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
    """Crash the node after its next append and before the flush."""
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
    """Send a batch to the leader, which replicates and writes it; crash the leader."""
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
    cluster.world.request_stop(node, 1_000_000)
    cluster.run_disk(node)
    return f"{node} is asked to stop"


def wipe(cluster: Cluster, node: NodeId) -> str:
    cluster.damage(node, DiskImage())
    return f"{node} goes down and its disk is emptied"


def old_copy(cluster: Cluster, node: NodeId) -> str:
    """Restart the node with the disk of an earlier start, as after a restored backup."""
    state = cluster.world.store.state
    start, copy = cluster.copies[node]
    if state is None or state.broker_epoch_of(node) == start:
        return NOTHING
    cluster.damage(node, fork_of(copy))
    return f"{node} goes down and its disk is replaced by an old copy"


# -- elections -------------------------------------------------------------------------------------


def campaign(cluster: Cluster, node: NodeId) -> str:
    """Let the node wait for the lease and campaign; no message reaches the others."""
    won = cluster.campaign(node)
    return f"{node} campaigns and {'leads' if won else 'does not lead'}"


def campaign_and_lead(cluster: Cluster, node: NodeId, without: NodeId) -> str:
    """Fail over: elect ``node`` while ``without`` receives nothing."""
    outcome = campaign(cluster, node)
    return f"{outcome}; {run_without(cluster, without)}"


def failover(cluster: Cluster) -> str:
    """Append an unreplicated batch at the leader; elect another, which appends one too."""
    old, new = cluster.leader(), cluster.followers()[0]
    if cluster.up(old):
        cluster.produce_at(old)
        cluster.run_disk(old)
    outcome = campaign(cluster, new)
    if cluster.up(new):
        cluster.produce_at(new)
    return f"{old} has an unreplicated batch; {outcome}"


def renew_all(cluster: Cluster) -> str:
    """Renew the leases of all brokers."""
    for node in NODES:
        if cluster.fire(node, "lease-renewal"):
            cluster.run_alone(node)
    return "all brokers beat"
