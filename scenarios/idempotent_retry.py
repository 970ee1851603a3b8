"""A record is committed, but its response is lost and the leader crashes: the retry is no copy.

Source: KIP-98, "Exactly Once Delivery and Transactional Messaging", 2016. A timeout says nothing
about a record: it may be written or not. So each batch carries a producer id, a producer epoch and
a sequence, and the log itself is the memory of the brokers.

1. The connection from the leader to the producers is lost in one direction: requests arrive,
   responses do not.
2. The producer sends five records. The leader commits them; the producer does not learn it.
3. The leader crashes, and a follower is elected. It has the records and, derived from its log, the
   sequences of the producer (F69).
4. The producer sends the same batches again. The new leader recognises each as a duplicate and
   acknowledges it with the offset of the original.

Each record is in the log once, and the producer has learned the truth. With
``--set idempotent=false`` the records have no sequence (acks=1), and the figure ``copies`` counts
what a producer without idempotence adds to the log.
"""

from __future__ import annotations

from collections import Counter

from yak_sim import Script, Situation, World, run_as_script, scenario, seconds

RECORDS = 5


@scenario(seed=7, brokers=3)
def idempotent_retry(world: World, *, idempotent: bool = True) -> Script:
    """A response is lost, the leader crashes, the producer retries: each record is there once."""
    yield world.until_ready()
    leader = str(world.leader)
    values = [b"order %d" % number for number in range(2 * RECORDS)]
    producer = world.producer(acks="all" if idempotent else "1", values=values, hold=True)
    producer.send(RECORDS)
    yield world.until(
        lambda: producer.acked_count == RECORDS, within=seconds(10), what="five are acknowledged"
    )

    world.disconnect(leader, "clients")
    producer.send(RECORDS)
    yield world.until(
        lambda: all(world.broker(node).hw == 2 * RECORDS for node in world.brokers),
        within=seconds(2),
        what="the next five are committed on all brokers",
    )
    world.expect.that(
        "Five records are committed, and the producer does not know it",
        producer.acked_count == RECORDS and producer.outstanding == RECORDS,
        expected=f"{RECORDS} acknowledged and {RECORDS} pending records",
        happened=f"{producer.acked_count} acknowledged, {producer.outstanding} pending",
    )
    world.crash(leader)
    world.heal()
    producer.release()
    yield world.until(
        lambda: producer.finished, within=seconds(60), what="every batch is resolved"
    )
    world.restart(leader)
    yield world.until_converged()

    consumer = world.consumer()
    yield world.until(
        lambda: len(consumer.reads) == world.broker(leader).hw,
        within=seconds(30),
        what="all is read",
    )
    copies = sum(count - 1 for count in Counter(consumer.values).values())
    recognised = world.reached(Situation.DUPLICATE_RECOGNISED)
    world.figure("copies", copies)
    world.figure("duplicates_recognised", recognised)
    world.expect.nothing_acked_is_lost()
    if idempotent:
        world.expect.that(
            "The new leader recognises each retry",
            recognised >= RECORDS,
            expected=f"at least {RECORDS} recognised duplicates",
            happened=f"{recognised}",
        )
        world.expect.no_duplicates()
        world.expect.consumer_read_exactly(values)
    else:
        world.expect.that(
            "Without idempotence, each retry is a copy",
            copies == RECORDS,
            expected=f"{RECORDS} copies",
            happened=f"{copies}",
        )


if __name__ == "__main__":
    run_as_script(idempotent_retry)
