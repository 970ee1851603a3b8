"""``yak log verify``: each thing that is wrong in a data folder is found, and nothing is changed.

Method: a folder that the storage has written, with one thing changed in each test.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from pathlib import Path

import pytest

from tests.net.log_folders import LOG, NAME, SIZE, Change, flip, folder_of, run
from tests.net.storage_tools import NOT_SYNCED, batch, content
from yak_core.batch import Batch, Builder, placed, seal
from yak_net.log_files import reading
from yak_net.log_files.reading import holder_of
from yak_net.log_files.verify import verify
from yak_net.storage import StorageError, open_storage
from yak_net.storage.checkpoints import (
    DAMAGED,
    REWRITE,
    Checkpoint,
    CheckpointFile,
    encode_epochs,
    encode_value,
    save_value,
)
from yak_net.storage.folder import open_folder


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that no test changes."""
    return folder_of(tmp_path_factory.mktemp("logs") / "data", *LOG, hw=6)


@pytest.fixture
def data(original: Path, tmp_path: Path) -> Path:
    """Return a copy of the folder."""
    return Path(shutil.copytree(original, tmp_path / "n1"))


def state_of(path: Path) -> dict[str, tuple[int, bytes]]:
    """Return the time of change and the content of each file."""
    return {
        str(file.relative_to(path)): (file.stat().st_mtime_ns, file.read_bytes())
        for file in path.rglob("*")
        if file.is_file()
    }


def put_checkpoint(data: Path, checkpoint: Checkpoint) -> None:
    file = CheckpointFile(NOT_SYNCED, data / "durable-end")
    file.put_durably(checkpoint)
    file.close()


def put_log(data: Path, *parts: Batch) -> None:
    """Replace the log, and let the flush checkpoint and the epochs agree with it."""
    (data / NAME).write_bytes(content(parts))
    put_checkpoint(data, Checkpoint(0, parts[-1].end, len(content(parts))))
    (data / "leader-epoch-checkpoint").unlink()


def put_epochs(*epochs: tuple[int, int]) -> Change:
    def change(data: Path) -> None:
        name = "leader-epoch-checkpoint"
        (data / name).write_bytes(encode_value(name, encode_epochs(epochs)))  # type: ignore[arg-type]

    return change


def put_value(key: str, value: bytes) -> Change:
    return lambda data: save_value(NOT_SYNCED, data / "saved", key, value)


def malformed_records(data: Path) -> None:
    """Replace the log with a batch whose CRC is right and whose records are not."""
    builder = Builder(bytes_max=1 << 20)
    assert builder.append(b"v" * 40, timestamp_ms=1) is not None
    good = builder.build()
    bad = bytearray(good.data)
    bad[61] = 0x03  # the length of the first record
    part = Batch(0, good.epoch, 1, -1, -1, -1, 1, good.size, 0, bytes(bad))
    put_log(data, placed(seal(part), 0, 1))


CHANGES: dict[str, tuple[Change, str]] = {
    "value": (flip(SIZE - 3), "batch"),
    "crc": (flip(18), "batch"),
    "magic": (flip(16), "batch"),
    "offset": (flip(7), "order"),
    "epoch": (flip(15), "order"),
    "end of the log": (lambda data: os.truncate(data / NAME, SIZE - 1), "checkpoint"),
    "log": (lambda data: (data / NAME).unlink(), "log"),
    "records": (malformed_records, "records"),
    "twice": (
        lambda data: put_log(data, placed(LOG[2], 0, 3), placed(LOG[2], 3, 3)),
        "producers",
    ),
    "gap in a producer's sequences": (
        lambda data: put_log(data, batch(0, 1, producer=7), batch(1, 1, producer=7, sequence=2)),
        "producers",
    ),
    "checkpoint": (lambda data: (data / "durable-end").unlink(), "checkpoint"),
    "checkpoint inside a batch": (
        lambda data: put_checkpoint(data, Checkpoint(0, 7, SIZE - 1)),
        "checkpoint",
    ),
    "flag": (
        lambda data: put_checkpoint(data, Checkpoint(0, 7, SIZE, DAMAGED | REWRITE)),
        "checkpoint",
    ),
    "epochs": (put_epochs((1, 0), (3, 3)), "epochs"),
    "other epochs": (put_epochs((1, 0), (3, 3), (4, 6)), "epochs"),
    "damaged epochs": (
        lambda data: (data / "leader-epoch-checkpoint").write_bytes(b"yak-value 1 00000000\n0\n"),
        "saved",
    ),
    "hw": (put_value("hw", b"8"), "hw"),
    "clean marker": (put_value("clean", b"1 8"), "clean"),
    "saved value": (lambda data: (data / "saved" / "hw").write_bytes(b"6"), "saved"),
    "meaning of a saved value": (put_value("hw", b"six"), "saved"),
}


