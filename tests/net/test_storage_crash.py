"""Recovery from every state that a power failure can leave between two system calls.

Each sequence runs once to count its calls, then once for each call with a power failure before it.
Unsynced data is then lost in four ways: nothing, the bytes, the names, or both.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.net.power import Power, PowerCut
from tests.net.storage_tools import NOT_SYNCED, batches, content, on_disk, recovered_from, write_log
from yak_net.storage import Storage, open_storage
from yak_net.storage.checkpoints import save_value

LOG = on_disk(batches(40, 50, 60, 70))
MORE = on_disk(batches(80, 90, base=4, epoch=3))
NEW = on_disk(batches(41, 42, base=2, epoch=5))

Steps = Callable[[Storage, list[str]], None]
State = tuple[Path, list[str]]


def append(storage: Storage, done: list[str]) -> None:
    """Append a new epoch: its epoch checkpoint, then the flush checkpoint."""
    assert storage.log.append([MORE]) == 1
    done.append("written")
    storage.log.flush()
    done.append("flushed")
    storage.log.write_checkpoint(durably=True)


def begin(storage: Storage, done: list[str]) -> None:
    """Append the first records of a new log."""
    assert storage.log.append([LOG]) == 1
    storage.log.flush()
    done.append("flushed")
    storage.log.write_checkpoint(durably=True)


def truncate(storage: Storage, done: list[str]) -> None:
    """Truncate below the flush checkpoint and append other records."""
    storage.log.truncate(2)
    done.append("cut")
    assert storage.log.append([NEW]) == 1
    storage.log.flush()
    done.append("flushed")
    storage.log.write_checkpoint(durably=True)


def save(storage: Storage, done: list[str]) -> None:
    """Replace a value, add one, delete one."""
    folder = storage.folder
    save_value(folder.system, folder.saved, "old", b"two" * 100)
    done.append("old")
    save_value(folder.system, folder.saved, "new", b"one")
    done.append("new")
    save_value(folder.system, folder.saved, "gone", None)
    done.append("gone")


def set_cluster(storage: Storage, done: list[str]) -> None:
    """Replace the identity."""
    storage.folder.set_cluster("blue")
    done.append("cluster")


def run(root: Path, steps: Steps | None, cut_at: int) -> tuple[Power, list[str]]:
    """Open, run the steps and close, up to the power failure."""
    power = Power(root, cut_at)
    power.settle()
    done: list[str] = []
    try:
        storage = open_storage(root, "n1", system=power.system)
        try:
            if steps is not None:
                steps(storage, done)
        finally:
            storage.close()
        done.append("end")
    except PowerCut:
        done.append("cut off")
    return power, done


def states(base: Path, work: Path, steps: Steps | None) -> tuple[list[State], int]:
    """Return the states after each power failure, with the completed steps, and the call count."""
    found = []
    for cut_at in itertools.count():
        root = work / f"run-{cut_at}"
        shutil.copytree(base, root)
        power, done = run(root, steps, cut_at)
        for lose_bytes, lose_names in itertools.product((False, True), repeat=2):
            target = work / f"state-{cut_at}-{lose_bytes:d}{lose_names:d}"
            power.after(target, lose_bytes=lose_bytes, lose_names=lose_names)
            found.append((target, done))
        power.close()
        if "end" in done:
            return found, cut_at
    raise AssertionError("unreachable")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Make a directory with a flushed log and two values."""
    path = tmp_path / "base"
    write_log(path, LOG, (), system=NOT_SYNCED)
    save_value(NOT_SYNCED, path / "saved", "old", b"one")
    save_value(NOT_SYNCED, path / "saved", "gone", b"soon")
    storage = open_storage(path, "n1", system=NOT_SYNCED)
    storage.close()
    return path


