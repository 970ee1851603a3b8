"""What the picture of a failover shows: the run, its moments, the close-ups around them."""

from __future__ import annotations

from functools import cache
from typing import Final, NamedTuple

from scenarios.leader_failover import leader_failover
from yak_core.ids import Micros, NodeId, Offset
from yak_sim.plot.data import PlotData, plot_data_of, value_at
from yak_sim.plot.style import Window
from yak_sim.run.scenario import run_scenario

SEED: Final = 7


class Panel(NamedTuple):
    """A close-up: its time span, its share of the width, its title."""

    window: Window
    width: float
    title: str


class Moments(NamedTuple):
    """The times and offsets that the labels name, all read from the run."""

    crash: Micros
    elected: Micros
    restart: Micros
    truncation: Micros
    rejoined: Micros
    committed: Offset
    flushed: Offset
    written: Offset
    saved_hw: Offset
    epoch: int
    old: NodeId
    new: NodeId


@cache
def failover() -> PlotData:
    """Return the plot data of the run."""
    return plot_data_of(run_scenario(leader_failover, SEED).trace)


def moments(data: PlotData) -> Moments:
    """Return the moments of the only crash, election and truncation of the run."""
    (broker,) = [broker for broker in data.brokers if broker.crashes]
    (crash,), (truncation,) = broker.crashes, broker.truncations
    leadership = data.leaderships[-1]
    return Moments(
        crash=crash.at_us,
        elected=leadership.start_us,
        restart=broker.up[1].start_us,
        truncation=truncation.at_us,
        rejoined=data.isr[-1][0],
        committed=crash.hw,
        flushed=truncation.before,
        written=crash.leo,
        saved_hw=value_at(broker.hw, broker.up[1].start_us) or 0,
        epoch=leadership.epoch,
        old=broker.node,
        new=leadership.node,
    )


def panels(at: Moments) -> list[Panel]:
    """Return the four close-ups of the run."""
    crash, elected, back = (at.crash - 87_000, at.crash + 18_000), at.elected, at.restart
    return [
        Panel(crash, 3.0, "1. Crash"),
        Panel((crash[1], elected - 21_000), 1.7, "2. No leader"),
        Panel((elected - 21_000, elected + 119_000), 2.9, "3. Election, retries"),
        Panel((back - 25_000, at.rejoined + 35_000), 3.4, "4. Restart, truncation, catch-up"),
    ]
