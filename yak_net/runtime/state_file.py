"""The state file of the local cluster of a folder, and the lock of the process that writes it.

The file is ``.yak/cluster.json`` in the current folder, or what ``YAK_CLUSTER_FILE`` names. It
holds the token that allows killing brokers, so it is never readable by anyone but its owner.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

SCHEMA: Final = 1
KIND: Final = "yak-cluster"
DEFAULT_PATH: Final = ".yak/cluster.json"
DEFAULT_SERVER: Final = "127.0.0.1:8080"


class StateError(ValueError):
    """The state file exists and cannot be used; one sentence."""


@dataclass(frozen=True)
class ClusterState:
    """A running cluster, as its supervisor writes it down.

    ``supervisor`` is its process id, ``control`` the host:port that takes commands with ``token``,
    ``brokers`` are (id, url). Paths are absolute.
    """

    cluster: str
    supervisor: int
    control: str
    token: str
    brokers: tuple[tuple[str, str], ...]
    bootstrap_servers: tuple[str, ...]
    redis_url: str
    data_dir: str
    log_dir: str


def state_path() -> Path:
    """Return the path of the state file of the current folder, which may not exist."""
    return Path(os.environ.get("YAK_CLUSTER_FILE") or DEFAULT_PATH).absolute()


def lock_path(path: Path) -> Path:
    """Return the path of the lock that the supervisor of the state file ``path`` holds."""
    return path.with_name(path.name + ".lock")


def write_state(path: Path, state: ClusterState) -> None:
    """Replace the file as a whole, readable by its owner alone. Raises OSError."""
    body: dict[str, Any] = {"schema": SCHEMA, "kind": KIND, **asdict(state)}
    body["brokers"] = [{"id": node, "url": url} for node, url in state.brokers]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        json.dump(body, file, indent=1)
        file.write("\n")
    temporary.replace(path)


def read_state(path: Path) -> ClusterState | None:
    """Return what is written down, None if nothing is. Raises StateError.

    The supervisor may have died since: see :func:`is_alive`.
    """
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        if body["kind"] != KIND or int(body["schema"]) > SCHEMA:
            raise StateError(f"{path} is not the state file of a cluster, or of a newer YAK")
        return ClusterState(
            cluster=str(body["cluster"]),
            supervisor=int(body["supervisor"]),
            control=str(body["control"]),
            token=str(body["token"]),
            brokers=tuple((str(each["id"]), str(each["url"])) for each in body["brokers"]),
            bootstrap_servers=tuple(map(str, body["bootstrap_servers"])),
            redis_url=str(body["redis_url"]),
            data_dir=str(body["data_dir"]),
            log_dir=str(body["log_dir"]),
        )
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StateError(f"cannot read {path}: {error.strerror}") from error
    except StateError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise StateError(f"{path} is damaged: delete it if no cluster runs here") from error


def is_alive(pid: int) -> bool:
    """Return whether a process has this id; it may be another one that got it since."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def bootstrap_servers() -> tuple[str, ...]:
    """Return where clients find brokers by default, each ``host:port``. Raises StateError.

    The local cluster of this folder if one runs, else ``YAK_BOOTSTRAP_SERVERS``, else
    127.0.0.1:8080.
    """
    state = read_state(state_path())
    if state is not None and is_alive(state.supervisor):
        return state.bootstrap_servers
    words = os.environ.get("YAK_BOOTSTRAP_SERVERS", "").split(",")
    given = tuple(word.strip() for word in words if word.strip())
    return given or (DEFAULT_SERVER,)


class InUse(Exception):
    """Another process holds the lock; ``holder`` is its id, 0 if unknown."""

    def __init__(self, holder: int) -> None:
        super().__init__(holder)
        self.holder = holder


def take_lock(path: Path) -> int:
    """Lock a file until the returned descriptor is closed. Raises InUse, OSError.

    The system frees the lock however its holder ends. Child processes do not inherit it, so a
    broker that outlives its supervisor for a moment does not hold it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
    except BaseException as error:
        os.close(fd)
        if isinstance(error, BlockingIOError):
            raise InUse(holder_of(path) or 0) from None
        raise
    return fd


def holder_of(path: Path) -> int | None:
    """Return the process that holds the lock, 0 if its id is unknown, None if the lock is free."""
    try:
        fd = os.open(path, os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(fd, 20, 0).strip()
        return int(text) if text.isdigit() else 0
    finally:
        os.close(fd)
    return None
