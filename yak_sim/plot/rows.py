"""The rows below the curves: brokers, acknowledged writes, faults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from yak_core.errors import Outcome
from yak_core.ids import Micros, NodeId
from yak_sim.plot.captions import fault_caption
from yak_sim.plot.data import BrokerData, PlotData
from yak_sim.plot.style import (
    ACKED,
    COLUMNS,
    DOWN,
    FAILED,
    PAUSED,
    Window,
    clipped,
    colour_of,
    label_width,
    merged,
    on_colour_of,
    x_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LANES_MAX: Final = 4
"""Maximum number of rows for overlapping faults; all others share one row, without captions."""

BAR: Final = 0.64


class Bar(NamedTuple):
    """A fault as drawn; its caption begins at ``caption_us``."""

    lane: int
    start_us: Micros
    end_us: Micros
    caption: str
    caption_us: Micros


def row_count(data: PlotData, window: Window) -> int:
    """Return the number of rows that :func:`draw_rows` draws."""
    return len(data.brokers) + 1 + _lane_count(_bars(data, window))


def draw_rows(axes: Axes, data: PlotData, window: Window) -> None:
    """Draw, from the top, a row for each broker, one for acknowledged writes, some for faults."""
    labels: list[str] = []
    for number, broker in enumerate(data.brokers):
        _draw_broker(axes, data, window, number, broker)
        labels.append(broker.node)
    _draw_acks(axes, data, window, len(labels))
    labels.append("acks")
    bars = _bars(data, window)
    for bar in bars:
        _draw_fault(axes, data, window, len(labels) + bar.lane, bar)
    labels += ["faults", *[""] * (LANES_MAX - 1), "more"][: _lane_count(bars)]
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xlabel("time (s)")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _lane_count(bars: list[Bar]) -> int:
    return 1 + max((bar.lane for bar in bars), default=-1)


def _bars(data: PlotData, window: Window) -> list[Bar]:
    """Assign faults to rows, so that bars and captions do not overlap."""
    free: list[Micros] = []
    bars: list[Bar] = []
    for fault in data.faults:
        start, end = max(fault.start_us, window[0]), min(fault.end_us, window[1])
        if end < start:
            continue
        caption = fault_caption(fault.kind, fault.target)
        width = label_width(caption, window)
        caption_us = start
        if width > end - start:
            caption_us = end if end + width <= window[1] else max(start - width, window[0])
        first, last = min(start, caption_us), max(end, caption_us + width)
        lane = next((at for at, busy in enumerate(free) if busy <= first), len(free))
        if lane >= LANES_MAX:
            bars.append(Bar(LANES_MAX, start, end, "", start))
            continue
        free[lane : lane + 1] = [last]
        bars.append(Bar(lane, start, end, caption, caption_us))
    return bars


def _isr_spans(data: PlotData, node: NodeId) -> list[Window]:
    """Return the spans in which the ISR contained this broker."""
    ends = [at for at, _ in data.isr[1:]] + [data.end_us] * bool(data.isr)
    periods = zip(data.isr, ends, strict=True)
    return merged([(start, end) for (start, isr), end in periods if node in isr])


def _down_spans(data: PlotData, broker: BrokerData) -> list[Window]:
    """Return the spans in which this broker was down."""
    ends = [data.start_us, *(span.end_us for span in broker.up)]
    starts = [*(span.start_us for span in broker.up), data.end_us]
    return [(end, start) for end, start in zip(ends, starts, strict=True) if start > end]


def _draw_broker(axes: Axes, data: PlotData, window: Window, row: int, broker: BrokerData) -> None:
    """Draw the row of a broker.

    Pale: in the ISR. Solid: leader. Crossed: down. Hatched: paused. Empty: out of the ISR.
    """
    colour = colour_of(row)
    vertical = (row - BAR / 2, BAR)
    in_isr = [_extent(data, span) for span in _isr_spans(data, broker.node)]
    axes.broken_barh(in_isr, vertical, facecolor=colour, alpha=0.3, lw=0)
    down = _down_spans(data, broker)
    axes.broken_barh([_extent(data, span) for span in down], vertical, **DOWN)
    for span in down:
        _draw_label(axes, data, window, row, span, "down", "black", boxed=True)
    paused = [
        (fault.start_us, fault.end_us)
        for fault in data.faults
        if fault.kind == "pause" and fault.target == broker.node
    ]
    for leadership in broker.leaderships:
        shown = clipped(leadership.start_us, leadership.end_us, window)
        if shown is not None:
            left, width = _extent(data, shown)
            axes.barh(row, width, BAR, left, color=colour, lw=0)
            caption = f"leads epoch {leadership.epoch}"
            free = _longest_without(shown, paused)
            _draw_label(axes, data, window, row, free, caption, on_colour_of(row))
    axes.broken_barh([_extent(data, span) for span in paused], vertical, **PAUSED)
    for span in paused:
        _draw_label(axes, data, window, row, span, "paused", "black", boxed=True)


def _longest_without(span: Window, others: list[Window]) -> Window:
    """Return the longest part of a span that no other span covers; an empty one if none is left."""
    start, found = span[0], (span[0], span[0])
    for other in [*merged(others), (span[1], span[1])]:
        piece = (start, min(other[0], span[1]))
        if piece[1] - piece[0] > found[1] - found[0]:
            found = piece
        start = max(start, other[1])
    return found


def _extent(data: PlotData, span: Window) -> tuple[float, float]:
    return (x_of(data, span[0]), (span[1] - span[0]) / 1_000_000)


def _draw_label(
    axes: Axes,
    data: PlotData,
    window: Window,
    row: int,
    span: Window,
    caption: str,
    colour: str,
    *,
    boxed: bool = False,
) -> None:
    """Draw words in the middle of a bar, if they fit."""
    shown = clipped(*span, window)
    if shown is None or label_width(caption, window) > shown[1] - shown[0]:
        return
    axes.text(
        x_of(data, (shown[0] + shown[1]) // 2),
        row,
        caption,
        ha="center",
        va="center_baseline",
        color=colour,
        fontsize=10,
        bbox={"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none"} if boxed else None,
    )


def _draw_acks(axes: Axes, data: PlotData, window: Window, row: int) -> None:
    """Draw a tick for each acknowledged write and a cross for each failed or unknown write."""
    start, end = window
    good: dict[int, Micros] = {}
    bad: dict[int, Micros] = {}
    for ack in data.acks:
        if start <= ack.end_us <= end:
            column = (ack.end_us - start) * COLUMNS // (end - start)
            (good if ack.outcome is Outcome.WRITTEN else bad).setdefault(column, ack.end_us)
    times = [x_of(data, at) for at in good.values()]
    axes.vlines(times, row - 0.3, row + 0.3, **ACKED)
    crosses = [x_of(data, at) for at in bad.values()]
    axes.plot(crosses, [row] * len(bad), **FAILED)


def _draw_fault(axes: Axes, data: PlotData, window: Window, row: int, bar: Bar) -> None:
    left, width = _extent(data, (bar.start_us, bar.end_us))
    whole = (window[1] - window[0]) / 1_000_000
    axes.barh(row, max(width, whole / 400), 0.56, left, color="0.8", ec="0.35", lw=0.8)
    x = x_of(data, bar.caption_us) + 0.005 * whole
    axes.text(x, row, bar.caption, ha="left", va="center_baseline", fontsize=10)
