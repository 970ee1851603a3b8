"""The time span that a plot shows: given, or chosen around the action of the run."""

from __future__ import annotations

from typing import Final

from yak_core.ids import Micros
from yak_sim.plot.data import PlotData
from yak_sim.plot.style import Window

MARGIN_PART: Final = 0.12
"""Margin on both sides of the action, as a part of its length."""

MARGIN_MIN_US: Final[Micros] = 200_000

WHOLE_PART: Final = 0.6
"""If the action takes more than this part of the run, the plot shows the whole run."""


def whole_run(data: PlotData) -> Window:
    """Return the span of the whole run, at least one microsecond."""
    return (data.start_us, max(data.end_us, data.start_us + 1))


def action_of(data: PlotData) -> Window | None:
    """Return the span from the first fault until the run has converged; None without a fault.

    It ends with the last end of a fault, election, truncation, start of a broker, or change of the
    ISR.
    """
    if not data.faults:
        return None
    start = min(fault.start_us for fault in data.faults)
    ends = [fault.end_us for fault in data.faults]
    ends += [leadership.start_us for leadership in data.leaderships]
    ends += [at for at, _ in data.isr]
    for broker in data.brokers:
        ends += [truncation.at_us for truncation in broker.truncations]
        ends += [span.start_us for span in broker.up]
    return (start, max(start, *ends))


def window_of(data: PlotData, from_us: Micros | None, to_us: Micros | None) -> Window:
    """Return the span to show, in times of the trace.

    ``from_us`` and ``to_us`` count from the start of the trace. Without both, the span is the
    action with a margin, or the whole run if most of it is action. Raise ValueError for a span
    that is empty or outside the run.
    """
    start, end = whole_run(data)
    if from_us is None and to_us is None:
        return _around_the_action(data)
    left = start if from_us is None else start + from_us
    right = end if to_us is None else start + to_us
    if right <= left:
        raise ValueError(
            f"the plot must end after it starts, got {left - start} us to {right - start} us; "
            f"the run has {end - start} us"
        )
    if left >= end or right <= start:
        raise ValueError(
            f"nothing to show from {left - start} us to {right - start} us; the run has "
            f"{end - start} us"
        )
    return (max(left, start), min(right, end))


def _around_the_action(data: PlotData) -> Window:
    start, end = whole_run(data)
    action = action_of(data)
    if action is None:
        return (start, end)
    margin = max(MARGIN_MIN_US, int((action[1] - action[0]) * MARGIN_PART))
    left, right = max(start, action[0] - margin), min(end, action[1] + margin)
    if right - left > WHOLE_PART * (end - start):
        return (start, end)
    return (left, right)
