"""A partitioned leader keeps serving its clients, cannot commit, and is fenced when it reconnects.

Source: KIP-320, "Allow fetchers to detect and handle log truncation", 2018. Requests of replicas
and consumers carry the leader epoch, so that messages of an old epoch are refused, not believed.

It cannot reach its peers or the store until two seconds after the next election. It appends the
records of the producer and acknowledges none of them, because of acks=all. When its links recover,
it is fenced and truncates the records that only it had appended (KIP-101).
"""

from __future__ import annotations

from collections.abc import Iterable

from yak_sim import (
    NetworkFault,
    Role,
    Script,
    Situation,
    World,
    run_as_script,
    scenario,
    seconds,
)

RECORDS = 80


@scenario(seed=7, brokers=3)
def zombie_leader(world: World) -> Script:
    """A partitioned leader serves its clients, cannot commit, and is fenced after the partition."""
    yield world.until_ready()
    zombie = world.leader
    assert zombie is not None
    lines = world.values or tuple(b"record %d" % number for number in range(RECORDS))
    producer = world.producer(rate_per_s=20, values=lines)
    consumer = world.consumer()
    yield world.until(
        lambda: producer.acked_count >= min(10, len(lines)),
        within=seconds(10),
        what="the first records are acknowledged",
    )

    others = tuple(node for node in world.brokers if node != zombie)
    inbound_faults = (world.disconnect(others, zombie), world.partition(zombie, "store"))
    outbound_fault = world.disconnect(zombie, others)
    epoch = world.broker(zombie).epoch
    hw_before = world.broker(zombie).hw
    acked_before = world.acked_in(epoch)
    yield world.until(
        lambda: world.leader not in (None, zombie),
        within=seconds(10),
        what="another broker is the leader",
    )
    new_leader = world.leader
    # A client that knows only the old leader can still send to it.
    late_producer = world.producer(values=[b"to the zombie"], rate_per_s=1, first=zombie)
    yield world.sleep(seconds(2))
    view = world.broker(zombie)
    world.expect.that(
        f"{zombie} still acts as leader of epoch {epoch}",
        view.role is Role.LEADER and view.epoch == epoch,
        expected=f"{Role.LEADER} in epoch {epoch}",
        happened=f"{view.role} in epoch {view.epoch}",
    )
    unreplicated = view.leo - hw_before
    world.expect.that(
        f"{zombie} appends records and acknowledges none of them",
        unreplicated > 0 and view.hw == hw_before and world.acked_in(epoch) == acked_before,
        expected=f"records above high watermark {hw_before}, none acknowledged in epoch {epoch}",
        happened=f"{unreplicated} records, high watermark {view.hw}, "
        f"{world.acked_in(epoch) - acked_before} acknowledged in epoch {epoch}",
    )

    yield from heal_links(world, zombie, outbound_fault, inbound_faults)
    yield world.until(
        lambda: producer.finished and late_producer.finished,
        within=seconds(60),
        what="every batch is resolved",
    )
    yield world.until_converged(within=seconds(30))
    yield world.until(
        lambda: len(consumer.reads) >= len(lines) + 1,
        within=seconds(30),
        what="the consumer has read everything",
    )
    truncations = world.truncations_of(zombie)
    world.expect.that(
        f"{zombie} truncates the {unreplicated} records that only it had appended",
        len(truncations) == 1 and truncations[0][0] - truncations[0][1] == unreplicated,
        expected=f"one truncation of {unreplicated} records",
        happened=f"truncations {truncations}",
    )
    world.expect.leader_is(str(new_leader))
    world.expect.nothing_acked_is_lost()
    world.expect.no_duplicates()
    world.expect.order_kept()
    world.expect.logs_converge()
    world.figure("appended_by_the_zombie", unreplicated)


def heal_links(
    world: World, zombie: str, outbound_fault: NetworkFault, inbound_faults: Iterable[NetworkFault]
) -> Script:
    """Heal the links from the zombie until it is fenced, then its other links, until it follows."""
    world.heal(outbound_fault)
    yield world.until(
        lambda: world.reached(Situation.STALE_MESSAGE_FENCED) > 0,
        within=seconds(5),
        what=f"a message of {zombie} is fenced",
    )
    for fault in inbound_faults:
        world.heal(fault)
    yield world.until(
        lambda: world.broker(zombie).role is Role.FOLLOWER,
        within=seconds(5),
        what=f"{zombie} steps down",
    )


if __name__ == "__main__":
    run_as_script(zombie_leader)
