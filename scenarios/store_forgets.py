"""The metadata store loses a confirmed change of the ISR; every broker that has seen it halts.

Source: the Redis documentation on Sentinel says that acknowledged writes may be lost in a failover,
because replication is asynchronous. "Call me maybe: Redis" (Jepsen, 2013) measured it: 56 % of the
acknowledged writes were lost in one partition.

1. A follower crashes. After ``replica_lag_us`` the leader removes it from the ISR, and the store
   confirms the change. From now on, records are committed without this follower. With its next
   lease renewal, each other broker sees the change and saves it.
2. The store fails over to a stale replica: it loses this change. Its ISR contains the follower
   again, which lacks committed records. If the follower were elected, these would be lost (F80).
3. Each broker compares every reply of the store with the newest state that it has seen. The stored
   state is older, so the store broke its promise. No broker can know what else is lost: all halt.
4. A restart does not help: each broker has saved the newest state on its disk, and halts again.

A broker can notice only the loss of what it has seen. With ``--set after_ms=0`` the store loses the
change before the other follower has seen it. This follower does not halt, and the run is not valid.

The disks still have every acknowledged record. An operator rebuilds the store from them with
``yak cluster recover``. The follower of step 1 stays down until then: it has not seen the change,
so it would not notice that the store has lost it. No protocol on top of a store that forgets can be
safe; docs/redis.md says how to configure one that does not.
"""

from __future__ import annotations

from yak_sim import Script, World, millis, run_as_script, scenario, seconds

RATE_PER_S = 20


@scenario(seed=7, brokers=3)
def store_forgets(world: World, *, after_ms: int = 600) -> Script:
    """The store loses a confirmed change of the ISR: brokers that have seen it halt."""
    yield world.until_ready()
    leader = str(world.leader)
    gone = next(node for node in reversed(world.brokers) if node != leader)
    rest = [node for node in world.brokers if node != gone]
    producer = world.producer(rate_per_s=RATE_PER_S)
    yield world.until(
        lambda: producer.acked_count >= RATE_PER_S,
        within=seconds(10),
        what="the first records are acknowledged",
    )
    world.crash(gone)
    yield world.until_isr(rest)
    acked = producer.acked_count
    yield world.until(
        lambda: producer.acked_count >= acked + RATE_PER_S,
        within=seconds(10),
        what=f"records are committed without {gone}",
    )
    yield world.sleep(millis(after_ms))
    missing = world.broker(leader).hw - world.broker(gone).leo
    world.figure("committed_without_it", missing)

    for node in rest:
        world.expect_halt(node)
    world.lose_store_writes(1)
    world.expect.that(
        f"The ISR in the store contains {gone} again, which lacks committed records",
        gone in world.isr and missing > 0,
        expected=f"{gone} in the ISR, without some committed records",
        happened=f"ISR {', '.join(world.isr)}, {missing} records missing",
    )
    for node in rest:
        yield world.until_down(node, within=seconds(2))
    acked = producer.acked_count
    yield world.sleep(seconds(1))
    for node in rest:
        world.restart(node)
    for node in rest:
        yield world.until_down(node, within=seconds(2))
    world.expect.that(
        "Each broker that saw the lost change halts, and halts again after a restart",
        sorted(world.halts) == sorted(rest)
        and all("lost confirmed writes" in reason for reason in world.halts.values()),
        expected=f"{', '.join(rest)} halted, because the store lost confirmed writes",
        happened=f"{world.halts}",
    )
    yield world.sleep(seconds(1))
    world.figure("lost", world.lost(producer))
    world.expect.that(
        "No record is acknowledged after the halt, and the disks have all that was acknowledged",
        producer.acked_count == acked and world.lost(producer) == 0,
        expected=f"{acked} acknowledged records, 0 lost",
        happened=f"{producer.acked_count} acknowledged, {world.lost(producer)} lost",
    )


if __name__ == "__main__":
    run_as_script(store_forgets)
