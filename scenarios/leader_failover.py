"""A leader crashes with committed, unreplicated and unflushed records in its log.

Committed records survive. Unreplicated records are truncated when the old leader restarts.
Unflushed records are lost in the crash. The producer retries, so every record is in the log once
and in order.
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
    """The leader that will crash, and the committed, flushed and written ends of its log."""

    node: str
    committed: int = 0
    flushed: int = 0
    written: int = 0


@scenario(seed=7, brokers=3)
def leader_failover(world: World) -> Script:
    """A leader crashes with committed, unreplicated and unflushed records in its log."""
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
        f"The {alone} unreplicated records are truncated after the restart of {held.node}",
        cuts == ((held.flushed, held.committed),),
        expected=f"one truncation of {held.node} from {held.flushed} to {held.committed}",
        happened=f"truncations {cuts}",
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
    """Return the lines per batch, for at most BATCHES_MAX batches of at most BATCH_BYTES."""
    size = -(-len(lines) // BATCHES_MAX)
    while size > 1 and any(
        sum(map(len, lines[at : at + size])) > BATCH_BYTES for at in range(0, len(lines), size)
    ):
        size = -(-size // 2)
    return size


def fill_its_hands(world: World, held: Held, producer: SimProducer, batches: int) -> Script:
    """Send half of the batches until committed, two flushed by the leader only, two unflushed."""
    # A single line is unreplicated; of two lines, the first is committed.
    committed = batches // 2
    unreplicated = min(2, (batches - committed + 1) // 2)
    unflushed = min(2, batches - committed - unreplicated)

    producer.send(committed)
    yield world.until(
        lambda: producer.held and producer.outstanding == 0,
        within=seconds(60),
        what="the first half of the lines is acknowledged",
    )
    held.committed = world.broker(held.node).hw
    world.tell(f"half of the lines sent: {held.committed} records committed")

    # Longer than the lease: messages from the old leader now arrive after the election.
    others = tuple(node for node in world.brokers if node != held.node)
    world.slow_link(held.node, others, delay_us=seconds(8))
    producer.send(unreplicated)
    yield world.until(
        lambda: producer.held and world.broker(held.node).flushed_end == producer.sent_count,
        within=seconds(5),
        what="the next records are flushed by the leader",
    )
    held.flushed = world.broker(held.node).flushed_end
    world.tell(f"{held.flushed - held.committed} more records flushed by {held.node} only")

    world.stall_disk(held.node, for_us=seconds(60))
    producer.send(unflushed)
    yield world.until(
        lambda: producer.held and world.broker(held.node).leo == producer.sent_count,
        within=seconds(5),
        what="the last records reach the leader",
    )
    leader = world.broker(held.node)
    held.written = leader.leo
    world.tell(f"{held.written - held.flushed} more records appended by {held.node}, not flushed")
    world.expect.that(
        "Only committed records are acknowledged",
        leader.hw == held.committed and producer.acked_count == held.committed,
        expected=f"high watermark {held.committed} and {held.committed} acknowledged records",
        happened=f"high watermark {leader.hw} and {producer.acked_count} acknowledged records",
    )


def crash_and_elect(world: World, held: Held, producer: SimProducer) -> Script:
    """Crash the leader, and wait for a new leader with all committed records."""
    world.crash(held.node)
    world.heal()
    producer.release()
    yield world.until(
        lambda: world.leader not in (None, held.node),
        within=seconds(10),
        what="another broker is the leader",
    )
    start = world.leader_epoch_start
    world.expect.that(
        f"The {held.committed} committed records survive the failover",
        start == held.committed,
        expected=f"epoch start {held.committed} of {world.leader}",
        happened=f"epoch start {start}",
    )


def bring_it_back(world: World, held: Held, producer: SimProducer) -> Script:
    """Restart the old leader with the contents of its disk, and wait for convergence."""
    yield world.sleep(seconds=1)
    found = world.broker(held.node).leo
    world.expect.that(
        f"The {held.written - held.flushed} unflushed records are lost in the crash",
        found == held.flushed,
        expected=f"log end {held.flushed} on the disk of {held.node}",
        happened=f"log end {found}",
    )
    world.restart(held.node)
    yield world.until(
        lambda: producer.finished, within=seconds(120), what="every batch is resolved"
    )
    yield world.until_converged(within=seconds(30))


if __name__ == "__main__":
    run_as_script(leader_failover)
