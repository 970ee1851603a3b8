"""A broker's disk in the manual world: disk effects are pending until the driver performs them.

The disk has two images. ``image`` is the contents of the disk; it changes when an effect is
performed. ``tail`` includes the pending effects; it changes when an effect is issued. Reads use
``tail``, as with a page cache. To perform an effect and to report it are two moves, so a crash can
happen between them.
"""

from __future__ import annotations

from yak_core.batch import Batch
from yak_core.contract.effects import DiskEffect, SaveState, SendLog
from yak_core.contract.events import DiskResult, NoSpace, Recovered
from yak_core.fork import fork_of
from yak_core.ids import Offset
from yak_core.model.disk import DiskImage, session_name
from yak_core.value import value


@value
class PendingEffect:
    """A pending disk effect, and the step that issued it.

    ``result`` is None until the effect is performed.
    """

    effect: DiskEffect
    cause: int
    result: DiskResult | None


@value
class PendingRead:
    """A SendLog that is not yet shipped; ``batches`` were read when it was issued."""

    effect: SendLog
    cause: int
    batches: tuple[Batch, ...]


class ManualDisk:
    """The disk of one broker: the two images and the pending disk effects and reads."""

    __slots__ = ("image", "tail", "queue", "reads", "generation", "session")

    def __init__(self) -> None:
        #: The contents of the disk.
        self.image = DiskImage()
        #: The contents after all pending effects; reads use it.
        self.tail = DiskImage()
        #: Effects that are not performed or not reported, oldest first.
        self.queue: list[PendingEffect] = []
        #: SendLog effects that are not shipped, oldest first.
        self.reads: list[PendingRead] = []
        #: Highest log generation of an effect of the present start.
        self.generation = 0
        #: Number of the storage session: that of crashes of the machine so far, and 1.
        self.session = 1

    def recovered(self) -> Recovered:
        """Return what the next start recovers."""
        return self.image.recovered(session_name(self.session))

    def issue(self, effect: DiskEffect, cause: int) -> None:
        """Add a disk effect to the queue; later reads include its change."""
        if not isinstance(effect, SaveState):
            self.generation = max(self.generation, effect.generation)
        fits = not isinstance(self.tail.perform(effect), NoSpace)
        assert fits or self._has_failed(), f"the append leaves a gap above {self.tail.leo}"
        self.queue.append(PendingEffect(effect, cause, None))

    def issue_read(self, effect: SendLog, cause: int) -> None:
        """Read the batches of a SendLog and keep them until it is shipped."""
        self.generation = max(self.generation, effect.generation)
        batches = self.read(effect.start, effect.end_max, effect.bytes_max)
        self.reads.append(PendingRead(effect, cause, batches))

    def read(self, start: Offset, end_max: Offset, bytes_max: int) -> tuple[Batch, ...]:
        """Return whole batches in [start, end_max), including those of pending appends."""
        return self.tail.read(start, end_max, bytes_max)

    def perform(self, no_space: bool = False) -> PendingEffect | None:
        """Perform the first effect that is not yet performed; return None if there is none.

        With ``no_space`` an append changes nothing and its result is NoSpace. The same happens to
        each later append that would leave a gap.
        """
        for at, pending in enumerate(self.queue):
            if pending.result is None:
                result = self.image.perform(pending.effect, no_space)
                self.queue[at] = done = PendingEffect(pending.effect, pending.cause, result)
                if isinstance(result, NoSpace):
                    self.tail = self.image.with_effects(p.effect for p in self.queue[at + 1 :])
                return done
        return None

    def take(self) -> PendingEffect | None:
        """Remove and return the first effect if it is performed; the caller must report it."""
        if self.queue and self.queue[0].result is not None:
            return self.queue.pop(0)
        return None

    def crash(self, keep_unsynced: int) -> None:
        """Crash the machine: drop the pending effects, and the batches that are not durable.

        The first ``keep_unsynced`` batches that are not durable are kept. A new storage session
        begins, whatever was lost.
        """
        self.image.crash(keep_unsynced)
        self.session += 1
        self._drop_pending()

    def end_process(self) -> None:
        """End the process alone: drop the pending effects, and keep all that was written.

        The next start flushes the log before it uses it, as recovery of a real disk does.
        """
        self.image.flush()
        self._drop_pending()

    def _drop_pending(self) -> None:
        self.tail = fork_of(self.image)
        self.queue = []
        self.reads = []
        self.generation = 0

    def _has_failed(self) -> bool:
        """Return whether an append failed and its result is not yet reported to the node."""
        return any(isinstance(pending.result, NoSpace) for pending in self.queue)
