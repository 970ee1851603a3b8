"""A full disk, a failed flush and damaged bytes: no loss goes undetected."""

from __future__ import annotations

import asyncio
import errno
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.net.small_disk import small_disk
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
    write_log,
)
from yak_core.contract.events import DiskOk, NoSpace
from yak_core.ids import LogGeneration, OpId
from yak_net.storage import open_storage


async def test_failed_append_leaves_no_bytes(tmp_path: Path) -> None:
    """Goal: NoSpace truncates a partial batch, later appends are refused, then space again."""

    room = [1000]

    def write(fd: int, buffers: Sequence[bytes | memoryview], at: int) -> int:
        if path_of(fd).suffix != ".log":
            return os.pwritev(fd, buffers, at)
        data = b"".join(buffers)[: max(0, room[0] - at)]
        if not data:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.pwrite(fd, data, at)

    driven = Driven(tmp_path, system=replace(NOT_SYNCED, write=write))
    parts = batches(300, 300, 300, 300)
    for op, part in enumerate(parts):
        driven.disk.append(OpId(op), LogGeneration(0), (part,))
    driven.disk.flush(OpId(4), LogGeneration(0))
    await driven.complete(5)
    results = [result for _, _, result in driven.done]
    assert results == [DiskOk(), DiskOk(), NoSpace(), NoSpace(), DiskOk()]
    assert driven.disk.read(0, 9, 1 << 20) == on_disk(parts[:2])
    assert driven.storage.log.path.read_bytes() == content(parts[:2])
    room[0] = 1 << 20
    driven.disk.append(
        OpId(5), LogGeneration(0), (parts[3],)
    )  # issued before the node knows of NoSpace
    driven.disk.append(OpId(6), LogGeneration(0), (parts[2],))
    await driven.complete(7)
    assert [result for _, _, result in driven.done[5:]] == [NoSpace(), DiskOk()]
    driven.disk.close()
    assert driven.fatal == []
    assert recovered_from(tmp_path, system=NOT_SYNCED).recovered.leo == 3


