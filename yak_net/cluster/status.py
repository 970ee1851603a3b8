"""The state of a cluster at one moment: merged from its brokers' answers, as JSON, and as a table.

A broker is never asked from here.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Final, TypeAlias

import click

from yak_net.http.gateway import Health

PIPE_COLUMNS: Final = 400
"""The width of the table where no terminal limits it."""

Answer: TypeAlias = tuple[Mapping[str, Any], Mapping[str, Any]]
"""What a broker answers to GET /health and to GET /v1/cluster; empty without an answer."""


class State(StrEnum):
    """State of a broker's process."""

    RUNNING = "running"
    PAUSED = "paused"
    DOWN = "down"


@dataclass(frozen=True)
class BrokerStatus:
    """One broker; None is what is not known. ``up`` means that it answered.

    ``pid`` is None while no process runs. ``health`` is the
    status that the broker gives itself, ``reason`` why it is down or does not serve.
    """

    id: str
    url: str
    pid: int | None = None
    role: str | None = None
    leo: int | None = None
    hw: int | None = None
    up: bool = False
    state: State = State.DOWN
    health: str = ""
    reason: str = ""

    @property
    def has_started(self) -> bool:
        """Whether it has registered."""
        return self.up and self.health != Health.STARTING

    @property
    def trouble(self) -> str:
        """Why it does not serve, a sentence; empty if no reason is known."""
        if self.state is State.PAUSED:
            return f"{self.id} is paused"
        if not self.reason or self.reason.startswith(self.id):
            return self.reason
        return f"{self.id}: {self.reason}"


@dataclass(frozen=True)
class ClusterStatus:
    """The cluster. ``serves`` says whether its leader answers and takes requests."""

    cluster: str
    leader: str | None = None
    epoch: int | None = None
    isr: tuple[str, ...] = ()
    elr: tuple[str, ...] = ()
    hw: int | None = None
    version: int | None = None
    brokers: tuple[BrokerStatus, ...] = ()
    serves: bool = False

    @property
    def troubles(self) -> str:
        """Why brokers do not serve, on one line."""
        found = [row.trouble for row in self.brokers if row.trouble]
        return "; ".join(found) or "no broker gives a reason"

    def as_json(self) -> dict[str, Any]:
        """Return the object of ``yak cluster status --json``: ``GET /v1/cluster`` with pids."""
        fields = ("cluster", "leader", "epoch", "isr", "elr", "hw", "version")
        row_fields = ("id", "url", "pid", "role", "leo", "hw", "up")
        body = asdict(self)
        rows = [{name: row[name] for name in row_fields} for row in body["brokers"]]
        return {name: body[name] for name in fields} | {"brokers": rows}

    @classmethod
    def from_dict(cls, body: dict[str, Any]) -> ClusterStatus:
        """Return the reverse of :func:`dataclasses.asdict`, also after a way through JSON."""
        lists = {"isr": tuple(body["isr"]), "elr": tuple(body["elr"])}
        rows = [row | {"state": State(row["state"])} for row in body["brokers"]]
        brokers = tuple(BrokerStatus(**row) for row in rows)
        return cls(**{**body, **lists, "brokers": brokers})


def merge(
    cluster: str, rows: Sequence[BrokerStatus], answers: Mapping[str, Answer]
) -> ClusterStatus:
    """Merge what is known of the processes (``rows``) with their answers.

    The newest view counts: that of the highest epoch and version, and among equals the leader's.
    """
    brokers = tuple(_with_health(row, answers.get(row.id, ({}, {}))[0]) for row in rows)
    views = [
        ((view["epoch"] or 0, view["version"] or 0, view["leader"] == node), view)
        for node, (_, view) in answers.items()
        if view
    ]
    if not views:
        return ClusterStatus(cluster, brokers=brokers)
    _, newest = max(views, key=lambda ranked: ranked[0])
    leader = newest["leader"]
    leading = [row for row in brokers if row.id == leader and row.role == "leader"]
    return ClusterStatus(
        cluster,
        leader,
        newest["epoch"],
        tuple(newest["isr"]),
        tuple(newest["elr"]),
        newest["hw"],
        newest["version"],
        brokers,
        any(row.health == Health.OK for row in leading),
    )


def _with_health(row: BrokerStatus, health: Mapping[str, Any]) -> BrokerStatus:
    if not health:
        return row
    return replace(
        row,
        role=health.get("role"),
        leo=health.get("leo"),
        hw=health.get("hw"),
        up=True,
        health=str(health.get("status", "")),
        reason=row.reason or health.get("reason") or "",
    )


def show(status: ClusterStatus) -> None:
    """Print a line on the cluster, a row for each broker, and the troubles."""
    from rich.console import Console
    from rich.table import Table

    leader = f"leader {status.leader}" if status.leader else "no leader"
    if status.leader and not status.serves:
        leader += " (does not serve)"
    words = [leader]
    if status.epoch is not None:
        words += [f"epoch {status.epoch}", f"ISR {' '.join(status.isr)}", f"HW {status.hw}"]
    click.echo(f"cluster {status.cluster}: {', '.join(words)}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("NODE", "STATE", "PID", "ROLE", "LEO", "HW", "URL"):
        right = name in ("PID", "LEO", "HW")
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    for row in status.brokers:
        state = (row.health or "no answer") if row.state is State.RUNNING else row.state
        cells = (row.id, state, row.pid, row.role, row.leo, row.hw, row.url)
        table.add_row(*("-" if cell is None else str(cell) for cell in cells))
    Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS).print(table)
    for row in status.brokers:
        if row.trouble:
            click.echo(row.trouble, err=True)
