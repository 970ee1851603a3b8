"""The colours, markers and sizes that all parts of a plot use."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from yak_core.ids import Micros
from yak_sim.plot.data import PlotData

Window: TypeAlias = tuple[Micros, Micros]
"""The visible time span (start, end)."""

# The colours of Okabe and Ito (https://jfly.uni-koeln.de/color/) without yellow, which has too
# little contrast on white.
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
ON_COLOURS: Final = ("white", "black", "black", "black", "black", "black", "white")
"""Text colours on them, with a contrast of at least 4.5 to 1."""

MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
DASHES: Final = (0, (4, 2))
"""Dashes of the log end offset curves; high watermark curves are solid."""

INK: Final = "#333333"
DOWN: Final[dict[str, Any]] = {
    "facecolor": "white",
    "edgecolor": "0.45",
    "hatch": "xxxx",
    "lw": 0.6,
}

PAUSED: Final[dict[str, Any]] = {**DOWN, "facecolor": "none", "hatch": "////"}

ACKED: Final[dict[str, Any]] = {"color": "black", "lw": 0.7}
FAILED: Final[dict[str, Any]] = {"ls": "", "marker": "x", "color": "#D55E00", "ms": 7, "mew": 1.6}

COLUMNS: Final = 900
"""Number of distinct times in a plot, about its width in points."""

LETTER_WIDTH: Final = 0.0072
"""Approximate width of a label letter, as a part of the width of the axes."""


def colour_of(number: int) -> str:
    """Return the colour of the broker with this number."""
    return COLOURS[number % len(COLOURS)]


def on_colour_of(number: int) -> str:
    """Return the text colour on the colour of the broker with this number."""
    return ON_COLOURS[number % len(ON_COLOURS)]


def marker_of(number: int) -> str:
    """Return the marker of the broker with this number."""
    return MARKERS[number % len(MARKERS)]


def x_of(data: PlotData, at_us: Micros) -> float:
    """Return a time as an axis value: seconds since the start."""
    return (at_us - data.start_us) / 1_000_000


def clipped(start: Micros, end: Micros, window: Window) -> tuple[Micros, Micros] | None:
    """Return the visible part of a span, None if it is not visible."""
    left, right = max(start, window[0]), min(end, window[1])
    return (left, right) if right > left else None


def label_width(text: str, window: Window) -> Micros:
    """Return the width of a label as a time span."""
    return int((len(text) + 1) * LETTER_WIDTH * (window[1] - window[0]))


def merged(spans: list[Window]) -> list[Window]:
    """Merge overlapping spans, and return them in order."""
    result: list[Window] = []
    for start, end in sorted(spans):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(result[-1][1], end))
        else:
            result.append((start, end))
    return result
