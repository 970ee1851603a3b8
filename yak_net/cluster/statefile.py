"""Where the local cluster of a folder is written down, for commands and clients; must never run it.

The file is ``.yak/cluster.json`` in the current folder, or what ``YAK_CLUSTER_FILE`` names. It
holds the token that allows to kill brokers, so only its owner may read it.
"""

from __future__ import annotations

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
    """The state file is there and cannot be used; one sentence."""


@dataclass(frozen=True)
class ClusterState:
    """What the supervisor of a running cluster says about it.

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
    """Where the state file of the current folder is, or would be."""
    return Path(os.environ.get("YAK_CLUSTER_FILE") or DEFAULT_PATH).absolute()


def lock_path(path: Path) -> Path:
    """The file that the supervisor of the cluster in ``path`` keeps locked."""
    return path.with_name(path.name + ".lock")


def write_state(path: Path, state: ClusterState) -> None:
    """Put the file in place, whole and for its owner alone. Raises OSError."""
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
    """What is written down, None if nothing is. Raises StateError.

    The supervisor may have died since: see :func:`is_alive`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise StateError(f"cannot read {path}: {error}") from error
    try:
        body = json.loads(text)
        if body["kind"] != KIND or int(body["schema"]) > SCHEMA:
            raise StateError(f"{path} is no state file of a cluster, or a newer YAK wrote it")
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
    except StateError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise StateError(f"{path} is damaged: delete it if no cluster runs here") from error


def is_alive(pid: int) -> bool:
    """Whether a process has this id; it may be another one that got it since."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def bootstrap_servers() -> tuple[str, ...]:
    """Where clients ask for the brokers when nobody told them: ``host:port`` each.

    The local cluster of this folder if one runs, else ``YAK_BOOTSTRAP_SERVERS``, else
    127.0.0.1:8080. Raises StateError, which is a ValueError.
    """
    state = read_state(state_path())
    if state is not None and is_alive(state.supervisor):
        return state.bootstrap_servers
    words = os.environ.get("YAK_BOOTSTRAP_SERVERS", "").split(",")
    given = tuple(word.strip() for word in words if word.strip())
    return given or (DEFAULT_SERVER,)
