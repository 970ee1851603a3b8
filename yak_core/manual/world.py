"""The manual world: a cluster in which the driver chooses each next event.

Golden scripts, the Hypothesis machine and the conformance suite use it. Messages, disk effects,
timers and metadata calls stay pending until the driver moves them. So the driver can produce every
order of events that the contract allows. Each node has its own clock, and the driver advances the
clocks independently, because safety must not depend on clocks. A move that is not possible raises
ManualError.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b
from typing import Final

from yak_core.contract.client_calls import ClientCall
from yak_core.contract.events import (
    Cancelled,
    MetaReply,
    NotSent,
    PeerLost,
    Received,
    Started,
    StopAsked,
    TimerFired,
)
from yak_core.contract.host import Host, Observer, Recorder
from yak_core.contract.messages import Request
from yak_core.contract.node import Build
from yak_core.fork import fork_of
from yak_core.ids import CallId, Micros, NodeId
from yak_core.manual.backend import (
    DRIVER,
    Config,
    Flight,
    ManualBackend,
    ManualError,
    MetaCall,
    Transit,
)
from yak_core.metadata.store_calls import Unknown
from yak_core.model.crash_point import CrashPoint
from yak_core.model.store import StoreModel

STORE: Final = "store"
"""Name of the metadata store as an end of a link."""

DISK: Final = "disk"
"""Name of a node's disk as an end of a link, for use in ``Manual.held``."""


