"""A leader that nobody but its clients can hear goes on for a while, and harms nobody.

Its peers and the store are out of its reach until two seconds after the next election. It appends
what the producer sends it, confirms none of it with acks=all, is fenced when its links come back,
and truncates what it had appended alone (KIP-101, KIP-320).
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
    """A leader that nobody but its clients can hear goes on for a while, and harms nobody."""
    yield from world.until_ready()
    zombie = world.leader
    assert zombie is not None
    lines = world.values or tuple(b"record %d" % number for number in range(RECORDS))
    producer = world.producer(rate_per_s=20, values=lines)
    consumer = world.consumer()
    yield world.until(
        lambda: producer.acked_count >= min(10, len(lines)),
        within=seconds(10),
        what="the first records are confirmed",
    )

    others = tuple(node for node in world.brokers if node != zombie)
    deaf = (world.disconnect(others, zombie), world.partition(zombie, "store"))
    mute = world.disconnect(zombie, others)
    epoch = world.broker(zombie).epoch
    before = world.broker(zombie).hw
    confirmed = world.acked_in(epoch)
    yield world.until(
        lambda: world.leader not in (None, zombie), within=seconds(10), what="another one leads"
    )
    new = world.leader
    # A client that has heard of nobody else still reaches the old leader.
    late = world.producer(values=[b"to the zombie"], rate_per_s=1, first=zombie)
    yield world.sleep(seconds=2)
    old = world.broker(zombie)
    world.expect.that(
        f"{zombie} still believes that it leads",
        old.role is Role.LEADER and old.epoch == epoch,
        expected=f"{zombie} to lead epoch {epoch} in its own eyes",
        happened=f"it is a {old.role} in epoch {old.epoch}",
    )
    alone = old.leo - before
    world.expect.that(
        f"{zombie} appends what reaches it, and confirms nothing of it",
        alone > 0 and old.hw == before and world.acked_in(epoch) == confirmed,
        expected="records above a high watermark that stands still, and no confirmation",
        happened=f"{alone} records, the high watermark went from {before} to {old.hw}, "
        f"{world.acked_in(epoch) - confirmed} were confirmed in epoch {epoch}",
    )

    yield from hear_again(world, zombie, mute, deaf)
    yield world.until(
        lambda: producer.finished and late.finished,
        within=seconds(60),
        what="every record has its answer",
    )
    yield world.until_converged(within=seconds(30))
    yield world.until(
        lambda: len(consumer.reads) >= len(lines) + 1,
        within=seconds(30),
        what="the consumer has read everything",
    )
    cuts = world.truncations_of(zombie)
    world.expect.that(
        f"{zombie} truncated what it had appended alone",
        len(cuts) == 1 and cuts[0][0] - cuts[0][1] == alone,
        expected=f"one cut of {alone} records",
        happened=f"its cuts are {cuts}",
    )
    world.expect.leader_is(str(new))
    world.expect.nothing_acked_is_lost()
    world.expect.no_duplicates()
    world.expect.order_kept()
    world.expect.logs_converge()
    world.figure("appended_by_the_zombie", alone)


def hear_again(
    world: World, zombie: str, mute: NetworkFault, deaf: Iterable[NetworkFault]
) -> Script:
    """First the others hear the zombie, and refuse it; then it hears them, and knows."""
    world.heal(mute)
    yield world.until(
        lambda: world.reached(Situation.STALE_MESSAGE_FENCED) > 0,
        within=seconds(5),
        what=f"a message of {zombie} is fenced",
    )
    for fault in deaf:
        world.heal(fault)
    yield world.until(
        lambda: world.broker(zombie).role is Role.FOLLOWER,
        within=seconds(5),
        what=f"{zombie} steps down",
    )


if __name__ == "__main__":
    run_as_script(zombie_leader)
