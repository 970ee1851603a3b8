"""The host ends an incarnation once, whatever raises, and a fuse ends it between two effects."""

from __future__ import annotations

import pytest

from yak_core.config import ProducerConfig
from yak_core.contract.effects import CancelTimer, Effect, Halt
from yak_core.contract.events import Event, Recovered, Started, TimerFired
from yak_core.contract.host import Host
from yak_core.contract.node import Node, Snapshot
from yak_core.ids import Micros
from yak_core.manual.backend import ManualBackend, Transit
from yak_core.model.fuse import Fuse
from yak_core.trace.recorder import Trace

ANY = TimerFired("any")


class Two:
    """Orders two things at every event."""

    def step(self, now: Micros, event: Event) -> list[Effect]:
        """Two effects, whatever happened."""
        return [CancelTimer("first"), CancelTimer("second")]

    def snapshot(self) -> Snapshot:
        """Nothing to see."""
        return Snapshot("two", ())

    def fork(self) -> Two:
        """Another one."""
        return Two()


def build(now: Micros, started: Started) -> tuple[Node, list[Effect]]:
    """A node that orders one thing first."""
    return Two(), [CancelTimer("begun")]


class Watcher:
    """Records the effects that it gets; raises ``error`` if there is one."""

    def __init__(self, error: Exception | None = None) -> None:
        self.told: list[Effect] = []
        self.error = error

    def after_step(self, host: Host, now: Micros, event: Event, effects: list[Effect]) -> None:
        """Remember."""
        self.told += effects
        if self.error is not None:
            raise self.error


class Backend(ManualBackend):
    """Keeps the reasons of halts, and raises where it is to."""

    raising: dict[str, Exception]
    halts: list[str]

    def cancel_timer(self, effect: CancelTimer) -> None:
        """Raise at the timer of this name."""
        if effect.key in self.raising:
            raise self.raising[effect.key]

    def halt(self, effect: Halt) -> None:
        """Note it; the incarnation has ended by then."""
        assert self.host is not None
        assert not self.host.alive
        self.halts.append(effect.reason)
        if "halt" in self.raising:
            raise self.raising["halt"]


def hosted(observer: Watcher | None = None, **raising: Exception) -> tuple[Host, Backend, Trace]:
    """A host of a node that orders two things, its backend and its trace."""
    backend = Backend("n1", ProducerConfig(brokers=("n1",)), build, Transit())
    backend.raising, backend.halts = raising, []
    trace = Trace()
    host = Host("n1", 1, build, backend, trace, () if observer is None else (observer,))
    backend.host = host
    host.resume(Two())
    return host, backend, trace


@pytest.mark.parametrize(("effects", "carried_out"), [(1, 1), (2, 2), (3, 3)])
def test_a_fuse_stops_the_host_right_after_an_effect(effects: int, carried_out: int) -> None:
    """Goal: no checker believes in an effect that a crash prevented; method: fuses of all lengths.

    The third effect is the first one of the second step.
    """
    watcher = Watcher()
    host, backend, trace = hosted(watcher)
    fuse = Fuse(host, effects)
    for _ in range(3):
        host.deliver(ANY)
    assert (fuse.left, host.alive) == (0, False)
    assert len(watcher.told) == carried_out == sum(step.done for step in trace)
    assert [step.done for step in trace] == [min(2, effects), effects - 2][: len(trace)]
    assert backend.halts == []


def test_a_fuse_that_is_put_out_does_nothing() -> None:
    """The backend is the old one again; method: put it out and step."""
    host, backend, trace = hosted()
    Fuse(host, 1).put_out()
    host.deliver(ANY)
    assert (host.alive, host.backend, trace.step(0).done) == (True, backend, 2)


def test_an_exception_of_the_backend_ends_the_incarnation_first() -> None:
    """It is heard once, raised, and the trace says what was done; method: the second effect."""
    host, backend, trace = hosted(second=OSError("no such timer"))
    with pytest.raises(OSError, match="no such timer"):
        host.deliver(ANY)
    assert backend.halts == ["backend raised OSError: no such timer"]
    assert (trace.step(0).done, trace.step(0).carried_out) == (1, [CancelTimer("first")])
    host.deliver(ANY)
    assert len(trace) == 1


def test_the_first_exception_is_the_one_that_is_raised() -> None:
    """What halt raises afterwards is a note of it; method: both raise."""
    host, backend, _ = hosted(first=OSError("one"), halt=ValueError("two"))
    with pytest.raises(OSError, match="one") as raised:
        host.deliver(ANY)
    [note] = raised.value.__notes__
    assert "ValueError: two" in note
    assert len(backend.halts) == 1


class Halting(Two):
    """Halts, and orders something behind that."""

    def step(self, now: Micros, event: Event) -> list[Effect]:
        """A halt and one more."""
        return [Halt("enough"), CancelTimer("first")]


def test_a_node_that_has_halted_is_not_halted_again() -> None:
    """One halt an incarnation, even if an observer raises then; method: both in one step."""
    host, backend, trace = hosted(Watcher(ValueError("late")), first=OSError("not reached"))
    host.resume(Halting())
    with pytest.raises(ValueError, match="late"):
        host.deliver(ANY)
    assert backend.halts == ["enough"]
    assert trace.step(0).done == 1


def fresh(observer: Watcher) -> tuple[Host, Backend]:
    """A host whose node is not built yet."""
    _, backend, _ = hosted(observer)
    other = Host("n1", 2, build, backend, None, (observer,))
    backend.host = other
    return other, backend


STARTED = Started("n1", ProducerConfig(brokers=("n1",)), 1, Recovered())


def test_a_node_is_built_of_its_first_event() -> None:
    """Goal: no half-built node exists. Method: the effects of the first step are carried out."""
    watcher = Watcher()
    host, _ = fresh(watcher)
    assert not hasattr(host, "node")
    host.deliver(STARTED)
    assert isinstance(host.node, Two)
    host.deliver(ANY)
    assert [str(effect) for effect in watcher.told] == [
        str(CancelTimer(key)) for key in ("begun", "first", "second")
    ]


def test_the_first_event_is_started() -> None:
    """Another one ends the incarnation before it has begun."""
    host, backend = fresh(Watcher())
    with pytest.raises(AssertionError, match="Started"):
        host.deliver(ANY)
    assert not host.alive
    assert len(backend.halts) == 1


def test_an_exception_of_the_first_step_is_heard_like_any_other() -> None:
    """Clause 10 holds for what builds a node; method: one that raises."""
    _, backend = fresh(Watcher())

    def fail(now: Micros, started: Started) -> tuple[Node, list[Effect]]:
        raise ValueError("such a configuration is not possible")

    host = backend.host = Host("n1", 3, fail, backend)
    with pytest.raises(ValueError, match="possible"):
        host.deliver(STARTED)
    assert backend.halts == ["step raised ValueError: such a configuration is not possible"]
