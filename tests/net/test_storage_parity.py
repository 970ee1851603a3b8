"""The real disk and the disk model of the other worlds agree on any sequence of effects."""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.net.storage_tools import (
    NOT_SYNCED,
    Driven,
    batch,
    check_same,
    on_disk,
    path_of,
    recovered_from,
)
from yak_core.batch import Batch
from yak_core.contract.events import DiskOk, DiskResult, NoSpace
from yak_core.ids import LogGeneration, OpId
from yak_core.model.disk import DiskImage

Step = tuple[str, int, int, int]

STEPS = st.lists(
    st.tuples(
        st.sampled_from(("append", "append", "append", "flush", "cut", "save", "read", "wait")),
        st.integers(0, 60),
        st.integers(0, 60),
        st.sampled_from((1, 30, 200, 1500)),
    ),
    max_size=30,
)
KEYS = ("hw-like", "a/b", "..", "é.tmp")


def appended(image: DiskImage, first: int, second: int, size: int, epoch: int) -> tuple[Batch, ...]:
    """Return one to three batches of one to four records from the image's end on."""
    parts = []
    base = image.leo
    for number in range(first % 3 + 1):
        parts.append(batch(base, epoch, (second + number) % 4 + 1, size))
        base = parts[-1].end
    return tuple(parts)


def truncation_offset(image: DiskImage, first: int, second: int) -> int:
    """Return an offset in the log or near its end, within a batch or between two."""
    return max(0, image.leo - first % 8) if second % 2 else min(first, image.leo)


async def run(path: Path, steps: Sequence[Step]) -> DiskImage:
    """Issue the effects to both; compare each read at once, and the whole state at the end."""
    driven = Driven(path, system=NOT_SYNCED, cache_bytes=1500, group_bytes=3000)
    image = DiskImage()
    expected: list[tuple[int, int, DiskResult]] = []
    epoch = 1
    for op, (kind, first, second, size) in enumerate(steps):
        generation = epoch - 1
        if kind == "append":
            parts = appended(image, first, second, size, epoch)
            image.append(parts)
            driven.disk.append(OpId(op), LogGeneration(generation), parts)
        elif kind == "flush":
            driven.disk.flush(OpId(op), LogGeneration(generation))
        elif kind == "cut":
            end = truncation_offset(image, first, second)
            epoch += 1
            generation += 1
            image.truncate(end)
            driven.disk.truncate(OpId(op), LogGeneration(generation), end)
        elif kind == "save":
            value = None if second % 3 == 0 else b"x" * size
            image.save(KEYS[first % len(KEYS)], value)
            driven.disk.save(OpId(op), KEYS[first % len(KEYS)], value)
            generation = 0
        elif kind == "read":
            wanted = on_disk(image.read(first, second, size))
            assert await driven.read(first, second, size) == wanted
            continue
        else:
            await driven.complete(len(expected))
            continue
        expected.append((op, generation, DiskOk()))
    await driven.complete(len(expected))
    assert driven.done == expected
    assert await driven.read(0, image.leo, 1 << 30) == on_disk(image.batches)
    driven.disk.close()
    assert driven.fatal == []
    return image


@settings(max_examples=80)
@given(steps=STEPS)
def test_real_disk_agrees_with_the_model(steps: list[Step]) -> None:
    """Goal: parity with DiskImage. Method: random effects to both, every read compared."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "data")
        image = asyncio.run(run(path, steps))
        check_same(recovered_from(path, system=NOT_SYNCED), image)
        check_same(recovered_from(path, verify_bytes=0, system=NOT_SYNCED), image)


class SmallDisk:
    """A disk with room for ``room`` bytes of log; a write beyond is partial."""

    def __init__(self, room: int) -> None:
        self.room = room

    def write(self, fd: int, buffers: Sequence[bytes | memoryview], at: int) -> int:
        if path_of(fd).suffix != ".log":
            return os.pwritev(fd, buffers, at)
        data = b"".join(buffers)[: max(0, self.room - at)]
        if not data:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.pwrite(fd, data, at)


async def run_full(path: Path, steps: Sequence[Step], room: int) -> DiskImage:
    """Issue operations as if there were space; apply the disk's results to the model."""
    driven = Driven(path, system=replace(NOT_SYNCED, write=SmallDisk(room).write), group_bytes=3000)
    ordered = DiskImage()
    appends: dict[int, tuple[Batch, ...]] = {}
    cuts: dict[int, int] = {}
    issued = 0
    for op, (kind, first, second, size) in enumerate(steps):
        if kind == "append":
            parts = appended(ordered, first, second, size, 1)
            ordered.append(parts)
            driven.disk.append(OpId(op), LogGeneration(0), parts)
            appends[op] = parts
        elif kind == "cut":
            end = truncation_offset(ordered, first, second)
            ordered.truncate(end)
            driven.disk.truncate(OpId(op), LogGeneration(0), end)
            cuts[op] = end
        elif kind == "wait":
            await driven.complete(issued)
            continue
        else:
            driven.disk.flush(OpId(op), LogGeneration(0))
        issued += 1
    await driven.complete(issued)
    image = DiskImage()
    for op, _, result in driven.done:
        if op in cuts:
            image.truncate(cuts[op])
        elif op in appends and isinstance(result, DiskOk):
            image.append(appends[op])
        elif op in appends:
            assert result == NoSpace()
    assert await driven.read(0, 1 << 30, 1 << 30) == on_disk(image.batches)
    more = batch(image.leo, 9)
    driven.disk.append(OpId(len(steps)), LogGeneration(0), (more,))
    driven.disk.close()
    if driven.storage.log.end == more.end:
        image.append((more,))
    return image


@settings(max_examples=60)
@given(steps=STEPS, room=st.integers(0, 8000))
def test_full_disk_appends_wholly_or_not_at_all(steps: list[Step], room: int) -> None:
    """Goal: a failed append leaves nothing; later appends that would leave a gap fail too."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "data")
        image = asyncio.run(run_full(path, steps, room))
        check_same(recovered_from(path, system=NOT_SYNCED), image)
