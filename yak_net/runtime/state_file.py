"""The state file of a local cluster, and the lock of the supervisor that writes it.

The file is ``.yak/cluster.json`` in the current folder, or the path in ``YAK_CLUSTER_FILE``. It
contains the token for control commands such as kill, so only its owner can read it.
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
SERVERS_VARIABLE: Final = "YAK_BOOTSTRAP_SERVERS"


class StateError(ValueError):
    """The state file is unreadable, damaged, or too new."""


@dataclass(frozen=True)
class ClusterState:
    """A running cluster, as its supervisor writes it to the state file.

    ``supervisor`` is the supervisor's process id, ``control`` the host:port that accepts commands
    with ``token``, ``brokers`` a list of (id, url). Paths are absolute.
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
    """Return the path of the state file, whether or not the file exists."""
    return Path(os.environ.get("YAK_CLUSTER_FILE", "").strip() or DEFAULT_PATH).absolute()


def lock_path(path: Path) -> Path:
    """Return the path of the lock that the supervisor of the state file ``path`` holds."""
    return path.with_name(path.name + ".lock")


def write_state(path: Path, state: ClusterState) -> None:
    """Replace the state file atomically; only its owner can read it. Raises OSError."""
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
    """Return the content of the state file, None if there is no file. Raises StateError.

    The supervisor may have ended since: see :func:`is_alive`.
    """
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        if body["kind"] != KIND or int(body["schema"]) > SCHEMA:
            raise StateError(
                f"{path} is not a cluster state file of schema {SCHEMA} or lower; "
                "name another file with YAK_CLUSTER_FILE"
            )
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
        raise StateError(f"{path} is damaged; delete it if no cluster runs here") from error


def is_alive(pid: int) -> bool:
    """Return whether a process with this id exists; the system may have reused the id."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def bootstrap_servers() -> tuple[str, ...]:
    """Return the default bootstrap servers of clients, each ``host:port``. Raises StateError.

    The value comes from the running cluster of the state file, else from the variable
    ``YAK_BOOTSTRAP_SERVERS``, else it is 127.0.0.1:8080.
    """
    state = read_state(state_path())
    if state is not None and is_alive(state.supervisor):
        return state.bootstrap_servers
    value = os.environ.get(SERVERS_VARIABLE, "")
    servers = tuple(part.strip() for part in value.split(",") if part.strip())
    return servers or (DEFAULT_SERVER,)


class InUse(Exception):
    """Another process holds the lock; ``holder`` is its process id, 0 if unknown."""

    def __init__(self, holder: int) -> None:
        super().__init__(holder)
        self.holder = holder


def take_lock(path: Path) -> int:
    """Lock a file until the returned descriptor is closed. Raises InUse, OSError.

    The system releases the lock when the process ends, also after a crash. Child processes do not
    inherit it, so a broker that ends after its supervisor does not hold it.
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
    """Return the process id of the lock's holder, 0 if unknown, None if the lock is free."""
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
