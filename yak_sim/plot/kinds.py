"""The kinds of plots of a trace, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from yak_core.ids import Micros
from yak_core.trace.recorder import Trace
from yak_sim.plot.rendering import Drawn
from yak_sim.plot.simple import draw_ack_latency, draw_isr, draw_lag, draw_throughput
from yak_sim.plot.watermarks import draw_watermarks


class Draw(Protocol):
    """Draws a trace between two times."""

    def __call__(
        self,
        trace: Trace,
        *,
        from_us: Micros | None = None,
        to_us: Micros | None = None,
        title: str = "",
    ) -> Drawn: ...


KINDS: Final[Mapping[str, Draw]] = {
    "watermarks": draw_watermarks,
    "isr": draw_isr,
    "ack-latency": draw_ack_latency,
    "throughput": draw_throughput,
    "lag": draw_lag,
}


def describe(trace: Trace, kind: str = "watermarks") -> str:
    """Return the description of a figure, with its numbers, for use as alt text.

    ``kind`` is ``watermarks``, ``isr``, ``ack-latency``, ``throughput`` or ``lag``. Raise
    ValueError for another kind.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind of plot {kind!r}; expected one of {', '.join(KINDS)}")
    return KINDS[kind](trace).description
