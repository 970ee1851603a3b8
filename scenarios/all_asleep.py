"""All brokers sleep for longer than the lease, wake together, and no broker acts on an old lease.

Source: "How to do distributed locking", Martin Kleppmann, 2016. A process checks its lease, sleeps
in a garbage collection, and acts after the lease has expired. It cannot notice the sleep itself, so
a check before the action does not help. The number of the lease, a fencing token, must be checked
where the action takes effect.

1. All brokers and producers are paused: a laptop is closed, or a hypervisor saves its machines.
2. They wake after ``asleep_ms``, with all timers due. The metadata store comes back two seconds
   later, so that no broker can renew or take over a lease at first.
3. The leader finds that its lease has expired on its own clock. It refuses acks=1, which it would
   confirm alone. It goes on with acks=all: these records need the ISR, and each message to it
   carries the leader epoch, the fencing token.
4. The followers have not read the store for longer than the lease. They restart their watch, so the
   sleep of all does not look like the death of the leader: no election.
5. The store is back. The leader renews its lease, and acks=1 works again.
"""

from __future__ import annotations

from yak_sim import Script, Situation, World, millis, run_as_script, scenario, seconds

RATE_PER_S = 10


@scenario(seed=7, brokers=3)
def all_asleep(world: World, *, asleep_ms: int = 10_000) -> Script:
    """All brokers are paused and resume together: no action on an old lease, no election."""
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
    machines = (*world.brokers, safe.node_id, fast.node_id)
    for node in machines:
        world.pause(node)
    yield world.sleep(millis(asleep_ms))
    for node in machines:
        world.resume(node)
    woke_at = world.now_us
    safe_before, fast_before = safe.acked_count, fast.acked_count
    yield world.sleep(seconds(2))
    world.expect.that(
        "After the sleep, acks=all is acknowledged and acks=1 is refused: the lease has expired",
        safe.acked_count > safe_before and fast.acked_count == fast_before,
        expected="records with acks=all, none with acks=1",
        happened=f"{safe.acked_count - safe_before} with acks=all, "
        f"{fast.acked_count - fast_before} with acks=1",
    )
    world.figure("acked_without_lease", safe.acked_count - safe_before)

    world.end_store_outage()
    yield world.until(
        lambda: fast.acked_count > fast_before, within=seconds(3), what="acks=1 works again"
    )
    world.figure("lease_back_us", world.now_us - woke_at)
    safe.stop()
    fast.stop()
    yield world.sleep(2 * world.config.lease_us)
    world.expect.that(
        f"The sleep deposes no leader: {leader} leads before and after it",
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
    run_as_script(all_asleep)
