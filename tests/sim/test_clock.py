"""Timers: one for each key, replaced and cancelled for good, never early, cheap to set again.

Method: one puppet on one machine, or the timers alone.
"""

from __future__ import annotations

from functools import partial

from tests.sim.echo_nodes import at_start, idle, stage
from yak_core.contract.effects import CancelTimer, Effect, SetTimer
from yak_core.contract.events import Event, Started, TimerFired
from yak_core.ids import Micros
from yak_sim.physics.choices import RandomChoices
from yak_sim.physics.clock import Clock, Timers
from yak_sim.physics.kinds import Loss


def fired(seen: list[tuple[Micros, Event]]) -> list[tuple[Micros, str]]:
    return [(now, event.key) for now, event in seen if isinstance(event, TimerFired)]


def test_a_timer_fires_once_within_its_range() -> None:
    """Goal: never early, never twice. Method: fixed and wide ranges."""
    world = stage({"n1": at_start(SetTimer("a", 100, 100), SetTimer("b", 200, 900))})
    world.engine.run_for(10_000)
    (a, first), (b, second) = fired(world.puppet("n1").seen)
    assert (a, first, second) == (100, "a", "b")
    assert 200 <= b <= 900


def test_setting_again_replaces_and_cancelling_is_final() -> None:
    """Goal: only the last setting counts. Method: later, earlier, cancelled, set again."""

    def act(_now: Micros, event: Event) -> list[Effect]:
        if isinstance(event, Started):
            return [
                *(SetTimer("later", 100, 100), SetTimer("later", 500, 500)),
                *(SetTimer("sooner", 800, 800), SetTimer("sooner", 300, 300)),
                *(SetTimer("never", 50, 50), CancelTimer("never")),
                *(SetTimer("again", 60, 60), CancelTimer("again"), SetTimer("again", 400, 400)),
                *(CancelTimer("unknown"), SetTimer("tick", 250, 250)),
            ]
        return []

    world = stage({"n1": act})
    world.engine.run_for(5_000)
    assert fired(world.puppet("n1").seen) == [
        (250, "tick"),
        (300, "sooner"),
        (400, "again"),
        (500, "later"),
    ]


def test_a_timer_set_repeatedly_costs_one_entry() -> None:
    """Goal: a heartbeat timeout costs no agenda entry per message. Method: count the entries."""
    clock, keys = Clock(), list[str]()

    def deliver(event: Event, _cause: int) -> None:
        assert isinstance(event, TimerFired)
        keys.append(event.key)

    timers = Timers(clock, RandomChoices(1).at("timer", "n1"), deliver, lambda _act: False)
    for number in range(1000):
        clock.after(number * 10, partial(timers.set, "lease", 500, 500, number))
    clock.run_until(5_000)
    pending = len(clock.env._queue)
    assert pending <= 500 + 3
    clock.run_until(20_000)
    assert keys == ["lease"]


def test_no_timer_outlives_its_process() -> None:
    """Method: crash before a timer is due, and start again."""
    starts = iter([at_start(SetTimer("a", 1_000, 1_000)), idle])

    def act(now: Micros, event: Event) -> list[Effect]:
        return next(starts)(now, event) if isinstance(event, Started) else []

    world = stage({"n1": act})
    machine = world.engine.machines["n1"]
    world.engine.run_for(500)
    machine.crash(Loss.NOTHING)
    machine.start()
    world.engine.run_for(5_000)
    first, second = world.puppets["n1"]
    assert fired(first.seen) == fired(second.seen) == []


def test_a_paused_machine_gets_its_timers_afterwards_unless_cancelled() -> None:
    """Goal: a pause delays timers, and the first event after it can cancel others.

    Method: three timers are due during a pause; the first to fire cancels the second and sets
    the third again.
    """

    def act(_now: Micros, event: Event) -> list[Effect]:
        if isinstance(event, Started):
            return [SetTimer(key, at, at) for key, at in (("a", 10), ("b", 20), ("c", 30))]
        if event == TimerFired("a"):
            return [CancelTimer("b"), SetTimer("c", 700, 700)]
        return []

    world = stage({"n1": act})
    machine = world.engine.machines["n1"]
    machine.pause()
    world.engine.run_for(1_000)
    machine.resume()
    world.engine.run_for(5_000)
    assert fired(world.puppet("n1").seen) == [(1_000, "a"), (1_700, "c")]
