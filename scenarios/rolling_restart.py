"""All brokers are restarted one after the other, each only when the one before is back.

Source: KIP-841, "Fenced replicas should not be allowed to join the ISR in KRaft", 2022. A broker
that was shutting down joined the ISR again and then ended, so commits waited for a broker that was
not there. "Up" is not "back": a restart plan must wait for the ISR.

1. For each broker: request a clean stop, wait until the process has ended, start it again, and wait
   until it is back (``until_back``): its process runs, it has registered, and it is in the ISR.
2. A producer sends records all the time.

The restart of the leader is the longest time without an acknowledgement, the figure
``longest_wait_us``: YAK has no hand-over at a stop, so the others wait until the old leader has
registered again or its lease has expired. At most one broker is down at any time, so the ISR always
has min ISR members. With ``--set wait=false`` the plan does not wait for a broker before it stops
the next one. Then all are down at once, and the run is not valid.
"""

from __future__ import annotations

from itertools import pairwise

from yak_sim import Script, World, millis, run_as_script, scenario, seconds

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


if __name__ == "__main__":
    run_as_script(rolling_restart)
