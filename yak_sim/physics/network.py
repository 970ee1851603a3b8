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

Inlet: TypeAlias = Callable[[str], Receive]
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
    """One message in flight; an old ``era`` means that its link was disconnected or reset."""

    callbacks: Callbacks | None
    payload: Payload
    cause: int
    era: int
    _ok: ClassVar = True


class Link:
    """The link from one end to another. ``sent``, ``lost`` and ``delivered`` count messages."""

    __slots__ = (
        "_again",
        "_callbacks",
        "_delay",
        "_duplicate",
        "_duplicates",
        "_era",
        "_extra_us",
        "_fifo",
        "_free_at",
        "_last_at",
        "_loss",
        "_loses",
        "_mean_us",
        "_min_us",
        "_now",
        "_plain",
        "_rate",
        "_receive",
        "_schedule",
        "_size_of",
        "_spec",
        "_stuck",
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
        self._loses = choices.at("net.loss", name).happens
        self._duplicates = choices.at("net.duplicate", name).happens
        self._again = choices.at("net.again", name).exponential
        self._min_us = spec.delay_min_us
        self._mean_us = spec.delay_mean_us
        self._era = 0
        self._last_at: Micros = 0
        self._free_at: Micros = 0
        self._stuck: list[_Flight] = []
        self.sent = 0
        self.lost = 0
        self.delivered = 0
        self.disconnected = False
        self.clogged = False
        self.suffer([])

    def suffer(self, faults: list[NetworkFault]) -> None:
        """Set the active faults of the link; faults not in the list end."""
        was_cut, was_clogged = self.disconnected, self.clogged
        self.disconnected = any(fault.kind == LinkFault.DISCONNECT for fault in faults)
        self.clogged = any(fault.kind == LinkFault.CLOG for fault in faults)
        self._extra_us = sum(fault.delay_us for fault in faults)
        rates = [fault.bytes_per_s for fault in faults if fault.bytes_per_s > 0]
        self._rate = min(rates) if rates else 0
        self._loss = max([self._spec.loss, *(fault.loss for fault in faults)], key=_fraction)
        self._duplicate = max(
            [self._spec.duplicate, *(fault.duplicate for fault in faults)], key=_fraction
        )
        self._plain = not (
            self.disconnected or self._loss[0] or self._duplicate[0] or self._extra_us or self._rate
        )
        if self.disconnected and not was_cut:
            self._era += 1
            self.lost += len(self._stuck)
            self._stuck = []
        if was_clogged and not self.clogged:
            stuck, self._stuck = self._stuck, []
            for flight in stuck:
                flight.callbacks = self._callbacks
                self._schedule(flight, NORMAL, 0)

    def send(self, payload: Payload, cause: int) -> None:
        """Send a message."""
        self.sent += 1
        if not self._plain and (self.disconnected or self._loses(self._loss)):
            self.lost += 1
            return
        delay = self._min_us + self._delay(self._mean_us)
        if not self._plain:
            delay += self._extra_us + self._queueing(payload)
        if self._fifo:
            now = self._now()
            at = now + delay
            if at < self._last_at:
                delay = self._last_at - now
            else:
                self._last_at = at
        self._schedule(_Flight(self._callbacks, payload, cause, self._era), NORMAL, delay)
        if not self._plain and self._duplicates(self._duplicate):
            delay += self._again(20 * (self._min_us + self._mean_us))
            self._schedule(_Flight(self._callbacks, payload, cause, self._era), NORMAL, delay)

    def reset(self) -> None:
        """Drop all messages in flight, like a broken connection."""
        self._era += 1
        self.lost += len(self._stuck)
        self._stuck = []

    def reconnect(self) -> None:
        """Reset the FIFO order: a new process has a new connection."""
        self._last_at = 0

    def _queueing(self, payload: Payload) -> Micros:
        """Return the extra delay of a message under a bandwidth limit, with its queueing time."""
        if not self._rate:
            return 0
        now = self._now()
        taken = self._size_of(payload) * 1_000_000 // self._rate
        self._free_at = max(now, self._free_at) + taken
        return self._free_at - now

    def _on_arrival(self, flight: _Flight) -> None:
        if flight.era != self._era:
            self.lost += 1
        elif self.clogged:
            self._stuck.append(flight)
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
        self._inlets: dict[str, Inlet] = {}
        self._groups: dict[str, str] = {}
        self._specs: dict[str, LinkSpec] = {}
        self._faults: list[NetworkFault] = []

    def join(self, name: str, group: str, spec: LinkSpec, inlet: Inlet) -> None:
        """Add an end. A link uses the spec of its end that is not a broker, if there is one."""
        assert name not in self._inlets, f"{name} joined twice"
        self._inlets[name] = inlet
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
        return name in self._inlets

    def link(self, src: str, dst: str) -> Link:
        """Return the link from ``src`` to ``dst``. Raise KeyError for an unknown end."""
        link = self._links.get((src, dst))
        if link is None:
            receive = self._inlets[dst](src)
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
            link.suffer(self._faults_on(link))
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
            link.suffer(self._faults_on(link))

    def _faults_on(self, link: Link) -> list[NetworkFault]:
        return [
            fault
            for fault in self._faults
            if self._leads(fault, link.src, link.dst)
            or (fault.two_way and self._leads(fault, link.dst, link.src))
        ]

    def _leads(self, fault: NetworkFault, src: str, dst: str) -> bool:
        return self._meets(src, fault.sources) and self._meets(dst, fault.targets)

    def _meets(self, name: str, pattern: tuple[str, ...]) -> bool:
        return name in pattern or EVERYONE in pattern or self._groups[name] in pattern


def _fraction(ratio: Ratio) -> float:
    return ratio[0] / ratio[1]
