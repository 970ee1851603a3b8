"""The leader and one follower cannot reach each other, but both reach every other machine.

Source: "A Byzantine failure in the real world", Cloudflare, 2020. A switch failed in part. One
member of an etcd cluster could not reach the leader, but could reach the third member. It called
elections again and again, and the cluster could not be written for minutes. The API was degraded
for six hours and 33 minutes.

1. The leader and the follower ``cut_off`` lose each other. Both reach the third broker and the
   metadata store.
2. For ``replica_lag_us`` nothing is committed, because the follower is in the ISR.
3. The leader removes it from the ISR. Records are committed again, with two copies.
4. The follower hears nothing from the leader, but it reads in the store that the leader renews its
   lease. Silence between brokers does not end a leadership (F49), so it does not campaign.
5. The partition ends. The follower catches up, and joins the ISR.

In a protocol where silence starts an election, step 4 replaces a leader that works. With
``--set one_way=true`` only the messages from the leader are lost.
"""

from __future__ import annotations

from yak_sim import Script, Situation, World, millis, run_as_script, scenario, seconds

RATE_PER_S = 20


@scenario(seed=7, brokers=3)
def asymmetric_partition(world: World, *, one_way: bool = False, length_ms: int = 10_000) -> Script:
    """Leader and one follower lose each other only: no election, and commits go on."""
    yield world.until_ready()
    leader = str(world.leader)
    cut_off = next(node for node in reversed(world.brokers) if node != leader)
    rest = [node for node in world.brokers if node != cut_off]
    producer = world.producer(rate_per_s=RATE_PER_S)
    consumer = world.consumer()
    yield world.until(
        lambda: producer.acked_count >= RATE_PER_S,
        within=seconds(10),
        what="the first records are acknowledged",
    )

    began_at = world.now_us
    ends = began_at + millis(length_ms)
    fault = world.disconnect(leader, cut_off) if one_way else world.partition(leader, cut_off)
    yield world.sleep(seconds(0.5))
    acked_before = producer.acked_count
    yield world.until_isr(rest)
    world.figure("nothing_committed_us", world.now_us - began_at)
    world.expect.that(
        f"Nothing is acknowledged while {cut_off} is in the ISR",
        producer.acked_count == acked_before,
        expected=f"{acked_before} acknowledged records",
        happened=f"{producer.acked_count}",
    )
    yield world.at(ends)
    committed = world.broker(leader).hw
    world.expect.that(
        f"{leader} and the third broker commit without {cut_off}",
        committed > acked_before + RATE_PER_S and world.isr == tuple(rest),
        expected=f"a high watermark above {acked_before + RATE_PER_S}, ISR {', '.join(rest)}",
        happened=f"high watermark {committed}, ISR {', '.join(world.isr)}",
    )
    world.expect.that(
        f"{cut_off} hears nothing from {leader} and does not replace it",
        world.reached(Situation.LEADER_ELECTED) == 1 and world.leader == leader,
        expected=f"one election, leader {leader}",
        happened=f"{world.reached(Situation.LEADER_ELECTED)} elections, leader {world.leader}",
    )

    world.heal(fault)
    yield world.until_back(cut_off)
    producer.stop()
    yield world.until(lambda: producer.finished, within=seconds(30), what="every batch is resolved")
    yield world.until_converged()
    yield world.until(
        lambda: len(consumer.reads) == producer.sent_count, within=seconds(30), what="all is read"
    )
    world.expect.leader_is(leader)
    world.expect.nothing_acked_is_lost()
    world.expect.no_duplicates()
    world.expect.order_kept()


if __name__ == "__main__":
    run_as_script(asymmetric_partition)