def test_real_full_disk(tmp_path: Path) -> None:
    """Goal: on a real file system whole appends are kept, and a restart recovers them."""

    async def scenario() -> int:
        driven = Driven(small / "data", cache_bytes=1000)
        parts = batches(*[100_000] * 14)
        for op, part in enumerate(parts):
            driven.disk.append(OpId(2 * op), LogGeneration(0), (part,))
            driven.disk.flush(OpId(2 * op + 1), LogGeneration(0))
        await driven.complete(28)
        refused = [op // 2 for op, _, result in driven.done if result == NoSpace()]
        assert refused == list(range(refused[0], 14))
        assert 5 <= refused[0] < 11
        assert await driven.read(0, 14, 1 << 30) == on_disk(parts[: refused[0]])
        assert driven.fatal == []
        driven.disk.close()
        return refused[0]

    with small_disk(tmp_path / "small") as small:
        kept = asyncio.run(scenario())
        found = recovered_from(small / "data")
        assert (found.recovered.leo, found.recovered.intact, found.warnings) == (kept, True, ())


@pytest.mark.parametrize("order", ["flush", "truncate"])
async def test_failed_flush_is_fatal_and_not_retried(tmp_path: Path, order: str) -> None:
    """Goal: one error, no later completion, and the next start rewrites the tail."""

    gate = Gate()
    driven = Driven(tmp_path, system=gate.system)
    driven.disk.append(OpId(0), LogGeneration(0), batches(50, 50))
    driven.disk.flush(OpId(1), LogGeneration(0))
    await driven.complete(2)
    gate.broken = errno.EIO
    driven.disk.append(OpId(2), LogGeneration(0), (batch(2),))
    if order == "flush":
        driven.disk.flush(OpId(3), LogGeneration(0))
    else:
        driven.disk.truncate(OpId(3), LogGeneration(1), 1)
    await driven.until(lambda: bool(driven.fatal))
    gate.broken = 0
    gate.syncs.clear()
    driven.disk.flush(OpId(4), LogGeneration(0))
    driven.disk.close()
    [reason] = driven.fatal
    assert (str(tmp_path) in reason, os.strerror(errno.EIO) in reason) == (True, True)
    assert 3 not in driven.ops
    assert gate.syncs == []
    assert driven.disk.durable_end == 2
    rewritten: list[int] = []

    def write(fd: int, buffers: Sequence[bytes | memoryview], at: int) -> int:
        if path_of(fd).suffix == ".log":
            rewritten.append(at)
        return os.pwritev(fd, buffers, at)

    found = recovered_from(tmp_path, system=replace(NOT_SYNCED, write=write)).recovered
    assert found.intact
    assert found.leo == (3 if order == "flush" else 1)
    assert rewritten == ([len(content(batches(50, 50)))] if order == "flush" else [])


@pytest.mark.parametrize("call", ["write", "replace", "sync_folder"])
async def test_saved_value_that_cannot_be_written_is_fatal(tmp_path: Path, call: str) -> None:
    """Goal: SaveState has no error result, so the process must stop."""

    open_storage(tmp_path, "n1").close()

    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    driven = Driven(tmp_path, system=replace(NOT_SYNCED, **{call: fail}))  # type: ignore[arg-type]
    driven.disk.save(OpId(1), "key", b"value")
    driven.disk.flush(OpId(2), LogGeneration(0))
    await driven.until(lambda: bool(driven.fatal))
    driven.disk.close()
    [reason] = driven.fatal
    assert (str(tmp_path) in reason, os.strerror(errno.ENOSPC) in reason) == (True, True)
    assert driven.done == []
    saved = recovered_from(tmp_path).recovered.saved
    assert saved == ((("key", b"value"),) if call == "sync_folder" else ())
    assert [path.name for path in (tmp_path / "saved").iterdir()] == [key for key, _ in saved]


async def test_batch_that_cannot_be_read_back_is_fatal(tmp_path: Path) -> None:
    """Goal: damaged bytes are not returned, and the next start checks every byte."""

    parts = batches(50, 50, 50)
    write_log(tmp_path, parts, (), system=NOT_SYNCED)
    path = tmp_path / "00000000000000000000.log"
    driven = Driven(tmp_path, system=NOT_SYNCED)
    data = bytearray(path.read_bytes())
    data[parts[0].size + 80] ^= 1
    path.write_bytes(data)
    assert await driven.read_file(0, 1, 1 << 20) == on_disk(parts[:1])
    found: list[object] = []
    driven.disk.read_later(0, 3, 1 << 20, found.append)
    await driven.until(lambda: bool(driven.fatal))
    driven.disk.close()
    assert found == []
    assert len(driven.fatal) == 1
    assert re.search(rf"{re.escape(str(path))}.*\d", driven.fatal[0])
    storage = recovered_from(tmp_path, verify_bytes=0, system=NOT_SYNCED)
    assert (storage.recovered.leo, storage.recovered.intact) == (1, False)


async def test_damage_found_by_a_read_is_named_by_its_position_in_the_file(tmp_path: Path) -> None:
    """Goal: the error of a read names the byte of the file, not of the bytes that were read."""

    parts = batches(*[40_000] * 8)
    write_log(tmp_path, parts, (), system=NOT_SYNCED)
    path = tmp_path / "00000000000000000000.log"
    driven = Driven(tmp_path, system=NOT_SYNCED)
    data = bytearray(path.read_bytes())
    position = len(content(parts[:5]))
    data[position + 200] ^= 1
    path.write_bytes(data)
    driven.disk.read_later(4, 8, 1 << 20, lambda _: None)
    await driven.until(lambda: bool(driven.fatal))
    driven.disk.close()
    assert re.findall(r"byte (\d+)", driven.fatal[0]) == [str(position)]
