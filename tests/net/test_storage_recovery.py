"""Recovery keeps the longest valid prefix and distinguishes a torn tail from damage (F13)."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.net.storage_tools import (
    NOT_SYNCED,
    batch,
    batches,
    content,
    fold,
    on_disk,
    path_of,
    recovered_from,
    write_log,
)
from yak_core.batch import HEADER_BYTES, Batch, Builder, placed, seal, stamped
from yak_core.model.disk import fold_epochs, header_of
from yak_net.storage import Storage, StorageError, System, open_storage
from yak_net.storage.checkpoints import REWRITE, VERIFY, Checkpoint, CheckpointFile, save_value
from yak_net.storage.recovery import CHUNK_BYTES

ONE = (batch(0, 1, 2), batch(2, 3, 1, 60))
TWO = (batch(3, 3, 3, 10, producer=7), batch(6, 5, 1, 90, producer=7, sequence=3))
LOG = (*ONE, *TWO)
NAME = "00000000000000000000.log"


def restart(path: Path, verify_bytes: int = 1 << 30) -> Storage:
    """Recover the storage without syncs."""
    return recovered_from(path, verify_bytes, NOT_SYNCED)


def check_prefix(storage: Storage, parts: tuple[Batch, ...]) -> None:
    """Check that the log has exactly these batches, in memory and in the file."""
    found = storage.recovered
    assert found.headers == tuple(header_of(part) for part in parts)
    assert found.leo == (parts[-1].end if parts else 0)
    assert found.epochs == fold_epochs(list(parts))
    assert storage.log.path.read_bytes() == content(parts)


def kept_tails(path: Path) -> list[bytes]:
    """Return the kept files of truncated tails."""
    return [one.read_bytes() for one in sorted(path.glob("*.damaged"))]


def counting() -> tuple[System, list[tuple[int, bytes]]]:
    """Return a system that records writes to logs, and its list of (position, bytes)."""
    writes: list[tuple[int, bytes]] = []

    def write(fd: int, buffers: Sequence[bytes | memoryview], at: int) -> int:
        if path_of(fd).name == NAME:
            writes.append((at, b"".join(buffers)))
        return os.pwritev(fd, buffers, at)

    return replace(NOT_SYNCED, write=write), writes


@pytest.fixture
def half_flushed(tmp_path: Path) -> Path:
    """Make a log: the first half flushed with a checkpoint, the second half only written."""
    write_log(tmp_path / "data", ONE, TWO, system=NOT_SYNCED)
    return tmp_path / "data"


EVERY = pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.long)])
"""A sweep takes every byte with --all, and every 7th otherwise."""


def copies(source: Path, count: int, step: int = 1) -> Iterator[tuple[int, Path, bytearray]]:
    """Yield numbers below ``count``, each with a copy of a directory and its log's bytes."""
    for number in range(0, count, step):
        path = source.with_name("copy")
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(source, path)
        yield number, path, bytearray((path / NAME).read_bytes())


def test_recovered_log_equals_the_written_log(half_flushed: Path) -> None:
    """Goal: after the end of the process alone, all records are recovered, twice."""
    for verify_bytes in (1 << 30, 0, 150):
        storage = restart(half_flushed, verify_bytes)
        check_prefix(storage, LOG)
        assert storage.recovered.intact
        assert storage.warnings == ()


def test_headers_start_at_the_saved_high_watermark(half_flushed: Path) -> None:
    """Goal: the producer table covers the log below it, the headers cover the rest."""
    for hw, first in ((0, 0), (2, 1), (4, 2), (6, 3), (7, 4), (99, 4)):
        save_value(NOT_SYNCED, half_flushed / "saved", "hw", str(hw).encode())
        found = restart(half_flushed).recovered
        assert found.headers == tuple(header_of(part) for part in LOG[first:])
        assert found.producers == fold(LOG[:first])
        assert (found.leo, found.saved) == (7, (("hw", str(hw).encode()),))


