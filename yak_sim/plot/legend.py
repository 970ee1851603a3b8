"""The legend of the watermark plot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from yak_core.errors import Outcome
from yak_sim.plot.data import PlotData
from yak_sim.plot.style import DASHES, DOWN, FAILED, INK, PAUSED, colour_of, marker_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEGEND_BROKERS: Final = 4
"""Maximum number of brokers in a legend of one line."""


def legend_rows(data: PlotData) -> int:
    """Return the number of lines of the legend."""
    return 1 if len(data.brokers) <= LEGEND_BROKERS else 2


def draw_legend(figure: Figure, data: PlotData, x: float, y: float, row: float) -> None:
    """Draw the legend above the axes; ``row`` is the height of a line."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    brokers: list[Line2D | Patch] = []
    for number, broker in enumerate(data.brokers):
        colour, marker = colour_of(number), marker_of(number)
        style: dict[str, Any] = {"color": colour, "marker": marker, "mec": "white", "ms": 7}
        brokers.append(Line2D([], [], lw=2.0, label=broker.node, **style))
    keys: list[Line2D | Patch] = [
        Line2D([], [], color=INK, lw=2.0, label="high watermark (HW)"),
        Line2D([], [], color=INK, lw=1.3, ls=DASHES, label="log end offset (LEO)"),
        Patch(facecolor="0.5", alpha=0.45, label="in ISR"),
        Patch(**DOWN, label="down"),
        Patch(facecolor="0.5", alpha=0.2, label="fault"),
    ]
    if any(fault.kind == "pause" for fault in data.faults):
        keys.insert(-1, Patch(**PAUSED, label="paused"))
    if any(ack.outcome is not Outcome.WRITTEN for ack in data.acks):
        keys.append(Line2D([], [], label="not acked", **FAILED))
    rows = [brokers + keys] if legend_rows(data) == 1 else [brokers, keys]
    for number, handles in enumerate(rows):
        figure.legend(
            handles=handles,
            loc="upper left",
            bbox_to_anchor=(x, y - number * row),
            ncol=len(handles),
            frameon=False,
            fontsize=10.5,
            handlelength=2.0,
            columnspacing=1.4,
            borderaxespad=0,
            borderpad=0,
        )
