"""Two producers use one producer id, as after the copy of a virtual machine; one of them is fenced.

Source: KIP-98, "Exactly Once Delivery and Transactional Messaging", 2016, and KIP-360. A broker
knows a producer by its id. If two processes use one id, their sequences mix, and a new batch of one
looks like a retry of the other (F78). The producer epoch decides: the higher one wins, and the
lower one is fenced.

1. A producer sends ten records in producer epoch 0.
2. Its copy, with the same id, begins while it cannot reach the brokers. Its first record gets no
   response until the delivery timeout: its outcome is unknown. A sequence that may be missing for
   ever could block all later batches, so the copy continues in producer epoch 1 (KIP-360).
3. The copy reaches the brokers and sends its records. The brokers now know epoch 1.
4. The first producer sends again, in epoch 0. Each record is refused: not written. It cannot repair
   this by itself, so the application learns of the second producer and must end one of them.

The log has the records of the first producer, then those of the copy: they do not mix.
"""

from __future__ import annotations

from yak_sim import Script, World, millis, run_as_script, scenario, seconds

RATE_PER_S = 20


@scenario(seed=7, brokers=3, limits={"delivery_timeout_us": seconds(2)})
def two_producers_one_id(world: World, *, records: int = 10) -> Script:
    """Two producers use one id: the one with the older producer epoch is fenced."""
    yield world.until_ready()
    first = world.producer(values=2 * records, rate_per_s=RATE_PER_S, hold=True)
    first.send(records)
    yield world.until(
        lambda: first.acked_count == records, within=seconds(10), what="the first ten are written"
    )

    copy = world.producer(
        values=records + 1, rate_per_s=RATE_PER_S, hold=True, same_id_as=first
    )
    fault = world.partition(copy.node_id, "brokers")
    copy.send(1)
    yield world.until(
        lambda: copy.unknown_count == 1, within=seconds(5), what="a record of the copy is given up"
    )
    world.heal(fault)
    copy.release()
    yield world.until(
        lambda: copy.acked_count == records, within=seconds(10), what="the copy has written"
    )

    world.tell("the first producer sends again")
    first.release()
    yield world.until(lambda: first.finished, within=seconds(20), what="the first has its results")
    world.figure("written_by_the_first", first.acked_count)
    world.figure("written_by_the_copy", copy.acked_count)
    world.figure("refused", first.not_written_count)
    refusals = sorted({sent.error for sent in first.sent if sent.error})
    world.expect.that(
        "The producer with the older epoch is fenced: its later records are not written",
        first.not_written_count == records and refusals == ["INVALID_PRODUCER_EPOCH"],
        expected=f"{records} records refused with INVALID_PRODUCER_EPOCH",
        happened=f"{first.not_written_count} refused with {', '.join(refusals) or 'no error'}",
    )

    yield world.sleep(millis(200))
    yield world.until_converged()
    consumer = world.consumer()
    yield world.until(
        lambda: len(consumer.reads) >= 2 * records, within=seconds(10), what="all is read"
    )
    written = [value for sent in first.acked + copy.acked for value in sent.values]
    world.expect.consumer_read_exactly(written)
    world.expect.nothing_acked_is_lost()
    world.expect.order_kept()
    world.expect.outcomes_are_true()


if __name__ == "__main__":
    run_as_script(two_producers_one_id)
