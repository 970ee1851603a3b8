"""The backend of one node in the manual world, and the messages in flight between the nodes.

A :class:`ManualBackend` exists across all starts of its node: it keeps the disk and the clock, and
loses timers and callers when the node goes down. Messages and metadata calls of the node are
pending in the shared :class:`Transit` until the driver moves them.
"""

from __future__ import annotations

from typing import TypeAlias

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
from yak_core.contract.events import Called, DiskDone, DiskResult, Event, NotShipped, Shipped
from yak_core.contract.host import Host
from yak_core.contract.messages import (
    Message,
    Request,
    Response,
    sealed,
    with_batches,
    with_records,
)
from yak_core.contract.node import Build
from yak_core.fork import fork_of
from yak_core.ids import CallId, LogGeneration, Micros, NodeId
from yak_core.manual.disk import ManualDisk
from yak_core.metadata.store_calls import MetaOutcome, MetaRequest
from yak_core.model.crash_point import CrashPoint
from yak_core.value import value

Config: TypeAlias = BrokerConfig | ClientConfig

DRIVER: NodeId = ""
"""The caller of the driver's own calls, whose answers are kept by handle."""


class ManualError(Exception):
    """The driver requested a move that is not possible."""


@value
class Flight:
    """A message in flight.

    ``to_start`` is the only start of ``dst`` that may receive it, 0 for any start.
    """

    number: int
    src: NodeId
    src_start: int
    dst: NodeId
    to_start: int
    message: Message
    cause: int


@value
class MetaCall:
    """A pending metadata call; ``outcome`` is None until the store has executed it.

    ``waiting`` is False if no node waits for the reply: the call has timed out, or it is a copy.
    """

    number: int
    node: NodeId
    start: int
    call: CallId
    request: MetaRequest
    outcome: MetaOutcome | None
    waiting: bool
    cause: int


@value
class Timer:
    """A timer that fires between ``lo_at`` and ``hi_at`` on the clock of its node."""

    key: str
    lo_at: Micros
    hi_at: Micros
    cause: int


class Transit:
    """The messages in flight, the pending metadata calls, and the answers to the driver's calls."""

    __slots__ = ("flights", "calls", "answers", "disconnected", "lost", "last_number")

    def __init__(self) -> None:
        #: Messages in flight by number, oldest first.
        self.flights: dict[int, Flight] = {}
        #: Pending metadata calls by number, oldest first.
        self.calls: dict[int, MetaCall] = {}
        #: Answers to the driver's calls by handle.
        self.answers: dict[int, Response | ClientResult] = {}
        #: (src, dst) pairs over which all messages are lost.
        self.disconnected: dict[tuple[NodeId, NodeId], None] = {}
        #: Number of lost messages.
        self.lost = 0
        self.last_number = 0

    def number(self) -> int:
        """Return the next number for a message, a metadata call or a call of the driver."""
        self.last_number += 1
        return self.last_number

    def put(
        self, src: NodeId, src_start: int, dst: NodeId, to_start: int, message: Message, cause: int
    ) -> None:
        """Send a message; it is lost if the link is disconnected."""
        if (src, dst) in self.disconnected:
            self.lost += 1
            return
        number = self.number()
        self.flights[number] = Flight(number, src, src_start, dst, to_start, message, cause)


