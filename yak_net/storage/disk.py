"""A broker's disk for the event loop: one thread writes, one reads; must never block the loop.

Orders are issued on the loop and complete there, in the order of their issue, by ``done``. What has
queued up is written as a group: one writev for all appends, one fdatasync for all flushes, one
wake-up of the loop for all completions. Cuts and saved values stand between groups.

Reads do not queue behind writes. The newest batches are in memory (``Tail``), also those that are
not written yet; :meth:`BrokerDisk.read` looks there and :meth:`BrokerDisk.read_later` in the file.

A flush that failed is never tried again: the system may have thrown the pages away and call them
clean (Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020). ``fatal``
is called once, and the process must stop.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import Final, TypeAlias

from yak_core.batch import Batch, BatchError
from yak_core.contract.effects import AppendLog, DiskOrder, FlushLog, SaveState, TruncateLog
from yak_core.contract.events import DiskOk, DiskResult, NoSpace
from yak_core.ids import LogGeneration, Offset, OpId
from yak_net.storage.checkpoints import VERIFY, save_value
from yak_net.storage.recovery import Storage
from yak_net.storage.tail import Tail, joined, positioned

Completion: TypeAlias = tuple[DiskOrder, DiskResult, Offset]
OnDone: TypeAlias = Callable[[OpId, LogGeneration, DiskResult], None]
OnFatal: TypeAlias = Callable[[str], None]
OnRead: TypeAlias = Callable[[tuple[Batch, ...]], None]

CACHE_BYTES: Final = 16 << 20
GROUP_BYTES: Final = 1 << 20
"""Of appends between two flushes; what waits longer goes with the next group."""
PATIENCE_S: Final = 0.001
"""How long the threads may make no progress before the loop yields to them."""
YIELD_S: Final = 0.0001

_DONE: Final = DiskOk()
_NO_SPACE: Final = NoSpace()


class _Read:
    """A read of the file: what was asked, what memory had of it, and the cuts since."""

    __slots__ = ("bytes_max", "cut", "cuts_done", "done", "end_max", "limit", "start", "tail")

    def __init__(self, start: Offset, end_max: Offset, bytes_max: int, done: OnRead) -> None:
        self.start = start
        self.end_max = end_max
        self.bytes_max = bytes_max
        self.done = done
        self.limit: Offset = 0
        self.tail: tuple[Batch, ...] = ()
        self.cut: Offset | None = None
        self.cuts_done = 0


class BrokerDisk:
    """The disk of one incarnation, to be made and used on the loop's thread only.

    ``done(op, generation, result)`` completes an order (generation 0 for a saved value), ``fatal``
    says in one sentence why nothing will complete any more. ``cache_bytes`` bounds what is kept in
    memory of written batches. The storage is the disk's from now on, and closed with it.
    """

    def __init__(
        self,
        storage: Storage,
        done: OnDone,
        fatal: OnFatal,
        *,
        cache_bytes: int = CACHE_BYTES,
        group_bytes: int = GROUP_BYTES,
    ) -> None:
        self._storage = storage
        self._log = storage.log
        self._done = done
        self._fatal = fatal
        self._loop = asyncio.get_running_loop()
        self._group_bytes = group_bytes
        self._tail = Tail(storage.log.start, storage.log.end, cache_bytes)
        self._pending: deque[DiskOrder] = deque()
        self._cuts_issued = 0
        self._cuts_done = 0
        self._refused = False
        self._over = False
        self._abandoned = False
        self._reading: list[_Read] = []
        self._watching = False
        self._progress = 0
        self._orders: SimpleQueue[DiskOrder | None] = SimpleQueue()
        # A string is why the log must be condemned.
        self._reads: SimpleQueue[_Read | str | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._write_loop, name="yak-disk", daemon=True),
            threading.Thread(target=self._read_loop, name="yak-disk-reads", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    # -- orders, on the loop --------------------------------------------------------------------

    @property
    def durable_end(self) -> Offset:
        """What a power cut cannot take away; it moves when a flush completes."""
        return self._log.durable_end

    def append(self, op: OpId, generation: LogGeneration, batches: tuple[Batch, ...]) -> None:
        """Write placed batches at the end of the log; completes as Done, or NoSpace for none."""
        written = tuple(positioned(batch) for batch in batches)
        fits = self._tail.fits(written[0].base_offset)
        assert fits or self._refused, "a log has no gaps"
        if fits:
            self._tail.append(written)
        self._issue(AppendLog(op, generation, written))

    def flush(self, op: OpId, generation: LogGeneration) -> None:
        """Make durable whatever was ordered before."""
        self._issue(FlushLog(op, generation))

    def truncate(self, op: OpId, generation: LogGeneration, end: Offset) -> None:
        """Remove every batch that ends above ``end``; reads see it at once."""
        self._tail.truncate(end)
        self._cuts_issued += 1
        for read in self._reading:
            read.cut = end if read.cut is None else min(read.cut, end)
        self._issue(TruncateLog(op, generation, end))

    def save(self, op: OpId, key: str, value: bytes | None) -> None:
        """Keep a named value, or delete it (None); durable when it completes."""
        self._issue(SaveState(op, key, value))

    def _issue(self, order: DiskOrder) -> None:
        self._pending.append(order)
        self._orders.put(order)
        self._watch()

    # -- reads, on the loop ---------------------------------------------------------------------

    def read(self, start: Offset, end_max: Offset, bytes_max: int) -> tuple[Batch, ...] | None:
        """Whole batches from the one that holds ``start`` on, at least one, all below ``end_max``.

        Empty when nothing lies in [start, end_max); None when memory does not reach back so far,
        and :meth:`read_later` is to be asked. The bytes are stamped with the batches' positions.
        """
        if not self._tail.holds(start, end_max):
            return None
        return self._tail.read(start, end_max, bytes_max)

    def read_later(self, start: Offset, end_max: Offset, bytes_max: int, done: OnRead) -> None:
        """As :meth:`read`, from the file where needed, by a callback.

        The batches are those of now: if some of them are cut before they could be read, there are
        none. A batch that turns out damaged is never passed on; it is ``fatal``.
        """
        if self._tail.holds(start, end_max):
            self._loop.call_soon(done, self._tail.read(start, end_max, bytes_max))
            return
        read = _Read(start, end_max, bytes_max, done)
        self._reading.append(read)
        self._begin(read)

    def _begin(self, read: _Read) -> None:
        tail = self._tail
        read.limit = min(read.end_max, tail.start)
        read.tail = tail.read(tail.start, read.end_max, read.bytes_max)
        read.cuts_done = self._cuts_done
        self._reads.put(read)
        self._watch()

    def _on_read(self, read: _Read, found: tuple[Batch, ...] | str) -> None:
        """The file was read; it says nothing if it was being cut meanwhile."""
        self._progress += 1
        if self._over:
            return
        reached = found[-1].end if found and not isinstance(found, str) else read.start + 1
        if read.cut is not None and reached > read.cut:
            self._finish(read, ())
            return
        if not isinstance(found, str):
            self._finish(read, found)
        elif read.cuts_done == self._cuts_issued:
            self._reads.put(found)
        else:
            self._begin(read)

    def _finish(self, read: _Read, found: tuple[Batch, ...]) -> None:
        self._reading.remove(read)
        read.done(found)

    # -- completions, on the loop ---------------------------------------------------------------

    def _on_done(self, completions: list[Completion]) -> None:
        self._progress += 1
        pending = self._pending
        for order, result, end in completions:
            if self._over:
                return
            assert pending[0] is order, "orders complete in the order of their issue"
            pending.popleft()
            if isinstance(order, TruncateLog):
                self._cuts_done += 1
                if next(self._pending_of_log(), None) is None:
                    self._tail.settle(end)
            elif result is _NO_SPACE:
                self._refused = True
                self._tail.refuse(end, self._pending_of_log())
            generation = LogGeneration(0)
            if not isinstance(order, SaveState):
                generation = order.generation
            self._done(order.op, generation, result)
        self._tail.evict(self._written())

    def _pending_of_log(self) -> Iterator[AppendLog | TruncateLog]:
        return (order for order in self._pending if isinstance(order, AppendLog | TruncateLog))

    def _written(self) -> Offset:
        """Up to here the file holds what memory holds, whatever is still to be done to it."""
        written = self._tail.leo
        for order in self._pending_of_log():
            if isinstance(order, AppendLog):
                written = min(written, order.batches[0].base_offset)
                if self._cuts_done == self._cuts_issued:
                    break  # The others are above.
        return written

    def _on_fatal(self, reason: str) -> None:
        if not self._over:
            self._over = True
            self._fatal(reason)

    # -- the lock of the interpreter ------------------------------------------------------------

    def _watch(self) -> None:
        if not self._watching:
            self._watching = True
            self._loop.call_later(PATIENCE_S, self._look, self._progress)

    def _look(self, progress: int) -> None:
        """Yield if the threads have something to do and made no progress."""
        self._watching = False
        if self._over or not (self._pending or self._reading):
            return
        if progress == self._progress:
            _yield_interpreter()
        self._watch()

    # -- the end --------------------------------------------------------------------------------

    def abandon(self) -> None:
        """Drop what was ordered behind the group under way, as if the process were killed.

        Nothing is called back any more; :meth:`close` is still to come.
        """
        self._over = True
        self._abandoned = True

    def close(self) -> None:
        """Carry out what was ordered, wait for the threads, and close the storage.

        Nothing is called back any more.
        """
        self._over = True
        self._orders.put(None)
        self._reads.put(None)
        for thread in self._threads:
            thread.join()
        self._storage.close()

    # -- the thread that writes -----------------------------------------------------------------

    def _write_loop(self) -> None:
        try:
            going_on = True
            while going_on:
                orders, going_on = self._take()
                for group in _groups(orders):
                    if self._abandoned:
                        return
                    self._call(self._on_done, self._perform(group))
                    self._log.checkpoint(durably=False)
            self._log.checkpoint(durably=True)
        except OSError as error:
            why = error.strerror or str(error)
            self._call(self._on_fatal, f"cannot write to {self._storage.folder.path}: {why}")
        except BatchError as error:
            self._condemn(f"{self._log.path}: {error}")
        except Exception as error:
            self._call(self._on_fatal, f"the disk's thread failed: {error!r}")
            raise

    def _take(self) -> tuple[list[DiskOrder], bool]:
        """Wait for an order, and take what else is there; False when it was the last."""
        orders: list[DiskOrder] = []
        size = 0
        order = self._orders.get()
        try:
            while order is not None:
                orders.append(order)
                if isinstance(order, AppendLog):
                    size += sum(batch.size for batch in order.batches)
                    if size >= self._group_bytes:
                        return (orders, True)
                order = self._orders.get_nowait()
        except Empty:
            return (orders, True)
        return (orders, False)

    def _perform(self, group: list[DiskOrder]) -> list[Completion]:
        log = self._log
        order = group[0]
        if isinstance(order, TruncateLog):
            return [(order, _DONE, log.truncate(order.end))]
        if isinstance(order, SaveState):
            folder = self._storage.folder
            save_value(folder.system, folder.saved, order.key, order.value)
            return [(order, _DONE, log.end)]
        end = log.end
        fitting: list[AppendLog] = []
        for order in group:
            if isinstance(order, AppendLog) and order.batches[0].base_offset == end:
                fitting.append(order)
                end = order.batches[-1].end
        taken = log.append([append.batches for append in fitting]) if fitting else 0
        written = {append.op for append in fitting[:taken]}
        if any(isinstance(order, FlushLog) for order in group):
            log.flush()
        return [
            (
                order,
                _NO_SPACE if isinstance(order, AppendLog) and order.op not in written else _DONE,
                log.end,
            )
            for order in group
        ]

    # -- the thread that reads ------------------------------------------------------------------

    def _read_loop(self) -> None:
        while (read := self._reads.get()) is not None:
            if isinstance(read, str):
                self._condemn(read)
                return
            found: tuple[Batch, ...] | str = ()
            try:
                if read.start < read.limit:
                    found = self._log.read(read.start, read.limit, read.bytes_max)
                    found = joined(found, read.tail, read.bytes_max)
            except (BatchError, OSError) as error:
                found = f"cannot read {self._log.path}: {error}"
            self._call(self._on_read, read, found)

    # -- both threads ---------------------------------------------------------------------------

    def _condemn(self, reason: str) -> None:
        """The log is damaged: have it checked as a whole at the next start, and stop."""
        try:
            self._storage.marks.flag(VERIFY)
        except OSError as error:
            reason = f"{reason} ({error})"
        self._call(self._on_fatal, reason)

    def _call(self, callback: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            if not self._loop.is_closed():
                raise


def _yield_interpreter() -> None:
    """Block the loop for a moment, so that a thread gets the interpreter's lock."""
    # A busy loop releases the lock for a microsecond at each system call: too short for a thread
    # that must be woken first, which can starve. Measured on 2 cores with a callback that is always
    # ready, p99 of append and flush: up to 2.5 s without this call, 5 to 14 ms with it, and as with
    # sys.setswitchinterval(0.001), which cost 21 % of Producer.send (flush=os, 4 paired rounds).
    time.sleep(YIELD_S)


def _groups(orders: list[DiskOrder]) -> Iterator[list[DiskOrder]]:
    """Runs of appends and flushes, and each cut or saved value by itself."""
    group: list[DiskOrder] = []
    for order in orders:
        if isinstance(order, AppendLog | FlushLog):
            group.append(order)
            continue
        if group:
            yield group
            group = []
        yield [order]
    if group:
        yield group
