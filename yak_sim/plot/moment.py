"""The close-up in time: a panel that enlarges a moment in which several things happen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from yak_core.ids import Micros
from yak_sim.plot.captions import fault_caption, seconds
from yak_sim.plot.data import PlotData
from yak_sim.plot.style import INK, Window, label_width, x_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOMENT_PART: Final = 0.03
"""Maximum length of a moment, as a part of the plot; a longer one needs no close-up."""

EVENTS_MIN: Final = 3
"""Minimum number of different times in a moment."""

MARGIN_PART: Final = 0.6
"""Margin on both sides of a moment, as a part of its length."""

MOMENT_MIN_US: Final[Micros] = 1_000


def moment_of(data: PlotData, window: Window) -> Window | None:
    """Return the moment to enlarge, with a margin, None if there is none.

    It is the group of faults, ends of faults, crashes, truncations and elections with the most
    different times, the first one of several.
    """
    start, end = window
    times = {each for fault in data.faults for each in (fault.start_us, fault.end_us)}
    times |= {leadership.start_us for leadership in data.leaderships}
    for broker in data.brokers:
        times |= {crash.at_us for crash in broker.crashes}
        times |= {truncation.at_us for truncation in broker.truncations}
    shown = sorted(at for at in times if start < at < end)
    length = int((end - start) * MOMENT_PART)
    groups = [[at for at in shown if first <= at <= first + length] for first in shown]
    best = max(groups, key=len, default=[])
    if len(best) < EVENTS_MIN or best[-1] - best[0] < MOMENT_MIN_US:
        return None
    margin = int((best[-1] - best[0]) * MARGIN_PART)
    return (max(start, best[0] - margin), min(end, best[-1] + margin))


def moment_note(data: PlotData, moment: Window | None) -> str:
    """Return a sentence about the close-up; empty without one."""
    if moment is None:
        return ""
    left, right = (seconds(at - data.start_us) for at in moment)
    return f" Close-up in time: {left} to {right}."


def outline_moment(axes: Axes, data: PlotData, moment: Window) -> None:
    """Draw where the moment is in the plot of the whole time."""
    left, right = (x_of(data, at) for at in moment)
    axes.axvspan(left, right, facecolor="none", edgecolor=INK, lw=0.9, ls=":", zorder=2.5)


def frame_moment(axes: Axes, data: PlotData, moment: Window) -> None:
    """Give a panel the time of the moment, its own labels of time, and the frame of a close-up."""
    axes.set_xlim(x_of(data, moment[0]), x_of(data, moment[1]))
    axes.tick_params(labelbottom=True)
    axes.set_ylabel("time close-up")
    for spine in axes.spines.values():
        spine.set(visible=True, linestyle=":", linewidth=0.9, color=INK)


def label_faults(axes: Axes, data: PlotData, moment: Window) -> None:
    """Draw a line where each fault of the moment begins, and its caption at the bottom."""
    free: list[Micros] = []
    for fault in data.faults:
        if not moment[0] <= fault.start_us <= moment[1] or fault.kind.startswith("crash"):
            continue
        caption = fault_caption(fault.kind, fault.target)
        last = fault.start_us + label_width(caption, moment)
        row = next((at for at, busy in enumerate(free) if busy <= fault.start_us), len(free))
        free[row : row + 1] = [last]
        x = x_of(data, fault.start_us)
        axes.axvline(x, color="0.35", lw=0.8, ls=(0, (2, 2)), zorder=2)
        axes.annotate(
            caption, (x, 0.0), xycoords=axes.get_xaxis_transform(), xytext=(4, 4 + 14 * row),
            textcoords="offset points", fontsize=10, color=INK, zorder=7,
            bbox={"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.8},
        )  # fmt: skip
