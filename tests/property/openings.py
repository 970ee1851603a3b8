"""Where walks begin: situations that a random walk would need long to reach; must never judge.

Each opening is a short story that the flaws of the protocol's ancestors have in common (F numbers
are those of the flaw catalogue). What follows is random, so no opening decides what is found.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.property.cluster import LAG, NODES, Cluster
from tests.property.moves import run_without
from yak_core.contract.effects import SaveState
from yak_core.manual.run import settle
from yak_core.metadata.store_calls import Cas

Opening = Callable[[Cluster], None]


def together(cluster: Cluster) -> None:
    """All in sync, two batches committed."""
    cluster.send("p1", 2)
    cluster.send("p2", 1)
    settle(cluster.world)


def cold(cluster: Cluster) -> None:
    """All in sync, nothing written."""


def lagging(cluster: Cluster) -> None:
    """n3 hears nothing and has left the ISR; the others have committed without it (F14)."""
    _without_n3(cluster)
    cluster.send("p1", 1)
    run_without(cluster, "n3")


def joining(cluster: Cluster) -> None:
    """n3 is back and caught up; the leader's proposal to let it in waits at the store (F15)."""
    lagging(cluster)
    cluster.fire("n1", "heartbeat")
    for _ in range(6):
        if any(isinstance(call.request, Cas) for call in cluster.calls_of("n1")):
            break
        cluster.run_disk("n1")
        cluster.run_link("n1", "n3")
        cluster.run_disk("n3")
        cluster.run_link("n3", "n1")


def joining_late(cluster: Cluster) -> None:
    """As joining, and a batch has come meanwhile that n2 has flushed and n3 has not got (F15)."""
    joining(cluster)
    cluster.produce_at("n1")
    cluster.run_disk("n1")
    cluster.run_link("n1", "n2")
    cluster.run_disk("n2")
    for number in [n for n, f in cluster.world.transit.flights.items() if f.dst == "n3"]:
        cluster.world.drop(number)


def two_tails(cluster: Cluster) -> None:
    """n1 has a record that nobody got; n2 and n3 committed another one there without it (F10)."""
    cluster.produce_at("n1")
    cluster.run_disk("n1")
    cluster.campaign("n2")
    cluster.produce_at("n2")
    run_without(cluster, "n1")


def three_epochs(cluster: Cluster) -> None:
    """As two tails, and n3 has been elected since: n1's old tail ends where its epoch starts."""
    two_tails(cluster)
    cluster.campaign("n3")
    run_without(cluster, "n1")


def hw_behind(cluster: Cluster) -> None:
    """n1 has committed a record; the others have not heard of the new high watermark (F01)."""
    cluster.produce_at("n1")
    for _ in range(2):
        cluster.run_disk("n1")
        for node in ("n2", "n3"):
            cluster.run_link("n1", node)
            cluster.run_disk(node)
            cluster.run_link(node, "n1")
    for number in list(cluster.world.transit.flights):
        cluster.world.drop(number)


def append_after_election(cluster: Cluster) -> None:
    """n2 is elected while a record of n1 is on its way to its disk, which n3 has not got (F14)."""
    lagging(cluster)
    cluster.fire("n1", "heartbeat")
    for _ in range(2):
        cluster.run_link("n1", "n3")
        cluster.run_disk("n3")
        cluster.run_link("n3", "n1")
    cluster.run_link("n1", "n3")
    cluster.run_disk("n3")
    cluster.produce_at("n1")
    # n2 runs for office, and hears that it won; the record waits for n2's disk.
    for _ in range(16):
        cluster.run_disk("n2")
        timers = cluster.world.nodes["n2"].timers
        cluster.fire("n2", min(timers.values(), key=lambda timer: timer.lo_at).key)
        proposed = any(isinstance(call.request, Cas) for call in cluster.calls_of("n2"))
        cluster.run_store("n2")
        if proposed:
            break
    cluster.run_link("n1", "n2")
    queue = cluster.world.nodes["n2"].disk.queue
    if queue and isinstance(queue[0].order, SaveState):
        cluster.world.disk_complete("n2")


def restarted_follower(cluster: Cluster) -> None:
    """n2 acknowledged a record and restarts; the leader has not heard of its new start (F22)."""
    together(cluster)
    cluster.produce_at("n1")
    cluster.run_disk("n1")
    cluster.run_link("n1", "n2")
    cluster.run_disk("n2")
    cluster.run_link("n2", "n1")
    cluster.world.crash("n2")
    cluster.bring_up("n2")


def _without_n3(cluster: Cluster) -> None:
    """n3 leaves the ISR, because it lags for the lag time."""
    cluster.send("p1", 1)
    run_without(cluster, "n3")
    cluster.world.nodes["n1"].clock += LAG + 1
    for _ in range(2):  # A leader that was paused looks at its followers twice (KIP-501).
        cluster.fire("n1", "heartbeat")
        run_without(cluster, "n3")
    flights = cluster.world.transit.flights
    for number in [n for n, f in flights.items() if "n3" in (f.src, f.dst)]:
        cluster.world.drop(number)
    state = cluster.world.store.state
    assert state is not None
    assert state.isr == NODES[:2], "the opening lets n3 out of the ISR"


OPENINGS: tuple[Opening, ...] = (
    together,
    cold,
    lagging,
    joining,
    joining_late,
    two_tails,
    three_epochs,
    hw_behind,
    append_after_election,
    restarted_follower,
)
