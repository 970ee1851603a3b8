"""Three producers with acks=0, acks=1 and acks=all write to a leader that is about to crash.

Source: "October 21 post-incident analysis", GitHub, 2018. A partition of 43 seconds made a replica
the primary, and the old primary had confirmed writes that no replica had. GitHub needed 24 hours
and 11 minutes to repair this. Kafka's setting ``acks`` decides whether such writes are confirmed.

1. Each producer sends a batch of ten records, and all brokers have them.
2. The leader loses its connection to the followers. Each producer sends a batch. The batch with
   acks=1 is acknowledged, because the leader alone has appended it.
3. The disk of the leader stalls, and each producer sends a batch. The batch with acks=1 waits for
   the disk. With acks=0 a producer waits for nothing in any step: it never learns whether a record
   was written, so the outcome of all its records is unknown.
4. The leader crashes, and another broker is elected. It has none of the records of steps 2 and 3.
5. The producers send again what has no result yet. The other records of steps 2 and 3 are lost:
   none with acks=all, ten acknowledged ones with acks=1, twenty of unknown outcome with acks=0.
"""

from __future__ import annotations

from collections.abc import Mapping

from yak_sim import Script, SimProducer, World, run_as_script, scenario, seconds


@scenario(seed=7, brokers=3)
def acks_compared(world: World, *, records: int = 10) -> Script:
    """One crash, and what it costs producers with acks=0, acks=1 and acks=all."""
    yield world.until_ready()
    leader = str(world.leader)
    producers = {
        acks: world.producer(acks=acks, batch=records, hold=True, first=leader)
        for acks in ("all", "1", "0")
    }

    for producer in producers.values():
        producer.send(1)
    yield world.until(
        lambda: all(producer.outstanding == 0 for producer in producers.values()),
        within=seconds(10),
        what="the first records are resolved",
    )
    yield world.until_converged()

    world.partition(leader, [node for node in world.brokers if node != leader])
    for producer in producers.values():
        producer.send(1)
    yield world.until(
        lambda: world.broker(leader).flushed_end == 6 * records,
        within=seconds(1),
        what="the leader has the second records on disk",
    )
    yield world.sleep(seconds(0.1))

    world.stall_disk(leader, for_us=seconds(60))
    for producer in producers.values():
        producer.send(1)
    yield world.sleep(seconds(0.3))
    resolved = {
        acks: producer.sent_count - producer.outstanding * records
        for acks, producer in producers.items()
    }
    world.expect.that(
        "acks=all waits for the followers, acks=1 for the disk of the leader, acks=0 for nothing",
        resolved == {"all": records, "1": 2 * records, "0": 3 * records}
        and producers["1"].acked_count == 2 * records
        and producers["0"].unknown_count == 3 * records,
        expected=f"{records}, {2 * records} and {3 * records} resolved records",
        happened=f"resolved records {resolved}",
    )

    world.crash(leader)
    world.heal()
    yield world.until(
        lambda: world.leader not in (None, leader), within=seconds(10), what="an election"
    )
    world.restart(leader)
    for producer in producers.values():
        producer.stop()
    yield world.until(
        lambda: all(producer.finished for producer in producers.values()),
        within=seconds(130),
        what="every batch is resolved",
    )
    yield world.until_converged()

    check_lost(world, producers, records)
    world.expect.nothing_acked_is_lost(producers["all"])
    world.expect.no_duplicates()
    world.expect.logs_converge()


def check_lost(world: World, producers: Mapping[str, SimProducer], records: int) -> None:
    """Check how many records of each producer are in no log."""
    lost = {acks: world.lost(producer, unknown=acks == "0") for acks, producer in producers.items()}
    for acks, count in lost.items():
        world.figure(f"lost_with_acks_{acks}", count)
    world.expect.that(
        "The crash loses no record with acks=all, those of step 2 with acks=1, and those of steps "
        "2 and 3 with acks=0",
        lost == {"all": 0, "1": records, "0": 2 * records},
        expected=f"0, {records} and {2 * records} lost records",
        happened=f"lost records {lost}",
    )


if __name__ == "__main__":
    run_as_script(acks_compared)
