"""Three leaders in a row each leave another record at the same offset; the logs become one again.

Source: KIP-279, "Fix log divergence between leader and follower after fast leader fail over",
2018. With KIP-101 a follower asks its leader where the follower's last epoch ended, and truncates
there. A leader that did not know this epoch gave an answer about a later one. So after fast changes
of leader, two logs could keep different records at the same offset.

1. Ten records are committed: the common part of all logs.
2. Each broker in turn leads: it loses its followers, appends one record, and crashes. The next
   broker is elected, with the common part only. In the end three disks have three different
   records at offset 10, of epochs 1, 2 and 3, and all log ends are 11. The third leader is alone,
   below min ISR, so it takes the record only with acks=1.
3. All brokers restart. The third one is the only member of the ISR, so it is elected. The others
   compare their log with its log by epoch (R3): records are equal if offset *and* epoch are equal.
   Both truncate their own record and replicate that of the leader.

The log ends and the high watermarks are equal on all disks, so they cannot show which record is the
right one. Only the epochs can. The producers of the two truncated records have no result yet. They
send again, and in the end all three records are in the log, once. More brokers make more epochs:
``--set brokers=5``.
"""

from __future__ import annotations

from yak_sim import Script, World, run_as_script, scenario, seconds

COMMON = 10


@scenario(seed=7, brokers=3)
def divergent_logs(world: World) -> Script:
    """Three epochs leave three records at one offset; the logs become equal again."""
    yield world.until_ready()
    base = world.producer(rate_per_s=100, values=COMMON)
    yield world.until(lambda: base.finished, within=seconds(10), what="the common part is written")
    yield world.until_converged()

    led: list[str] = []
    turns = len(world.brokers)
    while len(led) < turns:
        led.append(str(world.leader))
        yield from append_alone(world, led[-1])
        if len(led) < turns:
            yield world.until(
                lambda: world.leader not in (None, led[-1]),
                within=seconds(20),
                what="another broker is the leader",
            )
    epochs = sorted({world.log_of(node)[-1].epoch for node in led})
    world.expect.that(
        f"{turns} logs end at {COMMON + 1}, with records of {turns} epochs at offset {COMMON}",
        {world.broker(node).leo for node in led} == {COMMON + 1} and len(epochs) == turns,
        expected=f"{turns} epochs at offset {COMMON}",
        happened=f"epochs {epochs}",
    )

    yield world.sleep(seconds(1))
    for node in world.brokers:
        world.restart(node)
    yield world.until(
        lambda: world.leader is not None, within=seconds(20), what="a broker is the leader"
    )
    yield world.until(
        lambda: all(world.truncations_of(node) for node in led[:-1]),
        within=seconds(0.2),
        what="the others truncate",
    )
    yield world.until(
        lambda: all(producer.finished for producer in world.producers),
        within=seconds(130),
        what="every record has a result",
    )
    yield world.until_converged()
    truncations = {node: world.truncations_of(node) for node in led}
    truncated = sum(before - after for cuts in truncations.values() for before, after in cuts)
    world.figure("truncated", truncated)
    once = ((COMMON + 1, COMMON),)
    world.expect.that(
        f"{led[-1]} is elected, and each other broker truncates one record and nothing else",
        truncations == dict.fromkeys(led[:-1], once) | {led[-1]: ()},
        expected=f"one truncation from {COMMON + 1} to {COMMON} on {', '.join(led[:-1])}",
        happened=f"truncations {truncations}",
    )
    world.expect.nothing_acked_is_lost()
    world.expect.no_duplicates()
    world.expect.outcomes_are_true()
    world.expect.logs_converge()


def append_alone(world: World, leader: str) -> Script:
    """Let the leader append a record that no other broker gets, and crash it."""
    world.partition(leader, [node for node in world.brokers if node != leader])
    record = b"tail of epoch %d" % world.broker(leader).epoch
    acks = "all" if len(world.isr) >= world.config.min_isr else "1"
    world.producer(values=[record], first=leader, acks=acks)
    yield world.until(
        lambda: world.broker(leader).flushed_end == COMMON + 1,
        within=seconds(5),
        what=f"{leader} alone has a record at offset {COMMON}",
    )
    world.crash(leader)
    world.heal()


if __name__ == "__main__":
    run_as_script(divergent_logs)
