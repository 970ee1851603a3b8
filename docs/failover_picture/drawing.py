"""The drawing of a failover: four close-ups side by side, curves above, broker states below.

The time axis is broken, because the important milliseconds are a small part of a run of seconds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from docs.failover_picture.moments import Moments, Panel, moments, panels
from yak_core.ids import Micros, NodeId, Offset
from yak_sim.plot.curves import thinned
from yak_sim.plot.data import BrokerData, PlotData, Points
from yak_sim.plot.style import (
    COLOURS,
    DASHES,
    DOWN,
    INK,
    ON_COLOURS,
    Window,
    clipped,
    x_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OFFSETS: Final = (22, 66)
"""The visible offsets."""

APART_PT: Final = 2.2
"""Vertical distance between the curves of two brokers, so that equal values stay visible."""

BOX: Final[dict[str, Any]] = {
    "boxstyle": "round,pad=0.2", "fc": "white", "ec": "none", "alpha": 0.85,
}  # fmt: skip

TEXT: Final[dict[str, Any]] = {"fontsize": 12.5, "linespacing": 1.35}


def figure_of(data: PlotData) -> Figure:
    """Return the figure of the run with one failover."""
    from matplotlib.figure import Figure

    at = moments(data)
    shown = panels(at)
    figure = Figure(figsize=(12, 6.6), facecolor="white")
    grid = figure.add_gridspec(
        2,
        len(shown),
        width_ratios=[panel.width for panel in shown],
        height_ratios=[4.4, 1.15],
        left=0.062, right=0.988, top=0.84, bottom=0.085, wspace=0.035, hspace=0.06,
    )  # fmt: skip
    for number, panel in enumerate(shown):
        upper, lower = figure.add_subplot(grid[0, number]), figure.add_subplot(grid[1, number])
        _draw_curves(upper, data, panel)
        _draw_states(lower, data, panel)
        for axes in (upper, lower):
            _frame(axes, data, panel, is_first=number == 0)
        _draw_labels(upper, data, at, number)
    figure.axes[0].set_ylabel("offset")
    figure.text(0.525, 0.012, "time (s), four close-ups of one run", ha="center", color=INK)
    _draw_legend(figure, data)
    return figure


def _frame(axes: Axes, data: PlotData, panel: Panel, *, is_first: bool) -> None:
    """Draw the edges, ticks and grid of a panel."""
    start, end = (x_of(data, time) for time in panel.window)
    axes.set_xlim(start, end)
    is_lower = axes.get_ylim()[0] > axes.get_ylim()[1]
    axes.tick_params(labelbottom=is_lower, bottom=is_lower, labelleft=is_first, left=False)
    axes.spines["left"].set_color("0.6")
    axes.spines["left"].set_linestyle("-" if is_first else (0, (2, 3)))
    axes.spines["bottom"].set_visible(is_lower)
    if end - start > 1:
        axes.set_xticks(range(math.ceil(start), math.ceil(end)))
    else:
        step = 0.05 if end - start > 0.12 else 0.02
        first = math.ceil((start + step / 5) / step)
        axes.set_xticks([step * tick for tick in range(first, int((end - step / 5) / step) + 1)])
    if not is_lower:
        axes.set_title(panel.title, fontsize=13.5, fontweight="bold", loc="left", pad=7)


def _draw_curves(axes: Axes, data: PlotData, panel: Panel) -> None:
    """Draw LEO (dashed) and HW (solid) of each broker, and the leader as the background."""
    from matplotlib.transforms import ScaledTranslation

    axes.set_ylim(*OFFSETS)
    axes.set_yticks(range(30, OFFSETS[1], 10))
    axes.grid(axis="y", color="0.88", lw=0.7)
    axes.set_axisbelow(True)
    figure = axes.get_figure(root=True)
    assert figure is not None
    numbers = {broker.node: number for number, broker in enumerate(data.brokers)}
    for leadership in data.leaderships:
        span = clipped(leadership.start_us, leadership.end_us, panel.window)
        if span is not None:
            colour = COLOURS[numbers[leadership.node]]
            axes.axvspan(x_of(data, span[0]), x_of(data, span[1]), color=colour, alpha=0.1, lw=0)
    for number, broker in enumerate(data.brokers):
        down = (number - (len(data.brokers) - 1) / 2) * APART_PT / 72
        place = axes.transData + ScaledTranslation(0, -down, figure.dpi_scale_trans)
        look: dict[str, Any] = {"color": COLOURS[number], "transform": place, "where": "post"}
        for points, style in (
            (broker.leo, {"lw": 1.5, "ls": DASHES}),
            (broker.hw, {"lw": 2.4}),
        ):
            xs, ys = _line(data, points, panel.window)
            axes.step(xs, ys, **look, **style)


def _line(data: PlotData, points: Points, window: Window) -> tuple[list[float], list[float]]:
    shown = thinned(points, window)
    last = next((value for at, value in reversed(shown) if at <= window[1]), None)
    shown.append((window[1], last))
    xs = [x_of(data, time) for time, _ in shown]
    return xs, [math.nan if value is None else float(value) for _, value in shown]


def _draw_states(axes: Axes, data: PlotData, panel: Panel) -> None:
    """Draw a row for each broker: leader (solid), in the ISR (pale), down (hatched)."""
    for row, broker in enumerate(data.brokers):
        for span in _isr_spans(data, broker.node):
            _bar(axes, data, panel, row, span, {"color": COLOURS[row], "alpha": 0.3, "lw": 0})
        for span in _down_spans(broker):
            _bar(axes, data, panel, row, span, DOWN)
            _row_text(axes, data, panel, row, span, "down", "black")
        for leadership in broker.leaderships:
            span = (leadership.start_us, leadership.end_us)
            _bar(axes, data, panel, row, span, {"color": COLOURS[row], "lw": 0})
            text = f"leader, epoch {leadership.epoch}"
            _row_text(axes, data, panel, row, span, text, ON_COLOURS[row])
    axes.set_yticks(range(len(data.brokers)), [broker.node for broker in data.brokers])
    axes.set_ylim(len(data.brokers) - 0.5, -0.5)


def _isr_spans(data: PlotData, node: NodeId) -> list[Window]:
    ends = [*(at for at, _ in data.isr[1:]), data.end_us]
    return [(at, end) for (at, isr), end in zip(data.isr, ends, strict=True) if node in isr]


def _down_spans(broker: BrokerData) -> list[Window]:
    starts = [span.end_us for span in broker.up[:-1]]
    return list(zip(starts, (span.start_us for span in broker.up[1:]), strict=True))


def _bar(
    axes: Axes, data: PlotData, panel: Panel, row: int, span: Window, look: dict[str, Any]
) -> None:
    shown = clipped(*span, panel.window)
    if shown is not None:
        left, right = x_of(data, shown[0]), x_of(data, shown[1])
        axes.barh(row, right - left, 0.66, left, **look)


def _row_text(
    axes: Axes, data: PlotData, panel: Panel, row: int, span: Window, text: str, colour: str
) -> None:
    """Draw a text in the middle of a bar that takes at least half of the panel."""
    shown = clipped(*span, panel.window)
    if shown is None or shown[1] - shown[0] < 0.5 * (panel.window[1] - panel.window[0]):
        return
    axes.text(
        x_of(data, (shown[0] + shown[1]) // 2), row, text, color=colour,
        ha="center", va="center_baseline", fontsize=12,
        bbox={**BOX, "pad": 0.1, "alpha": 1} if text == "down" else None,
    )  # fmt: skip


def _draw_labels(axes: Axes, data: PlotData, at: Moments, number: int) -> None:
    """Draw the markers and texts of one panel."""
    if number == 0:
        _mark(axes, data, at.crash, at.written, at.old, "X")
        text = (
            f"{at.old} crashes; its records:\n"
            f"below {at.committed} committed\n"
            f"{at.committed}, {at.committed + 1} flushed by {at.old} only\n"
            f"{at.flushed}, {at.flushed + 1} not flushed"
        )
        _note(axes, data, (at.crash, at.written), text, (at.crash - 83_000, 50))
    elif number == 1:
        gap = (at.elected - at.crash) / 1_000_000
        text = f"{gap:.2f} s: the\nlease of {at.old}\nexpires, then\n{at.new} campaigns"
        place = axes.get_yaxis_transform()
        axes.text(0.5, 50, text, transform=place, ha="center", va="center", **TEXT)
    elif number == 2:
        _mark(axes, data, at.elected, at.committed, at.new, "*")
        text = f"{at.new} elected,\nepoch {at.epoch}"
        _note(axes, data, (at.elected, at.committed), text, (at.elected - 17_000, 40))
        text = "the producer\nretries; all\nrecords are\ncommitted"
        _note(axes, data, (at.elected + 77_000, 45), text, (at.elected + 4_000, 54), shrink=2)
    else:
        _mark(axes, data, at.restart, at.flushed, at.old, "o")
        _mark(axes, data, at.truncation, at.flushed, at.old, "v")
        text = f"{at.old} restarts,\nLEO {at.flushed}"
        _note(axes, data, (at.restart, at.flushed), text, (at.restart - 21_000, 38.5))
        text = f"saved HW {at.saved_hw}"
        axes.text(x_of(data, at.restart + 6_000), at.saved_hw + 2.2, text, va="center", **TEXT)
        text = f"{at.old} truncates\n{at.flushed} → {at.committed}, then\ncatches up"
        _note(axes, data, (at.truncation, at.flushed), text, (at.truncation + 22_000, 37))
        text = f"{at.old} is in\nthe ISR again"
        _note(axes, data, (at.rejoined, 60), text, (at.rejoined - 57_000, 53), shrink=3)
        axes.axvline(x_of(data, at.rejoined), color=COLOURS[0], lw=1.2, ls=":")
        _draw_inset(axes, data, at)


def _draw_inset(axes: Axes, data: PlotData, at: Moments) -> None:
    """Draw the truncation once more: the 2 ms around it, and the offsets next to it."""
    inset = axes.inset_axes((0.1, 0.525, 0.4, 0.29))
    inset.set_facecolor("white")
    window = (at.truncation - 800, at.truncation + 1_200)
    broker = next(broker for broker in data.brokers if broker.node == at.old)
    colour = COLOURS[data.brokers.index(broker)]
    xs, ys = _line(data, broker.leo, window)
    inset.step(xs, ys, where="post", color=colour, lw=2, ls=DASHES)
    _mark(inset, data, at.truncation, at.flushed, at.old, "v")
    inset.set_xlim(x_of(data, window[0]), x_of(data, window[1]))
    inset.set_ylim(at.committed - 0.8, at.flushed + 1.4)
    inset.set_xticks([])
    inset.set_yticks([at.committed, at.flushed])
    inset.tick_params(length=0, labelsize=12)
    inset.grid(axis="y", color="0.88", lw=0.7)
    inset.set_xlabel("2 ms", fontsize=12, labelpad=2)
    for spine in inset.spines.values():
        spine.set(visible=True, color="0.6", linewidth=0.8)


def _mark(
    axes: Axes, data: PlotData, time: Micros, offset: Offset, node: NodeId, marker: str
) -> None:
    colour = COLOURS[[broker.node for broker in data.brokers].index(node)]
    look: dict[str, Any] = {"ms": 12, "color": colour, "mec": "black", "zorder": 6}
    axes.plot(x_of(data, time), offset, marker=marker, **look)


def _note(
    axes: Axes,
    data: PlotData,
    point: tuple[Micros, float],
    text: str,
    where: tuple[Micros, float],
    *,
    shrink: int = 7,
) -> None:
    """Draw a text that begins at ``where``, with an arrow to ``point``."""
    axes.annotate(
        text, (x_of(data, point[0]), point[1]), (x_of(data, where[0]), where[1]),
        ha="left", va="center", zorder=7, bbox=BOX, **TEXT,
        arrowprops={"arrowstyle": "->", "color": INK, "shrinkB": shrink},
    )  # fmt: skip


def _draw_legend(figure: Figure, data: PlotData) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Line2D | Patch] = [
        Line2D([], [], color=COLOURS[number], lw=4, label=broker.node)
        for number, broker in enumerate(data.brokers)
    ]
    handles += [
        Line2D([], [], color=INK, lw=2.4, label="high watermark (HW)"),
        Line2D([], [], color=INK, lw=1.5, ls=DASHES, label="log end offset (LEO)"),
        Patch(facecolor="0.5", alpha=0.45, label="in ISR"),
        Patch(**DOWN, label="down"),
    ]
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.055, 0.985), ncol=len(handles),
        frameon=False, fontsize=12.5, handlelength=1.8, columnspacing=1.5,
    )  # fmt: skip
