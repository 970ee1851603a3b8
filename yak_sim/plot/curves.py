"""The curves of a plot: log end offsets and high watermarks over time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from yak_core.ids import Micros, Offset
from yak_sim.plot.captions import seconds
from yak_sim.plot.data import PlotData, Points, value_at
from yak_sim.plot.events import draw_events
from yak_sim.plot.moment import frame_moment, label_faults
from yak_sim.plot.style import (
    COLUMNS,
    DASHES,
    INK,
    Window,
    clipped,
    colour_of,
    label_width,
    marker_of,
    merged,
    x_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS_PER_CURVE: Final = 9
"""Number of markers on each high watermark curve."""

BROKER_GAP_PT: Final = 1.9
BROKER_BAND_PT: Final = 9.5
"""Vertical distance between the lines of two brokers, and its maximum over all brokers (points)."""

SHIFT_MAX: Final = 1
"""Maximum distance of the first and the last line of equal values, in offsets.

With a larger distance a lower offset could be drawn above a higher one. Then the lines are drawn
at their values, and equal lines inside each other.
"""

WIDTH_STEP: Final = 1.5
"""Difference in width of two lines that are drawn inside each other (points)."""

CLOSE_UP_PART: Final = 0.12
"""A truncation smaller than this part of the plot height is also drawn in a close-up."""

SHORT_GAPS_MAX: Final = 6
"""Maximum number of labels for times without a leader that are narrower than their label."""

BOLD_WIDTH: Final = 1.15
"""Width of the labels at the top, relative to the labels in the rows."""

LABEL_X: Final = -0.064


Curves: TypeAlias = list[tuple[Points, Points]]
"""(LEO, HW) of each broker, as drawn."""


def thinned(points: Points, window: Window, columns: int = COLUMNS) -> Points:
    """Reduce a curve to the first, lowest, highest and last value of each column of the window.

    The last point is at the end of the window, because the last value holds until there.
    """
    start, end = window
    reduced: Points = []
    column = 0
    group: Points = [(start, value_at(points, start))]
    for at, value in points:
        if start < at <= end:
            this_column = (at - start) * columns // (end - start)
            if this_column != column:
                reduced += _extremes(group)
                column, group = this_column, []
            group.append((at, value))
    reduced += _extremes(group)
    if reduced[-1][0] < end:
        reduced.append((end, reduced[-1][1]))
    return reduced


def _extremes(group: Points) -> Points:
    if len(group) <= 4:
        return group
    numbers = [(value, at) for at, (_, value) in enumerate(group) if value is not None]
    gaps = [at for at, (_, value) in enumerate(group) if value is None]
    picked = [0, len(group) - 1, *gaps]
    if numbers:
        picked += [min(numbers)[1], max(numbers)[1]]
    return [group[at] for at in sorted(set(picked))]


def curves_of(data: PlotData, window: Window) -> Curves:
    """Return the thinned curves of each broker."""
    return [(thinned(each.leo, window), thinned(each.hw, window)) for each in data.brokers]


def close_up_of(data: PlotData, window: Window, curves: Curves) -> tuple[Offset, Offset] | None:
    """Return the offsets of the close-up, None if no close-up is needed.

    They surround the largest truncation; without a truncation, the longest uncommitted log tail of
    a crashed broker. A span that is large enough in the main plot needs no close-up.
    """
    truncations = [truncation for broker in data.brokers for truncation in broker.truncations]
    crashes = [crash for broker in data.brokers for crash in broker.crashes if crash.leo > crash.hw]
    spans = [
        (truncation.end, truncation.before)
        for truncation in truncations
        if window[0] <= truncation.at_us <= window[1]
    ] or [(crash.hw, crash.leo) for crash in crashes if window[0] <= crash.at_us <= window[1]]
    if not spans:
        return None
    low, high = max(spans, key=lambda span: span[1] - span[0])
    bottom, top = _range(curves)
    if high - low >= CLOSE_UP_PART * (top - bottom):
        return None
    room = 2 * (high - low) + 1
    return (low - room, high + room)


def _range(curves: Curves) -> tuple[Offset, Offset]:
    values = [
        value for pair in curves for points in pair for _, value in points if value is not None
    ]
    return (min(values, default=0), max(values, default=0))


def draw_offsets(
    axes: Axes,
    data: PlotData,
    window: Window,
    curves: Curves,
    close_up: tuple[Offset, Offset] | None,
) -> None:
    """Draw LEO and HW of each broker over time, with leaders and faults in the background."""
    axes.set_ylim(*_limits(curves))
    axes.set_xlim(x_of(data, window[0]), x_of(data, window[1]))
    draw_background(axes, data, window, labels=True)
    for number in range(len(data.brokers)):
        _draw_curves(axes, data, window, number, curves[number])
    draw_events(axes, data, window, labels=close_up is None)
    axes.set_ylabel("offset")
    if close_up is not None:
        axes.axhspan(*close_up, facecolor="none", edgecolor=INK, lw=0.9, ls=":", zorder=2.5)
    if not data.brokers:
        axes.text(0.5, 0.5, "no broker in this trace", transform=axes.transAxes, ha="center")


def draw_close_up(
    axes: Axes, data: PlotData, window: Window, curves: Curves, close_up: tuple[Offset, Offset]
) -> None:
    """Draw the same curves for the offsets in ``close_up``."""
    axes.set_ylim(*close_up)
    draw_background(axes, data, window, labels=False)
    for number in range(len(data.brokers)):
        _draw_curves(axes, data, window, number, curves[number])
    draw_events(axes, data, window, labels=True)
    axes.set_ylabel("close-up")
    for spine in axes.spines.values():
        spine.set(visible=True, linestyle=":", linewidth=0.9, color=INK)


def draw_moment(axes: Axes, data: PlotData, moment: Window) -> None:
    """Draw the same curves for a moment, with the captions of its faults."""
    curves = curves_of(data, moment)
    low, high = _range(curves)
    room = max(high - low, 1)
    # Room for the captions of faults below, and of events and leaders above.
    axes.set_ylim(low - 0.3 * room, high + 0.6 * room)
    draw_background(axes, data, moment, labels=True)
    for number in range(len(data.brokers)):
        _draw_curves(axes, data, moment, number, curves[number])
    draw_events(axes, data, moment, labels=True)
    label_faults(axes, data, moment)
    frame_moment(axes, data, moment)


def shift_pt(data: PlotData, offsets: float, height_pt: float) -> float:
    """Return the distance of the lines of two brokers in points; 0 if it would mislead.

    ``offsets`` is the range of the vertical axis, ``height_pt`` its length.
    """
    count = len(data.brokers)
    gap = min(BROKER_GAP_PT, BROKER_BAND_PT / max(count - 1, 1))
    return gap if gap * (count - 1) * offsets / height_pt < SHIFT_MAX else 0.0


def how_equal_curves_are_drawn(data: PlotData, curves: Curves, height_pt: float) -> str:
    """Return the note for the reader of the upper plot."""
    if len(data.brokers) < 2:
        return ""
    low, high = _limits(curves)
    if shift_pt(data, high - low, height_pt):
        return "equal values: lines are drawn slightly apart"
    return "equal values: lines are drawn inside each other"


def _limits(curves: Curves) -> tuple[float, float]:
    low, high = _range(curves)
    room = max(high - low, 1)
    return (low - 0.05 * room, low + 1.16 * room)


def _height_pt(axes: Axes) -> float:
    figure = axes.get_figure(root=True)
    assert figure is not None
    return float(axes.get_position().height * figure.get_size_inches()[1] * 72)


def draw_background(axes: Axes, data: PlotData, window: Window, *, labels: bool) -> None:
    """Draw the background: leader epochs, faults and grid lines."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    if axes.get_yscale() == "linear":
        axes.yaxis.set_major_locator(MaxNLocator(nbins=7 if labels else 4, integer=True))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    else:
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.yaxis.set_label_coords(LABEL_X, 0.5)
    axes.grid(axis="y", color="0.85", lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelbottom=False)
    numbers = {broker.node: number for number, broker in enumerate(data.brokers)}
    for leadership in data.leaderships:
        shown = clipped(leadership.start_us, leadership.end_us, window)
        if shown is not None:
            colour = colour_of(numbers[leadership.node])
            left, right = x_of(data, shown[0]), x_of(data, shown[1])
            axes.axvspan(left, right, color=colour, alpha=0.11, lw=0, zorder=0)
            axes.axvline(left, color=colour, lw=1.0, alpha=0.7, zorder=0.6)
            if labels:
                epoch = f"epoch {leadership.epoch}"
                texts = (f"{epoch}: {leadership.node} leads", epoch, f"{leadership.epoch}")
                _label(axes, data, window, shown, texts, "bold")
    short_gaps: list[Window] = []
    for gap in data.leaderless() if data.brokers and labels else []:
        shown = clipped(gap.start_us, gap.end_us, window)
        if shown and not _label(axes, data, window, shown, ("no leader",), "normal"):
            short_gaps.append(shown)
    _label_short_gaps(axes, data, window, short_gaps)
    spans = [clipped(fault.start_us, fault.end_us, window) for fault in data.faults]
    for left_us, right_us in merged([span for span in spans if span is not None]):
        left, right = x_of(data, left_us), x_of(data, right_us)
        axes.axvspan(left, right, color="0.5", alpha=0.16, lw=0, zorder=0.5)


