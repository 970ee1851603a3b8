"""The moves of a walk: each does one thing to the cluster and returns a line about it.

A move that is impossible now does something similar (a crash of a stopped node starts it), or
nothing.
"""

from __future__ import annotations

from tests.property.cluster import LAG, NODES, PRODUCERS, READER, RENEWAL, Cluster
from yak_core.contract.messages import ListOffsetsRequest
from yak_core.ids import NodeId
from yak_core.manual.run import settle
from yak_core.manual.world import STORE

NOTHING = "nothing to do"


# -- the wire --------------------------------------------------------------------------------------


def _flight(cluster: Cluster, at: int) -> int | None:
    """Return the number of the ``at``-th oldest message, from the newest if negative."""
    flights = list(cluster.world.transit.flights)
    if not flights:
        return None
    return flights[at % len(flights)] if at >= 0 else flights[max(at, -len(flights))]


def deliver(cluster: Cluster, at: int) -> str:
    number = _flight(cluster, at)
    return NOTHING if number is None else cluster.deliver(number)


def drop(cluster: Cluster, at: int) -> str:
    number = _flight(cluster, at)
    if number is None:
        return NOTHING
    flight = cluster.world.transit.flights[number]
    cluster.world.drop(number)
    return f"drop {flight.src} -> {flight.dst} {type(flight.message).__name__}"


def duplicate(cluster: Cluster, at: int) -> str:
    number = _flight(cluster, at)
    if number is None or len(cluster.world.transit.flights) > 64:
        return NOTHING
    flight = cluster.world.transit.flights[number]
    cluster.world.duplicate(number)
    return f"duplicate {flight.src} -> {flight.dst} {type(flight.message).__name__}"


def link(cluster: Cluster, src: NodeId, dst: NodeId) -> str:
    return f"deliver all {cluster.run_link(src, dst)} of {src} -> {dst}"


def clients_link(cluster: Cluster, dst: NodeId) -> str:
    count = sum(cluster.run_link(client, dst) for client in (*PRODUCERS, READER))
    count += sum(cluster.run_link(dst, client) for client in (*PRODUCERS, READER))
    return f"deliver all {count} between {dst} and clients"


def lose_all(cluster: Cluster, node: NodeId) -> str:
    flights = cluster.world.transit.flights
    found = [n for n, f in flights.items() if node in (f.src, f.dst)]
    for number in found:
        cluster.world.drop(number)
    return f"drop all {len(found)} from and to {node}"


def break_link(cluster: Cluster, node: NodeId, peer: NodeId) -> str:
    if node == peer or not cluster.up(node):
        return NOTHING
    cluster.world.lose_connection(node, peer)
    return f"{node} loses its link to {peer}"


# -- runs ------------------------------------------------------------------------------------------


def run_quiet(cluster: Cluster) -> str:
    return f"run quiet: {settle(cluster.world)} moves"


def run_without(cluster: Cluster, node: NodeId) -> str:
    """Run all that is pending at once, except for ``node``."""
    held = cluster.world.held
    others = [n for n in (*NODES, *PRODUCERS, READER) if n != node]
    links = [(node, STORE), (node, "disk")]
    links += [(node, other) for other in others] + [(other, node) for other in others]
    held.update(dict.fromkeys(links))
    moves = settle(cluster.world)
    held.clear()
    return f"run quiet without {node}: {moves} moves"


def replicate(cluster: Cluster) -> str:
    """Exchange the messages of the leader and one follower, disks included."""
    leader, follower = cluster.leader(), cluster.followers()[0]
    return _exchange(cluster, leader, follower)


def replicate_last(cluster: Cluster) -> str:
    leader, follower = cluster.leader(), cluster.followers()[-1]
    return _exchange(cluster, leader, follower)


def _exchange(cluster: Cluster, leader: NodeId, follower: NodeId) -> str:
    for _ in range(3):
        cluster.run_disk(leader)
        cluster.run_link(leader, follower)
        cluster.run_disk(follower)
        cluster.run_link(follower, leader)
    return f"{leader} and {follower} replicate"


def push_only(cluster: Cluster) -> str:
    """Let a follower append and flush, with its acks still in flight."""
    leader, follower = cluster.leader(), cluster.followers()[0]
    cluster.run_disk(leader)
    for _ in range(2):
        cluster.run_link(leader, follower)
        cluster.run_disk(follower)
    return f"{follower} takes what {leader} sent; its acks wait"


# -- time ------------------------------------------------------------------------------------------


def fire(cluster: Cluster, node: NodeId, key: str) -> str:
    return f"{node}'s timer {key} fires" if cluster.fire(node, key) else NOTHING


def fire_any(cluster: Cluster, node: NodeId) -> str:
    """Fire the next timer of a node."""
    timers = cluster.world.nodes[node].timers
    if not cluster.up(node) or not timers:
        return NOTHING
    key = min(timers.values(), key=lambda timer: timer.lo_at).key
    cluster.world.fire(node, key)
    return f"{node}'s timer {key} fires"


def late_heartbeat(cluster: Cluster) -> str:
    """Advance the leader's clock by the lag time: lagging followers leave the ISR."""
    leader = cluster.leader()
    if not cluster.leads(leader):
        return NOTHING
    cluster.world.nodes[leader].clock += LAG + 1
    for _ in range(2):  # After a pause of its own the leader checks twice (KIP-501).
        cluster.fire(leader, "heartbeat")
    return f"{leader} reaches the lag time"


def drift(cluster: Cluster, node: NodeId) -> str:
    cluster.world.nodes[node].clock += RENEWAL
    return f"{node}'s clock jumps ahead by a lease renewal"


# -- clients ---------------------------------------------------------------------------------------


def send(cluster: Cluster, producer: NodeId, records: int) -> str:
    cluster.send(producer, records)
    return f"{producer} is asked to send {records} records"


def send_through(cluster: Cluster, producer: NodeId, records: int) -> str:
    """Send a batch, which reaches the leader that the producer knows."""
    cluster.send(producer, records)
    for node in NODES:
        cluster.run_link(producer, node)
    return f"{producer} sends {records} records"


def send_again(cluster: Cluster, producer: NodeId) -> str:
    """Send a batch that gets no answer, and send it again to the next broker or two."""
    cluster.send(producer, 1)
    for node in NODES:
        cluster.run_link(producer, node)
    flights = cluster.world.transit.flights
    for number in [n for n, f in flights.items() if f.dst == producer]:
        cluster.world.drop(number)
    for _ in range(3):
        cluster.fire(producer, "overdue")
        cluster.fire(producer, "retry")
        for node in NODES:
            cluster.run_link(producer, node)
    return f"{producer} retries a record"


def poll(cluster: Cluster) -> str:
    if cluster.world.nodes[READER].callers:
        return NOTHING
    cluster.poll()
    return f"{READER} is asked to poll"


def ask_latest(cluster: Cluster, node: NodeId) -> str:
    """Look up the latest offset at a broker."""
    if not cluster.up(node):
        return NOTHING
    cluster.world.call(node, ListOffsetsRequest(0, -1))
    return f"{node} is asked for the latest offset"
