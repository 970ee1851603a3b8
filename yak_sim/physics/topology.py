"""What a simulated cluster is made of: links, disks, limits; must never hold state or draw."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from yak_core.ids import Micros, NodeId
from yak_sim.physics.choices import NEVER, Ratio
from yak_sim.physics.kinds import StoreKind

STORE: Final = "store"
"""Name of the metadata store as an end of a link."""

BROKERS: Final = "brokers"
CLIENTS: Final = "clients"
EVERYONE: Final = "*"
"""Group names, which may stand for node ids in network faults."""


def seconds(value: float) -> Micros:
    """Simulated microseconds of ``value`` seconds."""
    return round(value * 1_000_000)


def millis(value: float) -> Micros:
    """Simulated microseconds of ``value`` milliseconds."""
    return round(value * 1_000)


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """How messages travel one way between two ends.

    A message takes ``delay_min_us`` and an exponential time of mean ``delay_mean_us`` on top, drawn
    a message. With ``fifo`` none arrives before one that was sent earlier, as on a connection;
    without it messages overtake each other. A duplicate is a second copy, which comes later, by 20
    mean delays in the mean, and out of order.
    """

    delay_min_us: Micros = 300
    delay_mean_us: Micros = 300
    loss: Ratio = NEVER
    duplicate: Ratio = NEVER
    fifo: bool = True


@dataclass(frozen=True, slots=True)
class DiskSpec:
    """How long disk operations take: a fixed part and the mean of an exponential one.

    Operations that write take place one after the other, in the order in which they were issued;
    reads do not queue.
    """

    append_us: Micros = 40
    append_mean_us: Micros = 0
    flush_us: Micros = 500
    flush_mean_us: Micros = 500
    save_us: Micros = 500
    save_mean_us: Micros = 500
    read_us: Micros = 0


@dataclass(frozen=True, slots=True)
class Topology:
    """The physical side of a cluster, and the replication settings that every broker is told.

    ``peer_lost`` tells brokers when a peer's process ends, as a broken connection would; otherwise
    they must find out by themselves. ``limits`` are fields of
    :class:`yak_core.config.BrokerConfig` by name, ``client_limits`` of ClientConfig.
    """

    brokers: tuple[NodeId, ...] = ("n1", "n2", "n3")
    peer_link: LinkSpec = LinkSpec()
    client_link: LinkSpec = LinkSpec()
    store_link: LinkSpec = LinkSpec(delay_min_us=200, delay_mean_us=200)
    disk: DiskSpec = DiskSpec()
    store: StoreKind = StoreKind.MODEL
    min_isr: int = 2
    flush: str = "batch"
    peer_lost: bool = False
    limits: tuple[tuple[str, int], ...] = field(default=())
    client_limits: tuple[tuple[str, int], ...] = field(default=())


def broker_ids(count: int) -> tuple[NodeId, ...]:
    """``n1`` to ``n<count>``. Raises ValueError unless there is one broker at least, nine at most.

    Nine, because ids are compared as text and the record keeps them in ascending order.
    """
    if not 1 <= count <= 9:
        raise ValueError(f"a simulated cluster has 1 to 9 brokers, not {count}")
    return tuple(f"n{number}" for number in range(1, count + 1))
