"""The metadata store is unreachable for longer than the lease; replication goes on without it.

Source: "Roblox Return to Service 10/28-10/31 2021", Roblox, 2022. An overloaded Consul cluster, the
store for service discovery and locks, took down every service that needed it, for 73 hours. The
question for each system is: what needs the store, and what only needed it once?

1. The store becomes unreachable for all brokers.
2. The leader cannot renew its lease. When the lease has expired, it refuses acks=1. It still
   accepts acks=all: the ISR confirms these records, and nothing can change the ISR or the leader.
3. The followers do not campaign: they need the store to be elected. After the outage they restart
   their watch of the lease, so that the outage itself does not depose a healthy leader.
4. The store is back. The leader renews its lease, and acks=1 works again.

A crash of the leader during the outage would stop all writes until the store is back.
"""

from __future__ import annotations

from yak_sim import Script, Situation, World, millis, run_as_script, scenario, seconds

RATE_PER_S = 10


@scenario(seed=7, brokers=3)
def metadata_outage(world: World, *, outage_ms: int = 10_000) -> Script:
    """The metadata store is down: commits go on, elections and acks=1 wait."""
    yield world.until_ready()
    leader = str(world.leader)
    safe = world.producer(rate_per_s=RATE_PER_S)
    fast = world.producer(rate_per_s=RATE_PER_S, acks="1")
    yield world.until(
        lambda: min(safe.acked_count, fast.acked_count) >= RATE_PER_S,
        within=seconds(10),
        what="the first records are acknowledged",
    )

    world.store_outage()
    began_at = world.now_us
    yield world.sleep(world.config.lease_us + seconds(0.1))
    safe_before, fast_before = safe.acked_count, fast.acked_count
    yield world.at(began_at + millis(outage_ms))
    committed, refused = safe.acked_count - safe_before, fast.acked_count == fast_before
    world.figure("committed_after_lease", committed)
    world.expect.that(
        "After the lease, acks=all is committed and acks=1 is refused",
        committed >= RATE_PER_S and refused,
        expected=f"at least {RATE_PER_S} records with acks=all, none with acks=1",
        happened=f"{committed} with acks=all, {fast.acked_count - fast_before} with acks=1",
    )

    world.end_store_outage()
    yield world.until(
        lambda: fast.acked_count > fast_before, within=seconds(2), what="acks=1 works again"
    )
    safe.stop()
    fast.stop()
    yield world.sleep(2 * world.config.lease_us)
    world.expect.that(
        f"{leader} leads before, during and after the outage",
        world.reached(Situation.LEADER_ELECTED) == 1 and world.leader == leader,
        expected=f"one election, leader {leader}",
        happened=f"{world.reached(Situation.LEADER_ELECTED)} elections, leader {world.leader}",
    )
    yield world.until(
        lambda: safe.finished and fast.finished, within=seconds(130), what="every batch is resolved"
    )
    yield world.until_converged()
    world.expect.isr_is(world.brokers)
    world.expect.nothing_acked_is_lost()
    world.expect.no_duplicates()


if __name__ == "__main__":
    run_as_script(metadata_outage)
