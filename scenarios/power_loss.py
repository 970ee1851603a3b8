"""All brokers lose power at once, with and without a flush before the acknowledgement.

Source: "NATS 2.12.1", Jepsen, 2025. JetStream flushed its files every two minutes, and acknowledged
records before that. When all machines lost power together, acknowledged records were lost.

1. A producer sends records with acks=all until the power of all brokers fails at the same moment.
   What is not flushed is lost on every disk.
2. The power comes back, and all brokers restart.

With ``flush=batch``, the default, a record is acknowledged when the whole ISR has flushed it. So no
acknowledged record is lost; the brokers are clean, and one is elected at once. With
``--set flush=os`` the figure ``lost`` counts acknowledged records that no disk has. Every restart
is unclean then, and no broker can prove that it has all records. So no broker is elected, and the
loss is not hidden: an operator must decide (KIP-966 calls this an unclean recovery). Without flush,
YAK promises the survival of up to ``min_isr - 1`` such crashes at the same time, not of all.
"""

from __future__ import annotations

from yak_sim import Script, World, millis, run_as_script, scenario, seconds

RATE_PER_S = 80


@scenario(seed=7, brokers=3)
def power_loss(world: World, *, load_ms: int = 500) -> Script:
    """All brokers lose power at once; flush=batch loses nothing that was acknowledged."""
    yield world.until_ready()
    producer = world.producer(rate_per_s=RATE_PER_S)
    consumer = world.consumer()
    yield world.sleep(millis(load_ms))

    acked = producer.acked_count
    for node in world.brokers:
        world.crash(node, "unsynced")
    world.tell(f"power failure of all brokers, {acked} records acknowledged")
    lost = world.lost(producer)
    world.figure("acked_before", acked)
    world.figure("lost", lost)
    yield world.sleep(seconds(1))
    for node in world.brokers:
        world.restart(node)

    if world.config.flush == "os":
        world.expect.that(
            "Acknowledged records that no disk has are lost",
            lost > 0,
            expected="lost records",
            happened=f"{lost} of {acked}",
        )
        yield world.sleep(3 * world.config.lease_us)
        world.expect.that(
            "No broker is elected, because no disk is known to be complete",
            world.leader is None and producer.acked_count == acked,
            expected=f"no leader and {acked} acknowledged records",
            happened=f"leader {world.leader}, {producer.acked_count} acknowledged records",
        )
        return

    world.expect.that(
        "Every acknowledged record is on a disk after the power failure",
        lost == 0,
        expected=f"{acked} records on the disks",
        happened=f"{lost} of them lost",
    )
    yield world.until(
        lambda: producer.acked_count > acked, within=seconds(10), what="records are acknowledged"
    )
    producer.stop()
    yield world.until(lambda: producer.finished, within=seconds(60), what="every batch is resolved")
    yield world.until_converged()
    yield world.until(
        lambda: len(consumer.reads) >= producer.sent_count, within=seconds(30), what="all is read"
    )
    world.expect.nothing_acked_is_lost()
    world.expect.no_duplicates()
    world.expect.order_kept()
    world.expect.logs_converge()


if __name__ == "__main__":
    run_as_script(power_loss)
