"""A leader crashes with committed, unreplicated and unflushed records in its log.

Source: KIP-101, "Alter Replication Protocol to use Leader Epoch rather than High Watermark for
Truncation", 2016. Before it, a follower truncated to its own high watermark, which trails that of
the leader. So a crash of the leader soon after could lose committed records.

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
class OldLeader:
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
    yield world.until_ready()
    old = OldLeader(str(world.leader))
    producer = world.producer(rate_per_s=BATCHES_PER_S * size, values=lines, batch=size, hold=True)
    consumer = world.consumer()

    yield from prepare_log(world, old, producer, -(-len(lines) // size))
    yield from crash_and_elect(world, old, producer)
    yield from restart_old_leader(world, old, producer)
    yield world.until(
        lambda: len(consumer.reads) >= len(lines),
        within=seconds(30),
        what="the consumer has read everything",
    )

    truncations = world.truncations_of(old.node)
    unreplicated = old.flushed - old.committed
    world.expect.that(
        f"The {unreplicated} unreplicated records are truncated after the restart of {old.node}",
        truncations == ((old.flushed, old.committed),),
        expected=f"one truncation of {old.node} from {old.flushed} to {old.committed}",
        happened=f"truncations {truncations}",
    )
    world.expect.nothing_acked_is_lost()
    world.expect.no_duplicates()
    world.expect.order_kept()
    world.expect.consumer_read_exactly(lines)
    world.expect.logs_converge()
    world.figure("committed_at_crash", old.committed)
    world.figure("unreplicated_at_crash", unreplicated)
    world.figure("unflushed_at_crash", old.written - old.flushed)


def batch_size(lines: Sequence[bytes]) -> int:
    """Return the lines per batch, for at most BATCHES_MAX batches of at most BATCH_BYTES."""
    size = -(-len(lines) // BATCHES_MAX)
    while size > 1 and any(
        sum(map(len, lines[at : at + size])) > BATCH_BYTES for at in range(0, len(lines), size)
    ):
        size = -(-size // 2)
    return size


def prepare_log(world: World, old: OldLeader, producer: SimProducer, batches: int) -> Script:
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
    old.committed = world.broker(old.node).hw
    world.tell(f"half of the lines sent: {old.committed} records committed")

    # Longer than the lease: messages from the old leader now arrive after the election.
    others = tuple(node for node in world.brokers if node != old.node)
    world.slow_link(old.node, others, delay_us=seconds(8))
    producer.send(unreplicated)
    yield world.until(
        lambda: producer.held and world.broker(old.node).flushed_end == producer.sent_count,
        within=seconds(5),
        what="the next records are flushed by the leader",
    )
    old.flushed = world.broker(old.node).flushed_end
    world.tell(f"{old.flushed - old.committed} more records flushed by {old.node} only")

    world.stall_disk(old.node, for_us=seconds(60))
    producer.send(unflushed)
    yield world.until(
        lambda: producer.held and world.broker(old.node).leo == producer.sent_count,
        within=seconds(5),
        what="the last records reach the leader",
    )
    leader = world.broker(old.node)
    old.written = leader.leo
    world.tell(f"{old.written - old.flushed} more records appended by {old.node}, not flushed")
    world.expect.that(
        "Only committed records are acknowledged",
        leader.hw == old.committed and producer.acked_count == old.committed,
        expected=f"high watermark {old.committed} and {old.committed} acknowledged records",
        happened=f"high watermark {leader.hw} and {producer.acked_count} acknowledged records",
    )


def crash_and_elect(world: World, old: OldLeader, producer: SimProducer) -> Script:
    """Crash the leader, and wait for a new leader with all committed records."""
    world.crash(old.node)
    world.heal()
    producer.release()
    yield world.until(
        lambda: world.leader not in (None, old.node),
        within=seconds(10),
        what="another broker is the leader",
    )
    start = world.leader_epoch_start
    world.expect.that(
        f"The {old.committed} committed records survive the failover",
        start == old.committed,
        expected=f"epoch start {old.committed} of {world.leader}",
        happened=f"epoch start {start}",
    )


def restart_old_leader(world: World, old: OldLeader, producer: SimProducer) -> Script:
    """Restart the old leader with the contents of its disk, and wait for convergence."""
    yield world.sleep(seconds(1))
    log_end = world.broker(old.node).leo
    world.expect.that(
        f"The {old.written - old.flushed} unflushed records are lost in the crash",
        log_end == old.flushed,
        expected=f"log end {old.flushed} on the disk of {old.node}",
        happened=f"log end {log_end}",
    )
    world.restart(old.node)
    yield world.until(
        lambda: producer.finished, within=seconds(120), what="every batch is resolved"
    )
    yield world.until_converged(within=seconds(30))


if __name__ == "__main__":
    run_as_script(leader_failover)
