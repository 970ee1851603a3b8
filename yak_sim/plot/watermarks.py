"""The watermark plot of a trace, as a figure, as PNG and SVG, and as a description.

The upper part shows offsets over time. Each broker has its high watermark (thick) and its log end
offset (thin, dashed); the background shows the leader. Brokers differ by colour and by marker.
Their lines are a few points apart, so that equal values stay visible. The lower part has a row for
each broker, a row for acknowledged writes, and the faults. The row of a broker shows when it is the
leader, in the ISR, out of the ISR, or down.

matplotlib is imported at the first plot. pyplot is not imported, so the backend of a notebook does
not change. The same trace gives the same bytes with the same version of matplotlib.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from yak_core.trace.recorder import Trace
from yak_sim.plot.captions import describe_data, headline
from yak_sim.plot.curves import (
    close_up_of,
    curves_of,
    draw_close_up,
    draw_legend,
    draw_offsets,
    legend_rows,
)
from yak_sim.plot.data import PlotData, plot_data_of
from yak_sim.plot.rows import draw_rows, row_count
from yak_sim.plot.style import INK, Window

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH_IN: Final = 12.8
OFFSETS_IN: Final = 4.2
CLOSE_UP_IN: Final = 1.5
ROW_IN: Final = 0.3
GAP_IN: Final = 0.22
HEAD_IN: Final = 0.85
LEGEND_IN: Final = 0.24
FOOT_IN: Final = 0.55
LEFT: Final = 0.085
RIGHT: Final = 0.975
FONTS: Final = "'DejaVu Sans', Verdana, sans-serif"
PNG_DPI: Final = 150
NOTEBOOK_DPI: Final = 90


@dataclass(frozen=True, slots=True)
class Rendered:
    """One plot as PNG and SVG bytes; both files contain the description."""

    png: bytes
    svg: bytes
    description: str


def plot_watermarks(trace: Trace, *, window_us: Window | None = None, title: str = "") -> Figure:
    """Return the figure of a run, for a notebook.

    ``window_us`` limits the figure to a time span in microseconds. The figure of an empty trace
    contains a message. Raise ValueError for an empty window.
    """
    data = plot_data_of(trace)
    window = window_us or _whole_run(data)
    if window[1] <= window[0]:
        raise ValueError(f"window_us must end after it starts, got {window}")
    with _matplotlib_settings():
        figure = _figure(data, window, title or _title(trace))
    # Jupyter needs this method to display a figure that was created without pyplot.
    vars(figure)["_repr_png_"] = partial(_notebook_png, figure, describe_data(data))
    return figure


def render_watermarks(trace: Trace, *, title: str = "") -> Rendered:
    """Return the figure of a run as the bytes of a PNG and an SVG file."""
    data = plot_data_of(trace)
    description = describe_data(data)
    name = title or _title(trace)
    png, svg = BytesIO(), BytesIO()
    with _matplotlib_settings():
        figure = _figure(data, _whole_run(data), name)
        tags = {"Title": name, "Description": description}
        figure.savefig(png, format="png", dpi=PNG_DPI, metadata={**tags, "Software": "yak"})
        svg_tags = {**tags, "Creator": "yak", "Date": None}
        figure.savefig(svg, format="svg", metadata=svg_tags)
    described = _with_description(svg.getvalue(), name, description)
    return Rendered(png.getvalue(), described, description)


def _notebook_png(figure: Figure, description: str) -> tuple[bytes, dict[str, str]]:
    """Return the figure for IPython's display protocol, with its alt text."""
    png = BytesIO()
    with _matplotlib_settings():
        figure.savefig(png, format="png", dpi=NOTEBOOK_DPI, metadata={"Software": "yak"})
    return (png.getvalue(), {"alt": description})


def describe(trace: Trace) -> str:
    """Return the description of the figure, with its numbers, for use as alt text."""
    return describe_data(plot_data_of(trace))


@contextmanager
def _matplotlib_settings() -> Iterator[None]:
    """Use matplotlib's defaults and the plot settings in this block, not the user's settings."""
    mpl = _matplotlib()
    settings: Any = {
        "font.family": ["DejaVu Sans"],
        "font.size": 11.0,
        "axes.labelsize": 12.0,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "svg.fonttype": "none",
        "svg.hashsalt": "yak",
        "path.simplify": False,
    }
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(settings)
        yield


def _matplotlib() -> ModuleType:
    """Import matplotlib, also if MPLBACKEND names a backend that is not installed here.

    A Jupyter kernel sets MPLBACKEND for its child processes, too. The plots need no backend. A
    valid value is kept, because a notebook may import pyplot later.
    """
    if "matplotlib" in sys.modules:
        return sys.modules["matplotlib"]
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        mpl = importlib.import_module("matplotlib")
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        with suppress(ValueError):  # the value that matplotlib would refuse at its import
            mpl.rcParams["backend"] = backend
    return mpl


def _whole_run(data: PlotData) -> Window:
    return (data.start_us, max(data.end_us, data.start_us + 1))


def _title(trace: Trace) -> str:
    header = trace.header
    if not header.scenario:
        return "High watermark and log end offset"
    return f"{header.scenario}, seed {header.seed}"


def _figure(data: PlotData, window: Window, title: str) -> Figure:
    from matplotlib.figure import Figure

    curves = curves_of(data, window)
    close_up = close_up_of(data, window, curves)
    parts = [OFFSETS_IN, row_count(data, window) * ROW_IN]
    if close_up is not None:
        parts.insert(1, CLOSE_UP_IN)
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
    draw_rows(figure.add_subplot(grid[len(parts) - 1], sharex=offsets), data, window)
    figure.text(LEFT, 1 - 0.38 / height, title, fontsize=16, fontweight="bold")
    figure.text(LEFT, 1 - 0.66 / height, headline(data), color=INK)
    draw_legend(figure, data, LEFT, 1 - (HEAD_IN - 0.04) / height, LEGEND_IN / height)
    return figure


def _with_description(svg: bytes, title: str, description: str) -> bytes:
    """Add a title and a description for screen readers to the SVG, and fallback fonts."""
    from html import escape

    text = svg.decode("utf-8").replace("'DejaVu Sans'", FONTS)
    start = text.index("<svg")
    end = text.index(">", start)
    labels = ' role="img" aria-labelledby="yak-title yak-desc"'
    named = f'<title id="yak-title">{escape(title, quote=False)}</title>'
    described = f'<desc id="yak-desc">{escape(description, quote=False)}</desc>'
    rest = text[end + 1 :]
    own_title = rest.find("<title>", 0, rest.find("<metadata>"))
    if own_title >= 0:
        rest = rest[:own_title] + rest[rest.index("</title>", own_title) + len("</title>") :]
    return f"{text[:end]}{labels}>\n {named}\n {described}{rest}".encode()
