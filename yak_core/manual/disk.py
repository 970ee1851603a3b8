"""A broker's disk moved by hand: operations wait in order; must never act before it is told to.

Two images are kept. ``image`` is what the disk holds: it changes when an operation is performed.
``tail`` is what the node has ordered: it changes when an operation is issued, and reads are served
from it, as a page cache would. Performing an operation and reporting it are two moves, so a crash
can fall between them.
"""

from __future__ import annotations

from yak_core.batch import Batch
from yak_core.contract.effects import DiskOrder, SaveState, SendLog
from yak_core.contract.events import DiskResult, NoSpace
from yak_core.fork import fork_of
from yak_core.ids import Offset
from yak_core.model.disk import DiskImage
from yak_core.value import value


@value
class PendingOrder:
    """An order and the number of the step that gave it; ``result`` None until it is performed."""

    order: DiskOrder
    cause: int
    result: DiskResult | None


@value
class PendingRead:
    """A SendLog whose bytes were taken at the moment of the order and which is not yet shipped."""

    order: SendLog
    cause: int
    batches: tuple[Batch, ...]


class ManualDisk:
    """One broker's disk: the two images, and the orders that are not yet performed or reported."""

    __slots__ = ("image", "tail", "queue", "reads", "generation")

    def __init__(self) -> None:
        self.image = DiskImage()
        self.tail = DiskImage()
        self.queue: list[PendingOrder] = []
        self.reads: list[PendingRead] = []
        self.generation = 0

    def issue(self, order: DiskOrder, cause: int) -> None:
        """Put an order at the end of the queue; reads see its effect from now on."""
        if not isinstance(order, SaveState):
            self.generation = max(self.generation, order.generation)
        fits = not isinstance(self.tail.perform(order), NoSpace)
        assert fits or self._has_failed(), "a log has no gaps"
        self.queue.append(PendingOrder(order, cause, None))

    def issue_read(self, order: SendLog, cause: int) -> None:
        """Take the bytes that a SendLog names; they wait until they are shipped."""
        self.generation = max(self.generation, order.generation)
        batches = self.read(order.start, order.end_max, order.bytes_max)
        self.reads.append(PendingRead(order, cause, batches))

    def read(self, start: Offset, end_max: Offset, bytes_max: int) -> tuple[Batch, ...]:
        """Whole batches of [start, end_max), also of appends that are issued and not yet done."""
        return self.tail.read(start, end_max, bytes_max)

    def perform(self, no_space: bool = False) -> PendingOrder | None:
        """Carry out the first order that is not yet performed; None when there is none.

        With ``no_space`` an append does nothing and ends as NoSpace, and so does every append that
        was issued behind it and would leave a gap.
        """
        for at, pending in enumerate(self.queue):
            if pending.result is None:
                result = self.image.perform(pending.order, no_space)
                self.queue[at] = done = PendingOrder(pending.order, pending.cause, result)
                if isinstance(result, NoSpace):
                    self.tail = self.image.after(later.order for later in self.queue[at + 1 :])
                return done
        return None

    def take(self) -> PendingOrder | None:
        """Remove the first order if it is performed; it is now to be reported."""
        if self.queue and self.queue[0].result is not None:
            return self.queue.pop(0)
        return None

    def crash(self, keep_unsynced: int) -> None:
        """Forget what was not performed, and what was not flushed but its first batches."""
        self.image.crash(keep_unsynced)
        self.tail = fork_of(self.image)
        self.queue = []
        self.reads = []
        self.generation = 0

    def _has_failed(self) -> bool:
        """Whether an append failed and the node, not yet notified, continues from its end."""
        return any(isinstance(pending.result, NoSpace) for pending in self.queue)
