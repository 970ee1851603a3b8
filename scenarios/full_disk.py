"""The disk of the leader is full: it halts, another broker leads, and no record is lost.

Source: Kafka's ``LogDirFailureChannel`` (KIP-112, "Handle disk failure for JBOD", 2017). A broker
with no space on its last log directory shuts down: a broker that cannot append must not lead, and a
follower that cannot append must not hold back the ISR.

1. The disk of the leader fills up. The next append fails with NoSpace. The leader halts: it cannot
   know which later writes will work (docs/decisions/0004-a-full-disk-halts.md).
2. The record of the failed append was not written, but the producer cannot know this: its request
   has no response. It retries.
3. When the lease has expired, a follower is elected. It appends the record.
4. The operator frees space and starts the broker. It catches up, and joins the ISR again.

The bill is the time without a leader, the figure ``unavailable_us``. With ``--set of=follower`` the
disk of a follower is full: there is no election, and commits wait only for the ISR to shrink.
"""

from __future__ import annotations

from yak_sim import Script, Situation, World, millis, run_as_script, scenario, seconds

RATE_PER_S = 20


@scenario(seed=7, brokers=3)
def full_disk(world: World, *, of: str = "leader", full_ms: int = 5000) -> Script:
    """A disk is full: the broker halts, the others go on, and no record is lost."""
    yield world.until_ready()
    leader = str(world.leader)
    full = leader if of == "leader" else next(n for n in world.brokers if n != leader)
    producer = world.producer(rate_per_s=RATE_PER_S)
    consumer = world.consumer()
    yield world.until(
        lambda: producer.acked_count >= RATE_PER_S,
        within=seconds(10),
        what="the first records are acknowledged",
    )

    world.expect_halt(full)
    space_again_at = world.now_us + millis(full_ms)
    world.fill_disk(full, for_us=millis(full_ms))
    yield world.until_down(full, within=seconds(2))
    halted_at, acked = world.now_us, producer.acked_count
    world.expect.that(
        f"{full} halts, and no other broker does",
        list(world.halts) == [full],
        expected=f"{full} halted",
        happened=f"{', '.join(world.halts) or 'no broker'} halted",
    )
    yield world.until(
        lambda: producer.acked_count >= acked + RATE_PER_S,
        within=seconds(20),
        what="the others commit records",
    )
    resumed = min(s.resolved_us for s in producer.acked if s.resolved_us > halted_at)
    world.figure("unavailable_us", resumed - halted_at)
    elections = 2 if full == leader else 1
    world.expect.that(
        "A new leader is elected only if the leader has halted",
        world.reached(Situation.LEADER_ELECTED) == elections,
        expected=f"{elections} elections",
        happened=f"{world.reached(Situation.LEADER_ELECTED)}",
    )

    yield world.at(space_again_at)
    world.tell(f"the disk of {full} has space again")
    world.restart(full)
    yield world.until_back(full)
    producer.stop()
    yield world.until(lambda: producer.finished, within=seconds(60), what="every batch is resolved")
    yield world.until_converged()
    yield world.until(
        lambda: len(consumer.reads) >= producer.sent_count, within=seconds(30), what="all is read"
    )
    sent = [value for batch in producer.sent for value in batch.values]
    world.expect.consumer_read_exactly(sent)
    world.expect.nothing_acked_is_lost()
    world.expect.no_duplicates()
    world.expect.logs_converge()


if __name__ == "__main__":
    run_as_script(full_disk)
