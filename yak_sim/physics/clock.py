"""Simulated time: what happens when, and timers; must never know what it is that happens.

SimPy keeps the agenda. A message or a disk operation is one slotted object with a callback put on
``env.schedule``, never a generator process: bare events cost half as much, and processes are for
scenario scripts. SimPy cannot remove anything from its agenda, so timers are lazy: a timer that is
set again keeps its pending wake-up, which re-arms itself when it comes too soon.
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
"""Wall clock at simulated time 0; data for record timestamps and for nothing else."""


class Wake:
    """Calls ``action`` when its time comes."""

    __slots__ = ("action", "callbacks")
    _ok = True

    def __init__(self, action: Callable[[], None]) -> None:
        self.action = action
        self.callbacks: Callbacks | None = _RUN


def _run(wake: Wake) -> None:
    wake.action()


_RUN: Final[Callbacks] = (_run,)


class Clock:
    """The agenda of one world, in microseconds from 0. Equal times happen in order of scheduling.

    ``now()`` tells the microseconds. ``schedule(happening, NORMAL, delay_us)`` is SimPy's own; it
    needs no SimPy event, but ``_ok`` and ``callbacks``, which are emptied when it happens.
    """

    __slots__ = ("env", "now", "schedule", "step")

    def __init__(self) -> None:
        self.env = env = simpy.Environment()
        # The getter behind ``env.now``, bound: it is asked several times a step.
        self.now = cast(Callable[[], Micros], MethodType(_NOW.fget, env))
        self.schedule = cast(Callable[[Any, int, Micros], None], self.env.schedule)
        self.step = self.env.step

    def wall_ms(self) -> int:
        """The simulated wall clock."""
        return WALL_START_MS + self.now() // 1000

    def after(self, delay_us: Micros, action: Callable[[], None]) -> None:
        """Do ``action`` after ``delay_us``, behind what is already due then."""
        self.schedule(Wake(action), NORMAL, delay_us)

    def next(self, action: Callable[[], None]) -> None:
        """Do ``action`` now, before anything else that is due."""
        self.schedule(Wake(action), URGENT, 0)

    def run_until(self, until_us: Micros) -> None:
        """Let everything happen that is due before ``until_us`` or at it; time ends there."""
        over = False

        def stop() -> None:
            nonlocal over
            over = True

        self.schedule(Wake(stop), LAST, until_us - self.now())
        while not over:
            self.step()


_NOW: Final = cast(Any, simpy.Environment.now)

LAST: Final = 1 << 20
"""Priority behind everything else that is due at the same time."""

__all__ = ["LAST", "NORMAL", "Clock", "EmptySchedule", "Timers", "Wake"]

_IDLE: Final = -1


class _TimerWake:
    __slots__ = ("callbacks", "timer")
    _ok = True

    def __init__(self, timer: _Timer) -> None:
        self.timer = timer
        self.callbacks: Callbacks | None = timer.callbacks


class _Timer:
    """``deadline`` is _IDLE while it is not set; ``wake`` the wake-up that counts, if any."""

    __slots__ = ("callbacks", "cause", "deadline", "event", "wake", "wakes_at")

    def __init__(self, key: str, callbacks: Callbacks) -> None:
        self.event = TimerFired(key)
        self.callbacks = callbacks
        self.deadline: Micros = _IDLE
        self.cause = -1
        self.wake: _TimerWake | None = None
        self.wakes_at: Micros = 0


class Timers:
    """The timers of one incarnation, one a key.

    ``deliver`` gets TimerFired and its cause; ``hold``, asked first, takes a call to be made later
    while the machine is paused, and then returns True.
    """

    __slots__ = ("_callbacks", "_clock", "_deliver", "_hold", "_point", "_timers")

    def __init__(
        self,
        clock: Clock,
        point: Point,
        deliver: Callable[[Event, int], None],
        hold: Callable[[Callable[[], None]], bool],
    ) -> None:
        self._clock = clock
        self._point = point
        self._deliver = deliver
        self._hold = hold
        self._timers: dict[str, _Timer] = {}
        self._callbacks: Callbacks = (self._on_wake,)

    def set(self, key: str, low_us: Micros, high_us: Micros, cause: int) -> None:
        """Fire once, between the two from now; a timer of the same key is replaced."""
        timer = self._timers.get(key)
        if timer is None:
            timer = self._timers[key] = _Timer(key, self._callbacks)
        delay = low_us if low_us == high_us else self._point.between(low_us, high_us)
        timer.deadline = self._clock.now() + delay
        timer.cause = cause
        if timer.wake is None or timer.wakes_at > timer.deadline:
            self._arm(timer, delay)

    def cancel(self, key: str) -> None:
        """The timer of this key does not fire any more."""
        timer = self._timers.get(key)
        if timer is not None:
            timer.deadline = _IDLE

    def stop(self) -> None:
        """No timer fires any more: the incarnation is over."""
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
            self._look(timer)

    def _look(self, timer: _Timer) -> None:
        """Fire, wait on, or do nothing, by the deadline as it is now."""
        if timer.deadline == _IDLE or timer.wake is not None:
            return
        delay = timer.deadline - self._clock.now()
        if delay > 0:
            self._arm(timer, delay)
        elif not self._hold(partial(self._look, timer)):
            timer.deadline = _IDLE
            self._deliver(timer.event, timer.cause)
