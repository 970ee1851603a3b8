"""The moves of a walk: each does one thing to the cluster and tells what it did; must never judge.

A move that cannot be made now does something close to it (crashing a node that is down starts it),
or nothing.
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
    """The number of the ``at``-th oldest message, counted from the newest if negative."""
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
    cluster.world.lose_link(node, peer)
    return f"{node} loses its link to {peer}"


# -- runs ------------------------------------------------------------------------------------------


def run_quiet(cluster: Cluster) -> str:
    return f"run quiet: {settle(cluster.world)} moves"


def run_without(cluster: Cluster, node: NodeId) -> str:
    """Everything happens at once, but for what concerns ``node``: that waits."""
    held = cluster.world.held
    others = [n for n in (*NODES, *PRODUCERS, READER) if n != node]
    links = [(node, STORE), (node, "disk")]
    links += [(node, other) for other in others] + [(other, node) for other in others]
    held.update(dict.fromkeys(links))
    moves = settle(cluster.world)
    held.clear()
    return f"run quiet without {node}: {moves} moves"


def replicate(cluster: Cluster) -> str:
    """The leader and one follower exchange what they have, disks included."""
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
    """A follower appends and flushes, but its acks stay on the wire."""
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
    """The next timer of a node, whatever it is."""
    timers = cluster.world.nodes[node].timers
    if not cluster.up(node) or not timers:
        return NOTHING
    key = min(timers.values(), key=lambda timer: timer.lo_at).key
    cluster.world.fire(node, key)
    return f"{node}'s timer {key} fires"


def late_heartbeat(cluster: Cluster) -> str:
    """The leader's clock moves on by the lag time: lagging followers leave the ISR."""
    leader = cluster.leader()
    if not cluster.leads(leader):
        return NOTHING
    cluster.world.nodes[leader].clock += LAG + 1
    for _ in range(2):  # It gives a pause of its own the benefit of the doubt once (KIP-501).
        cluster.fire(leader, "heartbeat")
    return f"{leader} thinks that the lag time is over"


def drift(cluster: Cluster, node: NodeId) -> str:
    cluster.world.nodes[node].clock += RENEWAL
    return f"{node}'s clock jumps ahead by a beat"


# -- clients ---------------------------------------------------------------------------------------


def send(cluster: Cluster, producer: NodeId, records: int) -> str:
    cluster.send(producer, records)
    return f"{producer} is asked to send {records} records"


def send_through(cluster: Cluster, producer: NodeId, records: int) -> str:
    """A batch is sent and reaches whom the producer takes for the leader."""
    cluster.send(producer, records)
    for node in NODES:
        cluster.run_link(producer, node)
    return f"{producer} sends {records} records"


def send_again(cluster: Cluster, producer: NodeId) -> str:
    """A batch is sent, appended perhaps, not answered, and sent again to the next broker or two."""
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
    return f"{producer} sends a record again and again"


def poll(cluster: Cluster) -> str:
    if cluster.world.nodes[READER].callers:
        return NOTHING
    cluster.poll()
    return f"{READER} is asked to poll"


def ask_latest(cluster: Cluster, node: NodeId) -> str:
    """A client asks a broker for the latest offset."""
    if not cluster.up(node):
        return NOTHING
    cluster.world.call(node, ListOffsetsRequest(0, -1))
    return f"{node} is asked for the latest offset"
