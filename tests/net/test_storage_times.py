"""Search of the log by time, compared with a search of all records."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from yak_core.batch import Batch, Builder, Damaged, placed, seal
from yak_core.ids import Epoch
from yak_net.storage import Storage, open_storage
from yak_net.storage.log import INDEX_BYTES
from yak_net.storage.tail import positioned
from yak_net.storage.times import TimePosition, first_since


def batch(base: int, *times: int, size: int = 2_000) -> Batch:
    """Return a batch of records with these timestamps, as it is stored."""
    builder = Builder(1 << 20)
    for time in times:
        builder.append(b"v" * size, timestamp_ms=time)
    return positioned(placed(seal(builder.build()), base, Epoch(1)))


def fill(storage: Storage, batches: list[tuple[int, ...]]) -> list[int]:
    """Append batches with these timestamps; return the timestamp of each offset."""
    times: list[int] = []
    for one in batches:
        storage.log.append([(batch(storage.log.end, *one),)])
        times += one
    return times


def check(storage: Storage, times: list[int], end: int) -> None:
    """Compare searches for every time, and for times between them, with all records."""
    for time in sorted({*times, *(time + 1 for time in times), 0}):
        expected = next((at for at in range(end) if times[at] >= time), None)
        found = first_since(storage.log, time, end)
        if expected is None:
            assert found is None, (time, found)
        else:
            assert found == TimePosition(expected, times[expected], Epoch(1)), time


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """Return an open, empty storage."""
    return open_storage(tmp_path, "n1")


@pytest.mark.parametrize("seed", range(4))
def test_a_search_finds_what_a_scan_finds(storage: Storage, tmp_path: Path, seed: int) -> None:
    """Goal: also with timestamps that do not rise, after a truncation, and after a restart."""
    draw = random.Random(seed)
    now = 1_000

    def some(count: int) -> list[tuple[int, ...]]:
        nonlocal now
        made = []
        for _ in range(count):
            now += draw.randrange(10)
            made.append(tuple(max(-1, now + draw.randrange(-60, 20)) for _ in range(3)))
        return made

    times = fill(storage, some(60))
    assert len(storage.log.index) > 5
    check(storage, times, len(times))
    check(storage, times, len(times) // 2)
    cut = storage.log.truncate(draw.randrange(30, 150))
    now -= 100  # the removed records were newer than those that follow
    times = times[:cut] + fill(storage, some(40))
    check(storage, times, len(times))
    storage.log.flush()
    storage.close()
    again = open_storage(tmp_path, "n1")
    check(again, times, len(times))
    again.close()


def test_a_search_reads_a_part_of_the_log(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: bounded work, wherever the record is. Method: count the bytes read of 2 MiB."""
    times = fill(storage, [(1_000 + at,) for at in range(1_000)])
    read = storage.log.read_bytes
    sizes: list[int] = []

    def counted(size: int, at: int) -> bytes:
        sizes.append(size)
        return read(size, at)

    monkeypatch.setattr(storage.log, "read_bytes", counted)
    for at in (0, 1, 500, 999):
        sizes.clear()
        assert first_since(storage.log, times[at], 1_000) == TimePosition(at, times[at], Epoch(1))
        assert sum(sizes) < 2 * INDEX_BYTES
        assert len(sizes) < 40
    assert first_since(storage.log, 3_000, 1_000) is None
    storage.close()


def test_a_compressed_batch_is_found_as_a_whole(storage: Storage) -> None:
    """Goal: a reader that begins there misses no record."""
    storage.log.append([(batch(0, 10),)])
    plain = batch(1, 20, 30)
    data = plain.data[:21] + b"\0\x01" + plain.data[23:]
    packed = positioned(placed(seal(replace(plain, data=data)), 1, Epoch(1)))
    storage.log.append([(packed,)])
    assert first_since(storage.log, 25, 3) == TimePosition(1, None, Epoch(1))
    storage.close()


def test_headers_that_claim_too_much_do_not_search_for_ever(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: an error, and never a wrong record. Method: records older than their header says."""
    for _ in range(20):
        whole = batch(storage.log.end, 5)
        data = whole.data[:35] + (99).to_bytes(8, "big") + whole.data[43:]
        one = positioned(
            placed(seal(replace(whole, data=data, max_timestamp=99)), storage.log.end, Epoch(1))
        )
        storage.log.append([(one,)])
    assert first_since(storage.log, 50, 20) is None
    monkeypatch.setattr("yak_net.storage.times.SEARCHED_MAX", 10)
    with pytest.raises(Damaged):
        first_since(storage.log, 50, 20)
    storage.close()
