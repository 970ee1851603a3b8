"""The disk on the event loop: order, group commit, reads, stop."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.net.storage_tools import (
    NOT_SYNCED,
    Driven,
    Gate,
    batch,
    batches,
    content,
    on_disk,
    recovered_from,
    write_log,
)
from yak_core.ids import LogGeneration, OpId
from yak_net.storage import System


async def test_queued_effects_are_one_write_and_one_flush(tmp_path: Path) -> None:
    """Goal: group commit. Method: hold the thread, issue ten appends and flushes, count calls."""

    gate = Gate()
    driven = Driven(tmp_path, system=gate.system)
    await gate.shut(driven)
    for number in range(10):
        driven.disk.append(OpId(2 * number + 1), LogGeneration(0), (batch(number),))
        driven.disk.flush(OpId(2 * number + 2), LogGeneration(0))
    gate.syncs.clear()
    gate.open.set()
    await driven.complete(21)
    driven.disk.close()
    name = driven.storage.log.path.name
    size = len(content(batches(*[20] * 10)))
    assert [one for one in gate.writes if one[0] == name] == [(name, size)]
    assert gate.syncs.count(name) == 1
    assert driven.ops == list(range(21))


async def test_a_group_has_a_limit(tmp_path: Path) -> None:
    """Goal: the first flush of a long queue does not wait for the whole queue."""

    gate = Gate()
    driven = Driven(tmp_path, system=gate.system, group_bytes=2000)
    await gate.shut(driven)
    for number in range(9):
        driven.disk.append(OpId(2 * number + 1), LogGeneration(0), (batch(number, size=600),))
        driven.disk.flush(OpId(2 * number + 2), LogGeneration(0))
    gate.open.set()
    await driven.complete(19)
    driven.disk.close()
    sizes = [count for name, count in gate.writes if name == driven.storage.log.path.name]
    assert sizes == [batch(0, size=600).size * 3] * 3


async def test_reads_wait_for_no_write(tmp_path: Path) -> None:
    """Goal: issued appends and records on disk can be read while writes are held."""

    old, new = batches(50, 50, 50), batches(70, 70, base=3, epoch=2)
    write_log(tmp_path, old, (), system=NOT_SYNCED)
    gate = Gate()
    driven = Driven(tmp_path, system=gate.system)
    await gate.shut(driven)
    driven.disk.append(OpId(1), LogGeneration(0), new)
    assert driven.disk.read(3, 5, 1 << 20) == on_disk(new)
    assert driven.disk.read(4, 9, 1) == on_disk(new[1:])
    assert driven.disk.read(5, 9, 1 << 20) == ()
    assert driven.disk.read(2, 5, 1 << 20) is None
    assert await driven.read_file(1, 5, 1 << 20) == on_disk((*old[1:], *new))
    assert await driven.read_file(1, 3, 1 << 20) == on_disk(old[1:])
    assert await driven.read_file(3, 5, 1) == on_disk(new[:1])
    room = sum(part.size for part in (*old, new[0]))
    assert await driven.read_file(0, 5, room) == on_disk((*old, new[0]))
    assert await driven.read_file(0, 5, room - 1) == on_disk(old)
    assert driven.done == []
    gate.open.set()
    await driven.complete(2)
    driven.disk.close()


async def test_memory_keeps_unwritten_batches(tmp_path: Path) -> None:
    """Goal: the tail is bounded by bytes, and has every batch that is not in the file."""

    gate = Gate(".log")
    driven = Driven(tmp_path, system=gate.system, cache_bytes=1000)
    parts = batches(*[400] * 8)
    gate.open.clear()
    driven.disk.save(OpId(0), "key", b"")
    for number, part in enumerate(parts):
        driven.disk.append(OpId(number + 1), LogGeneration(0), (part,))
    await driven.complete(1)
    assert driven.disk.read(0, 8, 1 << 20) == on_disk(parts)
    gate.open.set()
    await driven.complete(9)
    assert driven.disk.read(5, 8, 1 << 20) is None
    assert driven.disk.read(6, 8, 1 << 20) == on_disk(parts[6:])
    assert await driven.read(0, 8, 1 << 20) == on_disk(parts)
    driven.disk.close()


async def test_memory_keeps_unwritten_batches_after_a_truncation(tmp_path: Path) -> None:
    """Goal: reused offsets are not read from the old bytes of the file."""

    write_log(tmp_path, batches(*[50] * 8), (), system=NOT_SYNCED)
    gate = Gate(".log")
    driven = Driven(tmp_path, system=gate.system, cache_bytes=100)
    new = batches(60, 60, 60, base=2, epoch=7)
    gate.open.clear()
    driven.disk.save(OpId(0), "key", b"")
    driven.disk.append(OpId(1), LogGeneration(0), batches(50, base=8))
    driven.disk.truncate(OpId(2), LogGeneration(1), 2)
    driven.disk.append(OpId(3), LogGeneration(1), new)
    await driven.complete(1)
    assert driven.disk.read(2, 9, 1 << 20) == on_disk(new)
    gate.open.set()
    await driven.complete(4)
    assert await driven.read(2, 9, 1 << 20) == on_disk(new)
    driven.disk.close()


async def test_read_after_an_issued_truncation_omits_the_old_tail(tmp_path: Path) -> None:
    """Goal: bytes of the file above an issued truncation are not read."""

    old = batches(50, 50, 50, 50)
    write_log(tmp_path, old, (), system=NOT_SYNCED)
    gate = Gate()
    driven = Driven(tmp_path, system=gate.system)
    await gate.shut(driven)
    driven.disk.truncate(OpId(1), LogGeneration(1), 2)
    assert await driven.read(0, 4, 1 << 20) == on_disk(old[:2])
    assert await driven.read(2, 4, 1 << 20) == ()
    new = (batch(2, 9, 2, 60),)
    driven.disk.append(OpId(2), LogGeneration(1), new)
    assert await driven.read(0, 4, 1 << 20) == on_disk((*old[:2], *new))
    assert await driven.read(1, 3, 1 << 20) == on_disk(old[1:2])
    gate.open.set()
    await driven.complete(3)
    driven.disk.close()


async def test_busy_loop_does_not_starve_the_disk(tmp_path: Path) -> None:
    """Goal: flushes complete on a loop that is always busy with short callbacks.

    Method: a callback that is always ready, and a flush with a realistic duration.
    """
    never = threading.Event()

    def sync(fd: int) -> None:
        never.wait(0.0003)

    driven = Driven(tmp_path, system=replace(NOT_SYNCED, sync=sync))
    loop = asyncio.get_running_loop()
    busy = [True]

    def spin() -> None:
        until = time.perf_counter() + 0.00005
        while time.perf_counter() < until:
            pass
        if busy:
            loop.call_soon(spin)

    spin()
    for number in range(20):
        driven.disk.append(OpId(2 * number), LogGeneration(0), (batch(number),))
        driven.disk.flush(OpId(2 * number + 1), LogGeneration(0))
        await driven.complete(2 * number + 2)
    busy.clear()
    driven.disk.close()


async def test_abandoned_disk_drops_its_queue(tmp_path: Path) -> None:
    """Goal: as after a kill of the process: no callback, and the queue is dropped."""

    gate = Gate()
    driven = Driven(tmp_path, system=gate.system)
    await gate.shut(driven)
    driven.disk.append(OpId(1), LogGeneration(0), batches(50))
    driven.disk.flush(OpId(2), LogGeneration(0))
    driven.disk.abandon()
    gate.open.set()
    driven.disk.close()
    assert driven.done == []
    assert recovered_from(tmp_path, system=NOT_SYNCED).recovered.leo == 0


async def test_close_completes_issued_effects(tmp_path: Path) -> None:
    """Goal: a clean stop loses nothing, and the flush checkpoint is at the end."""

    driven = Driven(tmp_path)
    driven.disk.append(OpId(1), LogGeneration(0), batches(50, 50))
    driven.disk.flush(OpId(2), LogGeneration(0))
    driven.disk.save(OpId(3), "clean", b"7 2")
    driven.disk.close()
    assert driven.ops == [1], "only the append on the loop has completed"
    storage = recovered_from(tmp_path)
    assert storage.recovered.saved == (("clean", b"7 2"),)
    assert storage.checkpoints.newest is not None
    assert (storage.checkpoints.newest.end, storage.recovered.leo) == (2, 2)


async def test_short_writes_are_continued(tmp_path: Path) -> None:
    """Goal: the system may write fewer bytes than given, up to any byte of any buffer."""

    async def scenario() -> None:
        calls = [0]

        def write(fd: int, buffers: Sequence[bytes | memoryview], at: int) -> int:
            calls[0] += 1
            return os.pwrite(fd, b"".join(buffers)[: 1 + 37 * calls[0] % 400], at)

        driven = Driven(tmp_path, system=System(write=write, sync=lambda fd: None))
        parts = [batches(*[30] * 700), batches(200, 1000, 40, base=700)]
        driven.disk.append(OpId(1), LogGeneration(0), parts[0])
        driven.disk.append(OpId(2), LogGeneration(0), parts[1])
        driven.disk.save(OpId(3), "key", b"x" * 500)
        await driven.complete(3)
        driven.disk.close()
        assert driven.storage.log.path.read_bytes() == content((*parts[0], *parts[1]))
        assert calls[0] > 100

    await scenario()
    assert recovered_from(tmp_path).recovered.saved == (("key", b"x" * 500),)
