"""Data directories that are refused: wrong, foreign, newer, in use or unusable."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.net.storage_tools import NOT_SYNCED, batches, recovered_from, write_log
from yak_net.storage import StorageError, open_storage, system
from yak_net.storage.folder import DataFolder, open_folder
from yak_net.storage.system import System, write_file


def opened(path: Path, node: str = "n1", cluster: str = "") -> DataFolder:
    """Open and close a data directory."""
    folder = open_folder(path, node, cluster, NOT_SYNCED)
    folder.close()
    return folder


def test_new_directory_is_made_and_opened_again(tmp_path: Path) -> None:
    """Goal: a new directory contains the files of docs/formats.md."""
    path = tmp_path / "a" / "b"
    assert recovered_from(path).recovered.leo == 0
    names = sorted(one.name for one in path.iterdir())
    expected = ["00000000000000000000.log", "durable-end", "identity.json", "lock", "saved"]
    assert names == [*expected, "storage-session", "written-end"]
    assert json.loads((path / "identity.json").read_text()) == {
        "kind": "yak-data",
        "format": 1,
        "node": "n1",
        "cluster": None,
    }
    assert recovered_from(path).recovered.intact


def test_directory_of_another_node_or_cluster_is_refused(tmp_path: Path) -> None:
    """Goal: node and cluster are compared; a missing cluster name is written once."""
    opened(tmp_path)
    with pytest.raises(StorageError, match=r"n1.*n2"):
        opened(tmp_path, "n2")
    assert opened(tmp_path, cluster="blue").cluster == "blue"
    assert opened(tmp_path).cluster == "blue"
    with pytest.raises(StorageError, match=r"blue.*red"):
        opened(tmp_path, cluster="red")
    folder = open_folder(tmp_path, "n1", "", NOT_SYNCED)
    with pytest.raises(StorageError, match=r"blue.*red"):
        folder.set_cluster("red")
    folder.set_cluster("blue")
    folder.close()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format": 2}, "format 2.* 1"),
        ({"kind": "other"}, "'other'.*'yak-data'"),
        ({"format": "x"}, r"identity\.json.*damaged"),
        ({"node": "n9"}, "n9.*n1"),
    ],
)
def test_identity_is_checked(tmp_path: Path, change: dict[str, object], sentence: str) -> None:
    """Goal: each field of identity.json counts."""
    opened(tmp_path)
    path = tmp_path / "identity.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(StorageError, match=sentence):
        opened(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "{}", '{"kind": "yak-data"}', "\udcff"])
def test_damaged_identity_is_refused(tmp_path: Path, text: str) -> None:
    """Goal: any identity.json gives a StorageError at most."""
    opened(tmp_path)
    (tmp_path / "identity.json").write_text(text, errors="surrogateescape")
    with pytest.raises(StorageError, match=r"identity\.json.*damaged"):
        opened(tmp_path)


def test_foreign_directory_is_not_touched(tmp_path: Path) -> None:
    """Goal: foreign files are neither read as a log nor changed."""
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(StorageError, match=r"letters\.txt.*identity\.json"):
        opened(tmp_path)
    (tmp_path / "letters.txt").unlink()
    (tmp_path / "00000000000000000000.log").write_bytes(b"somebody's")
    with pytest.raises(StorageError, match=r"0+\.log.*identity\.json"):
        opened(tmp_path)
    assert (tmp_path / "00000000000000000000.log").read_bytes() == b"somebody's"


def test_more_than_one_segment_is_refused(tmp_path: Path) -> None:
    """Goal: the log of a later version is not read in part."""
    write_log(tmp_path, batches(1), system=NOT_SYNCED)
    (tmp_path / "00000000000000000001.log").write_bytes(b"")
    with pytest.raises(StorageError, match="2 segments"):
        recovered_from(tmp_path)
    assert json.loads((tmp_path / "identity.json").read_text())["node"] == "n1"


def test_file_instead_of_the_directory_is_rejected(tmp_path: Path) -> None:
    """Goal: unusable even for root, with one message."""
    (tmp_path / "data").write_text("")
    with pytest.raises(StorageError, match=os.strerror(errno.EEXIST)):
        opened(tmp_path / "data")
    with pytest.raises(StorageError, match=os.strerror(errno.ENOTDIR)):
        opened(tmp_path / "data" / "below")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "lock").mkdir()
    with pytest.raises(StorageError, match=os.strerror(errno.EISDIR)):
        opened(tmp_path / "other")


UNPRIVILEGED = """
import os, sys
from pathlib import Path
from yak_net.storage.folder import open_folder
from yak_net.storage.system import StorageError
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    open_folder(Path(sys.argv[1]), "n1")
except StorageError as error:
    print(error)
"""


def test_unwritable_directory_is_refused() -> None:
    """Goal: an error without write permission. Method: as user nobody if root."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "data")
        path.mkdir()
        path.chmod(0o555)
        Path(folder).chmod(0o755)
        command = [sys.executable, "-c", UNPRIVILEGED, str(path)]
        found = subprocess.run(command, capture_output=True, text=True, check=True)
        assert str(path) in found.stdout
        assert os.strerror(errno.EACCES) in found.stdout


def test_directory_is_opened_once(tmp_path: Path) -> None:
    """Goal: a directory can be open only once, in one process or two; the error names it."""
    storage = open_storage(tmp_path, "n1", system=NOT_SYNCED)
    with pytest.raises(StorageError, match=rf"\b{os.getpid()}\b"):
        opened(tmp_path)
    storage.close()
    opened(tmp_path)


HOLDER = """
import sys
from pathlib import Path
from yak_net.storage.folder import open_folder
folder = open_folder(Path(sys.argv[1]), "n1")
print("open", flush=True)
sys.stdin.read()
"""


def test_lock_ends_with_the_process(tmp_path: Path) -> None:
    """Goal: the lock excludes other processes and ends with kill -9 of its holder."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with pytest.raises(StorageError, match=rf"\b{process.pid}\b"):
            opened(tmp_path)
        process.kill()
        process.wait()
    opened(tmp_path)


def test_lack_of_descriptors_does_not_prevent_a_saved_value(tmp_path: Path) -> None:
    """Method: no descriptor is left, and another one that becomes free is taken at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    write_file(System(), tmp_path / "value", b"before")  # from here on, there is a spare one
    highest = max(int(fd.name) for fd in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    taken: list[int] = []
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        for value in (b"1", b"2", b"3"):
            with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
                os.open(os.devnull, os.O_RDONLY)
            write_file(System(), tmp_path / "value", value)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in taken:
            os.close(fd)
    assert (tmp_path / "value").read_bytes() == b"3"


def test_lack_of_descriptors_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: the machine has too many open files, which a spare descriptor does not help."""
    left = [errno.ENFILE] * 3
    real = os.open

    def full(*args: Any) -> int:
        if left:
            raise OSError(left.pop(), "")
        return real(*args)

    monkeypatch.setattr(os, "open", full)
    write_file(System(), tmp_path / "value", b"saved")
    assert (tmp_path / "value").read_bytes() == b"saved"
    monkeypatch.setattr(system, "DESCRIPTOR_WAIT_S", 0.0)
    left += [errno.ENFILE] * 100
    with pytest.raises(OSError, match=f"Errno {errno.ENFILE}"):
        write_file(System(), tmp_path / "value", b"lost")
