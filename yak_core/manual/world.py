"""The world by hand: everything waits in plain sight until it is moved; must never move by itself.

Golden scripts, the Hypothesis machine and the conformance suite use it. Messages wait on the wire,
disk orders in each disk's queue, timers at their node, metadata calls on their way to the store and
back. Whoever drives the world picks what happens next, so every order of events that the contract
allows can be made. Each node has a clock of its own, and clocks drift as the driver likes: the one
thing that no clock may decide is safety. A move that is not there to be made is a ManualError.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b
from typing import Final

from yak_core.contract.client_calls import ClientCall
from yak_core.contract.events import (
    Cancelled,
    MetaReply,
    PeerLost,
    Received,
    Started,
    StopAsked,
    TimerFired,
)
from yak_core.contract.host import Host, Observer, Recorder
from yak_core.contract.messages import (
    DescribeRequest,
    FetchRequest,
    ListOffsetsRequest,
    ProduceRequest,
    Request,
)
from yak_core.contract.node import Build
from yak_core.fork import fork_of
from yak_core.ids import CallId, Micros, NodeId
from yak_core.manual.backend import (
    NOBODY,
    Config,
    Flight,
    ManualBackend,
    ManualError,
    MetaCall,
    Transit,
)
from yak_core.metadata.store_calls import Unknown
from yak_core.model.fuse import Fuse
from yak_core.model.store import StoreModel

STORE: Final = "store"
"""The metadata store's name as an end of a link."""

DISK: Final = "disk"
"""The disk's name as an end of a link, for holding it."""


