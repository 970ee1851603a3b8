"""The rows below the curves: brokers, acknowledged writes, faults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from yak_core.errors import Outcome
from yak_core.ids import Micros, NodeId
from yak_sim.plot.captions import fault_words
from yak_sim.plot.data import BrokerPast, Past
from yak_sim.plot.style import (
    ACKED,
    COLUMNS,
    DOWN,
    FAILED,
    Window,
    clipped,
    colour_of,
    joined,
    on_colour_of,
    width_of,
    x_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LANES_MAX: Final = 4
"""Maximum number of rows for overlapping faults; all others share one row, without captions."""

BAR: Final = 0.64


class Bar(NamedTuple):
    """A fault as drawn; its caption begins at ``words_us``."""

    lane: int
    start_us: Micros
    end_us: Micros
    words: str
    words_us: Micros


def row_count(past: Past, window: Window) -> int:
    """Return the number of rows that :func:`draw_rows` draws."""
    return len(past.brokers) + 1 + _lane_count(_bars(past, window))


def draw_rows(axes: Axes, past: Past, window: Window) -> None:
    """Draw, from the top, a row for each broker, one for acknowledged writes, some for faults."""
    labels: list[str] = []
    for number, broker in enumerate(past.brokers):
        _draw_broker(axes, past, window, number, broker)
        labels.append(broker.node)
    _draw_acks(axes, past, window, len(labels))
    labels.append("acks")
    bars = _bars(past, window)
    for bar in bars:
        _draw_fault(axes, past, window, len(labels) + bar.lane, bar)
    labels += ["faults", *[""] * (LANES_MAX - 1), "more"][: _lane_count(bars)]
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xlabel("time (s)")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _lane_count(bars: list[Bar]) -> int:
    return 1 + max((bar.lane for bar in bars), default=-1)


def _bars(past: Past, window: Window) -> list[Bar]:
    """Assign faults to rows, so that bars and captions do not overlap."""
    free: list[Micros] = []
    bars: list[Bar] = []
    for fault in past.faults:
        start, end = max(fault.start_us, window[0]), min(fault.end_us, window[1])
        if end < start:
            continue
        words = fault_words(fault.kind, fault.target)
        needs = width_of(words, window)
        words_us = start
        if needs > end - start:
            words_us = end if end + needs <= window[1] else max(start - needs, window[0])
        first, last = min(start, words_us), max(end, words_us + needs)
        lane = next((at for at, busy in enumerate(free) if busy <= first), len(free))
        if lane >= LANES_MAX:
            bars.append(Bar(LANES_MAX, start, end, "", start))
            continue
        free[lane : lane + 1] = [last]
        bars.append(Bar(lane, start, end, words, words_us))
    return bars


def _isr_spans(past: Past, node: NodeId) -> list[Window]:
    """Return the spans in which the ISR contained this broker."""
    ends = [at for at, _ in past.isr[1:]] + [past.end_us] * bool(past.isr)
    held = zip(past.isr, ends, strict=True)
    return joined([(start, end) for (start, isr), end in held if node in isr])


def _down_spans(past: Past, broker: BrokerPast) -> list[Window]:
    """Return the spans in which this broker was down."""
    ends = [past.start_us, *(span.end_us for span in broker.up)]
    starts = [*(span.start_us for span in broker.up), past.end_us]
    return [(end, start) for end, start in zip(ends, starts, strict=True) if start > end]


def _draw_broker(axes: Axes, past: Past, window: Window, row: int, broker: BrokerPast) -> None:
    """Draw the row of a broker.

    Pale: in the ISR. Solid: leader. Hatched: down. Empty: out of the ISR.
    """
    colour = colour_of(row)
    place = (row - BAR / 2, BAR)
    in_isr = [_extent(past, span) for span in _isr_spans(past, broker.node)]
    axes.broken_barh(in_isr, place, facecolor=colour, alpha=0.3, lw=0)
    down = _down_spans(past, broker)
    axes.broken_barh([_extent(past, span) for span in down], place, **DOWN)
    for span in down:
        _draw_words(axes, past, window, row, span, "down", "black", boxed=True)
    for reign in broker.reigns:
        shown = clipped(reign.start_us, reign.end_us, window)
        if shown is not None:
            left, width = _extent(past, shown)
            axes.barh(row, width, BAR, left, color=colour, lw=0)
            words = f"leads epoch {reign.epoch}"
            _draw_words(axes, past, window, row, shown, words, on_colour_of(row))


def _extent(past: Past, span: Window) -> tuple[float, float]:
    return (x_of(past, span[0]), (span[1] - span[0]) / 1_000_000)


def _draw_words(
    axes: Axes,
    past: Past,
    window: Window,
    row: int,
    span: Window,
    words: str,
    colour: str,
    *,
    boxed: bool = False,
) -> None:
    """Draw words in the middle of a bar, if they fit."""
    shown = clipped(*span, window)
    if shown is None or width_of(words, window) > shown[1] - shown[0]:
        return
    axes.text(
        x_of(past, (shown[0] + shown[1]) // 2),
        row,
        words,
        ha="center",
        va="center_baseline",
        color=colour,
        fontsize=10,
        bbox={"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none"} if boxed else None,
    )


def _draw_acks(axes: Axes, past: Past, window: Window, row: int) -> None:
    """Draw a tick for each acknowledged write and a cross for each failed or unknown write."""
    start, end = window
    good: dict[int, Micros] = {}
    bad: dict[int, Micros] = {}
    for ack in past.acks:
        if start <= ack.end_us <= end:
            column = (ack.end_us - start) * COLUMNS // (end - start)
            (good if ack.outcome is Outcome.WRITTEN else bad).setdefault(column, ack.end_us)
    times = [x_of(past, at) for at in good.values()]
    axes.vlines(times, row - 0.3, row + 0.3, **ACKED)
    crosses = [x_of(past, at) for at in bad.values()]
    axes.plot(crosses, [row] * len(bad), **FAILED)


def _draw_fault(axes: Axes, past: Past, window: Window, row: int, bar: Bar) -> None:
    left, width = _extent(past, (bar.start_us, bar.end_us))
    whole = (window[1] - window[0]) / 1_000_000
    axes.barh(row, max(width, whole / 400), 0.56, left, color="0.8", ec="0.35", lw=0.8)
    x = x_of(past, bar.words_us) + 0.005 * whole
    axes.text(x, row, bar.words, ha="left", va="center_baseline", fontsize=10)
