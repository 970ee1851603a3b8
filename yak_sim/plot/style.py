"""Colours, markers and measures that the parts of a plot share; must never draw anything."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from yak_core.ids import Micros
from yak_sim.plot.data import Past

Window: TypeAlias = tuple[Micros, Micros]
"""The time that is shown, from and to."""

# Okabe and Ito's colours (https://jfly.uni-koeln.de/color/) without yellow, too pale on white.
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
ON_COLOURS: Final = ("white", "black", "black", "black", "black", "black", "white")
"""Text on them, so that its contrast is 4.5 to 1 or more."""

MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
DASHES: Final = (0, (4, 2))
"""Of every log end offset; high watermarks are solid."""

INK: Final = "#333333"
DOWN: Final[dict[str, Any]] = {
    "facecolor": "white",
    "edgecolor": "0.45",
    "hatch": "xxxx",
    "lw": 0.6,
}

ACKED: Final[dict[str, Any]] = {"color": "black", "lw": 0.7}
FAILED: Final[dict[str, Any]] = {"ls": "", "marker": "x", "color": "#D55E00", "ms": 7, "mew": 1.6}

COLUMNS: Final = 900
"""Moments that can be told apart: about the points of the picture's width."""

LETTER: Final = 0.0072
"""Width of a letter of a label as a part of the width of the axes, roughly."""


def colour_of(number: int) -> str:
    """The colour of the broker with this number."""
    return COLOURS[number % len(COLOURS)]


def on_colour_of(number: int) -> str:
    """The colour of text on that."""
    return ON_COLOURS[number % len(ON_COLOURS)]


def marker_of(number: int) -> str:
    """The marker of the broker with this number."""
    return MARKERS[number % len(MARKERS)]


def x_of(past: Past, at_us: Micros) -> float:
    """A time as the axes count it: seconds from the start."""
    return (at_us - past.start_us) / 1_000_000


def clipped(start: Micros, end: Micros, window: Window) -> tuple[Micros, Micros] | None:
    """The part of a span that is shown, None when none is."""
    left, right = max(start, window[0]), min(end, window[1])
    return (left, right) if right > left else None


def width_of(words: str, window: Window) -> Micros:
    """How much time a label covers."""
    return int((len(words) + 1) * LETTER * (window[1] - window[0]))


def joined(spans: list[Window]) -> list[Window]:
    """The same time in spans that do not overlap, in order."""
    found: list[Window] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found
