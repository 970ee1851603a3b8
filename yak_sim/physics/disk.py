"""The disk of a broker in simulated time.

It has two images. ``image`` is the content of the disk; it changes when an operation completes.
``tail`` includes all issued operations, and serves the reads like a page cache. Write operations
complete in issue order, one after the other. A crash does not lose flushed data. Each crash begins
a new storage session, except a crash that loses nothing: that of the process alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from yak_core.batch import Batch
from yak_core.contract.effects import AppendLog, DiskEffect, FlushLog, SaveState, TruncateLog
from yak_core.contract.events import DiskDone, NoSpace, Recovered
from yak_core.fork import fork_of
from yak_core.ids import LogGeneration, Micros, Offset
from yak_core.model.disk import DiskImage, session_name
from yak_sim.physics.choices import Point
from yak_sim.physics.clock import NORMAL, Callbacks, Clock
from yak_sim.physics.kinds import Loss
from yak_sim.physics.topology import DiskSpec


@dataclass(slots=True, eq=False)
class _Operation:
    """One write operation; it takes ``duration_us`` after the operation before it completes."""

    callbacks: Callbacks | None
    order: DiskEffect
    cause: int
    duration_us: Micros
    _ok: ClassVar = True


class SimDisk:
    """The disk of one broker; it persists between the processes of the broker.

    ``on_done`` receives each completion and the number of the step that issued the operation.
    ``generation`` is the newest log generation of the current process, ``session`` the number of
    the storage session. ``full`` makes appends fail.
    """

    __slots__ = (
        "_clock",
        "_callbacks",
        "_latency",
        "_point",
        "_queue",
        "_on_done",
        "_schedule",
        "_spec",
        "_stalled_until",
        "full",
        "generation",
        "image",
        "session",
        "tail",
    )

    def __init__(
        self, clock: Clock, spec: DiskSpec, point: Point, on_done: Callable[[DiskDone, int], None]
    ) -> None:
        self.image = DiskImage()
        self.tail = DiskImage()
        self.generation = 0
        self.session = 1
        self.full = False
        self._clock = clock
        self._spec = spec
        self._point = point
        self._latency = point.exponential
        self._on_done = on_done
        self._queue: deque[_Operation] = deque()
        self._schedule = clock.schedule
        self._callbacks: Callbacks = (self._on_completed,)
        self._stalled_until: Micros = 0

    def append(self, order: AppendLog, cause: int) -> None:
        """Append batches; reads return them immediately."""
        self.tail.append(order.batches)
        self.generation = order.generation
        self._issue(order, cause, self._spec.append_us, self._spec.append_mean_us)

    def flush(self, order: FlushLog, cause: int) -> None:
        """Make all earlier appends and truncations durable."""
        self.generation = order.generation
        self._issue(order, cause, self._spec.flush_us, self._spec.flush_mean_us)

    def truncate(self, order: TruncateLog, cause: int) -> None:
        """Truncate the log; reads see the new end immediately."""
        self.tail.truncate(order.end)
        self.generation = order.generation
        self._issue(order, cause, self._spec.append_us, self._spec.append_mean_us)

    def save(self, order: SaveState, cause: int) -> None:
        """Write a named value durably."""
        self._issue(order, cause, self._spec.save_us, self._spec.save_mean_us)

    def read(self, start: Offset, end_max: Offset, bytes_max: int) -> tuple[Batch, ...]:
        """Return whole batches of [start, end_max), including appends that are in flight."""
        return self.tail.read(start, end_max, bytes_max)

    def recovered(self) -> Recovered:
        """Return what the next process recovers."""
        return self.image.recovered(session_name(self.session))

    def stall(self, for_us: Micros) -> None:
        """Complete no operation for ``for_us``; pending operations wait. A crash ends the stall."""
        self._stalled_until = max(self._stalled_until, self._clock.now() + for_us)

    def damage(self, batches: int) -> None:
        """Lose the last flushed batches. The process is down, and its next recovery notices it."""
        ends = self.image.ends
        self.image.truncate(ends[-1 - batches] if batches < len(ends) else self.image.log_start)
        self.image.flush()
        self.image.intact = False
        self.tail = fork_of(self.image)

    def replace(self) -> None:
        """Become an empty disk. The process is down."""
        self.image = DiskImage()
        self.tail = DiskImage()
        self.session += 1

    def clear_faults(self) -> None:
        """End a stall and a full-disk fault."""
        self.full = False
        if self._stalled_until > self._clock.now():
            self._stalled_until = 0
            if self._queue:
                # SimPy cannot remove the stalled first operation from the agenda: replace it.
                head = self._queue[0]
                replacement = _Operation(self._callbacks, head.order, head.cause, head.duration_us)
                self._queue[0] = replacement
                self._schedule(replacement, NORMAL, replacement.duration_us)

    @property
    def unflushed(self) -> int:
        """Return the number of issued batches that a power failure would lose."""
        in_queue = sum(
            len(operation.order.batches)
            for operation in self._queue
            if isinstance(operation.order, AppendLog)
        )
        return self.image.unsynced + in_queue

    def crash(self, lose: Loss) -> None:
        """Crash the process and lose unflushed data as ``lose`` says.

        A prefix of the operations in flight takes effect. An unflushed truncation may be undone;
        then its batches are in the log again.
        """
        if lose != Loss.NOTHING:
            self.session += 1
        queue = self._queue
        executed = len(queue)
        if lose == Loss.UNSYNCED:
            executed = 0
        elif lose == Loss.SOME:
            executed -= self._point.pick(len(queue) + 1)
        for _ in range(executed):
            self.image.perform(queue.popleft().order, self.full)
        unsynced = self.image.unsynced
        if lose == Loss.UNSYNCED:
            self.image.crash(0)
        elif lose == Loss.SOME:
            self.image.crash(unsynced - self._point.pick(unsynced + 1))
        elif lose == Loss.TORN and unsynced > 0:
            self.image.crash(unsynced - 1)
        else:
            assert lose in (Loss.NOTHING, Loss.TORN)
            self.image.flush()
        self._drop_operations()

    def complete_pending(self) -> None:
        """Complete all issued operations after a halt or a requested stop."""
        for operation in self._queue:
            self.image.perform(operation.order, self.full)
        self._drop_operations()

    def _drop_operations(self) -> None:
        """Drop the operations in flight, so that the next process receives no old completion."""
        self._queue.clear()
        self._stalled_until = 0
        self.tail = fork_of(self.image)
        self.generation = 0

    def _issue(self, order: DiskEffect, cause: int, duration_us: Micros, mean_us: Micros) -> None:
        if mean_us:
            duration_us += self._latency(mean_us)
        operation = _Operation(self._callbacks, order, cause, duration_us)
        if not self._queue:
            self._schedule(operation, NORMAL, duration_us)
        self._queue.append(operation)

    def _on_completed(self, operation: _Operation) -> None:
        queue = self._queue
        if not queue or queue[0] is not operation:
            return  # A crash or a replacement has dropped this operation.
        if self._stalled_until and self._is_stalled(operation):
            return
        queue.popleft()
        order = operation.order
        result = self.image.perform(order, self.full)
        if isinstance(order, FlushLog):
            # As on a real disk: a broker does not flush before it is registered as unclean.
            self.image.intact = True
        if isinstance(result, NoSpace):
            self.tail = self.image.with_effects(later.order for later in queue)
        if queue:
            head = queue[0]
            self._schedule(head, NORMAL, head.duration_us)
        generation = LogGeneration(0) if isinstance(order, SaveState) else order.generation
        self._on_done(DiskDone(order.op, generation, result), operation.cause)

    def _is_stalled(self, operation: _Operation) -> bool:
        """Return whether the operation is stalled; if so, schedule it again."""
        wait = self._stalled_until - self._clock.now()
        if wait <= 0:
            return False
        operation.callbacks = self._callbacks
        self._schedule(operation, NORMAL, wait)
        return True
