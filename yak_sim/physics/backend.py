"""The backend of a simulated node: executes the effects of one process.

See docs/contract.md. The backend does not call the node. The result of an effect returns through
the agenda, so the host delivers it after the current step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Final, Protocol, TypeAlias

from yak_core.batch import Batch
from yak_core.config import BrokerConfig, ClientConfig
from yak_core.contract.client_calls import ClientCall, ClientResult
from yak_core.contract.effects import (
    Answer,
    AnswerLog,
    AppendLog,
    CallMeta,
    CancelTimer,
    Exit,
    FlushLog,
    Halt,
    Observe,
    SaveState,
    Send,
    SendLog,
    SetTimer,
    TruncateLog,
)
from yak_core.contract.events import (
    Called,
    DiskDone,
    DiskResult,
    Event,
    MetaReply,
    NotShipped,
    Received,
    Shipped,
)
from yak_core.contract.host import Host
from yak_core.contract.messages import Request, Response, sealed, with_batches, with_records
from yak_core.ids import CallId, Micros, NodeId
from yak_core.metadata.store_calls import MetaOutcome, Unknown
from yak_sim.physics.clock import NORMAL, Callbacks, Timers
from yak_sim.physics.disk import SimDisk
from yak_sim.physics.kinds import ProcessEnd
from yak_sim.physics.machine_shared import MachineShared
from yak_sim.physics.network import Link
from yak_sim.physics.requests import ClientRequest
from yak_sim.physics.store import StoreCall
from yak_sim.physics.topology import BROKERS, STORE

OnAnswer: TypeAlias = Callable[[Response | ClientResult, int], None]
"""Receives the answer to a call and the number of the step that returned it."""

_NOT_SHIPPED: Final = NotShipped()

STORE_TIMEOUT_US: Final = 500_000
"""Timeout of a metadata call for nodes whose configuration has none."""


@dataclass(slots=True, eq=False)
class _Read:
    """A SendLog in flight; its batches were read when the node issued it."""

    callbacks: Callbacks | None
    order: SendLog
    batches: tuple[Batch, ...]
    cause: int
    _ok: ClassVar = True


class BackendMachine(Protocol):
    """The interface of the machine to its backend."""

    node_id: NodeId
    group: str
    config: BrokerConfig | ClientConfig
    shared: MachineShared
    disk: SimDisk

    @property
    def paused(self) -> bool: ...
    def deliver(self, event: Event, cause: int) -> None: ...
    def queue_if_paused(self, action: Callable[[], None]) -> bool: ...
    def on_process_end(self, how: ProcessEnd, reason: str) -> None: ...


class SimBackend:
    """The backend of one process of a node.

    The machine sets ``host`` after the construction, because the host needs its backend first.
    """

    __slots__ = (
        "_call_handlers",
        "_last_call",
        "_is_broker",
        "_links",
        "_machine",
        "_read_us",
        "_reads",
        "_store_timeout_us",
        "_store_calls",
        "host",
        "node_id",
        "now",
        "timers",
    )

    host: Host
    now: Callable[[], Micros]

    def __init__(self, machine: BackendMachine) -> None:
        shared = machine.shared
        self._machine = machine
        self.node_id: NodeId = machine.node_id
        self.now = shared.clock.now
        self._is_broker = machine.group == BROKERS
        self._links: dict[NodeId, Link] = {}
        self._reads: Callbacks = (self._on_read,)
        self._read_us = shared.topology.disk.read_us
        self._call_handlers: dict[CallId, OnAnswer] = {}
        self._last_call = 0
        self._store_calls: dict[CallId, int] = {}
        config = machine.config
        self._store_timeout_us = (
            config.store_timeout_us if isinstance(config, BrokerConfig) else STORE_TIMEOUT_US
        )
        point = shared.choices.at("timer", self.node_id)
        self.timers = Timers(shared.clock, point, machine.deliver, machine.queue_if_paused)

    # Effects of the node: one method per kind of effect.

    def send(self, effect: Send) -> None:
        """Send a message on its link. A message to an unknown node is lost."""
        link = self._links.get(effect.dst) or self._link_to(effect.dst)
        if link is None:
            return
        message = effect.message
        # A broker sends to peers and a client to brokers, so a client's message is a request.
        payload = (
            Received(self.node_id, message)  # type: ignore[arg-type]
            if self._is_broker
            else ClientRequest(sealed(message), self.host.start)  # type: ignore[arg-type]
        )
        link.send(payload, self.host.step_number)

    def set_timer(self, effect: SetTimer) -> None:
        """Set or replace a timer."""
        self.timers.set(effect.key, effect.lo_us, effect.hi_us, self.host.step_number)

    def cancel_timer(self, effect: CancelTimer) -> None:
        """Cancel a timer."""
        self.timers.cancel(effect.key)

    def append_log(self, effect: AppendLog) -> None:
        """Issue an append."""
        self._machine.disk.append(effect, self.host.step_number)

    def flush_log(self, effect: FlushLog) -> None:
        """Issue a flush."""
        self._machine.disk.flush(effect, self.host.step_number)

    def truncate_log(self, effect: TruncateLog) -> None:
        """Issue a truncation."""
        self._machine.disk.truncate(effect, self.host.step_number)

    def save_state(self, effect: SaveState) -> None:
        """Issue a write of a named value."""
        self._machine.disk.save(effect, self.host.step_number)

    def send_log(self, effect: SendLog) -> None:
        """Read batches now, and send them after the read latency of the disk."""
        machine = self._machine
        disk = machine.disk
        disk.generation = max(disk.generation, effect.generation)
        batches = disk.read(effect.start, effect.end_max, effect.bytes_max)
        read = _Read(self._reads, effect, batches, self.host.step_number)
        machine.shared.clock.schedule(read, NORMAL, self._read_us)

    def answer_log(self, effect: AnswerLog) -> None:
        """Answer a call with batches of the log, read now."""
        batches = self._machine.disk.read(effect.start, effect.end_max, effect.bytes_max)
        self._reply(effect.call, with_records(effect.header, batches))

    def call_meta(self, effect: CallMeta) -> None:
        """Send a call to the store. After the timeout the node receives Unknown."""
        shared = self._machine.shared
        call = effect.call
        assert call not in self._store_calls, f"call id {call} is already in use"
        cause = self.host.step_number
        self._store_calls[call] = cause
        link = self._links.get(STORE) or self._link_to(STORE)
        if link is not None:
            link.send(StoreCall(self, call, effect.request), cause)
        shared.clock.after(self._store_timeout_us, partial(self._on_timeout, call))

    def answer(self, effect: Answer) -> None:
        """Answer a call."""
        self._reply(effect.call, effect.result)

    def observe(self, effect: Observe) -> None:
        """Pass a note to the listener."""
        self._machine.shared.listener.on_note(self.node_id, effect.note)

    def halt(self, effect: Halt) -> None:
        """End the process after a halt."""
        self._machine.on_process_end(ProcessEnd.HALT, effect.reason)

    def exit(self, effect: Exit) -> None:
        """End the process after a requested stop."""
        self._machine.on_process_end(ProcessEnd.EXIT, "clean" if effect.clean else "not clean")

    # Events from the world.

    def ask(self, request: Request | ClientCall, on_answer: OnAnswer, cause: int) -> CallId:
        """Deliver a call with a new call id of this process, and return the id."""
        self._last_call += 1
        call = CallId(self._last_call)
        self._call_handlers[call] = on_answer
        machine = self._machine
        machine.deliver(Called(call, request, machine.shared.clock.wall_ms()), cause)
        return call

    def on_outcome(self, call: CallId, outcome: MetaOutcome, cause: int) -> None:
        """Deliver the answer of the store, unless the call has timed out as Unknown."""
        if self.host.alive and self._store_calls.pop(call, None) is not None:
            self._machine.deliver(MetaReply(call, outcome), cause)

    def _on_timeout(self, call: CallId) -> None:
        cause = self._store_calls.pop(call, None)
        if cause is not None and self.host.alive:
            self._machine.deliver(MetaReply(call, Unknown()), cause)

    def _on_read(self, read: _Read) -> None:
        machine = self._machine
        if not self.host.alive:
            return
        if machine.paused:
            machine.queue_if_paused(partial(self._on_read, read))
            return
        order = read.order
        batches = read.batches
        result: DiskResult = _NOT_SHIPPED
        link = self._links.get(order.peer) or self._link_to(order.peer)
        if link is not None and batches and order.generation == machine.disk.generation:
            link.send(Received(self.node_id, with_batches(order.header, batches)), read.cause)
            size = 0
            for batch in batches:
                size += batch.size
            result = Shipped(batches[-1].end, size)
        machine.deliver(DiskDone(order.op, order.generation, result), read.cause)

    def _reply(self, call: CallId, result: Response | ClientResult) -> None:
        on_answer = self._call_handlers.pop(call, None)
        assert on_answer is not None, f"{self.node_id} answered call {call}, which is not pending"
        on_answer(result, self.host.step_number)

    def _link_to(self, dst: str) -> Link | None:
        network = self._machine.shared.network
        if not network.knows(dst):
            return None
        link = self._links[dst] = network.link(self.node_id, dst)
        return link