def _label(
    axes: Axes, data: PlotData, window: Window, span: Window, texts: tuple[str, ...], weight: str
) -> bool:
    """Draw the first of ``texts`` that fits into the span, at the top; return whether one fits."""
    room = span[1] - span[0]
    text = next((each for each in texts if label_width(each, window) * BOLD_WIDTH <= room), "")
    axes.text(
        x_of(data, (span[0] + span[1]) // 2),
        0.955,
        text,
        transform=axes.get_xaxis_transform(),
        ha="center",
        va="center",
        color=INK,
        fontweight=weight,
        fontstyle="normal" if weight == "bold" else "italic",
    )
    return bool(text)


def _label_short_gaps(axes: Axes, data: PlotData, window: Window, gaps: list[Window]) -> None:
    """Label gaps that are narrower than their label, with a line from the label to the gap."""
    after_start = [gap for gap in gaps if gap[0] > data.start_us]
    for number, gap in enumerate(after_start[:SHORT_GAPS_MAX]):
        middle = (gap[0] + gap[1]) // 2
        is_right = middle > (window[0] + window[1]) // 2
        axes.annotate(
            f"no leader for {seconds(gap[1] - gap[0])}",
            (x_of(data, middle), 0.9),
            xycoords=axes.get_xaxis_transform(),
            xytext=(-14 if is_right else 14, -8 - 15 * (number % 3)),
            textcoords="offset points",
            ha="right" if is_right else "left",
            va="center",
            fontsize=10,
            fontstyle="italic",
            color=INK,
            arrowprops={"arrowstyle": "-", "color": INK, "lw": 0.8, "shrinkA": 1, "shrinkB": 0},
            bbox={"boxstyle": "round,pad=0.12", "fc": "white", "ec": "none", "alpha": 0.8},
            zorder=7,
        )


def _draw_curves(
    axes: Axes, data: PlotData, window: Window, number: int, curves: tuple[Points, Points]
) -> None:
    """Draw LEO and HW of one broker; lines of equal values stay visible (see SHIFT_MAX)."""
    from matplotlib.transforms import ScaledTranslation

    figure = axes.get_figure(root=True)
    assert figure is not None
    count = len(data.brokers)
    low, high = axes.get_ylim()
    gap = shift_pt(data, high - low, _height_pt(axes))
    shift = (number - (count - 1) / 2) * gap / 72
    wider = 0.0 if gap else (count - 1 - number) * min(WIDTH_STEP, 6 / max(count - 1, 1))
    transform = axes.transData + ScaledTranslation(0, -shift, figure.dpi_scale_trans)
    colour = colour_of(number)
    leo: dict[str, Any] = {"lw": 1.3, "ls": (number * 2, DASHES[1]), "zorder": 3 + number / 100}
    hw: dict[str, Any] = {"lw": 2.0 + wider, "ls": "-", "zorder": 3.2 + number / 100}
    for shown, style in zip(curves, (leo, hw), strict=True):
        xs = [x_of(data, at) for at, _ in shown]
        ys = [math.nan if value is None else float(value) for _, value in shown]
        axes.step(xs, ys, where="post", color=colour, transform=transform, **style)
    positions = _marker_positions(curves[1], window, number, count)
    axes.plot(
        [x_of(data, at) for at, _ in positions],
        [value for _, value in positions],
        ls="",
        marker=marker_of(number),
        ms=7,
        color=colour,
        mec="white",
        mew=0.8,
        transform=transform,
        zorder=4,
    )


def _marker_positions(
    points: Points, window: Window, number: int, count: int
) -> list[tuple[Micros, Offset]]:
    """Return the marker positions of a curve: evenly spaced, at different times per broker."""
    start, end = window
    positions = []
    for index in range(MARKERS_PER_CURVE):
        place = index * count + number + 1
        at = start + (end - start) * place // (MARKERS_PER_CURVE * count + 1)
        value = value_at(points, at)
        if value is not None:
            positions.append((at, value))
    return positions
