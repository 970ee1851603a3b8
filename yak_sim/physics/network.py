"""The simulated network: one link for each direction between two ends.

A link delays, drops, duplicates and reorders messages, as its :class:`LinkSpec` and the active
network faults say. A disconnected link drops all messages, including those in flight when the fault
begins, like a broken connection. A clogged link holds all messages until the fault ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from yak_core.ids import Micros, NodeId
from yak_sim.physics.choices import NEVER, Choices, Ratio
from yak_sim.physics.clock import NORMAL, Callbacks, Clock
from yak_sim.physics.kinds import LinkFault
from yak_sim.physics.topology import BROKERS, EVERYONE, STORE, LinkSpec

Payload: TypeAlias = object

Receive: TypeAlias = Callable[[Payload, int], None]
"""Receives a payload and the number of the step that sent it."""

ReceiverFor: TypeAlias = Callable[[str], Receive]
"""Returns the receiver of the messages from a given end."""


@dataclass(frozen=True, slots=True, eq=False)
class NetworkFault:
    """A fault on the links from ``sources`` to ``targets`` (node ids, ``store``, groups).

    ``two_way`` includes the links in the other direction. Several faults on one link are combined.
    """

    kind: LinkFault
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    two_way: bool = False
    delay_us: Micros = 0
    bytes_per_s: int = 0
    loss: Ratio = NEVER
    duplicate: Ratio = NEVER


@dataclass(slots=True, eq=False)
class _Flight:
    """One message in flight. It is lost if its ``connection`` is no longer that of the link."""

    callbacks: Callbacks | None
    payload: Payload
    cause: int
    connection: int
    _ok: ClassVar = True


class Link:
    """The link from one end to another. ``sent``, ``lost`` and ``delivered`` count messages."""

    __slots__ = (
        "_duplicate_delay",
        "_callbacks",
        "_delay",
        "_duplicate_ratio",
        "_is_duplicated",
        "_connection",
        "_extra_us",
        "_fifo",
        "_free_at",
        "_last_at",
        "_loss_ratio",
        "_is_lost",
        "_mean_us",
        "_min_us",
        "_now",
        "_no_faults",
        "_rate",
        "_receive",
        "_schedule",
        "_size_of",
        "_spec",
        "_queued",
        "clogged",
        "disconnected",
        "delivered",
        "dst",
        "lost",
        "sent",
        "src",
    )

    def __init__(
        self,
        clock: Clock,
        src: str,
        dst: str,
        spec: LinkSpec,
        choices: Choices,
        receive: Receive,
        size_of: Callable[[Payload], int],
    ) -> None:
        name = f"{src}>{dst}"
        self.src = src
        self.dst = dst
        self._now = clock.now
        self._schedule = clock.schedule
        self._spec = spec
        self._fifo = spec.fifo
        self._receive = receive
        self._size_of = size_of
        self._callbacks: Callbacks = (self._on_arrival,)
        self._delay = choices.at("net.delay", name).exponential
        self._is_lost = choices.at("net.loss", name).happens
        self._is_duplicated = choices.at("net.duplicate", name).happens
        self._duplicate_delay = choices.at("net.again", name).exponential
        self._min_us = spec.delay_min_us
        self._mean_us = spec.delay_mean_us
        self._connection = 0
        self._last_at: Micros = 0
        self._free_at: Micros = 0
        self._queued: list[_Flight] = []
        self.sent = 0
        self.lost = 0
        self.delivered = 0
        self.disconnected = False
        self.clogged = False
        self.set_faults([])

    def set_faults(self, faults: list[NetworkFault]) -> None:
        """Set the active faults of the link; faults not in the list end."""
        was_disconnected, was_clogged = self.disconnected, self.clogged
        self.disconnected = any(fault.kind == LinkFault.DISCONNECT for fault in faults)
        self.clogged = any(fault.kind == LinkFault.CLOG for fault in faults)
        self._extra_us = sum(fault.delay_us for fault in faults)
        rates = [fault.bytes_per_s for fault in faults if fault.bytes_per_s > 0]
        self._rate = min(rates) if rates else 0
        self._loss_ratio = max([self._spec.loss, *(fault.loss for fault in faults)], key=_fraction)
        self._duplicate_ratio = max(
            [self._spec.duplicate, *(fault.duplicate for fault in faults)], key=_fraction
        )
        random = self._loss_ratio[0] or self._duplicate_ratio[0]
        self._no_faults = not (self.disconnected or random or self._extra_us or self._rate)
        if self.disconnected and not was_disconnected:
            self._connection += 1
            self.lost += len(self._queued)
            self._queued = []
        if was_clogged and not self.clogged:
            queued, self._queued = self._queued, []
            for flight in queued:
                flight.callbacks = self._callbacks
                self._schedule(flight, NORMAL, 0)

    def send(self, payload: Payload, cause: int) -> None:
        """Send a message."""
        self.sent += 1
        if not self._no_faults and (self.disconnected or self._is_lost(self._loss_ratio)):
            self.lost += 1
            return
        delay = self._min_us + self._delay(self._mean_us)
        if not self._no_faults:
            delay += self._extra_us + self._transfer_delay(payload)
        if self._fifo:
            now = self._now()
            at = now + delay
            if at < self._last_at:
                delay = self._last_at - now
            else:
                self._last_at = at
        flight = _Flight(self._callbacks, payload, cause, self._connection)
        self._schedule(flight, NORMAL, delay)
        if not self._no_faults and self._is_duplicated(self._duplicate_ratio):
            delay += self._duplicate_delay(20 * (self._min_us + self._mean_us))
            flight = _Flight(self._callbacks, payload, cause, self._connection)
            self._schedule(flight, NORMAL, delay)

    def reset(self) -> None:
        """Drop all messages in flight, like a broken connection."""
        self._connection += 1
        self.lost += len(self._queued)
        self._queued = []

    def reconnect(self) -> None:
        """Reset the FIFO order: a new process has a new connection."""
        self._last_at = 0

    def _transfer_delay(self, payload: Payload) -> Micros:
        """Return the extra delay of a message under a bandwidth limit, with its queueing time."""
        if not self._rate:
            return 0
        now = self._now()
        transfer_us = self._size_of(payload) * 1_000_000 // self._rate
        self._free_at = max(now, self._free_at) + transfer_us
        return self._free_at - now

    def _on_arrival(self, flight: _Flight) -> None:
        if flight.connection != self._connection:
            self.lost += 1
        elif self.clogged:
            self._queued.append(flight)
        else:
            self.delivered += 1
            self._receive(flight.payload, flight.cause)


class Network:
    """All links of a world, created at first use, and the active faults.

    ``size_of`` returns the bytes of a payload; it is called only under a bandwidth limit.
    """

    def __init__(self, clock: Clock, choices: Choices, size_of: Callable[[Payload], int]) -> None:
        self._clock = clock
        self._choices = choices
        self._size_of = size_of
        self._links: dict[tuple[str, str], Link] = {}
        self._receivers: dict[str, ReceiverFor] = {}
        self._groups: dict[str, str] = {}
        self._specs: dict[str, LinkSpec] = {}
        self._faults: list[NetworkFault] = []

    def join(self, name: str, group: str, spec: LinkSpec, receiver_for: ReceiverFor) -> None:
        """Add an end. A link uses the spec of its end that is not a broker, if there is one."""
        assert name not in self._receivers, f"{name} joined twice"
        self._receivers[name] = receiver_for
        self._groups[name] = group
        self._specs[name] = spec

    def reconnect(self, name: str) -> None:
        """Reset the FIFO order of the links of an end, because it has a new process."""
        for (src, dst), link in self._links.items():
            if name in (src, dst):
                link.reconnect()

    def is_in(self, name: str, group: str) -> bool:
        """Return whether this end belongs to the group."""
        return self._groups[name] == group

    def knows(self, name: str) -> bool:
        """Return whether this end exists."""
        return name in self._receivers

    def link(self, src: str, dst: str) -> Link:
        """Return the link from ``src`` to ``dst``. Raise KeyError for an unknown end."""
        link = self._links.get((src, dst))
        if link is None:
            receive = self._receivers[dst](src)
            link = Link(
                self._clock,
                src,
                dst,
                self._spec_between(src, dst),
                self._choices,
                receive,
                self._size_of,
            )
            self._links[src, dst] = link
            link.set_faults(self._faults_on(link))
        return link

    def add(self, fault: NetworkFault) -> None:
        """Begin a fault, on existing and future links."""
        self._faults.append(fault)
        self._refresh()

    def remove(self, fault: NetworkFault) -> bool:
        """End a fault. Return False if it has already ended."""
        if fault not in self._faults:
            return False
        self._faults.remove(fault)
        self._refresh()
        return True

    def faults(self) -> tuple[NetworkFault, ...]:
        """Return the active faults, oldest first."""
        return tuple(self._faults)

    def reset(self, one: NodeId, other: NodeId) -> None:
        """Reset the connection of two ends: drop the messages in flight in both directions."""
        for pair in ((one, other), (other, one)):
            if pair in self._links:
                self._links[pair].reset()

    def counts(self) -> tuple[int, int, int]:
        """Return the messages (sent, lost, delivered) between nodes, without store calls."""
        links = [link for link in self._links.values() if STORE not in (link.src, link.dst)]
        return (
            sum(link.sent for link in links),
            sum(link.lost for link in links),
            sum(link.delivered for link in links),
        )

    def _spec_between(self, src: str, dst: str) -> LinkSpec:
        return self._specs[src] if self._groups[dst] == BROKERS else self._specs[dst]

    def _refresh(self) -> None:
        for link in self._links.values():
            link.set_faults(self._faults_on(link))

    def _faults_on(self, link: Link) -> list[NetworkFault]:
        return [
            fault
            for fault in self._faults
            if self._affects(fault, link.src, link.dst)
            or (fault.two_way and self._affects(fault, link.dst, link.src))
        ]

    def _affects(self, fault: NetworkFault, src: str, dst: str) -> bool:
        return self._matches(src, fault.sources) and self._matches(dst, fault.targets)

    def _matches(self, name: str, pattern: tuple[str, ...]) -> bool:
        return name in pattern or EVERYONE in pattern or self._groups[name] in pattern


def _fraction(ratio: Ratio) -> float:
    return ratio[0] / ratio[1]
