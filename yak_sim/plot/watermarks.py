"""The watermark plot of a trace, as a figure, as PNG and SVG, and as a description.

The upper part shows offsets over time. Each broker has its high watermark (thick) and its log end
offset (thin, dashed); the background shows the leader. Brokers differ by colour and by marker.
Their lines are a few points apart, so that equal values stay visible. The lower part has a row for
each broker, a row for acknowledged writes, and the faults. The row of a broker shows when it is the
leader, in the ISR, out of the ISR, or down.

If most of the run is quiet, the plot shows the action only: from the first fault until the cluster
has converged. A moment in which several faults or elections happen is enlarged in a panel below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from yak_core.ids import Micros
from yak_core.trace.recorder import Trace
from yak_sim.plot.captions import describe_data, headline, shown_part
from yak_sim.plot.curves import (
    close_up_of,
    curves_of,
    draw_close_up,
    draw_moment,
    draw_offsets,
    how_equal_curves_are_drawn,
)
from yak_sim.plot.data import PlotData, plot_data_of
from yak_sim.plot.legend import draw_legend, legend_rows
from yak_sim.plot.moment import moment_note, moment_of, outline_moment
from yak_sim.plot.rendering import (
    LEFT,
    RIGHT,
    WIDTH_IN,
    Drawn,
    Rendered,
    matplotlib_settings,
    title_of,
)
from yak_sim.plot.rows import draw_rows, row_count
from yak_sim.plot.style import INK, Window
from yak_sim.plot.windows import window_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OFFSETS_IN: Final = 4.2
CLOSE_UP_IN: Final = 1.5
MOMENT_IN: Final = 2.2
ROW_IN: Final = 0.3
GAP_IN: Final = 0.22
HEAD_IN: Final = 0.85
LEGEND_IN: Final = 0.24
FOOT_IN: Final = 0.55
TITLE: Final = "High watermark and log end offset"


def plot_watermarks(
    trace: Trace, *, from_us: Micros | None = None, to_us: Micros | None = None, title: str = ""
) -> Figure:
    """Return the figure of a run, for a notebook.

    The figure shows the time from ``from_us`` to ``to_us``, in microseconds since the start of the
    trace. Without both, it shows the faults until the cluster has converged if the rest of the run
    is long, else the whole run; ``from_us=0`` shows the whole run. The figure of an empty trace
    contains a message. Raise ValueError for an empty time span.
    """
    return draw_watermarks(trace, from_us=from_us, to_us=to_us, title=title).for_notebook()


def render_watermarks(trace: Trace, *, title: str = "") -> Rendered:
    """Return the figure of a run as the bytes of a PNG and an SVG file."""
    return draw_watermarks(trace, title=title).rendered()


def draw_watermarks(
    trace: Trace, *, from_us: Micros | None = None, to_us: Micros | None = None, title: str = ""
) -> Drawn:
    """Draw the figure of :func:`plot_watermarks`."""
    data = plot_data_of(trace)
    window = window_of(data, from_us, to_us)
    name = title or title_of(trace, TITLE)
    with matplotlib_settings():
        figure = _figure(data, window, name)
    part = shown_part(data, window) + moment_note(data, moment_of(data, window))
    return Drawn(figure, name, describe_data(data) + part)


def _figure(data: PlotData, window: Window, title: str) -> Figure:
    from matplotlib.figure import Figure

    curves = curves_of(data, window)
    close_up = close_up_of(data, window, curves)
    moment = moment_of(data, window)
    parts = [OFFSETS_IN, row_count(data, window) * ROW_IN]
    parts[1:1] = [CLOSE_UP_IN] * (close_up is not None) + [MOMENT_IN] * (moment is not None)
    top_in = HEAD_IN + legend_rows(data) * LEGEND_IN
    height = top_in + sum(parts) + GAP_IN * (len(parts) - 1) + FOOT_IN
    figure = Figure(figsize=(WIDTH_IN, height))
    grid = figure.add_gridspec(
        len(parts),
        1,
        height_ratios=parts,
        left=LEFT,
        right=RIGHT,
        top=1 - top_in / height,
        bottom=FOOT_IN / height,
        hspace=GAP_IN * len(parts) / sum(parts),
    )
    offsets = figure.add_subplot(grid[0])
    draw_offsets(offsets, data, window, curves, close_up)
    if close_up is not None:
        below = figure.add_subplot(grid[1], sharex=offsets)
        draw_close_up(below, data, window, curves, close_up)
    if moment is not None:
        draw_moment(figure.add_subplot(grid[len(parts) - 2]), data, moment)
        outline_moment(offsets, data, moment)
    draw_rows(figure.add_subplot(grid[len(parts) - 1], sharex=offsets), data, window)
    figure.text(LEFT, 1 - 0.38 / height, title, fontsize=16, fontweight="bold")
    figure.text(LEFT, 1 - 0.66 / height, headline(data) + _dot(shown_part(data, window)), color=INK)
    note = how_equal_curves_are_drawn(data, curves, OFFSETS_IN * 72)
    figure.text(RIGHT, 1 - 0.38 / height, note, color=INK, ha="right", fontsize=10)
    draw_legend(figure, data, LEFT, 1 - (HEAD_IN - 0.04) / height, LEGEND_IN / height)
    return figure


def _dot(sentence: str) -> str:
    """Return a sentence as one more part of the headline."""
    return f" ·{sentence.removesuffix('.')}" if sentence else ""
