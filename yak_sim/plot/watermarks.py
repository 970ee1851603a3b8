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

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final
from xml.sax.saxutils import escape

from yak_core.trace.recorder import Trace
from yak_sim.plot.captions import describe_past, headline
from yak_sim.plot.curves import (
    close_up_of,
    curves_of,
    draw_close_up,
    draw_legend,
    draw_offsets,
    legend_rows,
)
from yak_sim.plot.data import Past, past_of
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
    past = past_of(trace)
    window = window_us or _whole(past)
    if window[1] <= window[0]:
        raise ValueError(f"window_us must end after it starts, got {window}")
    with _settings():
        figure = _figure(past, window, title or _title(trace))
    # Jupyter needs this method to display a figure that was created without pyplot.
    vars(figure)["_repr_png_"] = partial(_notebook_png, figure, describe_past(past))
    return figure


def render_watermarks(trace: Trace, *, title: str = "") -> Rendered:
    """Return the figure of a run as the bytes of a PNG and an SVG file."""
    past = past_of(trace)
    words = describe_past(past)
    name = title or _title(trace)
    png, svg = BytesIO(), BytesIO()
    with _settings():
        figure = _figure(past, _whole(past), name)
        tags = {"Title": name, "Description": words}
        figure.savefig(png, format="png", dpi=PNG_DPI, metadata={**tags, "Software": "yak"})
        svg_tags = {**tags, "Creator": "yak", "Date": None}
        figure.savefig(svg, format="svg", metadata=svg_tags)
    return Rendered(png.getvalue(), _accessible(svg.getvalue(), name, words), words)


def _notebook_png(figure: Figure, words: str) -> tuple[bytes, dict[str, str]]:
    """Return the figure for IPython's display protocol, with its alt text."""
    png = BytesIO()
    with _settings():
        figure.savefig(png, format="png", dpi=NOTEBOOK_DPI, metadata={"Software": "yak"})
    return (png.getvalue(), {"alt": words})


def describe(trace: Trace) -> str:
    """Return the description of the figure, with its numbers, for use as alt text."""
    return describe_past(past_of(trace))


@contextmanager
def _settings() -> Iterator[None]:
    """Use matplotlib's defaults and the plot settings in this block, not the user's settings."""
    import matplotlib as mpl

    ours: Any = {
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
        mpl.rcParams.update(ours)
        yield


def _whole(past: Past) -> Window:
    return (past.start_us, max(past.end_us, past.start_us + 1))


def _title(trace: Trace) -> str:
    header = trace.header
    if not header.scenario:
        return "High watermark and log end offset"
    return f"{header.scenario}, seed {header.seed}"


def _figure(past: Past, window: Window, title: str) -> Figure:
    from matplotlib.figure import Figure

    curves = curves_of(past, window)
    close_up = close_up_of(past, window, curves)
    parts = [OFFSETS_IN, row_count(past, window) * ROW_IN]
    if close_up is not None:
        parts.insert(1, CLOSE_UP_IN)
    top_in = HEAD_IN + legend_rows(past) * LEGEND_IN
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
    draw_offsets(offsets, past, window, curves, close_up)
    if close_up is not None:
        below = figure.add_subplot(grid[1], sharex=offsets)
        draw_close_up(below, past, window, curves, close_up)
    draw_rows(figure.add_subplot(grid[len(parts) - 1], sharex=offsets), past, window)
    figure.text(LEFT, 1 - 0.38 / height, title, fontsize=16, fontweight="bold")
    figure.text(LEFT, 1 - 0.66 / height, headline(past), color=INK)
    draw_legend(figure, past, LEFT, 1 - (HEAD_IN - 0.04) / height, LEGEND_IN / height)
    return figure


def _accessible(svg: bytes, title: str, words: str) -> bytes:
    """Add a title and a description for screen readers to the SVG, and fallback fonts."""
    text = svg.decode("utf-8").replace("'DejaVu Sans'", FONTS)
    start = text.index("<svg")
    end = text.index(">", start)
    labels = ' role="img" aria-labelledby="yak-title yak-desc"'
    named = f'<title id="yak-title">{escape(title)}</title>'
    told = f'<desc id="yak-desc">{escape(words)}</desc>'
    rest = text[end + 1 :]
    own = rest.find("<title>", 0, rest.find("<metadata>"))
    if own >= 0:
        rest = rest[:own] + rest[rest.index("</title>", own) + len("</title>") :]
    return f"{text[:end]}{labels}>\n {named}\n {told}{rest}".encode()
