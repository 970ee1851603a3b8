"""A client finds the leader: by hints, past an unresponsive leader, and back to it."""

from __future__ import annotations

from yak_core.clients.leader_finder import SUSPECT_TURNS, LeaderFinder
from yak_core.ids import Epoch

BROKERS = ("n1", "n2", "n3")


def test_a_hint_of_the_same_or_a_later_epoch_is_followed() -> None:
    finder = LeaderFinder(BROKERS)
    finder.redirected("n1", "n3", Epoch(4))
    assert (finder.target, finder.epoch) == ("n3", 4)


def test_a_hint_of_an_earlier_epoch_only_moves_on_to_the_next_broker() -> None:
    finder = LeaderFinder(BROKERS)
    finder.answered("n1", Epoch(4))
    finder.redirected("n1", "n3", Epoch(3))
    assert (finder.target, finder.epoch) == ("n2", 4)


def test_hints_do_not_lead_back_to_an_unresponsive_leader() -> None:
    finder = LeaderFinder(BROKERS)
    finder.answered("n1", Epoch(1))
    finder.on_no_answer("n1")
    asked = []
    for _ in range(4):
        asked.append(finder.target)
        finder.redirected(finder.target, "n1", Epoch(1))
    assert asked == ["n2", "n3", "n2", "n3"]


def test_a_later_epoch_clears_the_suspicion_even_of_the_same_broker() -> None:
    finder = LeaderFinder(BROKERS)
    finder.answered("n1", Epoch(1))
    finder.on_no_answer("n1")
    finder.redirected("n2", "n1", Epoch(2))
    assert (finder.target, finder.epoch) == ("n1", 2)


def test_a_suspect_gets_another_chance_after_a_while() -> None:
    finder = LeaderFinder(BROKERS)
    finder.on_no_answer("n1")
    for _ in range(SUSPECT_TURNS):
        finder.redirected(finder.target, None, Epoch(0))
    assert finder.suspect is None


def test_an_old_timeout_of_another_broker_suspects_no_broker() -> None:
    finder = LeaderFinder(BROKERS)
    finder.answered("n2", Epoch(1))
    finder.on_no_answer("n1")
    assert (finder.target, finder.suspect) == ("n2", None)


def test_a_single_broker_is_asked_again_and_again() -> None:
    finder = LeaderFinder(("n1",))
    finder.on_no_answer("n1")
    assert finder.target == "n1"
