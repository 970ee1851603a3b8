"""The contract between a broker and the real world; must never decide for the node.

One backend serves one incarnation, on the thread of the event loop. Some orders are carried out at
once (a read from memory, a message to a link), and their outcome is delivered at once, too: the
host queues it behind the step that is under way.
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
from yak_net.storage import BrokerDisk, Storage

OnAnswer: TypeAlias = Callable[[Response | ClientResult], None]
OnNote: TypeAlias = Callable[[Note], None]

_NOT_SHIPPED: Final = NotShipped()


class End(StrEnum):
    """How an incarnation ended."""

    HALTED = "halted"
    EXITED = "exited"


OnOver: TypeAlias = Callable[[End, str], None]
"""How it ended and why; after a stop in good order there is no why."""


class Sender(Protocol):
    """Where messages to peers go."""

    def send(self, dst: NodeId, message: PeerMessage) -> bool:
        """Put it on the link; False if it certainly does not arrive."""
        ...


class Store(Protocol):
    """Who carries out metadata calls."""

    async def call(self, request: MetaRequest) -> MetaOutcome:
        """Carry one out, within the store's own time-out; raises when going on is impossible."""
        ...


class NetBackend:
    """What one incarnation of a broker may do to the real world.

    ``host`` is set right after the host was made, which needs its backend first. ``over`` is called
    once, in the midst of a step perhaps: it must not call back.
    """

    host: Host
    now = staticmethod(now_us)

    def __init__(
        self, storage: Storage, peers: Sender, store: Store, on_note: OnNote, over: OnOver
    ) -> None:
        self._peers = peers
        self._store = store
        self.observed = on_note
        self._over: OnOver | None = over
        self._generation = 0
        self._calls = 0
        self._asked: dict[CallId, OnAnswer] = {}
        self._causes: dict[OpId, int] = {}
        self._meta: set[asyncio.Task[None]] = set()
        self.disk = BrokerDisk(storage, self._on_disk_done, self._on_disk_failed)
        self._timers = Timers(self._on_timer)

    # -- what the world does to the node --------------------------------------------------------

    def deliver(self, event: Event, cause: int = -1) -> None:
        """Give the node an event."""
        self.host.deliver(event, cause)

    def receive(self, src: NodeId, message: PeerMessage) -> None:
        """A peer's message arrived."""
        self.deliver(Received(src, message))

    def lost(self, peer: NodeId) -> None:
        """The link to a peer broke."""
        self.deliver(PeerLost(peer))

    def ask(self, request: Request, on_answer: OnAnswer) -> CallId:
        """Deliver a client's request under an id that is fresh in this incarnation."""
        self._calls += 1
        call = CallId(self._calls)
        self._asked[call] = on_answer
        self.deliver(Called(call, request, wall_ms()))
        return call

    def cancel(self, call: CallId) -> None:
        """The caller went away; it gets no answer any more."""
        if self._asked.pop(call, None) is not None:
            self.deliver(Cancelled(call))

    # -- what the node orders -------------------------------------------------------------------

    def send(self, effect: Send) -> None:
        """Put a message on a link; to nobody connected, it is lost."""
        self._peers.send(effect.dst, effect.message)  # type: ignore[arg-type]

    def set_timer(self, effect: SetTimer) -> None:
        """Set or replace a timer."""
        self._timers.set(effect.key, effect.lo_us, effect.hi_us, self.host.step_number)

    def cancel_timer(self, effect: CancelTimer) -> None:
        """Cancel a timer."""
        self._timers.cancel(effect.key)

    def append_log(self, effect: AppendLog) -> None:
        """Order an append."""
        self._note(effect.op, effect.generation)
        self.disk.append(effect.op, effect.generation, effect.batches)

    def flush_log(self, effect: FlushLog) -> None:
        """Order a flush."""
        self._note(effect.op, effect.generation)
        self.disk.flush(effect.op, effect.generation)

    def truncate_log(self, effect: TruncateLog) -> None:
        """Order a cut."""
        self._note(effect.op, effect.generation)
        self.disk.truncate(effect.op, effect.generation, effect.end)

    def save_state(self, effect: SaveState) -> None:
        """Order a named value to be kept."""
        self._note(effect.op, LogGeneration(0))
        self.disk.save(effect.op, effect.key, effect.value)

    def send_log(self, effect: SendLog) -> None:
        """Ship from memory at once, from the file once it was read."""
        self._note(effect.op, effect.generation)
        found = self.disk.read(effect.start, effect.end_max, effect.bytes_max)
        if found is not None:
            self._ship(effect, found)
            return

        def shipped(batches: tuple[Batch, ...]) -> None:
            self._ship(effect, batches)

        self.disk.read_later(effect.start, effect.end_max, effect.bytes_max, shipped)

    def answer_log(self, effect: AnswerLog) -> None:
        """Answer a call with bytes of the log as they are now."""
        found = self.disk.read(effect.start, effect.end_max, effect.bytes_max)
        if found is not None:
            self._reply(effect.call, with_records(effect.header, found))
            return

        def answered(batches: tuple[Batch, ...]) -> None:
            self._reply(effect.call, with_records(effect.header, batches))

        self.disk.read_later(effect.start, effect.end_max, effect.bytes_max, answered)

    def call_meta(self, effect: CallMeta) -> None:
        """Call the store; the store's client gives up on it after a time."""
        task = asyncio.create_task(
            self._call_meta(effect.call, effect.request, self.host.step_number)
        )
        self._meta.add(task)
        task.add_done_callback(self._meta.discard)

    def answer(self, effect: Answer) -> None:
        """Answer a call."""
        self._reply(effect.call, effect.result)

    def observe(self, effect: Observe) -> None:
        """Pass a remark on."""
        self.observed(effect.note)

    def halt(self, effect: Halt) -> None:
        """The node stops for good."""
        self._end(End.HALTED, effect.reason)

    def exit(self, effect: Exit) -> None:
        """The node has stopped as it was asked."""
        self._end(End.EXITED, "" if effect.clean else "the stop was not complete in time")

    # -- the end --------------------------------------------------------------------------------

    def abandon(self) -> None:
        """End the incarnation as a kill would, except that the process goes on."""
        self._over = None
        self._stop()
        self.disk.abandon()

    async def close(self) -> None:
        """Give everything back, once the incarnation is over."""
        self._over = None
        self._stop()
        for task in self._meta:
            task.cancel()
        await asyncio.gather(*self._meta, return_exceptions=True)
        # The thread may have much to write; the loop goes on meanwhile.
        await asyncio.to_thread(self.disk.close)

    def _end(self, how: End, reason: str) -> None:
        over, self._over = self._over, None
        self._stop()
        if over is not None:
            over(how, reason)

    def _stop(self) -> None:
        self.host.stop()
        self._timers.clear()

    # -- completions ----------------------------------------------------------------------------

    def _note(self, op: OpId, generation: LogGeneration) -> None:
        if generation > self._generation:
            self._generation = generation
        if self.host.recorder is not None:
            self._causes[op] = self.host.step_number

    def _cause(self, op: OpId) -> int:
        return self._causes.pop(op, -1)

    def _on_timer(self, key: str, cause: int) -> None:
        self.deliver(TimerFired(key), cause)

    def _on_disk_done(self, op: OpId, generation: LogGeneration, result: DiskResult) -> None:
        self.deliver(DiskDone(op, generation, result), self._cause(op))

    def _on_disk_failed(self, reason: str) -> None:
        self._end(End.HALTED, reason)

    def _ship(self, order: SendLog, batches: tuple[Batch, ...]) -> None:
        result: DiskResult = _NOT_SHIPPED
        if not self.host.alive:
            return
        if (
            batches
            and order.generation == self._generation
            and self._peers.send(order.peer, with_batches(order.header, batches))
        ):
            result = Shipped(batches[-1].end, sum(batch.size for batch in batches))
        self.deliver(DiskDone(order.op, order.generation, result), self._cause(order.op))

    async def _call_meta(self, call: CallId, request: MetaRequest, cause: int) -> None:
        try:
            outcome = await self._store.call(request)
        except Exception as error:
            self._end(End.HALTED, f"the metadata store cannot be used: {error}")
            return
        self.deliver(MetaReply(call, outcome), cause)

    def _reply(self, call: CallId, result: Response | ClientResult) -> None:
        on_answer = self._asked.pop(call, None)
        if on_answer is not None:  # else the caller went away while the answer was read
            on_answer(result)
