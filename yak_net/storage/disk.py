"""A broker's disk, for use from the event loop: one thread writes, one thread reads.

The loop issues operations, and ``done`` receives their completions on the loop, in the same order.
Queued operations are executed in groups: one writev for all appends, one fdatasync for all flushes,
one wake-up of the loop for all completions. A truncation or a saved value is a group by itself.

Reads do not wait for writes. The newest batches are in memory (``Tail``), also before they are
written. :meth:`BrokerDisk.read` uses the memory, :meth:`BrokerDisk.read_later` also the file.

A failed flush is not retried: the system may have discarded the pages and marked them clean
(Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020). Instead, the
disk calls ``fatal`` once, and the process must stop.
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
from yak_core.contract.effects import AppendLog, DiskEffect, FlushLog, SaveState, TruncateLog
from yak_core.contract.events import DiskOk, DiskResult, NoSpace
from yak_core.ids import LogGeneration, Offset, OpId
from yak_net.storage.checkpoints import VERIFY, save_value
from yak_net.storage.recovery import Storage
from yak_net.storage.tail import Tail, joined, positioned

Completion: TypeAlias = tuple[DiskEffect, DiskResult, Offset]
OnDone: TypeAlias = Callable[[OpId, LogGeneration, DiskResult], None]
OnFatal: TypeAlias = Callable[[str], None]
OnRead: TypeAlias = Callable[[tuple[Batch, ...]], None]

CACHE_BYTES: Final = 16 << 20
GROUP_BYTES: Final = 1 << 20
"""Bytes of appends at which a group ends; the next group takes the rest of the queue."""
PATIENCE_S: Final = 0.001
"""Seconds without progress of the threads after which the loop yields to them."""
YIELD_S: Final = 0.0001
"""Seconds for which the loop yields."""

_DONE: Final = DiskOk()
_NO_SPACE: Final = NoSpace()


class _Read:
    """A pending read of the file: its arguments, the part in memory, and later truncations."""

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
    """The disk of one incarnation; create and use it on the loop's thread only.

    ``done(op, generation, result)`` receives each completion (generation 0 for a saved value).
    ``fatal(reason)`` is called after an error; no operation completes after it. ``cache_bytes``
    limits the written batches in memory. :meth:`close` also closes ``storage``.
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
        self._pending: deque[DiskEffect] = deque()
        self._cuts_issued = 0
        self._cuts_done = 0
        self._refused = False
        self._over = False
        self._abandoned = False
        self._reading: list[_Read] = []
        self._watching = False
        self._progress = 0
        self._orders: SimpleQueue[DiskEffect | None] = SimpleQueue()
        # A string reports a damaged log: see _condemn.
        self._reads: SimpleQueue[_Read | str | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._write_loop, name="yak-disk", daemon=True),
            threading.Thread(target=self._read_loop, name="yak-disk-reads", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    # -- operations, on the loop ----------------------------------------------------------------

    @property
    def durable_end(self) -> Offset:
        """End offset of the last completed flush."""
        return self._log.durable_end

    def append(self, op: OpId, generation: LogGeneration, batches: tuple[Batch, ...]) -> None:
        """Append batches at the log end.

        Completes with DiskOk, or with NoSpace; none of the batches is then in the log.
        """
        written = tuple(positioned(batch) for batch in batches)
        fits = self._tail.fits(written[0].base_offset)
        assert fits or self._refused, "an append must start at the log end"
        if fits:
            self._tail.append(written)
        self._issue(AppendLog(op, generation, written))

    def flush(self, op: OpId, generation: LogGeneration) -> None:
        """Flush the results of all operations issued before."""
        self._issue(FlushLog(op, generation))

    def truncate(self, op: OpId, generation: LogGeneration, end: Offset) -> None:
        """Remove every batch that ends above ``end``; the change is visible to reads at once."""
        self._tail.truncate(end)
        self._cuts_issued += 1
        for read in self._reading:
            read.cut = end if read.cut is None else min(read.cut, end)
        self._issue(TruncateLog(op, generation, end))

    def save(self, op: OpId, key: str, value: bytes | None) -> None:
        """Save a value, or delete it if ``value`` is None; durable when it completes."""
        self._issue(SaveState(op, key, value))

    def _issue(self, order: DiskEffect) -> None:
        self._pending.append(order)
        self._orders.put(order)
        self._watch()

    # -- reads, on the loop ---------------------------------------------------------------------

    def read(self, start: Offset, end_max: Offset, bytes_max: int) -> tuple[Batch, ...] | None:
        """Return complete batches from memory, from the one that contains ``start``.

        All end at or below ``end_max``. They have at most ``bytes_max`` bytes; the first one may be
        larger. Empty if [start, end_max) contains no batch. Returns None if the file is needed:
        call :meth:`read_later`. The bytes contain the base offset and epoch of each batch.
        """
        if not self._tail.holds(start, end_max):
            return None
        return self._tail.read(start, end_max, bytes_max)

    def read_later(self, start: Offset, end_max: Offset, bytes_max: int, done: OnRead) -> None:
        """Read like :meth:`read`, also from the file, and pass the batches to ``done``.

        The batches are those of the log at this call. If a truncation removes some of them before
        the read, ``done`` receives none. A damaged batch leads to ``fatal`` instead.
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
        """Handle the result of a file read; repeat a read that failed during a truncation."""
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
            assert pending[0] is order, "operations must complete in the order of their issue"
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
        """Return the offset up to which the file contains the same batches as the memory."""
        written = self._tail.leo
        for order in self._pending_of_log():
            if isinstance(order, AppendLog):
                written = min(written, order.batches[0].base_offset)
                if self._cuts_done == self._cuts_issued:
                    break  # Without pending truncations, the later appends are above this one.
        return written

    def _on_fatal(self, reason: str) -> None:
        if not self._over:
            self._over = True
            self._fatal(reason)

    # -- the interpreter lock (GIL) -------------------------------------------------------------

    def _watch(self) -> None:
        if not self._watching:
            self._watching = True
            self._loop.call_later(PATIENCE_S, self._look, self._progress)

    def _look(self, progress: int) -> None:
        """Yield the interpreter if the threads have work and made no progress."""
        self._watching = False
        if self._over or not (self._pending or self._reading):
            return
        if progress == self._progress:
            _yield_interpreter()
        self._watch()

    # -- the end --------------------------------------------------------------------------------

    def abandon(self) -> None:
        """Drop operations after the current group, like a crash, and all callbacks; then close."""
        self._over = True
        self._abandoned = True

    def close(self) -> None:
        """Execute the issued operations without callbacks, end the threads, close the storage."""
        self._over = True
        self._orders.put(None)
        self._reads.put(None)
        for thread in self._threads:
            thread.join()
        self._storage.close()

    # -- writer thread --------------------------------------------------------------------------

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
            self._call(self._on_fatal, f"the disk writer thread failed: {error!r}")
            raise

    def _take(self) -> tuple[list[DiskEffect], bool]:
        """Wait for an operation, take the queued ones too; return (operations, more may follow)."""
        orders: list[DiskEffect] = []
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

    def _perform(self, group: list[DiskEffect]) -> list[Completion]:
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

    # -- reader thread --------------------------------------------------------------------------

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
        """Report a damaged log: the next start checks all of it, and this disk stops."""
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
    """Block the loop briefly, so that a thread gets the interpreter lock."""
    # A busy loop releases the lock for about 1 us at each system call. That is too short for a
    # thread that the system must wake first; the thread can starve. p99 of append and flush on 2
    # cores, with a callback that is always ready: up to 2.5 s without this call, 5 to 14 ms with
    # it. sys.setswitchinterval(0.001) had the same effect, but cost 21 % of Producer.send
    # (flush=os, 4 paired rounds).
    time.sleep(YIELD_S)


def _groups(orders: list[DiskEffect]) -> Iterator[list[DiskEffect]]:
    """Yield runs of appends and flushes, and each truncation or saved value by itself."""
    group: list[DiskEffect] = []
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
