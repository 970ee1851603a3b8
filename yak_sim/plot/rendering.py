"""Figures as PNG and SVG, with title and description in both files, and for notebooks.

matplotlib is imported at the first plot. pyplot is not imported, so the backend of a notebook does
not change. The same figure gives the same bytes with the same version of matplotlib.
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

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH_IN: Final = 12.8
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


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure with its title and its description (alt text)."""

    figure: Figure
    title: str
    description: str

    def for_notebook(self) -> Figure:
        """Return the figure with the method that Jupyter needs, as it was made without pyplot."""
        vars(self.figure)["_repr_png_"] = partial(_notebook_png, self.figure, self.description)
        vars(self.figure)["yak_description"] = self.description
        return self.figure

    def rendered(self) -> Rendered:
        """Return the figure as the bytes of a PNG and an SVG file."""
        png, svg = BytesIO(), BytesIO()
        with matplotlib_settings():
            tags = {"Title": self.title, "Description": self.description}
            png_tags = {**tags, "Software": "yak"}
            self.figure.savefig(png, format="png", dpi=PNG_DPI, metadata=png_tags)
            svg_tags = {**tags, "Creator": "yak", "Date": None}
            self.figure.savefig(svg, format="svg", metadata=svg_tags)
        described = _with_description(svg.getvalue(), self.title, self.description)
        return Rendered(png.getvalue(), described, self.description)


def title_of(trace: Trace, without_scenario: str) -> str:
    """Return scenario and seed, or another title for a trace without a scenario."""
    header = trace.header
    return f"{header.scenario}, seed {header.seed}" if header.scenario else without_scenario


def _notebook_png(figure: Figure, description: str) -> tuple[bytes, dict[str, str]]:
    """Return the figure for IPython's display protocol, with its alt text."""
    png = BytesIO()
    with matplotlib_settings():
        figure.savefig(png, format="png", dpi=NOTEBOOK_DPI, metadata={"Software": "yak"})
    return (png.getvalue(), {"alt": description})


@contextmanager
def matplotlib_settings() -> Iterator[None]:
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
