"""Saved values, flush checkpoint and epochs: every damaged byte is detected."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.net.storage_tools import NOT_SYNCED
from yak_core.ids import Epoch
from yak_net.storage.checkpoints import (
    DAMAGED,
    SLOT_BYTES,
    VERIFY,
    Checkpoint,
    CheckpointFile,
    decode_epochs,
    decode_value,
    encode_epochs,
    encode_value,
    load_values,
    save_value,
)
from yak_net.storage.system import StorageError, System


def test_value_file_is_a_line_and_the_bytes(tmp_path: Path) -> None:
    """Goal: the format is pinned. Method: the bytes of a file, written out by hand."""
    save_value(System(), tmp_path, "hw", b"1234")
    assert (tmp_path / "hw").read_bytes() == b"yak-value 1 c1172d25\n1234"
    assert load_values(System(), tmp_path) == (("hw", b"1234"),)


@pytest.mark.parametrize("key", ["record", "a/b", "..", ".", "x.tmp", "Ω", "50%2E", "a\0b"])
def test_any_key_has_a_file_of_its_own(tmp_path: Path, key: str) -> None:
    """Goal: no key names a path outside the folder or a temporary file."""
    save_value(NOT_SYNCED, tmp_path, "other", b"")
    save_value(NOT_SYNCED, tmp_path, key, b"one")
    save_value(NOT_SYNCED, tmp_path, key, b"two")
    assert dict(load_values(NOT_SYNCED, tmp_path)) == {"other": b"", key: b"two"}
    save_value(NOT_SYNCED, tmp_path, key, None)
    save_value(NOT_SYNCED, tmp_path, key, None)
    assert dict(load_values(NOT_SYNCED, tmp_path)) == {"other": b""}


def test_each_changed_byte_of_a_value_is_detected(tmp_path: Path) -> None:
    """Goal: damage raises an error with the file's name. Method: flip each byte."""
    path = tmp_path / "claims"
    data = encode_value("claims", b"batch\n7 n1-3")
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 0x01
        with pytest.raises(StorageError, match=r"claims"):
            decode_value("claims", bytes(changed), path)
    for end in range(len(data)):
        with pytest.raises(StorageError, match="is damaged"):
            decode_value("claims", data[:end], path)
    with pytest.raises(StorageError, match="is damaged"):
        decode_value("hw", data, path)
    with pytest.raises(StorageError, match="version"):
        decode_value("claims", data.replace(b"value 1 ", b"value 2 "), path)


def test_temporary_files_are_deleted(tmp_path: Path) -> None:
    """Goal: a temporary file is not a value, and is deleted."""
    save_value(NOT_SYNCED, tmp_path, "hw", b"1")
    (tmp_path / "hw.tmp").write_bytes(b"half")
    assert load_values(NOT_SYNCED, tmp_path) == (("hw", b"1"),)
    assert [path.name for path in tmp_path.iterdir()] == ["hw"]


def marks_of(path: Path) -> Checkpoint | None:
    """Return the flush checkpoint that a restart reads."""
    checkpoints = CheckpointFile(NOT_SYNCED, path)
    checkpoints.close()
    return checkpoints.newest


def test_newest_intact_slot_counts(tmp_path: Path) -> None:
    """Goal: with a torn slot the older one counts, never a wrong one. Method: damage each byte."""
    path = tmp_path / "durable-end"
    assert marks_of(path) is None
    checkpoints = CheckpointFile(NOT_SYNCED, path)
    older, newer = Checkpoint(0, 5, 500), Checkpoint(0, 9, 900, VERIFY)
    checkpoints.put(older)
    checkpoints.put(newer)
    checkpoints.close()
    assert marks_of(path) == newer
    whole = path.read_bytes()
    for at in range(len(whole)):
        changed = bytearray(whole)
        changed[at] ^= 0x10
        path.write_bytes(changed)
        assert marks_of(path) in ((newer,) if at >= SLOT_BYTES else (older, newer))
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        assert marks_of(path) in (None, older, newer)


def test_lowered_checkpoint_stays_low_when_a_slot_is_lost(tmp_path: Path) -> None:
    """Goal: after a truncation no slot contains the old end."""
    path = tmp_path / "durable-end"
    checkpoints = CheckpointFile(NOT_SYNCED, path)
    checkpoints.put(Checkpoint(0, 9, 900))
    checkpoints.put(Checkpoint(0, 10, 1000))
    checkpoints.put_durably(Checkpoint(0, 3, 300, DAMAGED))
    checkpoints.close()
    whole = path.read_bytes()
    for slot in (0, 1):
        changed = bytearray(whole)
        changed[slot * SLOT_BYTES + 20] ^= 1
        path.write_bytes(changed)
        assert marks_of(path) == Checkpoint(0, 3, 300, DAMAGED)


def test_epochs_have_kafkas_format() -> None:
    """Goal: Kafka's leader-epoch-checkpoint, version 0."""
    assert encode_epochs(((Epoch(1), 0), (Epoch(4), 250))) == b"0\n2\n1 0\n4 250\n"
    assert decode_epochs(encode_epochs(((Epoch(1), 0), (Epoch(4), 250)))) == (
        (Epoch(1), 0),
        (Epoch(4), 250),
    )
    assert decode_epochs(encode_epochs(())) == ()
    for damaged in (b"", b"1\n0\n", b"0\n2\n1 0\n", b"0\n1\n1\n", b"0\nx\n", b"0\n1\n1 0 5\n"):
        with pytest.raises(ValueError, match=r".*"):
            decode_epochs(damaged)
