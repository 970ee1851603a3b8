"""Traces in memory: what is kept, in which order, and where it ends."""

from __future__ import annotations

import pytest

from tests.core.trace_samples import long_trace, short_trace
from yak_core.contract.events import Event, TimerFired
from yak_core.contract.host import Recorder
from yak_core.trace.recorder import LIMIT, Fault, Header, Trace


def test_steps_are_numbered_from_zero_and_come_back_in_order() -> None:
    """Goal: what was recorded is what is read. Method: three steps, looked at in all ways."""
    trace = Trace()
    recorder: Recorder = trace
    events: list[Event] = [TimerFired("a"), TimerFired("b"), TimerFired("c")]
    numbers = [recorder.record(at, "n1", 1, event, [], at - 1) for at, event in enumerate(events)]
    assert numbers == [0, 1, 2]
    assert len(trace) == 3
    assert [step.event for step in trace] == events
    assert [(step.i, step.t_us, step.cause) for step in trace] == [(0, 0, -1), (1, 1, 0), (2, 2, 1)]
    assert trace.step(1).event is events[1]
    for absent in (3, -1):
        with pytest.raises(IndexError):
            trace.step(absent)


def test_faults_stay_between_their_steps() -> None:
    """A fault is placed by the number of steps before it."""
    trace = short_trace()
    assert [fault.kind for fault in trace.faults] == ["slow_link", "crash"]
    assert trace.fault_positions == (7, len(trace))


def test_beyond_the_limit_steps_are_only_counted() -> None:
    """Goal: a trace has a bound. Method: a limit of two; numbers go on, memory does not."""
    trace = Trace(limit=2)
    numbers = [trace.record(at, "n1", 1, TimerFired("a"), [], -1) for at in range(5)]
    assert numbers == [0, 1, 2, 3, 4]
    assert (len(trace), trace.dropped) == (2, 3)
    trace.fault(Fault(9, "crash", "n1"))
    assert trace.faults == ()


def test_a_new_trace_is_bounded_and_named_after_nothing() -> None:
    """The defaults that a world gets."""
    trace = Trace()
    assert trace.limit == LIMIT
    assert trace.header == Header("sim", "", 0, "")
    assert list(long_trace(0)) == []
