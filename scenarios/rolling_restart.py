"""All brokers are restarted one after the other, each only when the one before is back.

Source: KIP-841, "Fenced replicas should not be allowed to join the ISR in KRaft", 2022. A broker
that was shutting down joined the ISR again and then ended, so commits waited for a broker that was
not there. "Up" is not "back": a restart plan must wait for the ISR.

1. For each broker: request a clean stop, wait until the process has ended, and start it again after
   ``down_ms``.
2. Wait until it is back (``until_back``): its process runs, has registered, and is in the ISR.
   Then wait until records are acknowledged again, before the next broker is stopped.
3. A producer sends records all the time. All of them are acknowledged in the end.

The figure ``longest_wait_us`` is the longest time without an acknowledgement. YAK has no hand-over
at a stop: the followers of a stopped leader wait until it has registered again, or until its lease
has expired. A stopped follower stays in the ISR, because it loses nothing, and commits wait for it
until it is back, or for ``replica_lag_us``. A producer whose requests time out asks the other
brokers for some time before it asks the leader again, which makes the wait longer. Kafka's
controlled shutdown hands over the leadership and leaves the ISR before the process ends.

With ``--set wait=false`` the plan does not wait for a broker before it stops the next one. Then all
are down at once, and the run is not valid.
"""

from __future__ import annotations

from itertools import pairwise

from yak_sim import Script, SimProducer, World, millis, run_as_script, scenario, seconds

RATE_PER_S = 20


@scenario(seed=7, brokers=3)
def rolling_restart(world: World, *, wait: bool = True, down_ms: int = 1000) -> Script:
    """Restart all brokers, one at a time; at most one is down, and nothing is lost."""
    yield world.until_ready()
    producer = world.producer(rate_per_s=RATE_PER_S)
    consumer = world.consumer()
    yield world.until(
        lambda: producer.acked_count >= RATE_PER_S,
        within=seconds(10),
        what="the first records are acknowledged",
    )

    running_min = len(world.brokers)
    for node in world.brokers:
        world.stop(node, for_us=millis(down_ms))
        yield world.until_down(node)
        running_min = min(running_min, len(world.running))
        if wait:
            yield world.until_back(node)
            yield from until_acked_again(world, producer)
    down = len(world.brokers) - running_min
    world.figure("down_at_once", down)
    world.expect.that(
        "At most one broker is down at any time",
        down == 1,
        expected="1 broker down at once",
        happened=f"{down}",
    )

    producer.stop()
    yield world.until(lambda: producer.finished, within=seconds(60), what="every batch is resolved")
    yield world.until_converged()
    times = [sent.resolved_us for sent in producer.acked]
    world.figure("longest_wait_us", max(b - a for a, b in pairwise(times)))
    yield world.until(
        lambda: len(consumer.reads) >= producer.sent_count, within=seconds(30), what="all is read"
    )
    world.expect.that(
        "Every record is acknowledged",
        producer.acked_count == producer.sent_count,
        expected=f"{producer.sent_count} acknowledged records",
        happened=f"{producer.acked_count}",
    )
    world.expect.nothing_acked_is_lost()
    world.expect.no_duplicates()
    world.expect.order_kept()
    world.expect.logs_converge()


def until_acked_again(world: World, producer: SimProducer) -> Script:
    """Wait for an acknowledgement from now on."""
    acked = producer.acked_count
    yield world.until(
        lambda: producer.acked_count > acked,
        within=seconds(10),
        what="records are acknowledged again",
    )


if __name__ == "__main__":
    run_as_script(rolling_restart)
