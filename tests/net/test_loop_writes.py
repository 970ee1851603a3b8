"""Small appends on the event loop: which, their failures, and a disk that stalls."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.net.brokers import brokers, post
from tests.net.storage_tools import (
    NOT_SYNCED,
    Driven,
    Gate,
    batch,
    batches,
    content,
    on_disk,
    path_of,
    recovered_from,
)
from yak_core.contract.events import DiskOk
from yak_core.ids import LogGeneration, OpId
from yak_net.metadata.embedded import EmbeddedMetadata
from yak_net.storage import LoopWrites, System
from yak_net.storage.loop_writes import LOOP_BYTES, PAUSE_MAX_S, PAUSE_S, SLOW_S, STALLED_S

NEVER = threading.Event()


class Watched:
    """A system that notes which thread writes to the log, and whose writes can be slow."""

    def __init__(self) -> None:
        self.on_loop: list[bool] = []
        self.seconds = 0.0
        self.gate = Gate(".log")
        self.system: System = replace(self.gate.system, write=self._write)

    def _write(self, fd: int, buffers: Sequence[bytes | memoryview], at: int) -> int:
        if path_of(fd).suffix == ".log":
            self.on_loop.append(threading.current_thread() is threading.main_thread())
            if self.on_loop[-1] and self.seconds:
                NEVER.wait(self.seconds)
                return os.pwritev(fd, buffers, at)
        return self.gate.system.write(fd, buffers, at)


def append(driven: Driven, op: int, *sizes: int) -> None:
    """Append batches of one record each; the offset of the first one is the operation's id."""
    driven.disk.append(OpId(op), LogGeneration(0), batches(*sizes, base=op))


async def test_small_append_completes_on_the_loop(tmp_path: Path) -> None:
    """Goal: one write on the loop, in the file and readable when append() returns."""
    watched = Watched()
    driven = Driven(tmp_path, system=watched.system)
    append(driven, 0, 100)
    assert driven.done == [(0, 0, DiskOk())]
    parts = batches(100)
    assert driven.storage.log.path.read_bytes() == content(parts)
    assert driven.disk.read(0, 1, 1 << 20) == on_disk(parts)
    append(driven, 1, 100)
    assert driven.ops == [0, 1]
    assert watched.on_loop == [True, True]
    assert driven.disk.durable_end == 0
    driven.disk.close()
    assert recovered_from(tmp_path, system=NOT_SYNCED).recovered.leo == 2


@pytest.mark.parametrize("reason", ["large", "pending"])
async def test_other_appends_are_written_by_the_thread(tmp_path: Path, reason: str) -> None:
    """Goal: a large append, and one behind a pending operation, do not take the loop's time."""
    watched = Watched()
    driven = Driven(tmp_path, system=watched.system)
    watched.gate.open.clear()
    if reason == "large":
        append(driven, 0, LOOP_BYTES)
    else:
        driven.disk.flush(OpId(9), LogGeneration(0))
        append(driven, 0, 100)
    assert driven.done == []
    watched.gate.open.set()
    await driven.complete(1 + (reason == "pending"))
    assert watched.on_loop == [False]
    driven.disk.close()


async def test_loop_does_not_wait_for_the_checkpoints_of_the_thread(tmp_path: Path) -> None:
    """Goal: while the thread writes a checkpoint, an append is left to the thread.

    Method: hold the checkpoint after a flush that has completed.
    """
    gate = Gate("durable-end")
    driven = Driven(tmp_path, system=gate.system)
    append(driven, 0, 100)
    gate.open.clear()
    driven.disk.flush(OpId(1), LogGeneration(0))
    await driven.complete(2)
    assert await asyncio.to_thread(gate.waiting.wait, 30)
    driven.disk.append(OpId(2), LogGeneration(0), (batch(1, size=100),))
    assert driven.ops == [0, 1]
    gate.open.set()
    await driven.complete(3)
    driven.disk.close()


async def test_stalled_disk_blocks_the_loop_once_at_most(tmp_path: Path) -> None:
    """Goal: after one slow write the thread writes, and the loop goes on during the stall.

    Method: a write of twice SLOW_S on the loop, then a disk that does not answer the thread.
    """
    watched = Watched()
    driven = Driven(tmp_path, system=watched.system)
    watched.seconds = 2 * SLOW_S
    append(driven, 0, 100)
    watched.gate.open.clear()
    for op in range(1, 20):
        append(driven, op, 100)
    assert await asyncio.to_thread(watched.gate.waiting.wait, 30)
    assert driven.disk.read(0, 20, 1 << 20) == on_disk(batches(*[100] * 20))
    assert driven.ops == [0]
    watched.gate.open.set()
    await driven.complete(20)
    assert watched.on_loop.count(True) == 1
    append(driven, 20, 100)
    assert driven.ops[-1] == 19, "the pause is not over"
    await driven.complete(21)
    driven.disk.close()
    assert recovered_from(tmp_path, system=NOT_SYNCED).recovered.leo == 21


async def test_stall_of_the_thread_ends_the_writes_of_the_loop(tmp_path: Path) -> None:
    """Goal: a disk that stalled in a flush is not written by the loop right after it."""
    watched = Watched()

    def sync(fd: int) -> None:
        NEVER.wait(1.2 * STALLED_S)

    driven = Driven(tmp_path, system=replace(watched.system, sync=sync))
    append(driven, 0, 100)
    driven.disk.flush(OpId(99), LogGeneration(0))
    await driven.complete(2)
    append(driven, 1, 100)
    assert driven.ops == [0, 99]
    await driven.complete(3)
    assert watched.on_loop == [True, False]
    driven.disk.close()


