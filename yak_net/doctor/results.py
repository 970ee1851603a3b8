"""Results of the checks of ``yak doctor``, and the set-up that is checked."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final


class Severity(StrEnum):
    """How bad a result is."""

    OK = "ok"
    NOTE = "note"
    """A fact that is as it should be in a lesson, or that could not be checked."""
    WARNING = "warning"
    """The cluster works, and something may be lost or stop it later."""
    ERROR = "error"
    """A broker cannot start, or the cluster does not work."""


BAD: Final = (Severity.WARNING, Severity.ERROR)


class Check(StrEnum):
    """The checks; users may search for these names. Those of the store have their own names."""

    PORT = "port"
    DATA = "data"
    DISK = "disk"
    FILES = "open-files"
    STORE = "store"
    CLUSTER_NAME = "cluster-name"
    CLOCK = "clock"
    ADVERTISED = "advertised"
    BROKER = "broker"
    CLUSTER = "cluster"


@dataclass(frozen=True)
class Result:
    """One result: what was checked (``subject``), what is wrong with it, and what to do.

    ``check`` is a name of :class:`Check` or of
    :class:`yak_net.metadata.store_findings.FindingName`. If all is well, ``problem`` says what was
    found, and ``advice`` is empty.
    """

    check: str
    severity: Severity
    subject: str
    problem: str
    advice: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the object of ``yak doctor --json`` (docs/formats.md)."""
        return asdict(self)


@dataclass(frozen=True)
class SetUp:
    """What is checked; a part that is None or empty is not.

    ``listen`` is the (host, port) of a broker on this machine, ``servers`` are URLs of brokers that
    should run. ``redis_url`` is the metadata store. ``folders`` are data folders, or folders for
    them. ``cluster`` is the expected name.
    """

    cluster: str | None = None
    node: str | None = None
    listen: tuple[str, int] | None = None
    advertised_url: str = ""
    servers: tuple[str, ...] = ()
    redis_url: str = ""
    folders: tuple[Path, ...] = ()