def test_producers_beyond_the_limit_are_forgotten(half_flushed: Path) -> None:
    """Goal: recovery uses the node's limit, so the table equals the node's."""
    more = (batch(7, 5, producer=8), batch(8, 5, producer=9))
    storage = open_storage(half_flushed, "n1", system=NOT_SYNCED)
    assert storage.log.append([on_disk(more)]) == 1
    storage.close()
    save_value(NOT_SYNCED, half_flushed / "saved", "hw", b"9")
    storage = open_storage(half_flushed, "n1", system=NOT_SYNCED, producers_max=2)
    storage.close()
    assert [one for one, _ in storage.recovered.producers] == [8, 9]


@EVERY
def test_torn_tail_is_truncated_at_every_byte(half_flushed: Path, step: int) -> None:
    """Goal: an unfinished write is truncated and not reported. Method: tear at each byte."""
    kept = len(content(LOG[:-1]))
    for missing, path, data in copies(half_flushed, LOG[-1].size + 1, step):
        (path / NAME).write_bytes(data[: len(data) - missing])
        storage = restart(path)
        check_prefix(storage, LOG if missing == 0 else LOG[:-1])
        assert storage.recovered.intact
        left = len(data) - missing - kept
        torn = missing > 0 and left > 0
        assert len(storage.warnings) == torn
        for warning in storage.warnings:
            assert str(path / NAME) in warning
            assert f"{left} bytes" in warning
        assert kept_tails(path) == []


@EVERY
def test_log_that_ends_below_the_checkpoint_is_not_intact(half_flushed: Path, step: int) -> None:
    """Goal: missing flushed records are a loss, even at the end of a batch."""
    flushed = len(content(ONE))
    for missing, path, data in copies(half_flushed, flushed + 1, step):
        (path / NAME).write_bytes(data[: flushed - missing])
        storage = restart(path)
        kept = tuple(part for part in ONE if len(content(ONE[: part.end - 1])) <= flushed - missing)
        check_prefix(storage, kept)
        assert storage.recovered.intact == (missing == 0)
        rest = bytes(data[len(content(kept)) : flushed - missing])
        assert kept_tails(path) == ([rest] if rest else [])


@EVERY
@pytest.mark.parametrize("verify_bytes", [1 << 30, 0])
def test_each_flipped_bit_below_the_checkpoint_is_damage(
    half_flushed: Path, verify_bytes: int, step: int
) -> None:
    """Goal: damage below the flush checkpoint is no torn tail. Method: flip each byte.

    With a check of headers only, damaged records are found when the batch is read.
    """
    for at, path, data in copies(half_flushed, len(content(ONE)), step):
        spoilt = bytes(data)
        data[at] ^= 0x04
        (path / NAME).write_bytes(data)
        storage = restart(path, verify_bytes)
        first = at < ONE[0].size
        within = at if first else at - ONE[0].size
        if verify_bytes == 0 and storage.recovered.intact:
            assert within >= 17, "position, length and magic are always checked"
            continue
        good = () if first else ONE[:1]
        check_prefix(storage, good)
        assert not storage.recovered.intact
        assert kept_tails(path) == [bytes(data[len(content(good)) :])]
        assert spoilt.startswith(content(good))


@EVERY
def test_flipped_bit_above_the_checkpoint_ends_the_log_there(half_flushed: Path, step: int) -> None:
    """Goal: a whole batch with a wrong CRC is damage anywhere. Method: flip each byte.

    Only an epoch that grew is not seen: Kafka's CRC does not cover it, and it is not saved yet.
    """
    flushed = len(content(ONE))
    for number, path, data in copies(half_flushed, len(content(TWO)), step):
        at = flushed + number
        data[at] ^= 0x01
        (path / NAME).write_bytes(data)
        storage = restart(path)
        first = number < TWO[0].size
        within = number if first else number - TWO[0].size
        if 12 <= within < 16 and storage.recovered.leo > (3 if first else 6):
            continue
        good = ONE if first else LOG[:3]
        check_prefix(storage, good)
        claims_more = 8 <= within < 12 and "unfinished" in storage.warnings[0]
        assert storage.recovered.intact == claims_more
        assert kept_tails(path) == ([] if claims_more else [bytes(data[len(content(good)) :])])


