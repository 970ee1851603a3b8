"""The waits of a script: for brokers that go down and come back, for an ISR, with clear failures.

Method: short scenarios on the real brokers, all invariants on.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.sim.short_runs import run
from yak_sim import Script, World, millis, run_scenario, scenario, seconds


def test_a_stopped_broker_is_down_and_comes_back() -> None:
    """Goal: a broker in the ISR is not back while it is down. Method: a stop and a restart."""

    def script(world: World) -> Script:
        yield world.until_ready()
        node = next(node for node in world.brokers if node != world.leader)
        world.stop(node)
        yield world.until_down(node)
        assert node not in world.running
        down_at = world.now_us
        world.engine.clock.after(seconds(2), lambda: world.restart(node))
        yield world.until_back(node)
        assert world.now_us >= down_at + seconds(2)
        assert world.broker(node).ready
        assert node in world.isr

    run(script)


def test_an_isr_is_awaited_in_any_order() -> None:
    """Method: pause a follower until the leader removes it, then resume it."""

    def script(world: World) -> Script:
        yield world.until_ready()
        node = next(node for node in world.brokers if node != world.leader)
        others = [other for other in world.brokers if other != node]
        world.producer(rate_per_s=50)
        world.pause(node)
        yield world.until_isr(reversed(others))
        world.resume(node)
        yield world.until_isr(world.brokers)
        yield world.until_back(node)

    run(script)


def down(world: World) -> Script:
    yield world.until_ready()
    yield world.until_down("n2", within=seconds(1))


def back(world: World) -> Script:
    yield world.until_ready()
    world.crash("n2")
    yield world.until_back("n2", within=seconds(1))


def isr(world: World) -> Script:
    yield world.until_ready()
    yield world.until_isr(["n1"], within=seconds(1))


def ready(world: World) -> Script:
    world.partition("n1", ("n2", "n3", "store"))
    yield world.until_ready(within=seconds(1))


@pytest.mark.parametrize(
    ("script", "pattern"),
    [
        (down, r"n2 .*1 s.*n2 still running \(test_waits.py:\d+\)"),
        (back, r"n2 .*1 s.*n2 down, in the ISR \(test_waits.py:\d+\)"),
        (isr, r"ISR n1 within 1 s.*ISR n1, n2, n3 \(test_waits.py:\d+\)"),
        (ready, r"1 s.*leader .* \(test_waits.py:\d+\)"),
    ],
)
def test_a_wait_that_ends_says_what_it_found(script: Any, pattern: str) -> None:
    """Method: waits that cannot be fulfilled."""
    result = run_scenario(scenario()(script))
    assert result.valid is False
    assert re.search(pattern, result.reason), result.reason


@pytest.mark.parametrize("name", ["until_down", "until_back"])
def test_an_unknown_broker_is_refused(name: str) -> None:
    """Method: the waits that take a broker."""
    world = World()
    with pytest.raises(ValueError, match=r"'n9'.*n1, n2, n3"):
        getattr(world, name)("n9")
    with pytest.raises(ValueError, match=r"'n9'.*n1, n2, n3"):
        world.until_isr(["n1", "n9"])


def forgets_sleep(world: World) -> Script:
    yield world.until_ready()
    world.sleep(seconds(1))
    yield world.sleep(millis(1))


def forgets_until(world: World) -> Script:
    world.until_ready()
    yield world.sleep(seconds(1))


def helper(world: World) -> Script:
    yield world.sleep(seconds(1))


def forgets_yield_from(world: World) -> Script:
    yield world.until_ready()
    helper(world)


def forgets_in_a_helper(world: World) -> Script:
    yield from forgets_yield_from(world)


def forgets_and_fails(world: World) -> Script:
    world.until_ready()
    world.expect.leader_is("n1")
    yield world.sleep(seconds(1))


@pytest.mark.parametrize(
    ("script", "pattern"),
    [
        (forgets_sleep, r"sleep\(\.\.\.\) at test_waits.py:\d+ has no yield"),
        (forgets_until, r"until_ready\(\.\.\.\) at test_waits.py:\d+ has no yield"),
        (forgets_yield_from, r"helper\(\.\.\.\) at test_waits.py:\d+ has no 'yield from'"),
        (forgets_in_a_helper, r"helper\(\.\.\.\) at test_waits.py:\d+ has no 'yield from'"),
        (forgets_and_fails, r"no leader.*until_ready\(\.\.\.\) at test_waits.py:\d+ has no yield"),
    ],
)
def test_a_forgotten_yield_is_an_error(script: Any, pattern: str) -> None:
    """Method: waits and a helper that are called and not yielded."""
    result = run_scenario(scenario()(script))
    assert result.valid is False
    assert re.search(pattern, result.reason), result.reason
    line = int(re.search(r"test_waits.py:(\d+) has no", result.reason)[1])  # type: ignore[index]
    source = Path(__file__).read_text(encoding="utf-8").splitlines()
    assert re.search(r"^    (world|helper)", source[line - 1])


def test_waits_that_are_kept_or_combined_count_as_yielded() -> None:
    """Method: a wait made earlier, a condition of two waits, and a process beside the script."""

    def beside(world: World) -> Script:
        yield world.sleep(seconds(1))

    def script(world: World) -> Script:
        timer = world.sleep(seconds(2))
        yield world.until_ready() | world.sleep(seconds(30))
        world.engine.clock.env.process(beside(world))
        ended = world.at(seconds(1))
        yield timer
        yield ended
        assert world.now_us == seconds(2)

    run(script)
