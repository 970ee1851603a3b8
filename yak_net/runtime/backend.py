"""The backend that runs a broker node on asyncio, the disk, the network and the metadata store.

It implements the Backend of docs/contract.md. One backend serves one incarnation, on the thread of
the event loop. Some effects complete at once, such as a read from memory or a message to a link.
The backend then delivers the result at once, and the host queues it until the current step ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import StrEnum
from typing import Final, Protocol, TypeAlias

from yak_core.batch import Batch
from yak_core.contract.client_calls import ClientResult
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
    Cancelled,
    DiskDone,
    DiskResult,
    Event,
    MetaReply,
    NotShipped,
    PeerLost,
    Received,
    Shipped,
    TimerFired,
)
from yak_core.contract.host import Host
from yak_core.contract.messages import (
    PeerMessage,
    Request,
    Response,
    with_batches,
    with_records,
)
from yak_core.contract.notes import Note
from yak_core.ids import CallId, LogGeneration, NodeId, OpId
from yak_core.metadata.store_calls import MetaOutcome, MetaRequest
from yak_net.runtime.timers import Timers, now_us, wall_ms
from yak_net.storage import BrokerDisk, LoopWrites, Storage

OnAnswer: TypeAlias = Callable[[Response | ClientResult], None]
OnNote: TypeAlias = Callable[[Note], None]

_NOT_SHIPPED: Final = NotShipped()


class End(StrEnum):
    """How an incarnation ended."""

    HALTED = "halted"
    EXITED = "exited"


OnEnd: TypeAlias = Callable[[End, str], None]
"""Receives how the incarnation ended and the reason; the reason is "" after a clean stop."""


class Sender(Protocol):
    """The links to the peers."""

    def send(self, dst: NodeId, message: PeerMessage) -> bool:
        """Queue a message on the link; return False if it certainly does not arrive."""
        ...


class Store(Protocol):
    """The metadata store."""

    async def call(self, request: MetaRequest) -> MetaOutcome:
        """Execute one call, within the store's own timeout; raise if the broker must halt."""
        ...