def test_epoch_below_the_checkpoint_is_compared_with_the_index(half_flushed: Path) -> None:
    """Goal: a changed epoch is found at its batch, though the CRC does not cover it."""
    for epoch, path, data in copies(half_flushed, 4):
        data[15] = epoch
        (path / NAME).write_bytes(data)
        storage = restart(path)
        assert storage.recovered.intact == (epoch == 1)
        check_prefix(storage, LOG if epoch == 1 else ())
    (half_flushed / "leader-epoch-checkpoint").write_bytes(b"yak-value 1 00000000\n0\n0\n")
    storage = restart(half_flushed)
    assert storage.recovered.intact
    assert "leader-epoch-checkpoint" in storage.warnings[0]


def test_damage_is_remembered_until_the_first_flush(half_flushed: Path) -> None:
    """Goal: a crash before the broker is registered as unclean must not make it clean (F13)."""
    data = bytearray((half_flushed / NAME).read_bytes())
    data[-1] ^= 1  # above the checkpoint, which alone would not show it
    (half_flushed / NAME).write_bytes(data)
    for _ in range(3):
        storage = restart(half_flushed)
        assert not storage.recovered.intact
        check_prefix(storage, LOG[:-1])
    storage = open_storage(half_flushed, "n1", system=NOT_SYNCED)
    save_value(NOT_SYNCED, storage.folder.saved, "claims", b"batch")
    storage.log.write_checkpoint(durably=True)
    storage.close()
    assert not restart(half_flushed).recovered.intact
    storage = open_storage(half_flushed, "n1", system=NOT_SYNCED)
    storage.log.flush()
    storage.log.write_checkpoint(durably=True)
    storage.close()
    assert restart(half_flushed).recovered.intact


def test_missing_files_are_damage(half_flushed: Path) -> None:
    """Goal: a directory without its log or checkpoint is not treated as new."""
    for number, path, _ in copies(half_flushed, 3):
        (path / (NAME, "durable-end", "leader-epoch-checkpoint")[number]).unlink()
        storage = restart(path)
        assert storage.recovered.intact == (number == 2)
        check_prefix(storage, LOG if number else ())
        assert restart(path).recovered.intact == (number == 2)


def test_checkpoint_of_another_log_is_damage(half_flushed: Path) -> None:
    """Goal: the checkpoint's position must be the end of a batch with its offset."""
    first = ONE[0].size
    for number, path, _ in copies(half_flushed, 4):
        fields = ((0, 2, first + 1), (0, 1, first), (9, 2, first), (0, 2, first))
        checkpoints = CheckpointFile(NOT_SYNCED, path / "durable-end")
        checkpoints.put_durably(Checkpoint(*fields[number]))
        checkpoints.close()
        storage = restart(path)
        assert storage.recovered.intact == (number == 3)
        check_prefix(storage, LOG)