async def test_failed_write_on_the_loop_is_fatal(tmp_path: Path) -> None:
    """Goal: as for a write of the thread: one error, no later operation, no checkpoint."""
    gate = Gate()
    broken = [False]
    files: list[str] = []

    def write(fd: int, buffers: Sequence[bytes | memoryview], at: int) -> int:
        files.append(path_of(fd).name)
        if broken[0]:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return gate.system.write(fd, buffers, at)

    driven = Driven(tmp_path, system=replace(gate.system, write=write))
    append(driven, 0, 100)
    broken[0] = True
    append(driven, 1, 100)
    broken[0] = False
    files.clear()
    gate.syncs.clear()
    assert driven.fatal == [], "the node is in a step"
    driven.disk.append(OpId(2), LogGeneration(0), (batch(2),))
    driven.disk.flush(OpId(3), LogGeneration(0))
    driven.disk.save(OpId(4), "key", b"value")
    await driven.until(lambda: bool(driven.fatal))
    driven.disk.close()
    [reason] = driven.fatal
    assert (str(tmp_path) in reason, os.strerror(errno.EIO) in reason) == (True, True)
    assert (driven.ops, files, gate.syncs) == ([0], [], [])
    storage = recovered_from(tmp_path, system=NOT_SYNCED)
    assert (storage.recovered.leo, storage.recovered.saved) == (1, ())
    assert storage.recovered.storage_session != driven.storage.recovered.storage_session


@pytest.mark.parametrize("fails", [False, True])
async def test_loop_notes_the_written_end(tmp_path: Path, fails: bool) -> None:
    """Goal: an append without a flush is noted for the storage session; an error is fatal."""
    written = tmp_path / "written-end"
    broken = [False]

    def write(fd: int, buffers: Sequence[bytes | memoryview], at: int) -> int:
        if broken[0] and path_of(fd) == written:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return os.pwritev(fd, buffers, at)

    driven = Driven(tmp_path, system=replace(NOT_SYNCED, write=write))
    before = written.read_bytes()
    broken[0] = fails
    append(driven, 0, 100)
    append(driven, 1, 100)
    assert driven.ops == [0, 1]
    if fails:
        await driven.until(lambda: bool(driven.fatal))
    else:
        await driven.until(lambda: written.read_bytes() != before)
        (tmp_path / "00000000000000000000.log").write_bytes(content(batches(100)))
    driven.disk.abandon()
    broken[0] = False
    driven.disk.close()
    found = recovered_from(tmp_path, system=NOT_SYNCED).recovered
    assert found.storage_session != driven.storage.recovered.storage_session


async def test_flushed_append_needs_no_note(tmp_path: Path) -> None:
    """Goal: with flush=batch, the append costs no second write on the loop."""
    gate = Gate()
    driven = Driven(tmp_path, system=gate.system)
    gate.writes.clear()
    append(driven, 0, 100)
    driven.disk.flush(OpId(1), LogGeneration(0))
    await driven.complete(2)
    driven.disk.close()
    assert "written-end" not in [name for name, _ in gate.writes]


def test_pauses_grow_while_the_disk_stays_slow() -> None:
    """Goal: pauses of 1, 2, 4 ... 60 s; a pause after a good time is 1 s again."""
    now = [1000.0]
    policy = LoopWrites(100, clock=lambda: now[0])
    assert policy.allowed(100)
    assert not policy.allowed(101)
    policy.wrote(SLOW_S / 2)
    policy.thread_took(STALLED_S / 2)
    assert policy.allowed(1)
    lengths = []
    for _ in range(8):
        began = now[0]
        policy.wrote(2 * SLOW_S)
        while not policy.allowed(1):
            now[0] += PAUSE_S / 2
        lengths.append(now[0] - began)
    assert lengths == [1, 2, 4, 8, 16, 32, PAUSE_MAX_S, PAUSE_MAX_S]
    now[0] += PAUSE_MAX_S
    policy.thread_took(2 * STALLED_S)
    now[0] += PAUSE_S
    assert policy.allowed(1)


def test_loop_can_be_forbidden_to_write() -> None:
    """Goal: a bound of 0 bytes leaves all appends to the thread, as with flush=batch."""
    assert not LoopWrites(0).allowed(1)
    assert not LoopWrites.of("batch").allowed(1)
    assert LoopWrites.of("os").allowed(LOOP_BYTES)


@pytest.mark.parametrize(("flush", "on_loop"), [("os", True), ("batch", False)])
def test_broker_writes_records_on_its_loop_unless_it_flushes_them(
    flush: str, on_loop: bool, tmp_path: Path
) -> None:
    """Goal: with flush=batch the thread is woken for the flush anyway, and writes all.

    Method: the bytes that the main thread of a broker has written to files, by the kernel's count.
    """
    size, count = 10_000, 20
    with EmbeddedMetadata() as metadata, brokers() as start:
        words = ("--listen", "127.0.0.1:0", "--redis", metadata.url, "--flush", flush)
        broker = start(tmp_path / "log", *words, "--data-dir", str(tmp_path / "data"))
        broker.wait_until_ready()
        before = written_by_main_thread(broker.process.pid)
        for _ in range(count):
            assert post(f"{broker.url}/produce", {"records": [{"value": "x" * size}]})[0] == 200
        written = written_by_main_thread(broker.process.pid) - before
    assert (written > count * size / 2) is on_loop, "a slow write makes the loop pause"


def written_by_main_thread(pid: int) -> int:
    """Return the bytes that a process' main thread has written; what sockets send is not in it."""
    text = Path(f"/proc/{pid}/task/{pid}/io").read_text()
    return int(dict(line.split(": ") for line in text.splitlines())["wchar"])
