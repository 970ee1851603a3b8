"""Simulated time: the agenda of a world, and the timers of its nodes.

SimPy keeps the agenda. A message or a disk operation is one slotted object with a callback, passed
to ``env.schedule``. Such events cost half as much as generator processes, which only scenario
scripts use. SimPy cannot remove an event from its agenda, so timers are lazy: a timer that is set
again keeps its pending wake-up, which is scheduled again if it comes before the deadline.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import MethodType
from typing import Any, Final, TypeAlias, cast

import simpy
from simpy.core import EmptySchedule
from simpy.events import NORMAL, URGENT

from yak_core.contract.events import Event, TimerFired
from yak_core.ids import Micros
from yak_sim.physics.choices import Point

Callbacks: TypeAlias = tuple[Callable[[Any], None], ...]

WALL_START_MS: Final = 1_700_000_000_000
"""Wall clock at simulated time 0 in milliseconds; used only for record timestamps."""


class Wake:
    """An agenda event that calls ``action``."""

    __slots__ = ("action", "callbacks")
    _ok = True

    def __init__(self, action: Callable[[], None]) -> None:
        self.action = action
        self.callbacks: Callbacks | None = _RUN


def _run(wake: Wake) -> None:
    wake.action()


_RUN: Final[Callbacks] = (_run,)


class Clock:
    """The agenda of one world, in microseconds from 0.

    Events with equal times run in the order in which they were scheduled. ``now()`` returns the
    microseconds. ``schedule(event, NORMAL, delay_us)`` is SimPy's method. Its argument needs the
    attributes ``_ok`` and ``callbacks`` only; ``callbacks`` is None after the event.
    """

    __slots__ = ("env", "now", "schedule", "step")

    def __init__(self) -> None:
        self.env = env = simpy.Environment()
        # The bound getter of ``env.now``, for speed: it is called several times per step.
        self.now = cast(Callable[[], Micros], MethodType(_NOW.fget, env))
        self.schedule = cast(Callable[[Any, int, Micros], None], self.env.schedule)
        self.step = self.env.step

    def wall_ms(self) -> int:
        """Return the simulated wall clock in milliseconds."""
        return WALL_START_MS + self.now() // 1000

    def after(self, delay_us: Micros, action: Callable[[], None]) -> None:
        """Call ``action`` after ``delay_us``, after the events already scheduled for that time."""
        self.schedule(Wake(action), NORMAL, delay_us)

    def run_next(self, action: Callable[[], None]) -> None:
        """Call ``action`` now, before all other scheduled events."""
        self.schedule(Wake(action), URGENT, 0)

    def run_until(self, until_us: Micros) -> None:
        """Process all events up to and including ``until_us``, and set the time to it."""
        reached = False

        def stop() -> None:
            nonlocal reached
            reached = True

        self.schedule(Wake(stop), LAST, until_us - self.now())
        while not reached:
            self.step()


_NOW: Final = cast(Any, simpy.Environment.now)

LAST: Final = 1 << 20
"""Priority after all other events of the same time."""

__all__ = ["LAST", "NORMAL", "Clock", "EmptySchedule", "Timers", "Wake"]

_IDLE: Final = -1


class _TimerWake:
    __slots__ = ("callbacks", "timer")
    _ok = True

    def __init__(self, timer: _Timer) -> None:
        self.timer = timer
        self.callbacks: Callbacks | None = timer.callbacks


class _Timer:
    """One timer. ``deadline`` is _IDLE if it is not set; ``wake`` is its valid wake-up, or None."""

    __slots__ = ("callbacks", "cause", "deadline", "event", "wake", "wakes_at")

    def __init__(self, key: str, callbacks: Callbacks) -> None:
        self.event = TimerFired(key)
        self.callbacks = callbacks
        self.deadline: Micros = _IDLE
        self.cause = -1
        self.wake: _TimerWake | None = None
        self.wakes_at: Micros = 0


class Timers:
    """The timers of one process, one per key.

    ``deliver`` receives TimerFired and its cause. ``queue_if_paused`` is called first: while the
    machine is paused, it queues the call and returns True.
    """

    __slots__ = ("_callbacks", "_clock", "_deliver", "_queue_if_paused", "_point", "_timers")

    def __init__(
        self,
        clock: Clock,
        point: Point,
        deliver: Callable[[Event, int], None],
        queue_if_paused: Callable[[Callable[[], None]], bool],
    ) -> None:
        self._clock = clock
        self._point = point
        self._deliver = deliver
        self._queue_if_paused = queue_if_paused
        self._timers: dict[str, _Timer] = {}
        self._callbacks: Callbacks = (self._on_wake,)

    def set(self, key: str, low_us: Micros, high_us: Micros, cause: int) -> None:
        """Set or replace a timer that fires once, ``low_us`` to ``high_us`` from now."""
        timer = self._timers.get(key)
        if timer is None:
            timer = self._timers[key] = _Timer(key, self._callbacks)
        delay = low_us if low_us == high_us else self._point.between(low_us, high_us)
        timer.deadline = self._clock.now() + delay
        timer.cause = cause
        if timer.wake is None or timer.wakes_at > timer.deadline:
            self._arm(timer, delay)

    def cancel(self, key: str) -> None:
        """Cancel the timer of this key, if it is set."""
        timer = self._timers.get(key)
        if timer is not None:
            timer.deadline = _IDLE

    def stop(self) -> None:
        """Cancel all timers at the end of the process."""
        for timer in self._timers.values():
            timer.deadline = _IDLE

    def _arm(self, timer: _Timer, delay: Micros) -> None:
        timer.wake = _TimerWake(timer)
        timer.wakes_at = timer.deadline
        self._clock.schedule(timer.wake, NORMAL, delay)

    def _on_wake(self, wake: _TimerWake) -> None:
        timer = wake.timer
        if timer.wake is wake:
            timer.wake = None
            self._fire_or_rearm(timer)

    def _fire_or_rearm(self, timer: _Timer) -> None:
        """Fire, schedule another wake-up, or do nothing, depending on the current deadline."""
        if timer.deadline == _IDLE or timer.wake is not None:
            return
        delay = timer.deadline - self._clock.now()
        if delay > 0:
            self._arm(timer, delay)
        elif not self._queue_if_paused(partial(self._fire_or_rearm, timer)):
            timer.deadline = _IDLE
            self._deliver(timer.event, timer.cause)
