"""The distribution of a figure over many runs: the share of the runs up to each value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from yak_sim.plot.captions import counted
from yak_sim.plot.rendering import LEFT, RIGHT, WIDTH_IN, Drawn, matplotlib_settings
from yak_sim.plot.style import INK, colour_of, marker_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Groups = Mapping[str, Sequence[float]]
"""Values of runs by the name of their group, such as a setting."""

HEIGHT_IN: Final = 4.6
DOTS_MAX: Final = 200
"""Runs of a group up to which each run is a dot; more dots would hide the curve."""
HEAD_IN: Final = 1.012
FOOT_IN: Final = 0.598
LEGEND_IN: Final = 0.22
LETTERS_MAX: Final = 125
"""Maximum number of letters of the headline, and of a line of the legend."""


def plot_distribution(
    values: Sequence[float] | Groups,
    *,
    label: str = "value",
    title: str = "",
    marks: Mapping[str, float] | None = None,
) -> Figure:
    """Return the figure of the distribution of a number over runs.

    ``values`` has one number per run, or such numbers by group. ``label`` names the number and its
    unit. The curve of a group gives for each number the share of its runs that are not above it.
    ``marks`` are numbers by name, such as predicted bounds: each is a dashed vertical line. Raise
    ValueError if a group has no value.
    """
    return draw_distribution(values, label=label, title=title, marks=marks).for_notebook()


def draw_distribution(
    values: Sequence[float] | Groups,
    *,
    label: str = "value",
    title: str = "",
    marks: Mapping[str, float] | None = None,
) -> Drawn:
    """Draw the figure of :func:`plot_distribution`."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter, StrMethodFormatter

    groups = dict(values) if isinstance(values, Mapping) else {"": values}
    empty = [name for name, numbers in groups.items() if not numbers]
    if empty or not groups:
        where = f" in the group {empty[0]!r}" if empty and empty[0] else ""
        raise ValueError(f"a distribution needs at least one value{where}, got none")
    runs = sum(len(numbers) for numbers in groups.values())
    name = title or f"{label} of {counted(runs, 'run')}"
    sentences, medians = [], []
    columns = max(1, LETTERS_MAX // (max(map(len, groups)) + 8))
    legend_in = LEGEND_IN * (-(-len(groups) // columns) - 1)
    height = HEIGHT_IN + legend_in
    with matplotlib_settings():
        figure = Figure(figsize=(WIDTH_IN, height))
        axes = figure.add_subplot()
        top = 1 - (HEAD_IN + legend_in) / height
        figure.subplots_adjust(left=LEFT, right=RIGHT, top=top, bottom=FOOT_IN / height)
        for number, (group, numbers) in enumerate(groups.items()):
            xs = sorted(float(each) for each in numbers)
            shares = [(at + 1) / len(xs) for at in range(len(xs))]
            axes.plot(
                [xs[0], *xs], [0.0, *shares], drawstyle="steps-post", color=colour_of(number),
                lw=1.8, marker=marker_of(number) if len(xs) <= DOTS_MAX else "",
                ms=4 if len(xs) > 60 else 6, mec="white", mew=0.5,
                markevery=range(1, len(xs) + 1), label=group or "runs",
            )
            median = xs[(len(xs) - 1) // 2]
            medians.append(f"{median:,g}")
            sentences.append(
                f"{f'{group}: ' if group else ''}median {median:,g}, {xs[0]:,g} to {xs[-1]:,g}"
            )
        for mark, at in (marks or {}).items():
            _draw_mark(axes, mark, at, [each for xs in groups.values() for each in xs])
        axes.axhline(0.5, color="0.6", lw=0.9, ls=":")
        axes.grid(axis="y", color="0.85", lw=0.6)
        axes.set_axisbelow(True)
        axes.set_ylim(0, 1.04)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_ylabel("share of the runs")
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        axes.set_xlabel(label)
        figure.text(LEFT, 1 - 0.345 / height, name, fontsize=16, fontweight="bold")
        candidates = ("; ".join(sentences), f"medians {'; '.join(medians)}")
        fitting = [text for text in candidates if len(text) <= LETTERS_MAX]
        headline = fitting[0] if fitting else f"{len(groups)} groups"
        figure.text(LEFT, 1 - 0.621 / height, headline, color=INK)
        if len(groups) > 1:
            figure.legend(
                loc="lower left", bbox_to_anchor=(LEFT, top + 0.02 / height), frameon=False,
                ncol=min(columns, len(groups)), fontsize=10.5, borderaxespad=0, borderpad=0,
            )
    lines = "".join(f" A dashed line at {at:,g}: {mark}." for mark, at in (marks or {}).items())
    return Drawn(figure, name, f"Distribution of {label} over {runs:,} runs. "
                 + "; ".join(sentences) + "." + lines)


def _draw_mark(axes: Axes, name: str, at: float, values: Sequence[float]) -> None:
    """Draw a dashed vertical line, with its name where the curve of the values is not."""
    axes.axvline(at, color="0.35", lw=1.2, ls="--")
    low = sum(value <= at for value in values) * 2 <= len(values)
    axes.annotate(
        f"{name}: {at:,g}", (at, 0.97 if low else 0.04), xycoords=("data", "axes fraction"),
        xytext=(6 if low else -6, 0), textcoords="offset points", color="0.25", fontsize=10.5,
        ha="left" if low else "right", va="top" if low else "bottom",
        bbox={"boxstyle": "square,pad=0.15", "fc": "white", "ec": "none"},
    )
