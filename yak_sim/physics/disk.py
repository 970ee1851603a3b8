"""The disk of a broker in simulated time.

It has two images. ``image`` is the content of the disk; it changes when an operation completes.
``tail`` includes all issued operations, and serves the reads like a page cache. Write operations
complete in issue order, one after the other. A crash does not lose flushed data.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from yak_core.batch import Batch
from yak_core.contract.effects import AppendLog, DiskEffect, FlushLog, SaveState, TruncateLog
from yak_core.contract.events import DiskDone, NoSpace
from yak_core.fork import fork_of
from yak_core.ids import LogGeneration, Micros, Offset
from yak_core.model.disk import DiskImage
from yak_sim.physics.choices import Point
from yak_sim.physics.clock import NORMAL, Callbacks, Clock
from yak_sim.physics.kinds import Loss
from yak_sim.physics.topology import DiskSpec


@dataclass(slots=True, eq=False)
class _Operation:
    """One write operation; it takes ``taken_us`` after the operation before it completes."""

    callbacks: Callbacks | None
    order: DiskEffect
    cause: int
    taken_us: Micros
    _ok: ClassVar = True


class SimDisk:
    """The disk of one broker; it persists between the processes of the broker.

    ``report`` receives each completion and the number of the step that issued the operation.
    ``generation`` is the newest log generation of the current process. ``full`` makes appends fail.
    """

    __slots__ = (
        "_clock",
        "_completed",
        "_latency",
        "_point",
        "_queue",
        "_report",
        "_schedule",
        "_spec",
        "_stalled_until",
        "full",
        "generation",
        "image",
        "tail",
    )

    def __init__(
        self, clock: Clock, spec: DiskSpec, point: Point, report: Callable[[DiskDone, int], None]
    ) -> None:
        self.image = DiskImage()
        self.tail = DiskImage()
        self.generation = 0
        self.full = False
        self._clock = clock
        self._spec = spec
        self._point = point
        self._latency = point.exponential
        self._report = report
        self._queue: deque[_Operation] = deque()
        self._schedule = clock.schedule
        self._completed: Callbacks = (self._on_completed,)
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

    def stall(self, for_us: Micros) -> None:
        """Complete no operation for ``for_us``; pending operations wait. A crash ends the stall."""
        self._stalled_until = max(self._stalled_until, self._clock.now() + for_us)

    def revive(self) -> None:
        """End a stall and a full-disk fault."""
        self.full = False
        if self._stalled_until > self._clock.now():
            self._stalled_until = 0
            if self._queue:
                # SimPy cannot remove the stalled first operation from the agenda: replace it.
                head = self._queue[0]
                again = _Operation(self._completed, head.order, head.cause, head.taken_us)
                self._queue[0] = again
                self._schedule(again, NORMAL, again.taken_us)

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
        queue = self._queue
        carried_out = len(queue)
        if lose == Loss.UNSYNCED:
            carried_out = 0
        elif lose == Loss.SOME:
            carried_out -= self._point.pick(len(queue) + 1)
        for _ in range(carried_out):
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
        self._forget()

    def settle(self) -> None:
        """Complete all issued operations after a halt or a requested stop."""
        for operation in self._queue:
            self.image.perform(operation.order, self.full)
        self._forget()

    def _forget(self) -> None:
        """Drop the operations in flight, so that the next process receives no old completion."""
        self._queue.clear()
        self._stalled_until = 0
        self.tail = fork_of(self.image)
        self.generation = 0

    def _issue(self, order: DiskEffect, cause: int, taken_us: Micros, mean_us: Micros) -> None:
        if mean_us:
            taken_us += self._latency(mean_us)
        operation = _Operation(self._completed, order, cause, taken_us)
        if not self._queue:
            self._schedule(operation, NORMAL, taken_us)
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
        if isinstance(result, NoSpace):
            self.tail = self.image.with_effects(later.order for later in queue)
        if queue:
            head = queue[0]
            self._schedule(head, NORMAL, head.taken_us)
        generation = LogGeneration(0) if isinstance(order, SaveState) else order.generation
        self._report(DiskDone(order.op, generation, result), operation.cause)

    def _is_stalled(self, operation: _Operation) -> bool:
        """Return whether the operation is stalled; if so, schedule it again."""
        wait = self._stalled_until - self._clock.now()
        if wait <= 0:
            return False
        operation.callbacks = self._completed
        self._schedule(operation, NORMAL, wait)
        return True
