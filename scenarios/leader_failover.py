"""A leader crashes with committed, unreplicated and unflushed records in its hands.

What is committed survives, what was not replicated is truncated when the old leader returns, what
was not flushed is gone with the crash, and the producer's retries bring every record into the log
once and in order.
"""

from __future__ import annotations

from yak_sim import Script, World, run_as_script, scenario, seconds

DEFAULT_RECORDS = 60
BATCHES_MAX = 200
BATCHES_PER_S = 50


@scenario(seed=7, brokers=3)
def leader_failover(world: World) -> Script:
    """A leader crashes with committed, unreplicated and unflushed records in its hands."""
    lines = world.values or tuple(b"line %d" % number for number in range(DEFAULT_RECORDS))
    size = -(-len(lines) // BATCHES_MAX)
    batches = -(-len(lines) // size)
    # From half of the lines on: up to two batches that are flushed but not replicated, then up to
    # two that are not even flushed. One line alone is unreplicated; of two, one is committed.
    committed = batches // 2
    unreplicated = min(2, (batches - committed + 1) // 2)
    unflushed = min(2, batches - committed - unreplicated)

    yield from world.until_ready()
    old = world.leader
    assert old is not None
    others = tuple(node for node in world.brokers if node != old)
    leader = world.broker(old)
    producer = world.producer(rate_per_s=BATCHES_PER_S * size, values=lines, batch=size, hold=True)
    consumer = world.consumer()

    producer.send(committed)
    yield world.until(
        lambda: producer.held and producer.outstanding == 0,
        within=seconds(60),
        what="the first half of the lines is confirmed",
    )
    safe = leader.hw
    world.tell(f"half of the lines: {safe} records are committed")

    # Slower than the lease: what the old leader sends from now on arrives after the election.
    slow = world.slow_link(old, others, delay_us=seconds(8))
    producer.send(unreplicated)
    yield world.until(
        lambda: producer.held and leader.log.durable_end == producer.sent_count,
        within=seconds(5),
        what="the next records are flushed at the leader",
    )
    flushed = leader.log.durable_end
    world.tell(f"{flushed - safe} more are flushed by {old}, and by nobody else")

    world.stall_disk(old, for_us=seconds(60))
    producer.send(unflushed)
    yield world.until(
        lambda: producer.held and leader.log.leo == producer.sent_count,
        within=seconds(5),
        what="the last records reach the leader",
    )
    unsafe = leader.log.leo
    world.tell(f"{unsafe - flushed} more are written by {old}, and not flushed")
    world.expect.that(
        "Only committed records are confirmed",
        leader.hw == safe and producer.acked_count == safe,
        expected=f"the high watermark and the confirmations to stay at {safe}",
        happened=f"they are {leader.hw} and {producer.acked_count}",
    )

    world.crash(old)
    world.heal(slow)
    producer.release()
    yield world.until(
        lambda: world.leader not in (None, old), within=seconds(10), what="another broker leads"
    )
    start = world.leader_from
    world.expect.that(
        f"The {safe} committed records survive the failover",
        start == safe,
        expected=f"{world.leader} to begin its epoch at {safe}",
        happened=f"it begins at {start}",
    )

    yield world.sleep(seconds=1)
    found = world.disk(old).leo
    world.expect.that(
        f"The {unsafe - flushed} unflushed records are lost with the crash",
        found == flushed,
        expected=f"the log on the disk of {old} to end at {flushed}",
        happened=f"it ends at {found}",
    )
    world.restart(old)
    yield world.until(
        lambda: producer.finished, within=seconds(120), what="every line has its answer"
    )
    yield world.until_converged(within=seconds(30))
    yield world.until(
        lambda: len(consumer.reads) >= len(lines),
        within=seconds(30),
        what="the consumer has read everything",
    )

    cuts = world.cuts_of(old)
    world.expect.that(
        f"The {flushed - safe} unreplicated records are truncated on the return of {old}",
        cuts == ((flushed, safe),),
        expected=f"{old} to cut its log from {flushed} to {safe}, and nothing else",
        happened=f"its cuts are {cuts}",
    )
    world.expect.nothing_acked_is_lost()
    world.expect.no_duplicates()
    world.expect.order_kept()
    world.expect.consumer_read_exactly(lines)
    world.expect.logs_converge()
    world.figure("committed_at_crash", safe)
    world.figure("unreplicated_at_crash", flushed - safe)
    world.figure("unflushed_at_crash", unsafe - flushed)


if __name__ == "__main__":
    run_as_script(leader_failover)