class ManualBackend:
    """The backend of one node id, across all its starts."""

    __slots__ = (
        "node_id", "config", "build", "transit", "host", "starts", "clock", "timers", "disk",
        "callers", "last_call", "reason", "exited_clean", "hold_reads", "crash_point",
        "crash_keep_unsynced",
    )  # fmt: skip

    def __init__(self, node_id: NodeId, config: Config, build: Build, transit: Transit) -> None:
        self.node_id = node_id
        self.config = config
        self.build = build
        self.transit = transit
        #: The host of the present start; None while the node is down.
        self.host: Host | None = None
        #: Number of starts so far.
        self.starts = 0
        #: Clock of the node, in microseconds.
        self.clock: Micros = 0
        #: Pending timers by key.
        self.timers: dict[str, Timer] = {}
        self.disk = ManualDisk()
        #: (client, start of the client) of each pending call, or (DRIVER, handle).
        self.callers: dict[CallId, tuple[NodeId, int]] = {}
        #: Id of the newest call of the present start.
        self.last_call: CallId = CallId(0)
        #: Why the node is down: ``crash``, ``kill``, ``exit`` or the reason of its Halt.
        self.reason = ""
        #: The value of the last Exit; None if the last start did not end with one.
        self.exited_clean: bool | None = None
        #: Whether a SendLog stays pending until :meth:`ship`.
        self.hold_reads = False
        #: The planned crash.
        self.crash_point: CrashPoint | None = None
        #: Number of batches to keep in the planned crash that are not durable.
        self.crash_keep_unsynced = 0

    # Effects of the node.

    def now(self) -> Micros:
        return self.clock

    def send(self, effect: Send) -> None:
        self._put(effect.dst, 0, sealed(effect.message), self._cause())

    def set_timer(self, effect: SetTimer) -> None:
        assert 0 <= effect.lo_us <= effect.hi_us, f"invalid range of a timer: {effect}"
        lo_at, hi_at = self.clock + effect.lo_us, self.clock + effect.hi_us
        self.timers.pop(effect.key, None)
        self.timers[effect.key] = Timer(effect.key, lo_at, hi_at, self._cause())

    def cancel_timer(self, effect: CancelTimer) -> None:
        self.timers.pop(effect.key, None)

    def append_log(self, effect: AppendLog) -> None:
        self.disk.issue(effect, self._cause())

    def flush_log(self, effect: FlushLog) -> None:
        self.disk.issue(effect, self._cause())

    def truncate_log(self, effect: TruncateLog) -> None:
        self.disk.issue(effect, self._cause())

    def save_state(self, effect: SaveState) -> None:
        self.disk.issue(effect, self._cause())

    def send_log(self, effect: SendLog) -> None:
        self.disk.issue_read(effect, self._cause())
        if not self.hold_reads:
            self.ship()

    def answer_log(self, effect: AnswerLog) -> None:
        batches = self.disk.read(effect.start, effect.end_max, effect.bytes_max)
        self._answer(effect.call, with_records(effect.header, batches))

    def call_meta(self, effect: CallMeta) -> None:
        number = self.transit.number()
        self.transit.calls[number] = MetaCall(
            number,
            self.node_id,
            self.starts,
            effect.call,
            effect.request,
            None,
            True,
            self._cause(),
        )

    def answer(self, effect: Answer) -> None:
        self._answer(effect.call, effect.result)

    def observe(self, effect: Observe) -> None:
        """Do nothing: the recorder gets notes from the host."""

    def halt(self, effect: Halt) -> None:
        self.go_down(effect.reason)

    def exit(self, effect: Exit) -> None:
        self.go_down("exit")
        self.exited_clean = effect.clean

    # Moves of the driver.

    def deliver(self, event: Event, cause: int = -1) -> None:
        """Deliver an event to the running node; complete a planned crash that stopped it."""
        host = self.host
        assert host is not None, f"{self.node_id} is down"
        if self.crash_point is None or self.crash_point.effects_left > 0:
            host.deliver(event, cause)
        else:
            host.stop()
        if not host.alive and self.host is host:
            self.go_down("crash", self.crash_keep_unsynced)

    def call(
        self, request: Request | ClientCall, client: NodeId, tag: int, wall_ms: int, cause: int = -1
    ) -> None:
        """Deliver a request of client ``client``; ``tag`` is the client's start, or a handle."""
        self.last_call = CallId(self.last_call + 1)
        self.callers[self.last_call] = (client, tag)
        self.deliver(Called(self.last_call, request, wall_ms), cause)

    def perform(self, no_space: bool = False) -> bool:
        """Perform the first disk effect that is not performed; return False if there is none."""
        return self.disk.perform(no_space) is not None

    def report_disk(self) -> bool:
        """Report the first disk effect to the node; return False if it is not performed."""
        pending = self.disk.take()
        if pending is None:
            return False
        effect = pending.effect
        generation = LogGeneration(0) if isinstance(effect, SaveState) else effect.generation
        assert pending.result is not None
        self.deliver(DiskDone(effect.op, generation, pending.result), pending.cause)
        return True

    def ship(self) -> bool:
        """Ship the oldest pending SendLog, or report NotShipped if its generation is stale.

        Return False if no SendLog is pending.
        """
        if not self.disk.reads:
            return False
        read = self.disk.reads.pop(0)
        effect = read.effect
        result: DiskResult = NotShipped()
        if read.batches and effect.generation == self.disk.generation:
            message = with_batches(effect.header, read.batches)
            self._put(effect.peer, 0, message, read.cause)
            result = Shipped(read.batches[-1].end, sum(batch.size for batch in read.batches))
        self.deliver(DiskDone(effect.op, effect.generation, result), read.cause)
        return True

    def go_down(self, reason: str, keep_unsynced: int | None = None) -> None:
        """End the present start: drop timers and callers.

        With ``keep_unsynced`` the machine crashes: only the first ``keep_unsynced`` batches that
        are not durable are kept. Otherwise the process ends, and written batches are not lost.
        """
        if self.host is not None:
            self.host.stop()
        self.host = None
        self.crash_point = None
        self.reason = reason
        self.exited_clean = None
        self.timers = {}
        self.callers = {}
        self.last_call = CallId(0)
        if keep_unsynced is None:
            self.disk.end_process()
        else:
            self.disk.crash(keep_unsynced)

    def fork(self, transit: Transit) -> ManualBackend:
        """Return a copy for another world, without a host."""
        other = type(self)(self.node_id, self.config, self.build, transit)
        other.starts = self.starts
        other.clock = self.clock
        other.timers = dict(self.timers)
        other.disk = fork_of(self.disk)
        other.callers = dict(self.callers)
        other.last_call = self.last_call
        other.reason = self.reason
        other.exited_clean = self.exited_clean
        other.hold_reads = self.hold_reads
        other.crash_keep_unsynced = self.crash_keep_unsynced
        return other

    def _put(self, dst: NodeId, to_start: int, message: Message, cause: int) -> None:
        self.transit.put(self.node_id, self.starts, dst, to_start, message, cause)

    def _cause(self) -> int:
        return -1 if self.host is None else self.host.step_number

    def _answer(self, call: CallId, result: Response | ClientResult) -> None:
        assert call in self.callers, f"call {call} is answered twice or is unknown"
        client, tag = self.callers.pop(call)
        if client == DRIVER:
            self.transit.answers[tag] = result
        else:
            assert not isinstance(result, ClientResult), (
                f"a request must get a response, not {result}"
            )
            self._put(client, tag, result, self._cause())
