"""The simple plots of a trace, one axes each: ISR size, ack latency, throughput, lag.

They share the colours, the leaders in the background and the time axis of the watermark plot.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from yak_core.ids import Micros
from yak_core.trace.recorder import Trace
from yak_sim.plot.captions import counted, leaders_and_faults, seconds, shown_part
from yak_sim.plot.curves import draw_background, thinned
from yak_sim.plot.data import PlotData, Points, plot_data_of
from yak_sim.plot.moment import (
    frame_moment,
    label_faults,
    moment_note,
    moment_of,
    outline_moment,
)
from yak_sim.plot.rendering import LEFT, RIGHT, WIDTH_IN, Drawn, matplotlib_settings, title_of
from yak_sim.plot.series import bin_us, isr_sizes, lags, latencies, quantile, throughput
from yak_sim.plot.style import FAILED, INK, Window, colour_of, marker_of, x_of
from yak_sim.plot.windows import window_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT_IN: Final = 4.4
HEAD_IN: Final = 0.968
FOOT_IN: Final = 0.572
PANEL_IN: Final = HEIGHT_IN - HEAD_IN - FOOT_IN
CLOSE_UP_IN: Final = 2.4
GAP_IN: Final = 0.4

CHANGES_MIN: Final = 2
"""Minimum number of changes in a moment that is drawn in a close-up."""


def plot_isr(
    trace: Trace, *, from_us: Micros | None = None, to_us: Micros | None = None, title: str = ""
) -> Figure:
    """Return the figure of the number of in-sync replicas over time, with min ISR.

    Arguments as for :func:`plot_watermarks`.
    """
    return draw_isr(trace, from_us=from_us, to_us=to_us, title=title).for_notebook()


def plot_ack_latency(
    trace: Trace, *, from_us: Micros | None = None, to_us: Micros | None = None, title: str = ""
) -> Figure:
    """Return the figure of the time from send to result of each batch, in milliseconds.

    Arguments as for :func:`plot_watermarks`. The axis is logarithmic.
    """
    return draw_ack_latency(trace, from_us=from_us, to_us=to_us, title=title).for_notebook()


def plot_throughput(
    trace: Trace, *, from_us: Micros | None = None, to_us: Micros | None = None, title: str = ""
) -> Figure:
    """Return the figure of the acknowledged records per second over time.

    Arguments as for :func:`plot_watermarks`.
    """
    return draw_throughput(trace, from_us=from_us, to_us=to_us, title=title).for_notebook()


def plot_lag(
    trace: Trace, *, from_us: Micros | None = None, to_us: Micros | None = None, title: str = ""
) -> Figure:
    """Return the figure of the lag of each follower: the leader's LEO minus its own, in offsets.

    Arguments as for :func:`plot_watermarks`. A lag is negative while a follower has records that
    the leader does not have.
    """
    return draw_lag(trace, from_us=from_us, to_us=to_us, title=title).for_notebook()


def draw_isr(
    trace: Trace, *, from_us: Micros | None = None, to_us: Micros | None = None, title: str = ""
) -> Drawn:
    """Draw the figure of :func:`plot_isr`."""

    def draw(axes: Axes, data: PlotData, window: Window) -> str:
        sizes = isr_sizes(data)
        _step(axes, data, window, sizes, color=INK, lw=2.4, label="size of the ISR")
        axes.set_ylim(-0.3, len(data.brokers) + 0.9)
        if data.min_isr:
            axes.axhline(data.min_isr, color="#D55E00", lw=1.5, ls=(0, (4, 2)), label="min ISR")
        axes.set_ylabel("in-sync replicas")
        values = [value for _, value in sizes if value is not None]
        if not values:
            return "The trace has no ISR."
        below = _time_below(data, sizes)
        return (
            f"Smallest {min(values)}, final {values[-1]}, min ISR {data.min_isr}; "
            f"below min ISR for {seconds(below)}."
        )

    def times(data: PlotData) -> list[Micros]:
        return [at for at, _ in data.isr]

    return _drawn(trace, from_us, to_us, title, "Size of the ISR", draw, times)


def draw_ack_latency(
    trace: Trace, *, from_us: Micros | None = None, to_us: Micros | None = None, title: str = ""
) -> Drawn:
    """Draw the figure of :func:`plot_ack_latency`."""

    def draw(axes: Axes, data: PlotData, window: Window) -> str:
        shown = latencies(data, window)
        axes.set_yscale("log")
        axes.set_ylabel("latency (ms)")
        good = [each for each in shown if each.written]
        bad = [each for each in shown if not each.written]
        # 0 has no place on a logarithmic axis: a microsecond is the resolution of the clock.
        for group, label, style in (
            (good, "acknowledged", {"ls": "", "marker": "o", "ms": 4, "color": "#0072B2"}),
            (bad, "not acked", FAILED),
        ):
            if group:
                xs = [x_of(data, each.at_us) for each in group]
                axes.plot(xs, [max(each.latency_us, 1) / 1_000 for each in group],
                          label=label, **style)
        times = sorted(each.latency_us for each in good)
        text = f"{counted(len(good), 'batch', 'batches')} acknowledged, {len(bad)} not"
        if not times:
            axes.set_ylim(0.1, 10)
            return text + "."
        values = [(name, quantile(times, part)) for name, part in (("median", 50), ("99%", 99))]
        values.append(("maximum", times[-1]))
        low, high = max(times[0], 1) / 1_000, max(each.latency_us for each in shown) / 1_000
        axes.set_ylim(low / 1.8, high * 4)
        return f"{text}; " + ", ".join(f"{name} {us / 1_000:,.1f} ms" for name, us in values) + "."

    def times(data: PlotData) -> list[Micros]:
        return [ack.end_us for ack in data.acks]

    return _drawn(trace, from_us, to_us, title, "Latency of acknowledgements", draw, times)


def draw_throughput(
    trace: Trace, *, from_us: Micros | None = None, to_us: Micros | None = None, title: str = ""
) -> Drawn:
    """Draw the figure of :func:`plot_throughput`."""

    def draw(axes: Axes, data: PlotData, window: Window) -> str:
        width = bin_us(window)
        bins = throughput(data, window)
        per_s = [count * 1_000_000 / (end - start) for start, end, count in bins]
        edges = [x_of(data, start) for start, _, _ in bins] + [x_of(data, bins[-1][1])]
        axes.stairs(per_s, edges, fill=True, color="#56B4E9", alpha=0.8, lw=0)
        axes.stairs(per_s, edges, color="#0072B2", lw=1.4, label="acknowledged")
        axes.set_ylim(0, max([*per_s, 1]) * 1.25)
        axes.set_ylabel("records per second")
        total = sum(count for _, _, count in bins)
        mean = total * 1_000_000 / (window[1] - window[0])
        return (
            f"{counted(total, 'record')} acknowledged, {mean:,.0f} per second on average, at most "
            f"{max(per_s):,.0f} per second in {seconds(width)}."
        )

    return _drawn(trace, from_us, to_us, title, "Throughput", draw)


def draw_lag(
    trace: Trace, *, from_us: Micros | None = None, to_us: Micros | None = None, title: str = ""
) -> Drawn:
    """Draw the figure of :func:`plot_lag`."""

    def draw(axes: Axes, data: PlotData, window: Window) -> str:
        worst: list[str] = []
        low, high = 0, 1
        for number, (node, points) in enumerate(lags(data).items()):
            drawn = thinned(points, window)
            style = {"color": colour_of(number), "marker": marker_of(number), "mec": "white"}
            _step(axes, data, window, drawn, lw=1.8, label=node, ms=6, markevery=0.09, **style)
            seen = [value for _, value in drawn if value is not None]
            low, high = min([low, *seen]), max([high, *seen])
            if seen:
                worst.append(f"{node} {max(seen)}")
        room = high - low
        axes.set_ylim(low - 0.06 * room, high + 0.2 * room)
        axes.axhline(0, color="0.4", lw=0.8)
        axes.set_ylabel("lag (offsets)")
        return f"Largest lag: {', '.join(worst)}." if worst else "No broker has a lag."

    def times(data: PlotData) -> list[Micros]:
        return [at for points in lags(data).values() for at, _ in points]

    return _drawn(trace, from_us, to_us, title, "Lag of the followers", draw, times)


def _drawn(
    trace: Trace,
    from_us: Micros | None,
    to_us: Micros | None,
    title: str,
    what: str,
    draw: Callable[[Axes, PlotData, Window], str],
    times: Callable[[PlotData], list[Micros]] | None = None,
) -> Drawn:
    """Draw one kind of plot. ``times`` are those of its changes; without it, it has no close-up."""
    from matplotlib.figure import Figure

    data = plot_data_of(trace)
    window = window_of(data, from_us, to_us)
    moment = _moment_of(data, window, times(data) if times else [])
    name = title or f"{what} · {title_of(trace, 'trace')}"
    height = HEIGHT_IN + (CLOSE_UP_IN if moment else 0)
    with matplotlib_settings():
        figure = Figure(figsize=(WIDTH_IN, height))
        rows = [PANEL_IN, *([CLOSE_UP_IN - GAP_IN] if moment else [])]
        grid = figure.add_gridspec(
            len(rows), 1, height_ratios=rows, left=LEFT, right=RIGHT, top=1 - HEAD_IN / height,
            bottom=FOOT_IN / height, hspace=GAP_IN * len(rows) / sum(rows),
        )  # fmt: skip
        axes = figure.add_subplot(grid[0])
        axes.set_xlim(x_of(data, window[0]), x_of(data, window[1]))
        sentence = draw(axes, data, window)
        draw_background(axes, data, window, labels=True)
        axes.tick_params(labelbottom=True)
        if moment:
            below = figure.add_subplot(grid[1])
            draw(below, data, moment)
            if axes.get_yscale() == "log":
                below.set_ylim(axes.get_ylim())  # a part of a decade has hardly a label
            draw_background(below, data, moment, labels=True)
            label_faults(below, data, moment)
            frame_moment(below, data, moment)
            outline_moment(axes, data, moment)
        figure.axes[-1].set_xlabel("time (s)")
        shown = shown_part(data, window) + moment_note(data, moment)
        figure.text(LEFT, 1 - 0.33 / height, name, fontsize=16, fontweight="bold")
        figure.text(LEFT, 1 - 0.594 / height, sentence + shown, color=INK)
        handles, labels = axes.get_legend_handles_labels()
        if handles:
            figure.legend(
                handles, labels, loc="lower left", bbox_to_anchor=(LEFT, 1 - 0.946 / height),
                frameon=False, ncol=len(handles), fontsize=10.5, borderaxespad=0, borderpad=0,
            )  # fmt: skip
    length = seconds(data.end_us - data.start_us)
    description = f"{what} over {length}. {sentence} {leaders_and_faults(data)}{shown}"
    return Drawn(figure, name, description)


def _moment_of(data: PlotData, window: Window, times: list[Micros]) -> Window | None:
    """Return the moment to enlarge, if the plot changes in it."""
    moment = moment_of(data, window)
    if moment is None or sum(moment[0] <= at <= moment[1] for at in times) < CHANGES_MIN:
        return None
    return moment


def _step(axes: Axes, data: PlotData, window: Window, points: Points, **style: object) -> None:
    shown = [point for point in points if window[0] <= point[0] <= window[1]]
    before = [value for at, value in points if at <= window[0]]
    if before:
        shown = [(window[0], before[-1]), *(each for each in shown if each[0] > window[0])]
    if shown:
        shown.append((window[1], shown[-1][1]))
    ys = [math.nan if value is None else float(value) for _, value in shown]
    if all(math.isnan(y) for y in ys):
        style.pop("markevery", None)  # matplotlib cannot place markers on an empty curve
    axes.plot([x_of(data, at) for at, _ in shown], ys, drawstyle="steps-post", **style)  # type: ignore[arg-type]


def _time_below(data: PlotData, sizes: Points) -> Micros:
    ends = [at for at, _ in sizes[1:]] + [data.end_us]
    return sum(
        end - at
        for (at, size), end in zip(sizes, ends, strict=True)
        if size is not None and size < data.min_isr
    )
