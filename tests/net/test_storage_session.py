"""The storage session is equal in two starts only if all written records are still there."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.net.storage_tools import (
    NOT_SYNCED,
    Driven,
    batch,
    batches,
    content,
    on_disk,
    path_of,
    write_log,
)
from yak_core.contract.events import NoSpace
from yak_core.ids import LogGeneration, OpId
from yak_net.storage import StorageError, System, open_storage
from yak_net.storage.checkpoints import REWRITE, VERIFY, Checkpoint, CheckpointFile
from yak_net.storage.session import LOCAL
from yak_net.storage.system import file_system

ONE = (batch(0, 1, 2), batch(2, 3, 1, 60))
TWO = (batch(3, 3, 3, 10), batch(6, 5, 1, 90))
NAME = "00000000000000000000.log"
HERE = replace(NOT_SYNCED, boot_id=lambda: "boot-1", file_system=lambda folder: "ext4")
"""A system without flushes, on a local disk."""


def error(number: int = errno.EIO) -> OSError:
    return OSError(number, os.strerror(number))


def session_of(path: Path, system: System = HERE) -> str:
    """Start and end a process; return its storage session."""
    storage = open_storage(path, "n1", system=system)
    storage.close()
    assert storage.recovered.storage_session != ""
    return storage.recovered.storage_session


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Make a log: the first half flushed, the second half written, with its end noted."""
    path = tmp_path / "data"
    write_log(path, ONE, (), system=HERE)
    storage = open_storage(path, "n1", system=HERE)
    for part in TWO:
        assert storage.log.append([on_disk((part,))]) == 1
    storage.log.write_checkpoint()
    storage.close()
    (tmp_path / "session").write_text(storage.recovered.storage_session)
    return path


@pytest.fixture
def before(written: Path) -> str:
    """Return the session of the process that wrote the second half, the last one so far."""
    return written.with_name("session").read_text()


def test_end_of_a_process_keeps_the_session(written: Path, before: str) -> None:
    """Goal: equal sessions with all records, flushed or not, in any number of starts."""
    for end in (7, 8, 9):
        storage = open_storage(written, "n1", system=HERE)
        assert storage.recovered.storage_session == before
        assert storage.recovered.leo == end
        assert storage.log.append([on_disk((batch(end, 5),))]) == 1
        storage.close()


def test_real_system_has_a_session() -> None:
    """Goal: the boot id and the type of the file system are read. Method: this machine."""
    system = System()
    assert len(system.boot_id()) == 36
    assert file_system(Path("/proc")) == "proc"
    assert file_system(Path("/")) != ""


@pytest.mark.parametrize("kind", [*sorted(LOCAL), "nfs4", "cifs", "9p", "virtiofs", "fuse.ssh", ""])
def test_only_local_file_systems_keep_a_session(written: Path, kind: str) -> None:
    """Goal: a network, FUSE or unknown file system gives each start a session of its own."""
    system = replace(HERE, file_system=lambda folder: kind)
    assert (session_of(written, system) == session_of(written, system)) == (kind in LOCAL)


def test_another_boot_is_another_session(written: Path) -> None:
    """Goal: the session changes with the boot id; without one, each start has its own."""
    seen = {session_of(written)}
    for boot in ("boot-2", "", "", "boot-3"):
        seen.add(session_of(written, replace(HERE, boot_id=lambda boot=boot: boot)))  # type: ignore[misc]
    assert len(seen) == 5


def cut_to_the_flushed(path: Path) -> None:
    os.truncate(path / NAME, len(content(ONE)))


def cut_a_batch(path: Path) -> None:
    os.truncate(path / NAME, len(content((*ONE, *TWO[:1]))))


def flip(path: Path) -> None:
    data = bytearray((path / NAME).read_bytes())
    data[-1] ^= 1
    (path / NAME).write_bytes(data)


def replace_the_log(path: Path) -> None:
    shutil.copy(path / NAME, path / "copy")
    (path / "copy").replace(path / NAME)


def replace_the_folder(path: Path) -> None:
    shutil.copytree(path, path.with_name("copy"))
    shutil.rmtree(path)
    path.with_name("copy").rename(path)


def damage_the_key(path: Path) -> None:
    (path / "storage-session").write_bytes(b"?")


def set_flag(flag: int) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        checkpoints = CheckpointFile(NOT_SYNCED, path / "durable-end")
        checkpoints.set_flag(flag)
        checkpoints.close()

    return change


def remove(name: str) -> Callable[[Path], None]:
    return lambda path: (path / name).unlink()


@pytest.mark.parametrize(
    "change",
    [
        cut_to_the_flushed, cut_a_batch, flip, replace_the_log, replace_the_folder, damage_the_key,
        set_flag(VERIFY), set_flag(REWRITE), remove(NAME), remove("durable-end"),
        remove("written-end"), remove("storage-session"),
    ],
)  # fmt: skip
def test_loss_ends_the_session(
    written: Path, before: str, change: Callable[[Path], None]
) -> None:
    """Goal: a log that may lack written records gets a new session, and keeps that one."""
    change(written)
    assert session_of(written) != before
    assert session_of(written) != before


def test_torn_write_keeps_the_session(written: Path, before: str) -> None:
    """Goal: a process that is killed within a write has lost nothing that was written."""
    with (written / NAME).open("ab") as log:
        log.write(content((batch(7, 5),))[:-9])
    assert session_of(written) == before


