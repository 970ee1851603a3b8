"""Runs a world's agenda until its script ends or a limit is reached.

A script is a generator that yields SimPy events and, through :meth:`Loop.until`, conditions, which
are checked after each event. The garbage collector is off during a run.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

import simpy

from yak_core.ids import Micros
from yak_sim.physics.clock import Clock, EmptySchedule

Script: TypeAlias = Generator[simpy.Event, Any, Any]
"""A SimPy process: it yields events and gets their values."""

_BLOCK: Final = 256
"""Events between two checks of the limits."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When a run is given up: simulated microseconds, events, and real seconds.

    The limits are checked between events. A script that never yields (``while True: pass``) is
    therefore not given up in a library call or a notebook: interrupt it. The command line sets an
    alarm for such a script.
    """

    simulated_us: Micros = 24 * 3600 * 1_000_000
    events: int = 200_000_000
    wall_s: float = 600.0


class LimitReached(Exception):
    """A run was given up; the sentence says why."""


class StopRun(Exception):
    """Something in the world, not in the script, ended the run; ``cause`` says what."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


class _ScriptIsOver(Exception):
    """The script has ended, and with it the run."""


class _Raise:
    """The value of an event that is to be raised in the script, as it is."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class _Waiter:
    """One condition that the script waits for."""

    __slots__ = ("event", "holds", "over")

    def __init__(self, event: simpy.Event, holds: Callable[[], bool]) -> None:
        self.event = event
        self.holds = holds
        self.over = False

    def end(self, value: object) -> None:
        if not self.over:
            self.over = True
            self.event.succeed(value)


def _give_up(waiter: _Waiter, failure: Callable[[], Exception]) -> None:
    if not waiter.over:
        waiter.end(_Raise(failure()))


class Loop:
    """The run of one world.

    ``events`` counts what the agenda has let happen, in blocks.
    """

    def __init__(self, clock: Clock, limits: Limits) -> None:
        self.events = 0
        self._clock = clock
        self._limits = limits
        self._waiters: list[_Waiter] = []
        self._error: BaseException | None = None
        self._began_s = 0.0
        self._stop: StopRun | None = None

    def until(
        self, holds: Callable[[], bool], within_us: Micros | None, failure: Callable[[], Exception]
    ) -> simpy.Event:
        """An event that comes when ``holds()`` does; ``failure()`` is raised if it takes longer."""
        waiter = _Waiter(self._clock.env.event(), holds)
        if holds():
            waiter.end(None)
            return waiter.event
        self._waiters.append(waiter)
        if within_us is not None:
            self._clock.after(within_us, partial(_give_up, waiter, failure))
        return waiter.event

    def stop(self, cause: BaseException) -> None:
        """End the run before anything else happens; ``run`` raises StopRun."""
        if self._stop is None:
            self._stop = StopRun(cause)
            self._clock.next(self._raise_stop)

    def run(self, script: Script) -> None:
        """Run until the script is over.

        Raises what the script raises, StopRun for what the world raises, and LimitReached.
        """
        process = self._clock.env.process(self._drive(script))
        process.callbacks.append(self._on_over)
        collecting = gc.isenabled()
        gc.disable()
        self._began_s = time.monotonic()
        try:
            self._go()
        finally:
            if collecting:
                gc.enable()
        if self._error is not None:
            raise self._error

    def _go(self) -> None:
        step = self._clock.step
        waiters = self._waiters
        try:
            while True:
                self._check_limits()
                for _ in range(_BLOCK):
                    step()
                    if waiters:
                        self._look()
                self.events += _BLOCK
        except _ScriptIsOver:
            return
        except EmptySchedule:
            raise LimitReached(
                "Given up: nothing is left to happen, and the scenario still waits."
            ) from None
        except (LimitReached, StopRun):
            raise
        except Exception as error:
            raise StopRun(error) from error

    def _look(self) -> None:
        kept = []
        for waiter in self._waiters:
            if not waiter.over:
                try:
                    if waiter.holds():
                        waiter.end(None)
                except Exception as error:
                    # The mistake is the script's, and it is told where it waits.
                    waiter.end(_Raise(error))
            if not waiter.over:
                kept.append(waiter)
        self._waiters[:] = kept

    def _check_limits(self) -> None:
        limits = self._limits
        now = self._clock.now()
        if now > limits.simulated_us:
            raise LimitReached(
                "Given up: the scenario was not over after "
                f"{limits.simulated_us / 1e6:g} simulated seconds."
            )
        if self.events > limits.events:
            raise LimitReached(
                f"Given up: the scenario was not over after {self.events} happenings, "
                f"at {now / 1e6:.3f} simulated seconds."
            )
        if time.monotonic() - self._began_s > limits.wall_s:
            raise LimitReached(
                f"Given up: the scenario was not over after {limits.wall_s:g} s of real time, "
                f"at {now / 1e6:.3f} simulated seconds."
            )

    def _drive(self, script: Script) -> Script:
        """Run the script inside a SimPy process without SimPy rebuilding its exceptions."""
        try:
            event = next(script)
            while True:
                if not isinstance(event, simpy.Event):
                    raise TypeError(
                        f"it yielded {event!r}, which is nothing to wait for"
                        " (what is a generator itself needs 'yield from')"
                    )
                value = yield event
                if isinstance(value, _Raise):
                    event = script.throw(value.error)
                else:
                    event = script.send(value)
        except StopIteration:
            return
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            # All of them: SimPy would only end the process, and the run would look complete.
            self._error = error

    def _on_over(self, _process: simpy.Event) -> None:
        raise _ScriptIsOver

    def _raise_stop(self) -> None:
        assert self._stop is not None
        raise self._stop


def name_of(condition: Callable[[], bool]) -> str:
    """Return the name of a condition: that of its function, or the place of the lambda."""
    if condition.__name__ != "<lambda>":
        return condition.__name__.replace("_", " ")
    code = condition.__code__
    return f"the condition in line {code.co_firstlineno} of {code.co_filename.rpartition('/')[2]}"
