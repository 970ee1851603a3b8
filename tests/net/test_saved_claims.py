"""The claims that a broker saves: both versions are read, and the second one is written."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from yak_core.broker.saved_state import CLAIMS_KEY, Claim, SavedValues, claims_value, read_saved
from yak_net.storage import open_storage
from yak_net.storage.checkpoints import Checkpoint, CheckpointFile, decode_value
from yak_net.storage.system import System

SAMPLE = Path(__file__).with_name("samples") / "storage_sessions" / "n1"
SESSION = "4bb15a6dc4b65ce8552e04d678be928f"


def read(value: bytes) -> SavedValues | str:
    return read_saved(((CLAIMS_KEY, value),))


def test_sample_is_recovered(tmp_path: Path) -> None:
    """Goal: the claims of version 2, the noted end and the key are read; the session is another.

    Method: a copy, which has other inodes than the original.
    """
    path = shutil.copytree(SAMPLE, tmp_path / "n1")
    storage = open_storage(path, "n1", "yak")
    storage.close()
    found = storage.recovered
    assert (found.leo, found.intact, storage.warnings) == (5, True, ())
    saved = read_saved(found.saved)
    assert isinstance(saved, SavedValues)
    claim = Claim((1, "n1-89b58f1b2f9811762539bc45ddc7e7a9-1"), SESSION)
    assert (saved.flush, saved.claims) == ("os", (claim,))
    value = decode_value("claims", (SAMPLE / "saved/claims").read_bytes(), SAMPLE)
    assert claims_value("os", (claim,)) == value
    assert found.storage_session not in ("", SESSION)
    key = (path / "storage-session").read_bytes()
    assert key == (SAMPLE / "storage-session").read_bytes()
    assert decode_value("storage-session", key, path) == b"314ce230c9eb2bcc05ebbedecfcf8451"


def test_noted_end_of_the_sample_is_read(tmp_path: Path) -> None:
    """Goal: the file of the noted end keeps its format."""
    path = tmp_path / "written-end"
    shutil.copy(SAMPLE / "written-end", path)
    noted = CheckpointFile(System(), path)
    noted.close()
    assert noted.newest == Checkpoint(0, 5, 101)


@pytest.mark.parametrize(
    ("value", "saved"),
    [
        (b"", SavedValues()),
        (b"os", SavedValues(flush="os")),
        (b"batch\n7 n1-3\n9 n1-4", SavedValues(
            flush="batch", claims=(Claim((7, "n1-3")), Claim((9, "n1-4")))
        )),
        (b"2 os", SavedValues(flush="os")),
        (b"2 batch\n7 n1-3 a b\n9 n1-4 ", SavedValues(
            flush="batch", claims=(Claim((7, "n1-3"), "a b"), Claim((9, "n1-4"), ""))
        )),
    ],
)  # fmt: skip
def test_both_versions_are_read(value: bytes, saved: SavedValues) -> None:
    """Goal: claims of version 1 have no storage session, those of version 2 any text."""
    assert read(value) == saved
    assert saved.flush is None or read(claims_value(saved.flush, saved.claims)) == saved


@pytest.mark.parametrize(
    "value",
    [b"never", b"2", b"2 x", b"x os", b"os\n7", b"os\n7 a b", b"2 os\n7 a", b"2 os\nx a b"],
)
def test_damaged_claims_are_refused(value: bytes) -> None:
    """Goal: a value with words too few or too many names the key and asks for an empty folder."""
    reason = read(value)
    assert isinstance(reason, str)
    assert CLAIMS_KEY in reason
    assert "empty data directory" in reason


def test_claims_of_a_newer_version_are_not_called_damaged() -> None:
    """Goal: the advice for a newer version is the newer version of YAK."""
    reason = read(b"3 os\nwhatever")
    assert isinstance(reason, str)
    assert [word in reason for word in ("claims", "3", "2", "damaged", "empty")] == [
        True, True, True, False, False,
    ]  # fmt: skip