def test_unwritten_sectors_are_a_torn_tail(tmp_path: Path) -> None:
    """Goal: zeros in the last write, after a power failure, are no damage, and are saved.

    Method: zeros in each sector of a batch above the checkpoint, and other bytes instead of zeros.
    """
    big = batch(3, 3, 1, 3000)
    write_log(tmp_path / "data", ONE, (big,), system=NOT_SYNCED)
    start = len(content(ONE))
    for number, path, data in copies(tmp_path / "data", 2 * (len(content((big,))) // 512 - 1)):
        sector = (start // 512 + 1 + number // 2) * 512
        data[sector : sector + 512] = bytes(512) if number % 2 else b"\1" * 512
        (path / NAME).write_bytes(data)
        storage = restart(path)
        check_prefix(storage, ONE)
        assert storage.recovered.intact == bool(number % 2)
        assert kept_tails(path) == [bytes(data[start:])]


def test_zeros_after_the_log_are_truncated(half_flushed: Path) -> None:
    """Goal: a file that grew before its bytes were written is intact up to the zeros."""
    with (half_flushed / NAME).open("ab") as file:
        file.write(bytes(5000))
    storage = restart(half_flushed)
    check_prefix(storage, LOG)
    assert storage.recovered.intact


@pytest.mark.parametrize("verify_bytes", [1 << 30, 0])
def test_batches_out_of_place_are_truncated(tmp_path: Path, verify_bytes: int) -> None:
    """Goal: gaps, repetitions and falling epochs end the log, though each batch is intact."""
    strangers = {
        "gap": batch(4, 3),
        "repetition": batch(2, 3),
        "falling epoch": batch(3, 2),
        "no epoch": placed(batch(3, 3), 3, -1),
    }
    for name, stranger in strangers.items():
        path = tmp_path / name
        write_log(path, ONE, (stranger,), system=NOT_SYNCED)
        storage = restart(path, verify_bytes)
        check_prefix(storage, ONE)
        assert not storage.recovered.intact
        assert kept_tails(path) == [stamped(stranger)]


@pytest.mark.parametrize("verify_bytes", [1 << 30, 0])
@pytest.mark.parametrize("fault", ["flip", "cut"])
def test_damage_is_named_by_its_position_in_the_file(
    tmp_path: Path, fault: str, verify_bytes: int
) -> None:
    """Goal: an error names the byte of the file, also behind the first chunk that is read."""
    parts = batches(*[150_000] * 12)
    write_log(tmp_path, parts, (), system=NOT_SYNCED)
    data = bytearray((tmp_path / NAME).read_bytes())
    broken = 10 if fault == "flip" else 11
    position = len(content(parts[:broken]))
    assert position > CHUNK_BYTES
    if fault == "flip":
        data[position + 16] ^= 1  # the magic, which is checked in a header and in a batch
    (tmp_path / NAME).write_bytes(data[:-7] if fault == "cut" else data)
    storage = restart(tmp_path, verify_bytes)
    assert not storage.recovered.intact
    text = " ".join(storage.warnings)
    assert [int(number) for number in re.findall(r"batch at byte (\d+)", text)] == [position]


def test_verify_flag_has_every_byte_checked(half_flushed: Path) -> None:
    """Goal: after a failed read recovery checks more than headers."""
    data = bytearray((half_flushed / NAME).read_bytes())
    data[HEADER_BYTES + 5] ^= 1
    (half_flushed / NAME).write_bytes(data)
    assert restart(half_flushed, 0).recovered.intact
    checkpoints = CheckpointFile(NOT_SYNCED, half_flushed / "durable-end")
    checkpoints.set_flag(VERIFY)
    checkpoints.close()
    storage = restart(half_flushed, 0)
    assert not storage.recovered.intact
    check_prefix(storage, ())


def test_after_a_failed_flush_the_tail_is_rewritten(half_flushed: Path) -> None:
    """Goal: bytes that may be in the page cache only are written again, unchanged (F65)."""
    system, writes = counting()
    before = (half_flushed / NAME).read_bytes()
    checkpoints = CheckpointFile(system, half_flushed / "durable-end")
    checkpoints.put_durably(Checkpoint(0, ONE[-1].end, len(content(ONE)), REWRITE))
    checkpoints.close()
    storage = recovered_from(half_flushed, system=system)
    check_prefix(storage, LOG)
    assert writes == [(len(content(ONE)), before[len(content(ONE)) :])]
    recovered_from(half_flushed, system=system)
    assert len(writes) == 1


def test_recovery_names_a_damaged_value(half_flushed: Path) -> None:
    """Goal: a damaged value stops the start with an error that names it."""
    save_value(NOT_SYNCED, half_flushed / "saved", "hw", b"3")
    path = half_flushed / "saved" / "hw"
    path.write_bytes(path.read_bytes()[:-1] + b"4")
    with pytest.raises(StorageError, match=r"'hw'.*damaged"):
        restart(half_flushed)
    save_value(NOT_SYNCED, half_flushed / "saved", "hw", b"many")
    assert restart(half_flushed).recovered.headers[0].base_offset == 0


def test_log_of_small_and_large_batches_is_walked(tmp_path: Path) -> None:
    """Goal: a chunk may end anywhere in a batch. Method: sizes around the chunk size."""
    sizes = [10] * 300 + [70_000, 5, 1_100_000, 9_000, 8_100, 5, 2_000_000, 40]
    parts = []
    for offset, size in enumerate(sizes):
        builder = Builder(bytes_max=1 << 22)
        builder.append(b"." * size, timestamp_ms=1)
        parts.append(placed(seal(builder.build()), offset, offset // 100))
    write_log(tmp_path, tuple(parts), (), system=NOT_SYNCED)
    for verify_bytes in (1 << 30, 1 << 20, 0):
        storage = restart(tmp_path, verify_bytes)
        check_prefix(storage, tuple(parts))
        assert storage.recovered.intact
