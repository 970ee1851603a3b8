"""The start of a walk: situations that a random walk would rarely reach.

Each opening is the common part of several flaws (F numbers of docs/flaws.md). The moves after it
are random, so an opening does not decide the result.
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
    """All in the ISR, two batches committed."""
    cluster.send("p1", 2)
    cluster.send("p2", 1)
    settle(cluster.world)


def cold(cluster: Cluster) -> None:
    """All in the ISR, empty logs."""


def lagging(cluster: Cluster) -> None:
    """n3 receives nothing and has left the ISR; the others have committed without it (F14)."""
    _without_n3(cluster)
    cluster.send("p1", 1)
    run_without(cluster, "n3")


def joining(cluster: Cluster) -> None:
    """n3 has caught up; the leader's proposal to expand the ISR waits at the store (F15)."""
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
    """As joining, and there is a later batch that n2 has flushed and n3 lacks (F15)."""
    joining(cluster)
    cluster.produce_at("n1")
    cluster.run_disk("n1")
    cluster.run_link("n1", "n2")
    cluster.run_disk("n2")
    for number in [n for n, f in cluster.world.transit.flights.items() if f.dst == "n3"]:
        cluster.world.drop(number)


def two_tails(cluster: Cluster) -> None:
    """n1 has an unreplicated record; n2 and n3 committed another at its offset (F10)."""
    cluster.produce_at("n1")
    cluster.run_disk("n1")
    cluster.campaign("n2")
    cluster.produce_at("n2")
    run_without(cluster, "n1")


def three_epochs(cluster: Cluster) -> None:
    """As two tails, then n3 was elected: n1's old tail ends at the start of n3's epoch."""
    two_tails(cluster)
    cluster.campaign("n3")
    run_without(cluster, "n1")


def hw_behind(cluster: Cluster) -> None:
    """n1 has committed a record; the others do not have the new high watermark (F01)."""
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
    """n2 is elected while a record of n1 is not yet on its disk; n3 lacks the record (F14)."""
    lagging(cluster)
    cluster.fire("n1", "heartbeat")
    for _ in range(2):
        cluster.run_link("n1", "n3")
        cluster.run_disk("n3")
        cluster.run_link("n3", "n1")
    cluster.run_link("n1", "n3")
    cluster.run_disk("n3")
    cluster.produce_at("n1")
    # n2 campaigns and wins; the record waits for n2's disk.
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
    if queue and isinstance(queue[0].effect, SaveState):
        cluster.world.disk_complete("n2")


def restarted_follower(cluster: Cluster) -> None:
    """n2 acknowledged a record and restarts; the leader does not know of the restart (F22)."""
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
    for _ in range(2):  # After a pause of its own the leader checks twice (KIP-501).
        cluster.fire("n1", "heartbeat")
        run_without(cluster, "n3")
    flights = cluster.world.transit.flights
    for number in [n for n, f in flights.items() if "n3" in (f.src, f.dst)]:
        cluster.world.drop(number)
    state = cluster.world.store.state
    assert state is not None
    assert state.isr == NODES[:2], "n3 is out of the ISR"


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