def restarted(state: Path) -> Storage:
    """Recover the state; check that a second recovery gives the same."""
    storage = recovered_from(state, system=NOT_SYNCED)
    assert recovered_from(state, system=NOT_SYNCED).recovered == storage.recovered
    assert storage.recovered.intact, "a power failure is no damage"
    return storage


def test_append_and_flush_survive_or_leave_no_trace(base: Path, tmp_path: Path) -> None:
    """Goal: flushed records stay, others may go; the log is never reported as damaged."""
    found, calls = states(base, tmp_path, append)
    assert calls > 8
    for state, done in found:
        log = restarted(state).log.path.read_bytes()
        whole = [content((*LOG, *MORE[:count])) for count in range(3)]
        assert log in (whole[2:] if "flushed" in done else whole), state.name


def test_truncation_is_atomic(base: Path, tmp_path: Path) -> None:
    """Goal: the old log or the truncated one, perhaps with new records; no loss is reported."""
    found, calls = states(base, tmp_path, truncate)
    assert calls > 10
    for state, done in found:
        log = restarted(state).log.path.read_bytes()
        cut = [content((*LOG[:2], *NEW[:count])) for count in range(3)]
        if "flushed" in done:
            assert log == cut[2], state.name
        elif "cut" in done:
            assert log in cut, state.name
        else:
            assert log in (content(LOG), cut[0]), state.name


def test_value_is_the_old_or_the_new_one(base: Path, tmp_path: Path) -> None:
    """Goal: no state in between, and completed saves are there."""
    found, calls = states(base, tmp_path, save)
    assert calls > 10
    for state, done in found:
        saved = dict(restarted(state).recovered.saved)
        assert saved.get("old") in ((b"two" * 100,) if "old" in done else (b"one", b"two" * 100))
        assert saved.get("new") in ((b"one",) if "new" in done else (None, b"one"))
        assert saved.get("gone") in ((None,) if "gone" in done else (None, b"soon"))


def test_identity_is_the_old_or_the_new_one(base: Path, tmp_path: Path) -> None:
    """Goal: a crash while the cluster name is written leaves a directory that opens."""
    found, _ = states(base, tmp_path, set_cluster)
    for state, done in found:
        cluster = restarted(state).folder.cluster
        assert cluster in (("blue",) if "cluster" in done else ("", "blue"))


def test_new_directory_can_be_made_again(tmp_path: Path) -> None:
    """Goal: a crash while the files are created leaves a directory that counts as new."""
    (tmp_path / "base").mkdir()
    found, calls = states(tmp_path / "base", tmp_path, begin)
    assert calls > 15
    for state, done in found:
        log = restarted(state).log.path.read_bytes()
        whole = [content(LOG[:count]) for count in range(5)]
        assert log in (whole[4:] if "flushed" in done else whole), state.name


def test_recovery_can_be_interrupted(base: Path, tmp_path: Path) -> None:
    """Goal: damage is still reported after a crash inside the recovery that found it (F13)."""
    log = base / "00000000000000000000.log"
    data = bytearray(log.read_bytes())
    data[-3] ^= 1
    log.write_bytes(data)
    found, calls = states(base, tmp_path, None)
    assert calls > 5
    for state, _ in found:
        storage = recovered_from(state, system=NOT_SYNCED)
        assert not storage.recovered.intact
        assert storage.recovered.leo == 3
        kept = [one.read_bytes() for one in state.glob("*.damaged")]
        assert kept
        assert all(one == data[len(content(LOG[:3])) :] for one in kept)


def test_torn_tail_is_truncated_again_after_a_crash(base: Path, tmp_path: Path) -> None:
    """Goal: a repeated recovery of a torn tail has the same result."""
    with (base / "00000000000000000000.log").open("ab") as file:
        file.write(MORE[0].data[:70])
    found, _ = states(base, tmp_path, append)
    for state, done in found:
        parts = (*LOG, *MORE) if "flushed" in done else LOG
        assert restarted(state).log.path.read_bytes().startswith(content(parts)), state.name
