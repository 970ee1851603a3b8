"""The values of the simple plots of a trace: ISR size, ack latency, throughput, lag."""

from __future__ import annotations

from bisect import bisect_right
from typing import Final, NamedTuple

from yak_core.errors import Outcome
from yak_core.ids import Micros, NodeId, Offset
from yak_sim.plot.data import PlotData, Points, value_at
from yak_sim.plot.style import Window

BINS_MAX: Final = 120
"""Maximum number of bins of a throughput plot."""


class Latency(NamedTuple):
    """A batch with its result: its end time, and the time since its send call."""

    at_us: Micros
    latency_us: Micros
    records: int
    written: bool


def isr_sizes(data: PlotData) -> Points:
    """Return the number of in-sync replicas over time."""
    return [(at, len(isr)) for at, isr in data.isr]


def latencies(data: PlotData, window: Window) -> list[Latency]:
    """Return the batches whose result came in the window, by time."""
    return sorted(
        Latency(ack.end_us, ack.end_us - ack.start_us, ack.count, ack.outcome is Outcome.WRITTEN)
        for ack in data.acks
        if window[0] <= ack.end_us <= window[1]
    )


def quantile(values: list[Micros], part: int) -> Micros:
    """Return the smallest of the sorted values that is not less than ``part`` percent of them."""
    return values[max(0, -(-len(values) * part // 100) - 1)]


def bin_us(window: Window) -> Micros:
    """Return the width of a throughput bin: 1, 2 or 5 times a power of ten microseconds."""
    power = 1
    while True:
        for width in (power, 2 * power, 5 * power):
            if width * BINS_MAX >= window[1] - window[0]:
                return width
        power *= 10


def throughput(data: PlotData, window: Window) -> list[tuple[Micros, Micros, int]]:
    """Return (start, end, acknowledged records) of each bin of the window.

    The last bin ends with the window. It is up to half longer or shorter than the others, so that
    its rate is neither that of a time after the end nor that of a sliver.
    """
    width = bin_us(window)
    length = window[1] - window[0]
    count = max(1, (2 * length + width) // (2 * width))
    bins = [0] * count
    for each in latencies(data, window):
        if each.written:
            bins[min((each.at_us - window[0]) // width, count - 1)] += each.records
    starts = [window[0] + number * width for number in range(count)]
    return list(zip(starts, [*starts[1:], window[1]], bins, strict=True))


def lags(data: PlotData) -> dict[NodeId, Points]:
    """Return the lag of each broker over time: the LEO of the leader minus its own LEO.

    A lag is None without a leader, for the leader itself, and while the broker is down. It is
    negative while a broker has records that the leader does not have.
    """
    leos = {broker.node: broker.leo for broker in data.brokers}
    times = {at for points in leos.values() for at, _ in points}
    for leadership in data.leaderships:
        times |= {leadership.start_us, leadership.end_us}
    result: dict[NodeId, Points] = {node: [] for node in leos}
    for at in sorted(time for time in times if time <= data.end_us):
        leader = _leader_at(data, at)
        end = value_at(leos[leader], at) if leader else None
        for node, points in leos.items():
            own = value_at(points, at)
            lag: Offset | None = None
            if node != leader and end is not None and own is not None:
                lag = end - own
            if not result[node] or result[node][-1][1] != lag:
                result[node].append((at, lag))
    return result


def _leader_at(data: PlotData, at_us: Micros) -> NodeId | None:
    starts = [leadership.start_us for leadership in data.leaderships]
    found = bisect_right(starts, at_us)
    if not found or data.leaderships[found - 1].end_us <= at_us:
        return None
    return data.leaderships[found - 1].node
