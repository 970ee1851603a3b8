"""The event loop of a world: runs the agenda until the script ends or a limit is reached.

A script is a generator that yields SimPy events. :meth:`Loop.until` makes an event of a condition,
which is checked after each agenda event. The garbage collector is off during a run.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import simpy

from yak_core.ids import Micros
from yak_sim.physics.clock import Clock, EmptySchedule

Script: TypeAlias = Generator[simpy.Event, Any, Any]
"""A SimPy process: yields events and receives their values."""

_CHECK_INTERVAL: Final = 256
"""Events between two checks of the limits."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a run: simulated microseconds, agenda events and real seconds.

    The limits are checked between events. They do not end a script that never yields, such as
    ``while True: pass``: interrupt it in a library call or a notebook. The command line sets an
    alarm for such a script.
    """

    simulated_us: Micros = 24 * 3600 * 1_000_000
    events: int = 200_000_000
    wall_s: float = 600.0


class LimitReached(Exception):
    """A limit ended the run. The message names the limit and its value."""


class StopRun(Exception):
    """An exception in the world, not in the script, ended the run; ``cause`` is the exception."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


class ForgottenYield(Exception):
    """The script made an event that it never yielded, so that it did not wait."""


class _ScriptEnded(Exception):
    """The script has ended, which ends the run."""


