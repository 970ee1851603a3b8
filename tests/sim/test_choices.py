"""Draws are named: each a function of seed, site, entity and number, on every Python.

Method: pinned values, comparison of runs that differ in one draw, other interpreters.
"""

from __future__ import annotations

import subprocess
import sys
from hashlib import sha256

import pytest

from tests.pythons import ROOT, VERSIONS
from tests.require import python
from yak_sim.physics.choices import EXPONENTIAL, RandomChoices, ReplayChoices, key_of

DRAWS = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("choices", sys.argv[1])
choices = importlib.util.module_from_spec(spec)
sys.modules["choices"] = choices
spec.loader.exec_module(choices)
driver = choices.RandomChoices(7)
point = driver.at("net.delay", "n1>n2")
print([point.exponential(1000) for _ in range(6)])
print([driver.at("mix", "n1").between(5, 5_000_000) for _ in range(4)])
print([driver.at("mix", "n2").pick(10) for _ in range(8)])
print([driver.at("net.loss", "n1>n2").happens((1, 3)) for _ in range(8)])
print(choices.key_of(7, "nonce", "n1", "1"))
"""

DRAWN = """\
[40, 1988, 16, 537, 504, 588]
[1857080, 2202395, 4356207, 3459559]
[9, 0, 6, 2, 0, 3, 3, 3]
[True, False, False, True, False, False, False, False]
274128076126520639072238280669682855387
"""


def run_draws(interpreter: str) -> str:
    """Run the draws above on another interpreter, which needs only the standard library."""
    command = [interpreter, "-c", DRAWS, str(ROOT / "yak_sim" / "physics" / "choices.py")]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("version", VERSIONS)
def test_draws_agree_on_every_python(version: str) -> None:
    """Goal: the draws of a seed never change. Method: known values on each Python."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert run_draws(sys.executable if version == own else python(version)) == DRAWN


def test_waiting_times_come_from_a_table_of_integers() -> None:
    """Goal: no rounding of logarithms in a run. Method: a hash of the table, and its mean."""
    text = ",".join(map(str, EXPONENTIAL)).encode()
    assert sha256(text).hexdigest()[:16] == "9c8782f2548d5466"
    assert abs(sum(EXPONENTIAL) / len(EXPONENTIAL) / 65536 - 1) < 0.001


def test_a_draw_does_not_affect_other_sites() -> None:
    """Goal: adding or removing a draw changes no other. Method: runs with and without it."""

    def some(extra: bool) -> list[int]:
        driver = RandomChoices(3)
        drawn = []
        for number in range(20):
            drawn.append(driver.at("net.delay", "n1>n2").pick(1000))
            if extra:
                driver.at("net.delay", "n1>n3").pick(1000)
                driver.at("net.loss", "n1>n2").happens((1, 2))
            drawn.append(driver.at("timer", "n1").between(0, number))
        return drawn

    assert some(extra=True) == some(extra=False)


def test_names_and_seeds_separate_streams() -> None:
    """Goal: no two sites share a stream. Method: compare their draws."""
    keys = [(s, a, b) for s in (1, 2) for a in ("x", "xy") for b in ("z", "yz", "")]
    streams = {
        tuple(RandomChoices(seed).at(site, entity).between(0, 10**9) for _ in range(1))
        for seed, site, entity in keys
    }
    assert len(streams) == len(keys)
    assert key_of(1, "a", "bc") != key_of(1, "ab", "c")


def test_one_option_draws_nothing() -> None:
    """Goal: a single option costs no draw. Method: compare the next draw with and without it."""
    plain, certain = RandomChoices(5).at("a", "b"), RandomChoices(5).at("a", "b")
    assert certain.pick(1) == 0
    assert certain.between(9, 9) == 9
    assert not certain.happens((0, 7))
    assert certain.happens((7, 7))
    assert certain.exponential(0) == 0
    assert certain.pick(1000) == plain.pick(1000)


def test_draws_keep_to_their_bounds() -> None:
    """Goal: every option is drawn and no other. Method: many draws."""
    point = RandomChoices(11).at("a", "b")
    assert {point.pick(3) for _ in range(200)} == {0, 1, 2}
    assert {point.between(-1, 1) for _ in range(200)} == {-1, 0, 1}
    hits = sum(point.happens((1, 4)) for _ in range(4000))
    assert 900 < hits < 1100
    waits = [point.exponential(1000) for _ in range(4000)]
    assert min(waits) >= 0
    assert max(waits) <= 9_100
    assert 950 < sum(waits) / len(waits) < 1050


def test_a_recorded_run_replays_from_its_decisions() -> None:
    """Goal: decisions that are not benign are enough. Method: record, then replay."""

    def play(driver: RandomChoices | ReplayChoices) -> list[object]:
        point = driver.at("a", "x")
        drawn: list[object] = []
        for number in range(50):
            drawn += [point.pick(1 + number % 3), point.between(4, 4 + number % 5)]
            drawn += [point.happens((number % 4, 3)), point.exponential(number % 7)]
            drawn.append(driver.at("b", "y").pick(2))
        return drawn

    recorded = RandomChoices(21, record=True)
    first = play(recorded)
    decisions = recorded.decisions()
    assert first == play(RandomChoices(21))
    assert first == play(ReplayChoices(21, decisions))
    assert all(value != 0 for _, _, _, value in decisions)
    assert len(decisions) < 250


def test_missing_decisions_are_benign() -> None:
    """Goal: a shrunken list of decisions still runs. Method: an empty one, and one out of range."""
    driver = ReplayChoices(1, [("a", "b", 1, 9), ("a", "c", 0, 1)])
    point = driver.at("a", "b")
    assert point.pick(4) == 0
    assert point.pick(4) == 3, "a decision from a run with more options is reduced"
    assert point.between(10, 20) == 10
    assert not point.happens((1, 2))
    assert point.exponential(500) == 0
    assert driver.at("a", "c").happens((1, 2))
    assert driver.at("nowhere", "b").pick(7) == 0


def test_decisions_are_kept_only_on_request() -> None:
    """Goal: a driver without a record raises instead of returning an empty list."""
    with pytest.raises(ValueError, match="record=True"):
        RandomChoices(1).decisions()
