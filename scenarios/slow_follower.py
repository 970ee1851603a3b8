"""A slow follower is removed from the ISR, the high watermark advances, and the follower rejoins.

Source: KIP-16, "Automated Replica Lag Tuning", 2015. A limit in records removed healthy followers
after each large batch, so Kafka measures the lag in time.

The high watermark is the minimum over the in-sync replicas, so one slow member delays all commits.
The leader removes a member that lags for too long, and adds it again after it has caught up.
"""

from __future__ import annotations

from yak_sim import Script, World, run_as_script, scenario, seconds

RATE_PER_S = 40


@scenario(seed=7, brokers=3)
def slow_follower(world: World) -> Script:
    """A slow follower is removed from the ISR, the HW advances, and the follower rejoins."""
    yield world.until_ready()
    leader = world.leader
    assert leader is not None
    slow = next(node for node in reversed(world.brokers) if node != leader)
    rest = tuple(node for node in world.brokers if node != slow)
    producer = world.producer(rate_per_s=RATE_PER_S)
    world.consumer()
    yield world.until(
        lambda: producer.acked_count >= 40,
        within=seconds(10),
        what="40 records are acknowledged",
    )
    world.expect.isr_is(world.brokers)

    fault = world.slow_link(leader, slow, delay_us=seconds(3))
    yield world.sleep(seconds(0.5))
    hw_before = world.broker(leader).hw
    yield world.sleep(seconds(1))
    view = world.broker(leader)
    world.expect.that(
        "The high watermark does not advance while the slow follower is in the ISR",
        view.hw == hw_before and view.leo > hw_before,
        expected=f"high watermark {hw_before} and a higher log end",
        happened=f"high watermark {view.hw}, log end {view.leo}",
    )
    yield world.until(
        lambda: world.isr == rest, within=seconds(6), what=f"{slow} has left the ISR"
    )
    shrunk_at = world.now_us
    yield world.sleep(seconds(1))
    world.expect.isr_is(rest)
    world.expect.hw_at_least(hw_before + RATE_PER_S // 2)

    world.heal(fault)
    yield world.until(
        lambda: world.isr == world.brokers, within=seconds(15), what=f"{slow} is back in the ISR"
    )
    world.figure("out_of_isr_us", world.now_us - shrunk_at)
    producer.stop()
    yield world.until(
        lambda: producer.finished, within=seconds(10), what="every batch is resolved"
    )
    yield world.until_converged(within=seconds(10))
    world.expect.isr_is(world.brokers)
    world.expect.leader_is(leader)
    world.expect.nothing_acked_is_lost()
    world.expect.no_duplicates()
    world.expect.order_kept()
    world.expect.logs_converge()


if __name__ == "__main__":
    run_as_script(slow_follower)