class Manual:
    """Nodes, a metadata store and what is between them.

    ``held`` are links, pairs of node ids, :data:`STORE` or :data:`DISK`, that
    :func:`yak_core.manual.run.settle` leaves alone. What is sent over a link in
    ``transit.disconnected`` is lost. ``wall_ms`` is the wall clock that client calls are stamped
    with.
    """

    __slots__ = (
        "nodes",
        "store",
        "transit",
        "held",
        "wall_ms",
        "backend_type",
        "recorder",
        "observers",
        "_asked",
    )

    def __init__(
        self,
        recorder: Recorder | None = None,
        observers: tuple[Observer, ...] = (),
        backend_type: type[ManualBackend] = ManualBackend,
    ) -> None:
        self.nodes: dict[NodeId, ManualBackend] = {}
        self.store = StoreModel()
        self.transit = Transit()
        self.held: dict[tuple[NodeId, NodeId], None] = {}
        self.wall_ms = 0
        self.backend_type = backend_type
        self.recorder = recorder
        self.observers = observers
        self._asked: dict[int, tuple[NodeId, int, CallId]] = {}

    # Lives.

    def add(self, node_id: NodeId, config: Config, build: Build) -> None:
        """Make a place for a node, down, with an empty disk."""
        if node_id in self.nodes:
            raise ManualError(f"{node_id} is there already")
        self.nodes[node_id] = self.backend_type(node_id, config, build, self.transit)

    def start(self, node_id: NodeId) -> None:
        """Begin a new incarnation with what the disk holds, and nothing else."""
        place = self.place(node_id)
        if place.host is not None:
            raise ManualError(f"{node_id} is up already")
        place.starts += 1
        place.reason = ""
        place.exited_clean = None
        place.host = Host(node_id, place.starts, place.build, place, self.recorder, self.observers)
        recovered = place.disk.image.recovered()
        place.deliver(Started(node_id, place.config, nonce_of(node_id, place.starts), recovered))

    def crash(self, node_id: NodeId, keep_unsynced: int = 0) -> None:
        """Lose the node's memory, and what it has not flushed but its first batches."""
        self.up(node_id).go_down("crash", keep_unsynced)

    def crash_within(self, node_id: NodeId, effects: int, keep_unsynced: int = 0) -> None:
        """Crash the node once it has carried out so many more effects, be it within a step."""
        place = self.up(node_id)
        assert place.host is not None
        if place.fuse is not None:
            place.fuse.put_out()
        place.fuse = Fuse(place.host, effects)
        place.fuse_keep = keep_unsynced

    def ask_stop(self, node_id: NodeId, deadline_us: Micros) -> None:
        """Ask the node to stop in good order."""
        self.up(node_id).deliver(StopAsked(deadline_us))

    def host(self, node_id: NodeId) -> Host:
        """The host of a running node."""
        host = self.up(node_id).host
        assert host is not None
        return host

    def is_up(self, node_id: NodeId) -> bool:
        """Whether the node has an incarnation running."""
        return self.place(node_id).host is not None

    # The wire.

    def deliver(self, number: int) -> None:
        """Take a message off the wire and give it to its receiver; lost if that is down."""
        flight = self.flight(number)
        del self.transit.flights[number]
        place = self.place(flight.dst)
        if place.host is None or flight.to_start not in (0, place.starts):
            self.transit.lost += 1
            return
        what = flight.message
        if isinstance(what, ProduceRequest | FetchRequest | ListOffsetsRequest | DescribeRequest):
            place.ask(what, flight.src, flight.src_start, self.wall_ms, flight.cause)
        else:
            place.deliver(Received(flight.src, what), flight.cause)

    def drop(self, number: int) -> None:
        """Lose a message."""
        self.flight(number)
        del self.transit.flights[number]
        self.transit.lost += 1

    def duplicate(self, number: int) -> int:
        """Put a second copy of a message on the wire; the copy's number."""
        copy = replace(self.flight(number), number=self.transit.number())
        self.transit.flights[copy.number] = copy
        return copy.number

    def lose_link(self, node_id: NodeId, peer: NodeId) -> None:
        """Tell a node that its link to a peer broke."""
        self.up(node_id).deliver(PeerLost(peer))

    # Clients' calls by hand.

    def call(self, node_id: NodeId, request: Request | ClientCall) -> int:
        """Ask a node in a client's place; the answer will be ``transit.answers[handle]``."""
        place = self.up(node_id)
        handle = self.transit.number()
        call = CallId(place.next_call + 1)
        self._asked[handle] = (node_id, place.starts, call)
        place.ask(request, NOBODY, handle, self.wall_ms)
        return handle

    def cancel(self, handle: int) -> None:
        """The caller goes away; no answer will be kept."""
        node_id, start, call = self._asked[handle]
        place = self.place(node_id)
        if place.host is None or place.starts != start or call not in place.callers:
            raise ManualError(f"call {handle} is not waiting")
        place.callers[call] = (NOBODY, 0)
        place.deliver(Cancelled(call))

    # Time.

    def fire(self, node_id: NodeId, key: str) -> None:
        """Fire a timer; the node's clock moves to the timer's earliest instant if it is before."""
        place = self.up(node_id)
        timer = place.timers.pop(key, None)
        if timer is None:
            raise ManualError(f"{node_id} has no timer {key!r}; it has {sorted(place.timers)}")
        place.clock = max(place.clock, timer.lo_at)
        place.deliver(TimerFired(key), timer.cause)

    # The disk.

    def disk_perform(self, node_id: NodeId, no_space: bool = False) -> None:
        """Carry out the node's first waiting disk order, without telling the node."""
        if not self.up(node_id).perform(no_space):
            raise ManualError(f"{node_id} has no disk order waiting")

    def disk_report(self, node_id: NodeId) -> None:
        """Tell the node of its first disk order, which was performed."""
        if not self.up(node_id).report():
            raise ManualError(f"{node_id} has no performed disk order waiting")

    def disk_complete(self, node_id: NodeId, no_space: bool = False) -> None:
        """Carry out the node's first disk order and tell the node."""
        if not self.up(node_id).report():
            self.disk_perform(node_id, no_space)
            self.disk_report(node_id)

    def ship(self, node_id: NodeId) -> None:
        """Send the node's oldest waiting SendLog; they wait only if ``hold_reads`` is set."""
        if not self.up(node_id).ship():
            raise ManualError(f"{node_id} has no SendLog waiting")

    # The metadata store.

    def meta_execute(self, number: int) -> None:
        """Let a call reach the store and happen; its reply is then on its way back."""
        call = self.pending_call(number)
        if call.outcome is not None:
            raise ManualError(f"metadata call {number} has happened already")
        self.transit.calls[number] = replace(call, outcome=self.store.apply(call.request))
        if not call.waiting:
            del self.transit.calls[number]

    def meta_reply(self, number: int) -> None:
        """Deliver the reply of a call that has happened."""
        call = self.pending_call(number)
        if call.outcome is None:
            raise ManualError(f"metadata call {number} has not happened")
        del self.transit.calls[number]
        self._tell(call, MetaReply(call.call, call.outcome))

    def meta_complete(self, number: int) -> None:
        """Let a call happen, unless it has, and deliver its reply."""
        if self.pending_call(number).outcome is None:
            self.meta_execute(number)
        if number in self.transit.calls:
            self.meta_reply(number)

    def meta_unknown(self, number: int, lose_request: bool = False) -> None:
        """Time a call out: the node is told Unknown. The request may still happen, unless lost."""
        call = self.pending_call(number)
        if not call.waiting:
            raise ManualError(f"nobody waits for metadata call {number}")
        if call.outcome is not None or lose_request:
            del self.transit.calls[number]
        else:
            self.transit.calls[number] = replace(call, waiting=False)
        self._tell(call, MetaReply(call.call, Unknown()))

    def meta_drop(self, number: int) -> None:
        """Lose a request for which nobody waits."""
        if self.pending_call(number).waiting:
            raise ManualError(f"metadata call {number} is waited for; time it out instead")
        del self.transit.calls[number]

    def meta_repeat(self, number: int) -> int:
        """Put a second copy of a request on its way, for whose reply nobody waits; its number."""
        copy = replace(
            self.pending_call(number), number=self.transit.number(), outcome=None, waiting=False
        )
        self.transit.calls[copy.number] = copy
        return copy.number

    def _tell(self, call: MetaCall, reply: MetaReply) -> None:
        place = self.place(call.node)
        if place.host is not None and place.starts == call.start:
            place.deliver(reply, call.cause)

    def fork(self) -> Manual:
        """A copy that shares only immutable values, for trying out what would happen.

        It has neither recorder nor observers.
        """
        other = Manual(backend_type=self.backend_type)
        other.store = fork_of(self.store)
        other.transit = fork_of(self.transit)
        other.held = dict(self.held)
        other.wall_ms = self.wall_ms
        other._asked = dict(self._asked)
        for node_id, place in self.nodes.items():
            copy = place.fork(other.transit)
            other.nodes[node_id] = copy
            if place.host is not None:
                copy.host = Host(node_id, place.starts, place.build, copy)
                copy.host.resume(place.host.node.fork())
                if place.fuse is not None:
                    copy.fuse = Fuse(copy.host, place.fuse.left)
        return other

    def place(self, node_id: NodeId) -> ManualBackend:
        if node_id not in self.nodes:
            raise ManualError(f"there is no node {node_id}; there are {', '.join(self.nodes)}")
        return self.nodes[node_id]

    def up(self, node_id: NodeId) -> ManualBackend:
        place = self.place(node_id)
        if place.host is None:
            raise ManualError(f"{node_id} is down")
        return place

    def flight(self, number: int) -> Flight:
        if number not in self.transit.flights:
            raise ManualError(f"message {number} is not on the wire")
        return self.transit.flights[number]

    def pending_call(self, number: int) -> MetaCall:
        if number not in self.transit.calls:
            raise ManualError(f"there is no metadata call {number} on its way")
        return self.transit.calls[number]


def nonce_of(node_id: NodeId, start: int) -> int:
    """128 bits that no other (node, start) has, spread as random ones are, and always the same."""
    name = f"{node_id}.{start}".encode()
    return int.from_bytes(blake2b(name, digest_size=16).digest(), "big")
