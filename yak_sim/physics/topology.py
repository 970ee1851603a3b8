"""The configuration of a simulated cluster: links, disks, limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from yak_core.ids import Micros, NodeId
from yak_sim.physics.choices import NEVER, Ratio
from yak_sim.physics.kinds import StoreKind

STORE: Final = "store"
"""The name of the metadata store as an end of a link."""

BROKERS: Final = "brokers"
CLIENTS: Final = "clients"
EVERYONE: Final = "*"
"""Group names, valid in place of node ids in network faults."""


def seconds(value: float) -> Micros:
    """Return ``value`` seconds in simulated microseconds."""
    return round(value * 1_000_000)


def millis(value: float) -> Micros:
    """Return ``value`` milliseconds in simulated microseconds."""
    return round(value * 1_000)


def check_micros(name: str, value: object) -> Micros:
    """Return ``value`` if it is a duration: whole microseconds, 0 or more.

    Raise TypeError for a float, which is most likely a number of seconds, and ValueError for a
    negative number.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(
            f"{name} must be whole microseconds, got {value!r}"
            "; write seconds(0.5) or millis(20)"
        )
    if value < 0:
        raise ValueError(f"{name} must not be negative, got {value}")
    return value


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """The properties of a link in one direction.

    The delay of a message is ``delay_min_us`` plus an exponential time with mean ``delay_mean_us``,
    drawn for each message. With ``fifo``, messages arrive in send order, as on a TCP connection.
    Without it, a message can overtake another. A duplicate is a second copy that arrives later and
    out of order, on average by 20 mean delays.
    """

    delay_min_us: Micros = 300
    delay_mean_us: Micros = 300
    loss: Ratio = NEVER
    duplicate: Ratio = NEVER
    fifo: bool = True


@dataclass(frozen=True, slots=True)
class DiskSpec:
    """The latencies of disk operations: a fixed part, and the mean of an exponential part.

    Write operations run one after the other, in issue order. Reads do not wait for writes.
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
    """The physical configuration of a cluster, and the replication settings of its brokers.

    With ``peer_lost``, brokers receive PeerLost when the process of a peer ends, as from a broken
    connection. Without it, only timeouts detect the failure. ``limits`` are fields of
    :class:`yak_core.config.BrokerConfig` by name, ``client_limits`` fields of ClientConfig.
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
    """Return the ids ``n1`` to ``n<count>``. Raise ValueError unless 1 <= count <= 9.

    The limit is 9, because ids are compared as text, and the partition state keeps them in order.
    """
    if not 1 <= count <= 9:
        raise ValueError(f"brokers must be between 1 and 9, got {count}")
    return tuple(f"n{number}" for number in range(1, count + 1))