def test_a_sound_folder_is_valid(data: Path) -> None:
    """Goal: every figure of the log; method: a folder with four batches and three epochs."""
    before = state_of(data)
    code, (found,) = run("verify", data)
    assert (code, found["valid"], found["problems"]) == (0, True, [])
    assert (found["node"], found["in_use_by"], found["log_start"]) == ("n1", None, 0)
    assert (found["leo"], found["flushed"], found["hw"], found["torn_bytes"]) == (7, 7, 6, 0)
    assert (found["batches"], found["records"], found["bytes"]) == (4, 7, SIZE)
    assert found["epochs"] == [[1, 0], [3, 3], [5, 6]]
    assert run("dump", data, "--records")[0] == 0
    assert state_of(data) == before


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_is_found(name: str, data: Path) -> None:
    """Goal: exit code 1 and the check that failed; method: one change of a sound folder."""
    change, check = CHANGES[name]
    change(data)
    before = state_of(data)
    code, (found,) = run("verify", data)
    assert (code, found["valid"]) == (1, False)
    assert check in [problem["check"] for problem in found["problems"]]
    assert state_of(data) == before


def test_damage_does_not_hide_what_follows(data: Path) -> None:
    """Goal: the batches after a damaged one are read; method: a flip in the second of four."""
    flip(LOG[0].size + 70)(data)
    _, (found,) = run("verify", data)
    assert [problem["check"] for problem in found["problems"]] == ["batch"]
    assert (found["batches"], found["leo"]) == (3, 7)


@pytest.mark.parametrize("kept", [1, 40, 61, 100])
def test_an_unfinished_write_is_no_problem(kept: int, tmp_path: Path) -> None:
    """Goal: a note, as a recovery removes it; method: a part of a batch above the checkpoint."""
    data = folder_of(tmp_path / "n1", *LOG)
    with (data / NAME).open("ab") as file:
        file.write(content([batch(7, 5, 3)])[:kept])
    code, (found,) = run("verify", data)
    assert (code, found["torn_bytes"], found["leo"]) == (0, kept, 7)
    code, lines = run("dump", data / NAME)
    assert code == 0
    assert [line["torn"] for line in lines if line["kind"] == "invalid"] == [True]


def test_folders_of_a_cluster_are_each_verified(data: Path, original: Path) -> None:
    """Goal: one object a broker; method: a folder with two data folders, one of them damaged."""
    shutil.copytree(original, data.parent / "n2")
    flip(70)(data.parent / "n2")
    code, found = run("verify", data.parent)
    assert code == 1
    assert [(Path(each["folder"]).name, each["valid"]) for each in found] == [
        ("n1", True),
        ("n2", False),
    ]


def test_a_folder_in_use_is_read_below_its_flush_checkpoint(data: Path) -> None:
    """Goal: no false alarm; method: this process has the folder open, with an unflushed append."""
    storage = open_storage(data, "n1", system=NOT_SYNCED)
    try:
        assert storage.log.append([(batch(7, 5, 2),)]) == 1
        with (data / NAME).open("ab") as file:
            file.write(b"half of a batch")
        code, (found,) = run("verify", data)
        assert (code, found["in_use_by"], found["leo"]) == (0, os.getpid(), 7)
        flip(70)(data)
        assert run("verify", data)[0] == 1
    finally:
        storage.close()


def test_a_truncation_during_the_read_is_no_problem(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: a problem counts only if it stays; method: the log changes during the first look."""
    monkeypatch.setattr(reading, "CHUNK_BYTES", 100)
    storage = open_storage(data, "n1", system=NOT_SYNCED)
    try:
        seen: list[int] = []

        def on_bytes(size: int) -> None:
            seen.append(size)
            if len(seen) == 1:
                storage.log.truncate(2)
                assert storage.log.append([(batch(2, 6, 9, 500),)]) == 1

        verdict = verify(data, on_bytes)
        assert (verdict.problems, verdict.leo) == ([], 2)
        assert len(seen) == 2, "two looks, one batch each"
    finally:
        storage.close()


def test_a_look_at_the_lock_does_not_stop_a_broker(data: Path) -> None:
    """Goal: a broker that starts meanwhile gets the lock; method: hold it as a reader does."""
    assert holder_of(data / "lock") is None
    fd = os.open(data / "lock", os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_SH)
    timer = threading.Timer(0.02, os.close, (fd,))
    timer.start()
    folder = open_folder(data, "n1")
    timer.join()
    assert holder_of(data / "lock") == os.getpid()
    with pytest.raises(StorageError, match="in use"):
        open_folder(data, "n1")
    folder.close()
