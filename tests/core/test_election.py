"""The campaign timer of a candidate: set once for each turn."""

from __future__ import annotations

from dataclasses import replace

from tests.core.brokers import BROKERS, CONFIG, broker_of, ready_brokers
from yak_core.broker.election import TIMER_CAMPAIGN
from yak_core.broker.store_session import TIMER_RENEW
from yak_core.config import MS
from yak_core.manual.run import settle
from yak_core.manual.world import Manual

LONG = replace(CONFIG, election_stagger_us=2000 * MS)
"""Half a stagger, the longest random time, is longer than three renewal periods."""


def renew(world: Manual, node: str) -> None:
    """Let a broker renew its lease; with the reply it reads the count of the leader."""
    world.fire(node, TIMER_RENEW)
    settle(world)


def candidate(renewals: int) -> Manual:
    """Return a world in which n1 crashed and the turn of n2 has begun.

    Since the beginning of its turn, n2 has renewed its lease once more than ``renewals``.
    """
    world = ready_brokers(dict.fromkeys(BROKERS, LONG))
    world.crash("n1")
    renew(world, "n2")
    turn = turn_of(world)
    while world.backend("n2").clock <= turn[0]:
        renew(world, "n2")
        assert turn_of(world) == turn
    for _ in range(renewals):
        renew(world, "n2")
    return world


def turn_of(world: Manual) -> tuple[int, int]:
    """Return the times between which n2 campaigns."""
    timer = world.backend("n2").timers[TIMER_CAMPAIGN]
    return timer.lo_at, timer.hi_at


def test_replies_in_the_random_time_do_not_postpone_the_campaign() -> None:
    """Goal: the timer keeps its random time, at most half a stagger after the turn begins."""
    before, after = candidate(0), candidate(1)
    assert turn_of(after) == turn_of(before)
    watch = broker_of(after, "n2").session.watch
    begins = watch.expires_at(LONG.lease_us)
    assert turn_of(after) == (begins, begins + LONG.election_stagger_us // 2)
    assert begins < after.backend("n2").clock < turn_of(after)[1]


def test_a_candidate_whose_campaign_was_refused_takes_a_new_turn() -> None:
    """Method: at the campaign, n2 has had no reply for longer than the gap that it accepts."""
    world = candidate(0)
    world.backend("n2").clock += broker_of(world, "n2").session.reply_gap_us + 1
    world.fire("n2", TIMER_CAMPAIGN)
    assert TIMER_CAMPAIGN not in world.backend("n2").timers
    renew(world, "n2")
    assert turn_of(world)[0] == world.backend("n2").clock + LONG.lease_us


def test_a_new_renewal_of_the_leader_moves_the_turn() -> None:
    """Goal: the turn is counted from the newest count."""
    world = ready_brokers(dict.fromkeys(BROKERS, LONG))
    turns = []
    for _ in range(3):
        renew(world, "n1")
        renew(world, "n2")
        turns.append(turn_of(world)[0])
    assert turns[0] < turns[1] < turns[2]
