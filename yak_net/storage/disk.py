"""A broker's disk, for use from the event loop: one thread writes, one thread reads.

The loop issues operations, and ``done`` receives their completions on the loop, in the same order.
A small append is written on the loop itself if nothing is pending (``LoopWrites``); it completes
before :meth:`BrokerDisk.append` returns. All other operations are queued for the thread, which
executes them in groups: one writev for all appends, one fdatasync for all flushes, one wake-up of
the loop for all completions. A truncation or a saved value is a group by itself.

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
from queue import SimpleQueue
from typing import Final, TypeAlias

from yak_core.batch import Batch, BatchError
from yak_core.contract.effects import AppendLog, DiskEffect, FlushLog, SaveState, TruncateLog
from yak_core.contract.events import DiskResult
from yak_core.ids import LogGeneration, Offset, OpId
from yak_net.storage.checkpoints import VERIFY
from yak_net.storage.groups import NO_SPACE, Completion, execute, groups, take
from yak_net.storage.loop_writes import LoopWrites
from yak_net.storage.recovery import Storage
from yak_net.storage.tail import OnRead, PendingRead, Tail, join, positioned

OnDone: TypeAlias = Callable[[OpId, LogGeneration, DiskResult], None]
OnFatal: TypeAlias = Callable[[str], None]

CACHE_BYTES: Final = 16 << 20
GROUP_BYTES: Final = 1 << 20
"""Bytes of appends at which a group ends; the next group takes the rest of the queue."""
STALL_S: Final = 0.001
"""Seconds without progress of the threads after which the loop yields to them."""
YIELD_S: Final = 0.0001
"""Seconds for which the loop yields."""


class BrokerDisk:
    """The disk of one incarnation; create and use it on the loop's thread only.

    ``done(op, generation, result)`` receives each completion (generation 0 for a saved value).
    ``fatal(reason)`` is called after an error; no operation completes after it. ``cache_bytes``
    limits the written batches in memory, ``loop_writes`` decides which appends the loop writes.
    :meth:`close` also closes ``storage``.
    """

    def __init__(
        self,
        storage: Storage,
        done: OnDone,
        fatal: OnFatal,
        *,
        cache_bytes: int = CACHE_BYTES,
        group_bytes: int = GROUP_BYTES,
        loop_writes: LoopWrites | None = None,
    ) -> None:
        self._storage = storage
        self._log = storage.log
        self._done = done
        self._fatal = fatal
        self._loop = asyncio.get_running_loop()
        self._group_bytes = group_bytes
        self._loop_writes = LoopWrites() if loop_writes is None else loop_writes
        # Held by the thread that changes the log or its checkpoints. The loop never waits for it.
        self._writing = threading.Lock()
        self._note_scheduled = False
        self._tail = Tail(storage.log.start, storage.log.end, cache_bytes)
        self._pending: deque[DiskEffect] = deque()
        self._truncations_issued = 0
        self._truncations_done = 0
        self._had_no_space = False
        self._ended = False
        self._abandoned = False
        self._failed = False
        self._pending_reads: list[PendingRead] = []
        self._is_watching = False
        self._progress = 0
        self._orders: SimpleQueue[DiskEffect | None] = SimpleQueue()
        # A string reports a damaged log: see _condemn.
        self._reads: SimpleQueue[PendingRead | str | None] = SimpleQueue()
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
        can_append = self._tail.can_append(written[0].base_offset)
        assert can_append or self._had_no_space, "an append must start at the log end"
        if can_append:
            self._tail.append(written)
        order = AppendLog(op, generation, written)
        if can_append and self._may_write_on_loop(sum(batch.size for batch in written)):
            self._append_on_loop(order)
        else:
            self._issue(order)

    def flush(self, op: OpId, generation: LogGeneration) -> None:
        """Flush the results of all operations issued before."""
        self._issue(FlushLog(op, generation))

    def truncate(self, op: OpId, generation: LogGeneration, end: Offset) -> None:
        """Remove every batch that ends above ``end``; the change is visible to reads at once."""
        self._tail.truncate(end)
        self._truncations_issued += 1
        for read in self._pending_reads:
            read.truncated_to = end if read.truncated_to is None else min(read.truncated_to, end)
        self._issue(TruncateLog(op, generation, end))

    def save(self, op: OpId, key: str, value: bytes | None) -> None:
        """Save a value, or delete it if ``value`` is None; durable when it completes."""
        self._issue(SaveState(op, key, value))

    def _issue(self, order: DiskEffect) -> None:
        self._pending.append(order)
        self._orders.put(order)
        self._watch_progress()

    # -- small appends, on the loop -------------------------------------------------------------

    def _may_write_on_loop(self, size: int) -> bool:
        """Return whether the loop writes an append of ``size`` bytes; it then holds the lock."""
        return (
            not (self._pending or self._ended or self._failed)
            and self._loop_writes.allowed(size)
            and self._writing.acquire(blocking=False)
        )

    def _append_on_loop(self, order: AppendLog) -> None:
        self._pending.append(order)
        began = time.perf_counter()
        try:
            completions = execute(self._storage, [order])
        except OSError as error:
            self._fail_on_loop(error)
            return
        finally:
            self._writing.release()
            self._loop_writes.wrote(time.perf_counter() - began)
        if not self._note_scheduled:
            self._note_scheduled = True
            self._loop.call_soon(self._note_written)
        self._on_done(completions)

    def _note_written(self) -> None:
        """Note the end of the written log, unless the thread does that.

        The thread has the lock, or has pending operations, only for a group that was issued after
        the append. It notes the end after that group.
        """
        self._note_scheduled = False
        if self._pending or self._ended or self._failed:
            return
        if not self._writing.acquire(blocking=False):
            return
        began = time.perf_counter()
        try:
            self._log.note_written()
        except OSError as error:
            self._fail_on_loop(error)
        finally:
            self._writing.release()
            self._loop_writes.wrote(time.perf_counter() - began)

    def _fail_on_loop(self, error: OSError) -> None:
        """End the disk after a failed write on the loop, as after one of the thread."""
        self._failed = True
        self._report_failure(error)

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
        read = PendingRead(start, end_max, bytes_max, done)
        self._pending_reads.append(read)
        self._start_read(read)

    def _start_read(self, read: PendingRead) -> None:
        tail = self._tail
        read.limit = min(read.end_max, tail.start)
        read.tail = tail.read(tail.start, read.end_max, read.bytes_max)
        read.truncations_done = self._truncations_done
        self._reads.put(read)
        self._watch_progress()

    def _on_read(self, read: PendingRead, found: tuple[Batch, ...] | str) -> None:
        """Handle the result of a file read; repeat a read that failed during a truncation."""
        self._progress += 1
        if self._ended:
            return
        reached = found[-1].end if found and not isinstance(found, str) else read.start + 1
        if read.truncated_to is not None and reached > read.truncated_to:
            self._finish_read(read, ())
            return
        if not isinstance(found, str):
            self._finish_read(read, found)
        elif read.truncations_done == self._truncations_issued:
            self._reads.put(found)
        else:
            self._start_read(read)

    def _finish_read(self, read: PendingRead, found: tuple[Batch, ...]) -> None:
        self._pending_reads.remove(read)
        read.done(found)

    # -- completions, on the loop ---------------------------------------------------------------

    def _on_group_done(self, completions: list[Completion], seconds: float) -> None:
        """Handle the completions of the thread, which needed ``seconds``."""
        self._progress += 1
        self._loop_writes.thread_took(seconds)
        self._on_done(completions)

    def _on_done(self, completions: list[Completion]) -> None:
        pending = self._pending
        for order, result, end in completions:
            if self._ended:
                return
            assert pending[0] is order, "operations must complete in the order of their issue"
            pending.popleft()
            if isinstance(order, TruncateLog):
                self._truncations_done += 1
                if next(self._pending_of_log(), None) is None:
                    self._tail.set_end(end)
            elif result is NO_SPACE:
                self._had_no_space = True
                self._tail.drop_failed(end, self._pending_of_log())
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
                if self._truncations_done == self._truncations_issued:
                    break  # Without pending truncations, the later appends are above this one.
        return written

    def _on_fatal(self, reason: str) -> None:
        if not self._ended:
            self._ended = True
            self._fatal(reason)

    # -- the interpreter lock (GIL) -------------------------------------------------------------

    def _watch_progress(self) -> None:
        if not self._is_watching:
            self._is_watching = True
            self._loop.call_later(STALL_S, self._check_progress, self._progress)

    def _check_progress(self, progress: int) -> None:
        """Yield the interpreter if the threads have work and made no progress."""
        self._is_watching = False
        if self._ended or not (self._pending or self._pending_reads):
            return
        if progress == self._progress:
            _yield_interpreter()
        self._watch_progress()

    # -- the end --------------------------------------------------------------------------------

    def abandon(self) -> None:
        """Drop operations after the current group, like a crash, and all callbacks; then close."""
        self._ended = True
        self._abandoned = True

    def close(self) -> None:
        """Execute the issued operations without callbacks, end the threads, close the storage."""
        self._ended = True
        self._orders.put(None)
        self._reads.put(None)
        for thread in self._threads:
            thread.join()
        self._storage.close()

    # -- writer thread --------------------------------------------------------------------------

    def _write_loop(self) -> None:
        try:
            running = True
            while running:
                orders, running = take(self._orders, self._group_bytes)
                for group in groups(orders):
                    if self._abandoned or self._failed:
                        return
                    with self._writing:
                        began = time.perf_counter()
                        completions = execute(self._storage, group)
                        took = time.perf_counter() - began
                        self._call_on_loop(self._on_group_done, completions, took)
                        self._log.write_checkpoint(durably=False)
            if not self._failed:
                self._log.write_checkpoint(durably=True)
        except OSError as error:
            self._report_failure(error)
        except BatchError as error:
            self._report_damage(f"{self._log.path}: {error}")
        except Exception as error:
            self._call_on_loop(self._on_fatal, f"the disk writer thread failed: {error!r}")
            raise

    # -- reader thread --------------------------------------------------------------------------

    def _read_loop(self) -> None:
        while (read := self._reads.get()) is not None:
            if isinstance(read, str):
                self._report_damage(read)
                return
            found: tuple[Batch, ...] | str = ()
            try:
                if read.start < read.limit:
                    found = self._log.read(read.start, read.limit, read.bytes_max)
                    found = join(found, read.tail, read.bytes_max)
            except (BatchError, OSError) as error:
                found = f"cannot read {self._log.path}: {error}"
            self._call_on_loop(self._on_read, read, found)

    # -- all threads ----------------------------------------------------------------------------

    def _report_failure(self, error: OSError) -> None:
        """Report a failed write; ``fatal`` is called in a later iteration of the loop."""
        reason = error.strerror or str(error)
        self._call_on_loop(self._on_fatal, f"cannot write to {self._log.path.parent}: {reason}")

    def _report_damage(self, reason: str) -> None:
        """Report a damaged log: the next start checks all of it, and this disk stops."""
        self._storage.session.end()
        try:
            self._storage.checkpoints.set_flag(VERIFY)
        except OSError as error:
            reason = f"{reason} ({error})"
        self._call_on_loop(self._on_fatal, reason)

    def _call_on_loop(self, callback: Callable[..., None], *args: object) -> None:
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
