"""Shared by the storage tests: batches with values made from their offsets, and a disk."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from yak_core.batch import Batch, Builder, placed, records, seal, stamped
from yak_core.contract.events import DiskResult
from yak_core.ids import LogGeneration, OpId
from yak_core.log.producers import ProducerEntry, ProducerTable
from yak_core.model.disk import DiskImage
from yak_net.storage import BrokerDisk, Storage, System, open_storage
from yak_net.storage.recovery import VERIFY_BYTES

PATIENCE_S = 30.0
NOT_SYNCED = System(sync=lambda fd: None, sync_folder=lambda folder: None)
"""A system without flushes, for tests without a power failure."""


def path_of(fd: int) -> Path:
    """Return the path of an open descriptor."""
    return Path("/proc/self/fd", str(fd)).readlink()


def value_of(offset: int, epoch: int, size: int = 20) -> bytes:
    """Return the value of the record at this offset and epoch."""
    word = f"{offset}@{epoch}."
    return (word * (size // len(word) + 1)).encode()[:size]


def batch(
    base: int, epoch: int = 1, count: int = 1, size: int = 20, producer: int = -1, sequence: int = 0
) -> Batch:
    """Return a sealed batch with offset and epoch, which its values contain."""
    builder = Builder(bytes_max=1 << 20)
    for offset in range(base, base + count):
        assert builder.append(value_of(offset, epoch, size), timestamp_ms=1000 + offset) is not None
    known = producer >= 0
    sealed = seal(
        builder.build(),
        producer_id=producer if known else -1,
        producer_epoch=0 if known else -1,
        base_sequence=sequence if known else -1,
    )
    return placed(sealed, base, epoch)


def batches(*sizes: int, base: int = 0, epoch: int = 1) -> tuple[Batch, ...]:
    """Return consecutive batches of one record each; ``sizes`` are those of the values."""
    return tuple(batch(base + i, epoch, 1, size) for i, size in enumerate(sizes))


def on_disk(parts: Iterable[Batch]) -> tuple[Batch, ...]:
    """Return the batches as reads return them: the bytes contain offset and epoch."""
    return tuple(replace(part, data=stamped(part)) for part in parts)


def content(parts: Iterable[Batch]) -> bytes:
    """Return the bytes of a log of these batches."""
    return b"".join(stamped(part) for part in parts)


def is_genuine(part: Batch) -> bool:
    """Return whether every value matches its offset."""
    return all(
        record.value == value_of(record.offset, part.epoch, len(record.value or b""))
        for record in records(part)
    )


def fold(parts: Iterable[Batch]) -> tuple[tuple[int, ProducerEntry], ...]:
    """Return the idempotence table of a log."""
    table = ProducerTable()
    for one in parts:
        table.apply(
            one.producer_id, one.producer_epoch, one.base_sequence, one.base_offset, one.end
        )
    return table.snapshot()


def write_log(path: Path, *groups: tuple[Batch, ...], system: System | None = None) -> None:
    """Write a data directory with this log; all groups but the last are flushed."""
    storage = open_storage(path, "n1", system=system)
    for group in groups[:-1]:
        assert storage.log.append([on_disk(group)]) == 1
        storage.log.flush()
        storage.log.write_checkpoint(durably=True)
    assert storage.log.append([on_disk(groups[-1])]) == 1
    storage.close()


def recovered_from(
    path: Path, verify_bytes: int = VERIFY_BYTES, system: System | None = None
) -> Storage:
    """Recover the storage and close it."""
    storage = open_storage(path, "n1", verify_bytes=verify_bytes, system=system)
    storage.close()
    return storage


def check_same(storage: Storage, image: DiskImage) -> None:
    """Compare a the storage with an the, including equals bytes."""
    wanted, found = image.recovered("any"), storage.recovered
    assert found.headers == wanted.headers
    assert (found.log_start, found.leo, found.intact) == (wanted.log_start, wanted.leo, True)
    assert (found.epochs, found.saved) == (wanted.epochs, wanted.saved)
    assert found.producers == ()
    assert storage.log.path.read_bytes() == content(image.batches)


class Driven:
    """A disk on a running loop that records its completions."""

    def __init__(
        self,
        path: Path,
        *,
        system: System | None = None,
        cache_bytes: int = 1 << 20,
        group_bytes: int = 1 << 20,
    ) -> None:
        self.storage = open_storage(path, "n1", system=system)
        self.disk = BrokerDisk(
            self.storage,
            self._on_done,
            self._on_fatal,
            cache_bytes=cache_bytes,
            group_bytes=group_bytes,
        )
        self.done: list[tuple[int, int, DiskResult]] = []
        self.fatal: list[str] = []
        self._changed = asyncio.Event()

    @property
    def ops(self) -> list[int]:
        """Return the completed operations."""
        return [op for op, _, _ in self.done]

    def _on_done(self, op: int, generation: LogGeneration, result: DiskResult) -> None:
        self.done.append((op, generation, result))
        self._changed.set()

    def _on_fatal(self, reason: str) -> None:
        self.fatal.append(reason)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds.

        The disk thread changes what some conditions read, and completes no call with it: so the
        condition is also checked each 10 ms.
        """
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._changed.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), 0.01)

    async def complete(self, count: int) -> None:
        """Wait until ``count`` operations have completed in all."""
        await self.until(lambda: len(self.done) >= count)
        assert len(self.done) == count

    async def read(self, start: int, end_max: int, bytes_max: int) -> tuple[Batch, ...]:
        """Read from memory if possible, otherwise from the file."""
        found = self.disk.read(start, end_max, bytes_max)
        return await self.read_file(start, end_max, bytes_max) if found is None else found

    async def read_file(self, start: int, end_max: int, bytes_max: int) -> tuple[Batch, ...]:
        """Read from the file, by the callback."""
        answer: asyncio.Future[tuple[Batch, ...]] = asyncio.get_running_loop().create_future()
        self.disk.read_later(start, end_max, bytes_max, answer.set_result)
        async with asyncio.timeout(PATIENCE_S):
            return await answer


class Gate:
    """A system whose writes and flushes wait while the gate is shut; reads do not.

    With a ``suffix`` only those of files with this suffix wait.
    """

    def __init__(self, suffix: str = "") -> None:
        self.suffix = suffix
        self.open = threading.Event()
        self.open.set()
        self.waiting = threading.Event()
        self.syncs: list[str] = []
        self.writes: list[tuple[str, int]] = []
        self.broken = 0
        self.system = replace(
            NOT_SYNCED, write=self._write, sync=self._sync, truncate=self._truncate
        )

    def _pass(self, fd: int) -> None:
        if not self.open.is_set() and path_of(fd).name.endswith(self.suffix):
            self.waiting.set()
            assert self.open.wait(30), "the gate stayed shut"

    def _write(self, fd: int, buffers: Sequence[bytes | memoryview], at: int) -> int:
        self._pass(fd)
        count = os.pwritev(fd, buffers, at)
        self.writes.append((path_of(fd).name, count))
        return count

    def _sync(self, fd: int) -> None:
        self._pass(fd)
        self.syncs.append(path_of(fd).name)
        if self.broken and path_of(fd).suffix == ".log":
            raise OSError(self.broken, os.strerror(self.broken))

    def _truncate(self, fd: int, size: int) -> None:
        self._pass(fd)
        os.ftruncate(fd, size)

    async def shut(self, driven: Driven) -> None:
        """Close the gate and wait until the disk's thread blocks in an empty save."""
        self.open.clear()
        driven.disk.save(OpId(0), "gate", b"")
        assert await asyncio.to_thread(self.waiting.wait, 30)
