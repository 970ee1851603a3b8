"""A follower that cannot keep up leaves the ISR, the high watermark goes on, and it comes back.

The high watermark is the minimum over the in-sync replicas, so one slow member holds everybody up,
until the leader removes it for having lagged too long (KIP-16). Once it has caught up it is taken
back.
"""

from __future__ import annotations

from yak_sim import Script, World, run_as_script, scenario, seconds

RATE_PER_S = 40


@scenario(seed=7, brokers=3)
def slow_follower(world: World) -> Script:
    """A follower that cannot keep up leaves the ISR, the HW goes on, and it comes back."""
    yield from world.until_ready()
    leader = world.leader
    assert leader is not None
    slow = next(node for node in reversed(world.brokers) if node != leader)
    rest = tuple(node for node in world.brokers if node != slow)
    producer = world.producer(rate_per_s=RATE_PER_S)
    world.consumer()
    yield world.until(lambda: producer.acked_count >= 40, within=seconds(10), what="40 confirmed")
    world.expect.isr_is(world.brokers)

    fault = world.slow_link(leader, slow, delay_us=seconds(3))
    yield world.sleep(seconds=0.5)
    held = world.broker(leader).hw
    yield world.sleep(seconds=1)
    view = world.broker(leader)
    world.expect.that(
        "The slow follower holds the high watermark up while it is in the ISR",
        view.hw == held and view.leo > held,
        expected=f"the high watermark to stand at {held}",
        happened=f"it is {view.hw} of {view.leo}",
    )
    yield world.until(
        lambda: world.isr == rest, within=seconds(6), what=f"{slow} has left the ISR"
    )
    shrunk_at = world.now_us
    yield world.sleep(seconds=1)
    world.expect.isr_is(rest)
    world.expect.hw_at_least(held + RATE_PER_S // 2)

    world.heal(fault)
    yield world.until(
        lambda: world.isr == world.brokers, within=seconds(15), what=f"{slow} is back in the ISR"
    )
    world.figure("out_of_isr_us", world.now_us - shrunk_at)
    producer.stop()
    yield world.until(lambda: producer.finished, within=seconds(10), what="all is answered")
    yield world.until_converged(within=seconds(10))
    world.expect.isr_is(world.brokers)
    world.expect.leader_is(leader)
    world.expect.nothing_acked_is_lost()
    world.expect.no_duplicates()
    world.expect.order_kept()
    world.expect.logs_converge()


if __name__ == "__main__":
    run_as_script(slow_follower)
