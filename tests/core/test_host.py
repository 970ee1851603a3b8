"""The host stops once, whatever raises; a crash point stops it between two effects."""

from __future__ import annotations

import pytest

from yak_core.config import ProducerConfig
from yak_core.contract.effects import CancelTimer, Effect, Halt
from yak_core.contract.events import Event, Recovered, Started, TimerFired
from yak_core.contract.host import Host
from yak_core.contract.node import Node, Snapshot
from yak_core.ids import Micros
from yak_core.manual.backend import ManualBackend, Transit
from yak_core.model.crash_point import CrashPoint
from yak_core.trace.recorder import Trace

ANY = TimerFired("any")


class Two:
    """Returns two effects for every event."""

    def step(self, now: Micros, event: Event) -> list[Effect]:
        """Return two effects."""
        return [CancelTimer("first"), CancelTimer("second")]

    def snapshot(self) -> Snapshot:
        """Return an empty snapshot."""
        return Snapshot("two", ())

    def fork(self) -> Two:
        """Return another node."""
        return Two()


def build(now: Micros, started: Started) -> tuple[Node, list[Effect]]:
    """Build a node with one first effect."""
    return Two(), [CancelTimer("begun")]


class Watcher:
    """Records effects and raises ``error`` if set."""

    def __init__(self, error: Exception | None = None) -> None:
        self.observed: list[Effect] = []
        self.error = error

    def after_step(self, host: Host, now: Micros, event: Event, effects: list[Effect]) -> None:
        """Record the effects."""
        self.observed += effects
        if self.error is not None:
            raise self.error


class Backend(ManualBackend):
    """Records reasons of halts, and raises at given timers."""

    raising: dict[str, Exception]
    halts: list[str]

    def cancel_timer(self, effect: CancelTimer) -> None:
        """Raise if an exception is set for this timer."""
        if effect.key in self.raising:
            raise self.raising[effect.key]

    def halt(self, effect: Halt) -> None:
        """Record the reason; the host has ended the run before."""
        assert self.host is not None
        assert not self.host.alive
        self.halts.append(effect.reason)
        if "halt" in self.raising:
            raise self.raising["halt"]


def hosted(observer: Watcher | None = None, **raising: Exception) -> tuple[Host, Backend, Trace]:
    """Return a host of a Two node, its backend and its trace."""
    backend = Backend("n1", ProducerConfig(brokers=("n1",)), build, Transit())
    backend.raising, backend.halts = raising, []
    trace = Trace()
    host = Host("n1", 1, build, backend, trace, () if observer is None else (observer,))
    backend.host = host
    host.resume(Two())
    return host, backend, trace


@pytest.mark.parametrize(("effects", "carried_out"), [(1, 1), (2, 2), (3, 3)])
def test_a_fuse_stops_the_host_right_after_an_effect(effects: int, carried_out: int) -> None:
    """Goal: no checker sees an effect that a crash prevented. Method: fuses of all lengths.

    The third effect is the first one of the second step.
    """
    watcher = Watcher()
    host, backend, trace = hosted(watcher)
    crash_point = CrashPoint(host, effects)
    for _ in range(3):
        host.deliver(ANY)
    assert (crash_point.effects_left, host.alive) == (0, False)
    assert len(watcher.observed) == carried_out == sum(step.done for step in trace)
    assert [step.done for step in trace] == [min(2, effects), effects - 2][: len(trace)]
    assert backend.halts == []


def test_a_removed_fuse_does_nothing() -> None:
    """Method: remove the fuse and step."""
    host, backend, trace = hosted()
    CrashPoint(host, 1).remove()
    host.deliver(ANY)
    assert (host.alive, host.backend, trace.step(0).done) == (True, backend, 2)


def test_an_exception_of_the_backend_ends_the_run_first() -> None:
    """One halt, the exception is raised, and the trace has the count. Method: the second effect."""
    host, backend, trace = hosted(second=OSError("no such timer"))
    with pytest.raises(OSError, match="no such timer"):
        host.deliver(ANY)
    assert backend.halts == ["backend raised OSError: no such timer"]
    assert (trace.step(0).done, trace.step(0).carried_out) == (1, [CancelTimer("first")])
    host.deliver(ANY)
    assert len(trace) == 1


def test_the_first_exception_is_the_one_that_is_raised() -> None:
    """An exception of halt becomes a note of the first. Method: both raise."""
    host, backend, _ = hosted(first=OSError("one"), halt=ValueError("two"))
    with pytest.raises(OSError, match="one") as raised:
        host.deliver(ANY)
    [note] = raised.value.__notes__
    assert "ValueError: two" in note
    assert len(backend.halts) == 1


class Halting(Two):
    """Returns a halt and another effect."""

    def step(self, now: Micros, event: Event) -> list[Effect]:
        """Return a halt and a timer."""
        return [Halt("enough"), CancelTimer("first")]


def test_a_node_that_has_halted_is_not_halted_again() -> None:
    """One halt for each run, even if an observer raises then. Method: both in one step."""
    host, backend, trace = hosted(Watcher(ValueError("late")), first=OSError("not reached"))
    host.resume(Halting())
    with pytest.raises(ValueError, match="late"):
        host.deliver(ANY)
    assert backend.halts == ["enough"]
    assert trace.step(0).done == 1


def fresh(observer: Watcher) -> tuple[Host, Backend]:
    """Return a host without a node, and its backend."""
    _, backend, _ = hosted(observer)
    other = Host("n1", 2, build, backend, None, (observer,))
    backend.host = other
    return other, backend


STARTED = Started("n1", ProducerConfig(brokers=("n1",)), 1, Recovered())


def test_the_first_event_builds_the_node() -> None:
    """Goal: no half-built node exists. Method: check the effects of the first step."""
    watcher = Watcher()
    host, _ = fresh(watcher)
    assert not hasattr(host, "node")
    host.deliver(STARTED)
    assert isinstance(host.node, Two)
    host.deliver(ANY)
    assert [str(effect) for effect in watcher.observed] == [
        str(CancelTimer(key)) for key in ("begun", "first", "second")
    ]


def test_the_first_event_is_started() -> None:
    """Another first event ends the run."""
    host, backend = fresh(Watcher())
    with pytest.raises(AssertionError, match="Started"):
        host.deliver(ANY)
    assert not host.alive
    assert len(backend.halts) == 1


def test_an_exception_of_the_first_step_is_handled_like_any_other() -> None:
    """Clause 10 of the contract. Method: a build function that raises."""
    _, backend = fresh(Watcher())

    def fail(now: Micros, started: Started) -> tuple[Node, list[Effect]]:
        raise ValueError("such a configuration is not possible")

    host = backend.host = Host("n1", 3, fail, backend)
    with pytest.raises(ValueError, match="possible"):
        host.deliver(STARTED)
    assert backend.halts == ["step raised ValueError: such a configuration is not possible"]