class NetBackend:
    """Executes the effects of one incarnation of a broker.

    The caller sets ``host`` after it has created the host, which needs the backend. ``on_end`` is
    called once, possibly within a step; it must not call the backend. ``loop_writes`` decides which
    appends the event loop writes.
    """

    host: Host
    now = staticmethod(now_us)

    def __init__(
        self,
        storage: Storage,
        peers: Sender,
        store: Store,
        on_note: OnNote,
        on_end: OnEnd,
        loop_writes: LoopWrites | None = None,
    ) -> None:
        self._peers = peers
        self._store = store
        self.on_note = on_note
        self._on_end: OnEnd | None = on_end
        self._generation = 0
        self._calls = 0
        self._callbacks: dict[CallId, OnAnswer] = {}
        self._causes: dict[OpId, int] = {}
        self._meta_tasks: set[asyncio.Task[None]] = set()
        self.disk = BrokerDisk(
            storage, self._on_disk_done, self._on_disk_failed, loop_writes=loop_writes
        )
        self._timers = Timers(self._on_timer)

    # -- events for the node --------------------------------------------------------------------

    def deliver(self, event: Event, cause: int = -1) -> None:
        """Deliver an event; ``cause`` is the step that caused it, -1 if none did."""
        self.host.deliver(event, cause)

    def receive(self, src: NodeId, message: PeerMessage) -> None:
        """Deliver a message of a peer."""
        self.deliver(Received(src, message))

    def peer_lost(self, peer: NodeId) -> None:
        """Deliver the loss of the connection to a peer."""
        self.deliver(PeerLost(peer))

    def ask(self, request: Request, on_answer: OnAnswer) -> CallId:
        """Deliver a client's request; return its call id, which is unique in this incarnation."""
        self._calls += 1
        call = CallId(self._calls)
        self._callbacks[call] = on_answer
        self.deliver(Called(call, request, wall_ms()))
        return call

    def cancel(self, call: CallId) -> None:
        """Cancel a call; its ``on_answer`` is not called any more."""
        if self._callbacks.pop(call, None) is not None:
            self.deliver(Cancelled(call))

    # -- effects of the node --------------------------------------------------------------------

    def send(self, effect: Send) -> None:
        """Queue a message on a link; without a connection it is lost."""
        self._peers.send(effect.dst, effect.message)  # type: ignore[arg-type]

    def set_timer(self, effect: SetTimer) -> None:
        self._timers.set(effect.key, effect.lo_us, effect.hi_us, self.host.step_number)

    def cancel_timer(self, effect: CancelTimer) -> None:
        self._timers.cancel(effect.key)

    def append_log(self, effect: AppendLog) -> None:
        self._track(effect.op, effect.generation)
        self.disk.append(effect.op, effect.generation, effect.batches)

    def flush_log(self, effect: FlushLog) -> None:
        self._track(effect.op, effect.generation)
        self.disk.flush(effect.op, effect.generation)

    def truncate_log(self, effect: TruncateLog) -> None:
        self._track(effect.op, effect.generation)
        self.disk.truncate(effect.op, effect.generation, effect.end)

    def save_state(self, effect: SaveState) -> None:
        """Save or delete a value; the log generation of its completion is 0."""
        self._track(effect.op, LogGeneration(0))
        self.disk.save(effect.op, effect.key, effect.value)

    def send_log(self, effect: SendLog) -> None:
        """Send batches to a peer: at once from memory, or after a read of the file."""
        self._track(effect.op, effect.generation)
        found = self.disk.read(effect.start, effect.end_max, effect.bytes_max)
        if found is not None:
            self._ship(effect, found)
            return

        def shipped(batches: tuple[Batch, ...]) -> None:
            self._ship(effect, batches)

        self.disk.read_later(effect.start, effect.end_max, effect.bytes_max, shipped)

    def answer_log(self, effect: AnswerLog) -> None:
        """Respond to a call with batches of the log as it is now."""
        found = self.disk.read(effect.start, effect.end_max, effect.bytes_max)
        if found is not None:
            self._reply(effect.call, with_records(effect.header, found))
            return

        def answered(batches: tuple[Batch, ...]) -> None:
            self._reply(effect.call, with_records(effect.header, batches))

        self.disk.read_later(effect.start, effect.end_max, effect.bytes_max, answered)

    def call_meta(self, effect: CallMeta) -> None:
        """Start a metadata call; :meth:`Store.call` applies the timeout."""
        task = asyncio.create_task(
            self._call_meta(effect.call, effect.request, self.host.step_number)
        )
        self._meta_tasks.add(task)
        task.add_done_callback(self._meta_tasks.discard)

    def answer(self, effect: Answer) -> None:
        self._reply(effect.call, effect.result)

    def observe(self, effect: Observe) -> None:
        self.on_note(effect.note)

    def halt(self, effect: Halt) -> None:
        self._end(End.HALTED, effect.reason)

    def exit(self, effect: Exit) -> None:
        self._end(End.EXITED, "" if effect.clean else "the stop was not complete in time")

    # -- the end --------------------------------------------------------------------------------

    def abandon(self) -> None:
        """End the incarnation as a crash would, without the end of the process."""
        self._on_end = None
        self._stop()
        self.disk.abandon()

    async def close(self) -> None:
        """Cancel metadata calls and close the disk, after the incarnation has ended."""
        self._on_end = None
        self._stop()
        for task in self._meta_tasks:
            task.cancel()
        await asyncio.gather(*self._meta_tasks, return_exceptions=True)
        # The disk's thread may still have much to write: do not block the event loop.
        await asyncio.to_thread(self.disk.close)

    def _end(self, end: End, reason: str) -> None:
        on_end, self._on_end = self._on_end, None
        self._stop()
        if on_end is not None:
            on_end(end, reason)

    def _stop(self) -> None:
        self.host.stop()
        self._timers.clear()

    # -- completions ----------------------------------------------------------------------------

    def _track(self, op: OpId, generation: LogGeneration) -> None:
        if generation > self._generation:
            self._generation = generation
        if self.host.recorder is not None:
            self._causes[op] = self.host.step_number

    def _take_cause(self, op: OpId) -> int:
        return self._causes.pop(op, -1)

    def _on_timer(self, key: str, cause: int) -> None:
        self.deliver(TimerFired(key), cause)

    def _on_disk_done(self, op: OpId, generation: LogGeneration, result: DiskResult) -> None:
        self.deliver(DiskDone(op, generation, result), self._take_cause(op))

    def _on_disk_failed(self, reason: str) -> None:
        self._end(End.HALTED, reason)

    def _ship(self, effect: SendLog, batches: tuple[Batch, ...]) -> None:
        result: DiskResult = _NOT_SHIPPED
        if not self.host.alive:
            return
        if (
            batches
            and effect.generation == self._generation
            and self._peers.send(effect.peer, with_batches(effect.header, batches))
        ):
            result = Shipped(batches[-1].end, sum(batch.size for batch in batches))
        self.deliver(DiskDone(effect.op, effect.generation, result), self._take_cause(effect.op))

    async def _call_meta(self, call: CallId, request: MetaRequest, cause: int) -> None:
        try:
            outcome = await self._store.call(request)
        except Exception as error:
            self._end(End.HALTED, f"metadata store failed: {error}")
            return
        self.deliver(MetaReply(call, outcome), cause)

    def _reply(self, call: CallId, result: Response | ClientResult) -> None:
        on_answer = self._callbacks.pop(call, None)
        if on_answer is not None:  # None: the call was cancelled while the file was read
            on_answer(result)