class _Raise:
    """An event value that makes the driver raise ``error`` in the script."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class _Callbacks(list[Any]):
    """The callbacks of an event, which note that something waits for the event."""

    used = False

    def append(self, callback: Any) -> None:
        """Add a callback, as a process or a condition does that waits for the event."""
        self.used = True
        super().append(callback)


@dataclass(frozen=True, slots=True)
class _Made:
    """An event that a method of the world made for the script, and where it was called."""

    method: str
    place: str
    event: simpy.Event
    callbacks: _Callbacks


class _Waiter:
    """One condition for which the script waits."""

    __slots__ = ("event", "holds", "done")

    def __init__(self, event: simpy.Event, holds: Callable[[], bool]) -> None:
        self.event = event
        self.holds = holds
        self.done = False

    def end(self, value: object) -> None:
        if not self.done:
            self.done = True
            self.event.succeed(value)


def _fail(waiter: _Waiter, failure: Callable[[], Exception]) -> None:
    if not waiter.done:
        waiter.end(_Raise(failure()))


class Loop:
    """The event loop of one world.

    ``events`` is the number of processed agenda events, counted in blocks.
    """

    def __init__(self, clock: Clock, limits: Limits) -> None:
        self.events = 0
        self._clock = clock
        self._limits = limits
        self._waiters: list[_Waiter] = []
        self._error: BaseException | None = None
        self._began_s = 0.0
        self._stop: StopRun | None = None
        self._made: dict[int, _Made] = {}

    def made(self, method: str, event: simpy.Event) -> simpy.Event:
        """Return the event; the script must yield it before it ends, alone or in a condition."""
        callbacks = _Callbacks(event.callbacks or ())
        event.callbacks = callbacks
        self._made[id(event)] = _Made(method, calling_place(), event, callbacks)
        return event

    def forgotten(self) -> list[str]:
        """Return a clause for each event that was made and not yielded so far."""
        return [
            f"world.{made.method}(...) at {made.place} has no yield"
            for made in self._made.values()
            if not made.callbacks.used
        ]

    def until(
        self, holds: Callable[[], bool], within_us: Micros | None, failure: Callable[[], Exception]
    ) -> simpy.Event:
        """Return an event that succeeds when ``holds()`` is true.

        After ``within_us`` simulated microseconds, ``failure()`` is raised in the script instead.
        """
        waiter = _Waiter(self._clock.env.event(), holds)
        if holds():
            waiter.end(None)
            return waiter.event
        self._waiters.append(waiter)
        if within_us is not None:
            self._clock.after(within_us, partial(_fail, waiter, failure))
        return waiter.event

    def stop(self, cause: BaseException) -> None:
        """End the run before the next agenda event; ``run`` then raises StopRun."""
        if self._stop is None:
            self._stop = StopRun(cause)
            self._clock.run_next(self._raise_stop)

    def run(self, script: Script) -> None:
        """Run until the script ends.

        Raise the exceptions of the script, StopRun for an exception of the world, and LimitReached.
        """
        process = self._clock.env.process(self._drive(script))
        process.callbacks.append(self._on_script_end)
        gc_was_enabled = gc.isenabled()
        gc.disable()
        self._began_s = time.monotonic()
        try:
            self._run_agenda()
        finally:
            if gc_was_enabled:
                gc.enable()
        if self._error is not None:
            raise self._error

    def _run_agenda(self) -> None:
        step = self._clock.step
        waiters = self._waiters
        try:
            while True:
                self._check_limits()
                for _ in range(_CHECK_INTERVAL):
                    step()
                    if waiters:
                        self._check_waiters()
                self.events += _CHECK_INTERVAL
        except _ScriptEnded:
            return
        except EmptySchedule:
            raise LimitReached(
                "gave up: the scenario waits, but no event is scheduled"
            ) from None
        except (LimitReached, StopRun):
            raise
        except Exception as error:
            raise StopRun(error) from error

    def _check_waiters(self) -> None:
        pending = []
        for waiter in self._waiters:
            if not waiter.done:
                try:
                    if waiter.holds():
                        waiter.end(None)
                except Exception as error:
                    # An error in the condition is raised in the script, at its yield.
                    waiter.end(_Raise(error))
            if not waiter.done:
                pending.append(waiter)
        self._waiters[:] = pending

    def _check_limits(self) -> None:
        limits = self._limits
        now = self._clock.now()
        if now > limits.simulated_us:
            raise LimitReached(
                "gave up: the scenario had not ended after "
                f"{limits.simulated_us / 1e6:g} simulated seconds"
            )
        if self.events > limits.events:
            raise LimitReached(
                f"gave up: the scenario had not ended after {self.events} events, "
                f"at {now / 1e6:.3f} simulated seconds"
            )
        if time.monotonic() - self._began_s > limits.wall_s:
            raise LimitReached(
                f"gave up: the scenario had not ended after {limits.wall_s:g} s of real time, "
                f"at {now / 1e6:.3f} simulated seconds"
            )

    def _drive(self, script: Script) -> Script:
        """Run the script as a SimPy process, but keep its exceptions out of SimPy.

        SimPy creates new exception objects; the caller needs the original ones.
        """
        try:
            event = next(script)
            while True:
                if not isinstance(event, simpy.Event):
                    raise TypeError(
                        f"the script yielded {event!r}, expected a SimPy event"
                        "; use 'yield from' for a generator"
                    )
                self._made.pop(id(event), None)
                value = yield event
                if isinstance(value, _Raise):
                    event = script.throw(value.error)
                else:
                    event = script.send(value)
        except StopIteration:
            forgotten = self.forgotten()
            if forgotten:
                self._error = ForgottenYield(f"{forgotten[0]}, so the script did not wait there")
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            # All exceptions: SimPy would only end the process, and the run would look complete.
            self._error = error

    def _on_script_end(self, _process: simpy.Event) -> None:
        raise _ScriptEnded

    def _raise_stop(self) -> None:
        assert self._stop is not None
        raise self._stop


def calling_place() -> str:
    """Return ``file:line`` of the innermost caller outside of this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("yak_sim."):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


def name_of(condition: Callable[[], bool]) -> str:
    """Return the name of a condition: its function name, or the location of the lambda."""
    if condition.__name__ != "<lambda>":
        return condition.__name__.replace("_", " ")
    code = condition.__code__
    return f"the condition at {code.co_filename.rpartition('/')[2]}:{code.co_firstlineno}"
