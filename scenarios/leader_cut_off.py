"""A leader loses its followers but reaches the metadata store; later it loses the store, too.

Source: "Call me maybe: Redis", Jepsen, 2013. A primary on the small side of a partition went on to
acknowledge writes, another primary was elected, and 56 % of the acknowledged writes were lost when
the partition ended.

1. The leader and its followers cannot reach each other. All of them reach the store.
2. The leader renews its lease, so the followers do not campaign, however long they hear nothing.
   It commits nothing: first the ISR has members without the records, then it is below min ISR.
3. Records with acks=1 are acknowledged, because the leader alone confirms them.
4. The leader loses the store as well. When its lease has expired on its own clock, it refuses
   acks=1. Only after that can a follower be elected: the leader counts from the moment before its
   last renewal, the followers count from the moment at which they saw it.
5. The partition ends. The old leader truncates the records that only it had. Those with acks=1 are
   lost, those with acks=all were never acknowledged.

YAK's leader does not resign in step 2 (F48), so it stays without commits until its followers or its
lease come to an end. Raft's leader resigns when it hears nothing from a majority.
"""

from __future__ import annotations

from yak_sim import Script, Situation, World, millis, run_as_script, scenario, seconds

RATE_PER_S = 10


@scenario(seed=7, brokers=3)
def leader_cut_off(world: World, *, cut_off_ms: int = 6000) -> Script:
    """A leader without followers keeps its lease and commits nothing; then it loses its lease."""
    yield world.until_ready()
    old = str(world.leader)
    others = [node for node in world.brokers if node != old]
    safe = world.producer(rate_per_s=RATE_PER_S)
    fast = world.producer(rate_per_s=RATE_PER_S, acks="1")
    yield world.until(
        lambda: min(safe.acked_count, fast.acked_count) >= RATE_PER_S,
        within=seconds(10),
        what="the first records are acknowledged",
    )

    world.partition(old, others)
    yield world.sleep(seconds(0.5))
    hw, safe_before, fast_before = world.broker(old).hw, safe.acked_count, fast.acked_count
    yield world.sleep(millis(cut_off_ms))
    view = world.broker(old)
    world.expect.that(
        f"{old} renews its lease, so there is no election",
        world.reached(Situation.LEADER_ELECTED) == 1 and world.leader == old,
        expected=f"one election, leader {old}",
        happened=f"{world.reached(Situation.LEADER_ELECTED)} elections, leader {world.leader}",
    )
    world.expect.that(
        f"{old} commits nothing, and acknowledges only acks=1",
        view.hw == hw and safe.acked_count == safe_before and fast.acked_count > fast_before,
        expected=f"high watermark {hw}, no record with acks=all, some with acks=1",
        happened=f"high watermark {view.hw}, {safe.acked_count - safe_before} with acks=all, "
        f"{fast.acked_count - fast_before} with acks=1",
    )

    world.partition(old, "store")
    lost_store_at = world.now_us
    yield world.until(
        lambda: world.leader not in (None, old), within=seconds(10), what="an election"
    )
    world.figure("election_us", world.now_us - lost_store_at)
    at_election = world.now_us
    late = [sent for sent in fast.acked if sent.epoch == view.epoch]
    last = max(sent.resolved_us for sent in late)
    world.figure("last_ack_before_election_us", at_election - last)
    yield world.sleep(seconds(1))
    world.expect.that(
        f"{old} refuses acks=1 before another broker is elected",
        last < at_election and world.acked_in(view.epoch) == len(late) + safe_before,
        expected=f"the last record acknowledged by {old} before {at_election} us, none after",
        happened=f"the last at {last} us, {world.acked_in(view.epoch) - len(late)} others",
    )
    wait = at_election - lost_store_at
    lease = world.config.lease_us
    world.expect.that(
        "The followers wait for the lease",
        wait >= lease - world.config.lease_renew_us,
        expected=f"an election not before {lease - world.config.lease_renew_us} us",
        happened=f"an election after {wait} us",
    )

    world.heal()
    safe.stop()
    fast.stop()
    yield world.until(
        lambda: safe.finished and fast.finished, within=seconds(130), what="every batch is resolved"
    )
    yield world.until_converged()
    world.figure("lost_with_acks_1", world.lost(fast))
    world.figure("lost_with_acks_all", world.lost(safe))
    world.expect.nothing_acked_is_lost(safe)
    world.expect.no_duplicates()
    world.expect.logs_converge()


if __name__ == "__main__":
    run_as_script(leader_cut_off)
