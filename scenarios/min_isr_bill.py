"""Both followers crash, then the leader loses power: min ISR decides who pays, and with what.

Source: "Call me maybe: Kafka", Jepsen, 2013. The ISR shrank to the leader, which went on to
acknowledge records. When this one machine failed, the acknowledged records were lost. Kafka 0.8.2
added ``min.insync.replicas``. The cluster runs without flushes (``flush=os``), as Kafka does.

1. The processes of both followers crash. Their page cache survives, so they lose nothing.
2. After ``replica_lag_us`` the ISR is the leader alone. The producer keeps sending.
3. The leader loses power, and with it the records that only its page cache had.
4. All brokers restart.

With min ISR 2, the bill is availability: from step 1 to step 4 nothing is acknowledged, and nothing
acknowledged is lost. One of the followers is elected, because both stayed eligible (KIP-966). With
``--set min_isr=1`` the leader acknowledges records with one copy, and the crash loses them: the
bill is paid in records. Only the leader could have had all of them, so no broker is elected. The
cluster stays down until an operator decides, instead of hiding the loss.
"""

from __future__ import annotations

from yak_sim import Script, World, millis, run_as_script, scenario, seconds

RATE_PER_S = 20


@scenario(seed=7, brokers=3, flush="os")
def min_isr_bill(world: World, *, alone_ms: int = 4000) -> Script:
    """Both followers crash, then the leader loses power: unavailable or lost, by min ISR."""
    yield world.until_ready()
    leader = str(world.leader)
    followers = [node for node in world.brokers if node != leader]
    producer = world.producer(rate_per_s=RATE_PER_S)
    yield world.until(
        lambda: producer.acked_count >= RATE_PER_S,
        within=seconds(10),
        what="the first records are acknowledged",
    )

    stopped_at = world.now_us
    for node in followers:
        world.crash(node, "nothing")
    yield world.sleep(seconds(0.5))
    acked_before = producer.acked_count
    yield world.until_isr([leader])
    yield world.sleep(millis(alone_ms))
    alone = producer.acked_count - acked_before
    world.figure("acked_with_one_copy", alone)
    check_one_copy(world, alone)

    world.crash(leader, "unsynced")
    lost_at_once = world.lost(producer)
    for node in world.brokers:
        world.restart(node)
    if world.config.min_isr == 1:
        yield world.sleep(2 * world.config.lease_us)
        world.expect.that(
            "No broker is elected, because only the leader may have had all records",
            world.leader is None,
            expected="no leader",
            happened=f"leader {world.leader}",
        )
    else:
        acked = producer.acked_count
        yield world.until(
            lambda: producer.acked_count > acked,
            within=seconds(30),
            what="records are acknowledged",
        )
        world.figure("unavailable_us", world.now_us - stopped_at)
        producer.stop()
        yield world.until(
            lambda: producer.finished, within=seconds(130), what="every batch is resolved"
        )
        yield world.until_converged()
        world.expect.nothing_acked_is_lost()
        world.expect.no_duplicates()
    world.figure("lost", world.lost(producer))
    world.expect.that(
        "The crash loses the records with one copy, and no others",
        lost_at_once == alone,
        expected=f"{alone} acknowledged records lost",
        happened=f"{lost_at_once}",
    )


def check_one_copy(world: World, alone: int) -> None:
    """Check that records with one copy are acknowledged only with min ISR 1."""
    allowed = world.config.min_isr == 1
    world.expect.that(
        "Records with one copy are acknowledged" if allowed else "No record is acknowledged",
        (alone > 0) == allowed,
        expected="records acknowledged" if allowed else "0 records acknowledged",
        happened=f"{alone}",
    )


if __name__ == "__main__":
    run_as_script(min_isr_bill)