def test_recovery_that_ends_after_it_found_a_loss_has_ended_the_session(
    written: Path, before: str
) -> None:
    """Goal: the repair hides the loss, so the session ends first. Method: fail in the repair."""
    flip(written)

    def fail(fd: int, size: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_storage(written, "n1", system=replace(HERE, truncate=fail))
    # The log now ends like one that was truncated on purpose.
    cut_a_batch(written)
    ends = {
        "written-end": Checkpoint(0, 6, len(content((*ONE, *TWO[:1])))),
        "durable-end": Checkpoint(0, 3, len(content(ONE))),
    }
    for name, end in ends.items():
        checkpoints = CheckpointFile(NOT_SYNCED, written / name)
        checkpoints.put_durably(end)
        checkpoints.close()
    assert session_of(written) != before


def test_full_disk_does_not_prevent_a_start(written: Path, before: str) -> None:
    """Goal: without space for a new key, each start has a session of its own."""
    (written / "storage-session").unlink()

    def write(fd: int, buffers: Sequence[bytes | memoryview], at: int) -> int:
        if path_of(fd).name.startswith("storage-session"):
            raise error(errno.ENOSPC)
        return os.pwritev(fd, buffers, at)

    full = replace(HERE, write=write)
    seen = {before, session_of(written, full), session_of(written, full), session_of(written)}
    assert len(seen) == 4


@pytest.mark.parametrize("name", [NAME, "durable-end"])
def test_failed_flush_during_recovery_ends_the_session(
    written: Path, before: str, name: str
) -> None:
    """Goal: a recovery whose flush fails refuses to start, and the next start has a new session."""

    def fail(fd: int) -> None:
        if path_of(fd).name == name:
            raise error()

    with pytest.raises(StorageError, match=os.strerror(errno.EIO)):
        open_storage(written, "n1", system=replace(HERE, sync=fail))
    after = session_of(written)
    assert after != before
    assert session_of(written) == after


@pytest.mark.parametrize(
    ("call", "number", "keeps"),
    [
        ("write", errno.EIO, False),
        ("sync", errno.EIO, False),
        ("sync", errno.ENOSPC, False),
        ("truncate", errno.EIO, False),
        ("replace", errno.EROFS, False),
        ("sync_folder", errno.EIO, False),
        ("write", errno.ENOSPC, True),
        ("write", errno.EDQUOT, True),
    ],
)
async def test_error_of_a_running_process_ends_the_session(
    written: Path, before: str, call: str, number: int, keeps: bool
) -> None:
    """Goal: an I/O error or failed flush ends the session; a full disk, which loses nothing, not.

    Method: one failed system call of a running disk, then a restart without the error.
    """
    real = getattr(HERE, call)
    broken = [False]

    def sometimes(*args: object) -> object:
        if broken[0]:
            raise error(number)
        return real(*args)

    driven = Driven(written, system=replace(HERE, **{call: sometimes}))  # type: ignore[arg-type]
    assert driven.storage.recovered.storage_session == before
    driven.disk.append(OpId(1), LogGeneration(0), (batch(7, 5),))
    await driven.complete(1)
    broken[0] = True
    if call == "write":
        driven.disk.append(OpId(2), LogGeneration(0), (batch(8, 5),))
    elif call == "truncate":
        driven.disk.truncate(OpId(2), LogGeneration(1), 6)
    elif call == "sync":
        driven.disk.flush(OpId(2), LogGeneration(0))
    else:
        driven.disk.save(OpId(2), "key", b"value")
    await driven.until(lambda: bool(driven.fatal) or len(driven.done) == 2)
    broken[0] = False
    driven.disk.close()
    assert bool(driven.fatal) != keeps
    assert not keeps or driven.done[-1][2] == NoSpace()
    after = session_of(written)
    assert (after == before) == keeps
    assert session_of(written) == after


@pytest.mark.parametrize("fault", ["error", "damage"])
async def test_failed_read_ends_the_session(written: Path, before: str, fault: str) -> None:
    """Goal: a read that fails or finds a damaged batch ends the session."""

    def read(fd: int, size: int, at: int) -> bytes:
        if broken[0]:
            raise error()
        return os.pread(fd, size, at)

    broken = [False]
    driven = Driven(written, system=replace(HERE, read=read))
    data = bytearray((written / NAME).read_bytes())
    if fault == "damage":
        data[70] ^= 1
        (written / NAME).write_bytes(data)
    else:
        broken[0] = True
    driven.disk.read_later(0, 7, 1 << 20, lambda found: None)
    await driven.until(lambda: bool(driven.fatal))
    broken[0] = False
    driven.disk.close()
    if fault == "damage":
        data[70] ^= 1
        (written / NAME).write_bytes(data)
    assert session_of(written) != before


async def test_truncation_lowers_the_noted_end_first(tmp_path: Path) -> None:
    """Goal: a truncated log is not taken for a shortened one, also within the truncation."""
    path = tmp_path / "data"
    noted: list[int] = []

    def write(fd: int, buffers: Sequence[bytes | memoryview], at: int) -> int:
        count = os.pwritev(fd, buffers, at)
        if path_of(fd).name == "written-end":
            checkpoints = CheckpointFile(NOT_SYNCED, path / "written-end")
            assert checkpoints.newest is not None
            noted.append(checkpoints.newest.end)
            checkpoints.close()
        return count

    def truncate(fd: int, size: int) -> None:
        noted.append(-1)
        os.ftruncate(fd, size)

    driven = Driven(path, system=replace(HERE, write=write, truncate=truncate))
    driven.disk.append(OpId(1), LogGeneration(0), batches(50, 50, 50))
    await driven.complete(1)
    await driven.until(lambda: 3 in noted)
    driven.disk.truncate(OpId(2), LogGeneration(1), 1)
    await driven.complete(2)
    driven.disk.close()
    assert noted[noted.index(3) :] == [3, 1, -1]
    assert session_of(path) == driven.storage.recovered.storage_session
