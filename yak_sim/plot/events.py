"""The events on the curves of a plot: crashes and truncations, with labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from yak_core.ids import Micros, NodeId, Offset
from yak_sim.plot.data import PlotData
from yak_sim.plot.style import Window, colour_of, label_width, x_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EVENT_LABELS_MAX: Final = 8
"""Maximum number of labelled crashes and truncations; if there are more, labels are omitted."""

SIZE: Final = 11
HIDDEN_SIZE: Final = 6
"""Size of a marker in points; added for each later marker that would hide it."""


def draw_events(axes: Axes, data: PlotData, window: Window, *, labels: bool) -> None:
    """Draw a cross at each crash and a triangle at each truncation."""
    numbers: dict[NodeId, int] = {}
    events: list[tuple[Micros, Offset, NodeId, str, str]] = []
    for number, broker in enumerate(data.brokers):
        numbers[broker.node] = number
        for crash in broker.crashes:
            text = f"{broker.node} crashes, LEO {crash.leo:,}"
            events.append((crash.at_us, crash.leo, broker.node, "X", text))
        for truncation in broker.truncations:
            text = f"{broker.node} truncates {truncation.before:,} → {truncation.end:,}"
            events.append((truncation.at_us, truncation.before, broker.node, "v", text))
    events = sorted(end for end in events if window[0] <= end[0] <= window[1])
    low, high = axes.get_ylim()
    placed: list[tuple[Micros, Micros, Offset, int]] = []
    for number, (at, offset, node, marker, text) in enumerate(events):
        near = (window[1] - window[0]) // 100
        hidden_by = sum(1 for other in events[number + 1 :] if other[0] - at < near)
        is_right = at > window[0] + (window[1] - window[0]) * 0.8
        axes.plot(
            x_of(data, at),
            offset,
            marker=marker,
            ms=SIZE + HIDDEN_SIZE * min(hidden_by, 3),
            color=colour_of(numbers[node]),
            mec="black",
            mew=1.0,
            zorder=6 + number / 1000,
            clip_on=not low <= offset <= high,  # whole at the edge, hidden outside
        )
        if labels and len(events) <= EVENT_LABELS_MAX and low <= offset <= high:
            width = label_width(text, window) + near
            left, right = (at - width, at) if is_right else (at, at + width)
            taken = {
                level
                for from_us, to_us, other, level in placed
                if left < to_us and from_us < right and abs(other - offset) < (high - low) / 4
            }
            level = min(set(range(len(placed) + 1)) - taken)
            placed.append((left, right, offset, level))
            axes.annotate(
                text,
                (x_of(data, at), offset),
                xytext=(-9 if is_right else 9, 9 + 15 * min(level, 3)),
                textcoords="offset points",
                ha="right" if is_right else "left",
                color="black",
                zorder=7,
                annotation_clip=True,
                bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.8},
            )
