"""A leader crashes with committed, unreplicated and unflushed records in its hands.

What is committed survives, what was not replicated is truncated when the old leader returns, what
was not flushed is gone with the crash, and the producer's retries bring every record into the log
once and in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from yak_sim import Script, SimProducer, World, run_as_script, scenario, seconds

DEFAULT_RECORDS = 60
BATCHES_MAX = 200
BATCH_BYTES = 500_000
BATCHES_PER_S = 50


@dataclass
class Held:
    """The leader that will crash, and how far its log is committed, flushed and written."""

    node: str
    committed: int = 0
    flushed: int = 0
    written: int = 0


@scenario(seed=7, brokers=3)
def leader_failover(world: World) -> Script:
    """A leader crashes with committed, unreplicated and unflushed records in its hands."""
    lines = world.values or tuple(b"line %d" % number for number in range(DEFAULT_RECORDS))
    size = batch_size(lines)
    yield from world.until_ready()
    held = Held(str(world.leader))
    producer = world.producer(rate_per_s=BATCHES_PER_S * size, values=lines, batch=size, hold=True)
    consumer = world.consumer()

    yield from fill_its_hands(world, held, producer, -(-len(lines) // size))
    yield from crash_and_elect(world, held, producer)
    yield from bring_it_back(world, held, producer)
    yield world.until(
        lambda: len(consumer.reads) >= len(lines),
        within=seconds(30),
        what="the consumer has read everything",
    )

    cuts = world.truncations_of(held.node)
    alone = held.flushed - held.committed
    world.expect.that(
        f"The {alone} unreplicated records are truncated on the return of {held.node}",
        cuts == ((held.flushed, held.committed),),
        expected=f"{held.node} to truncate its log from {held.flushed} to {held.committed}, once",
        happened=f"its cuts are {cuts}",
    )
    world.expect.nothing_acked_is_lost()
    world.expect.no_duplicates()
    world.expect.order_kept()
    world.expect.consumer_read_exactly(lines)
    world.expect.logs_converge()
    world.figure("committed_at_crash", held.committed)
    world.figure("unreplicated_at_crash", alone)
    world.figure("unflushed_at_crash", held.written - held.flushed)


def batch_size(lines: Sequence[bytes]) -> int:
    """How many lines make a batch: as many as it takes to have few, and as fit into one."""
    size = -(-len(lines) // BATCHES_MAX)
    while size > 1 and any(
        sum(map(len, lines[at : at + size])) > BATCH_BYTES for at in range(0, len(lines), size)
    ):
        size = -(-size // 2)
    return size


def fill_its_hands(world: World, held: Held, producer: SimProducer, batches: int) -> Script:
    """Half of the batches are committed; two more are flushed by the leader, two more are not."""
    # One line alone is unreplicated; of two, one is committed.
    committed = batches // 2
    unreplicated = min(2, (batches - committed + 1) // 2)
    unflushed = min(2, batches - committed - unreplicated)

    producer.send(committed)
    yield world.until(
        lambda: producer.held and producer.outstanding == 0,
        within=seconds(60),
        what="the first half of the lines is confirmed",
    )
    held.committed = world.broker(held.node).hw
    world.tell(f"half of the lines: {held.committed} records are committed")

    # Slower than the lease: what the old leader sends from now on arrives after the election.
    others = tuple(node for node in world.brokers if node != held.node)
    world.slow_link(held.node, others, delay_us=seconds(8))
    producer.send(unreplicated)
    yield world.until(
        lambda: producer.held and world.broker(held.node).flushed_end == producer.sent_count,
        within=seconds(5),
        what="the next records are flushed at the leader",
    )
    held.flushed = world.broker(held.node).flushed_end
    world.tell(f"{held.flushed - held.committed} more are flushed by {held.node}, by nobody else")

    world.stall_disk(held.node, for_us=seconds(60))
    producer.send(unflushed)
    yield world.until(
        lambda: producer.held and world.broker(held.node).leo == producer.sent_count,
        within=seconds(5),
        what="the last records reach the leader",
    )
    leader = world.broker(held.node)
    held.written = leader.leo
    world.tell(f"{held.written - held.flushed} more are written by {held.node}, and not flushed")
    world.expect.that(
        "Only committed records are confirmed",
        leader.hw == held.committed and producer.acked_count == held.committed,
        expected=f"the high watermark and the confirmations to stay at {held.committed}",
        happened=f"they are {leader.hw} and {producer.acked_count}",
    )


def crash_and_elect(world: World, held: Held, producer: SimProducer) -> Script:
    """The leader dies, and another one takes the next epoch with all that is committed."""
    world.crash(held.node)
    world.heal()
    producer.release()
    yield world.until(
        lambda: world.leader not in (None, held.node),
        within=seconds(10),
        what="another broker leads",
    )
    start = world.leader_from
    world.expect.that(
        f"The {held.committed} committed records survive the failover",
        start == held.committed,
        expected=f"{world.leader} to begin its epoch at {held.committed}",
        happened=f"it begins at {start}",
    )


def bring_it_back(world: World, held: Held, producer: SimProducer) -> Script:
    """The old leader returns with what its disk kept, and everything converges."""
    yield world.sleep(seconds=1)
    found = world.broker(held.node).leo
    world.expect.that(
        f"The {held.written - held.flushed} unflushed records are lost with the crash",
        found == held.flushed,
        expected=f"the log on the disk of {held.node} to end at {held.flushed}",
        happened=f"it ends at {found}",
    )
    world.restart(held.node)
    yield world.until(
        lambda: producer.finished, within=seconds(120), what="every line has its answer"
    )
    yield world.until_converged(within=seconds(30))


if __name__ == "__main__":
    run_as_script(leader_failover)