class Manual:
    """Nodes, a metadata store, and the messages and calls between them.

    ``held`` are links, pairs of node ids, :data:`STORE` or :data:`DISK`, that
    :func:`yak_core.manual.run.settle` skips. Messages over a link in ``transit.disconnected`` are
    lost. ``wall_ms`` is the wall clock for client calls, in milliseconds.
    """

    __slots__ = (
        "nodes", "store", "transit", "held", "wall_ms", "backend_type", "recorder", "observers",
        "_driver_calls",
    )  # fmt: skip

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
        self._driver_calls: dict[int, tuple[NodeId, int, CallId]] = {}

    # Starts and crashes.

    def add(self, node_id: NodeId, config: Config, build: Build) -> None:
        """Add a node, not running, with an empty disk."""
        if node_id in self.nodes:
            raise ManualError(f"node {node_id} exists already")
        self.nodes[node_id] = self.backend_type(node_id, config, build, self.transit)

    def start(self, node_id: NodeId) -> None:
        """Start the node with the contents of its disk."""
        backend = self.backend(node_id)
        if backend.host is not None:
            raise ManualError(f"{node_id} is already running")
        backend.starts += 1
        backend.reason = ""
        backend.exited_clean = None
        build, start = backend.build, backend.starts
        backend.host = Host(node_id, start, build, backend, self.recorder, self.observers)
        recovered = backend.disk.recovered()
        backend.deliver(Started(node_id, backend.config, nonce_of(node_id, start), recovered))

    def crash(self, node_id: NodeId, keep_unsynced: int = 0) -> None:
        """Crash the node's machine: lose its memory and the batches that are not durable.

        The first ``keep_unsynced`` batches that are not durable are kept.
        """
        self.running(node_id).go_down("crash", keep_unsynced)

    def kill(self, node_id: NodeId) -> None:
        """Kill the node's process: lose its memory; the disk keeps all that was written."""
        self.running(node_id).go_down("kill")

    def crash_within(self, node_id: NodeId, effects: int, keep_unsynced: int = 0) -> None:
        """Crash the node after ``effects`` more effects, also in the middle of a step."""
        backend = self.running(node_id)
        assert backend.host is not None
        if backend.crash_point is not None:
            backend.crash_point.remove()
        backend.crash_point = CrashPoint(backend.host, effects)
        backend.crash_keep_unsynced = keep_unsynced

    def request_stop(self, node_id: NodeId, deadline_us: Micros) -> None:
        """Deliver StopAsked: the node shuts down cleanly within ``deadline_us``."""
        self.running(node_id).deliver(StopAsked(deadline_us))

    def host(self, node_id: NodeId) -> Host:
        """Return the host of a running node."""
        host = self.running(node_id).host
        assert host is not None
        return host

    def is_up(self, node_id: NodeId) -> bool:
        """Return whether the node is running."""
        return self.backend(node_id).host is not None

    # Messages.

    def deliver(self, number: int) -> None:
        """Deliver a message to its receiver; the message is lost if the receiver is down."""
        flight = self.flight(number)
        del self.transit.flights[number]
        backend = self.backend(flight.dst)
        if backend.host is None or flight.to_start not in (0, backend.starts):
            self.transit.lost += 1
            return
        message = flight.message
        if isinstance(message, Request):
            backend.call(message, flight.src, flight.src_start, self.wall_ms, flight.cause)
        else:
            backend.deliver(Received(flight.src, message), flight.cause)

    def drop(self, number: int) -> None:
        """Lose a message."""
        self.flight(number)
        del self.transit.flights[number]
        self.transit.lost += 1

    def not_sent(self, number: int) -> None:
        """Lose a request of a client node, and deliver NotSent: it has not left the client."""
        flight = self.flight(number)
        if not isinstance(flight.message, Request):
            raise ManualError(f"message {number} is not a client's request")
        self.drop(number)
        backend = self.backend(flight.src)
        if backend.host is not None and backend.starts == flight.src_start:
            backend.deliver(NotSent(flight.message.correlation), flight.cause)

    def duplicate(self, number: int) -> int:
        """Add a second copy of a message; return the number of the copy."""
        copy = replace(self.flight(number), number=self.transit.number())
        self.transit.flights[copy.number] = copy
        return copy.number

    def lose_connection(self, node_id: NodeId, peer: NodeId) -> None:
        """Deliver PeerLost: the connection of the node to a peer broke."""
        self.running(node_id).deliver(PeerLost(peer))

    # Client calls of the driver.

    def call(self, node_id: NodeId, request: Request | ClientCall) -> int:
        """Send a request to a node as a client; return a handle.

        The answer will be ``transit.answers[handle]``.
        """
        backend = self.running(node_id)
        handle = self.transit.number()
        call = CallId(backend.last_call + 1)
        self._driver_calls[handle] = (node_id, backend.starts, call)
        backend.call(request, DRIVER, handle, self.wall_ms)
        return handle

    def cancel(self, handle: int) -> None:
        """Cancel a call, as if its client had disconnected; no answer will be kept."""
        node_id, start, call = self._driver_calls[handle]
        backend = self.backend(node_id)
        if backend.host is None or backend.starts != start or call not in backend.callers:
            raise ManualError(f"call {handle} is not pending")
        backend.callers[call] = (DRIVER, 0)
        backend.deliver(Cancelled(call))

    # Time.

    def fire(self, node_id: NodeId, key: str) -> None:
        """Fire a timer; the node's clock advances to the timer's earliest time if it is earlier."""
        backend = self.running(node_id)
        timer = backend.timers.pop(key, None)
        if timer is None:
            raise ManualError(f"{node_id} has no timer {key!r}; it has {sorted(backend.timers)}")
        backend.clock = max(backend.clock, timer.lo_at)
        backend.deliver(TimerFired(key), timer.cause)

    # The disk.

    def disk_perform(self, node_id: NodeId, no_space: bool = False) -> None:
        """Perform the node's first pending disk effect, without reporting it to the node."""
        if not self.running(node_id).perform(no_space):
            raise ManualError(f"{node_id} has no pending disk effect")

    def disk_report(self, node_id: NodeId) -> None:
        """Report the result of the node's first disk effect, which must be performed."""
        if not self.running(node_id).report_disk():
            raise ManualError(f"{node_id} has no performed disk effect to report")

    def disk_complete(self, node_id: NodeId, no_space: bool = False) -> None:
        """Perform the node's first disk effect, unless it is performed, and report it."""
        if not self.running(node_id).report_disk():
            self.disk_perform(node_id, no_space)
            self.disk_report(node_id)

    def ship(self, node_id: NodeId) -> None:
        """Ship the node's oldest pending SendLog; only ``hold_reads`` makes them pending."""
        if not self.running(node_id).ship():
            raise ManualError(f"{node_id} has no pending SendLog")

    # The metadata store.

    def meta_execute(self, number: int) -> None:
        """Execute a call at the store; its reply is then pending."""
        call = self.pending_call(number)
        if call.outcome is not None:
            raise ManualError(f"metadata call {number} is already executed")
        self.transit.calls[number] = replace(call, outcome=self.store.apply(call.request))
        if not call.waiting:
            del self.transit.calls[number]

    def meta_reply(self, number: int) -> None:
        """Deliver the reply of an executed call."""
        call = self.pending_call(number)
        if call.outcome is None:
            raise ManualError(f"metadata call {number} is not executed yet")
        del self.transit.calls[number]
        self._deliver_reply(call, MetaReply(call.call, call.outcome))

    def meta_complete(self, number: int) -> None:
        """Execute a call, unless it is executed, and deliver its reply."""
        if self.pending_call(number).outcome is None:
            self.meta_execute(number)
        if number in self.transit.calls:
            self.meta_reply(number)

    def meta_unknown(self, number: int, lose_request: bool = False) -> None:
        """Let a call time out: deliver Unknown to the node.

        The request stays pending and may be executed later, unless ``lose_request`` is set.
        """
        call = self.pending_call(number)
        if not call.waiting:
            raise ManualError(f"metadata call {number} has timed out or is a copy; drop it instead")
        if call.outcome is not None or lose_request:
            del self.transit.calls[number]
        else:
            self.transit.calls[number] = replace(call, waiting=False)
        self._deliver_reply(call, MetaReply(call.call, Unknown()))

    def meta_drop(self, number: int) -> None:
        """Lose a request that has timed out or is a copy."""
        if self.pending_call(number).waiting:
            raise ManualError(f"a node waits for metadata call {number}; time it out instead")
        del self.transit.calls[number]

    def meta_repeat(self, number: int) -> int:
        """Add a second copy of a request, whose reply is dropped; return the number of the copy."""
        copy = replace(
            self.pending_call(number), number=self.transit.number(), outcome=None, waiting=False
        )
        self.transit.calls[copy.number] = copy
        return copy.number

    def _deliver_reply(self, call: MetaCall, reply: MetaReply) -> None:
        backend = self.backend(call.node)
        if backend.host is not None and backend.starts == call.start:
            backend.deliver(reply, call.cause)

    def fork(self) -> Manual:
        """Return an independent copy of the world, to try moves on.

        The copy shares only immutable values. It has neither recorder nor observers.
        """
        other = Manual(backend_type=self.backend_type)
        other.store = fork_of(self.store)
        other.transit = fork_of(self.transit)
        other.held = dict(self.held)
        other.wall_ms = self.wall_ms
        other._driver_calls = dict(self._driver_calls)
        for node_id, backend in self.nodes.items():
            copy = backend.fork(other.transit)
            other.nodes[node_id] = copy
            if backend.host is not None:
                copy.host = Host(node_id, backend.starts, backend.build, copy)
                copy.host.resume(backend.host.node.fork())
                if backend.crash_point is not None:
                    copy.crash_point = CrashPoint(copy.host, backend.crash_point.effects_left)
        return other

    def backend(self, node_id: NodeId) -> ManualBackend:
        if node_id not in self.nodes:
            raise ManualError(f"unknown node {node_id}; known nodes: {', '.join(self.nodes)}")
        return self.nodes[node_id]

    def running(self, node_id: NodeId) -> ManualBackend:
        backend = self.backend(node_id)
        if backend.host is None:
            raise ManualError(f"{node_id} is down")
        return backend

    def flight(self, number: int) -> Flight:
        if number not in self.transit.flights:
            raise ManualError(f"message {number} is not in flight")
        return self.transit.flights[number]

    def pending_call(self, number: int) -> MetaCall:
        if number not in self.transit.calls:
            raise ManualError(f"metadata call {number} is not pending")
        return self.transit.calls[number]


def nonce_of(node_id: NodeId, start: int) -> int:
    """Return the nonce of a start: 128 bits, the BLAKE2b hash of node id and start number."""
    name = f"{node_id}.{start}".encode()
    return int.from_bytes(blake2b(name, digest_size=16).digest(), "big")
