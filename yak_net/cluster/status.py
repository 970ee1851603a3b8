"""Status of a cluster: merged from the responses of its brokers, printed as JSON or as a table.

The supervisor sends the requests to the brokers.
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
"""Width of the table if the output is not a terminal."""

Answer: TypeAlias = tuple[Mapping[str, Any], Mapping[str, Any]]
"""Responses of a broker to GET /health and GET /v1/cluster; empty without a response."""


class State(StrEnum):
    """State of a broker's process."""

    RUNNING = "running"
    PAUSED = "paused"
    DOWN = "down"


@dataclass(frozen=True)
class BrokerStatus:
    """Status of one broker; unknown values are None. ``up`` means that the broker responded.

    ``pid`` is None while the process is down, and on another machine. ``health`` and ``ready`` are
    from the response to GET /health. ``reason`` says why the broker is down or not healthy.
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
    ready: bool = False
    reason: str = ""

    @property
    def has_started(self) -> bool:
        """Whether the broker has registered."""
        return self.up and self.health != Health.STARTING

    @property
    def problem(self) -> str:
        """Why the broker is not healthy; empty if no reason is known."""
        if self.state is State.PAUSED:
            return f"{self.id} is paused"
        if not self.reason or self.reason.startswith(self.id):
            return self.reason
        return f"{self.id}: {self.reason}"


@dataclass(frozen=True)
class ClusterStatus:
    """Status of the cluster. ``serves``: the leader responds, and can commit records.

    ``obstacle`` says why a leader that reports that it can commit records cannot; else it is empty.
    """

    cluster: str
    leader: str | None = None
    epoch: int | None = None
    isr: tuple[str, ...] = ()
    elr: tuple[str, ...] = ()
    hw: int | None = None
    version: int | None = None
    brokers: tuple[BrokerStatus, ...] = ()
    serves: bool = False
    obstacle: str = ""

    @property
    def problems(self) -> str:
        """The reasons why brokers are not healthy, on one line."""
        found = [row.problem for row in self.brokers if row.problem]
        return "; ".join(found) or self.reason or "no broker reported a reason"

    @property
    def reason(self) -> str:
        """Why the cluster is not ready; empty if it is."""
        if self.serves:
            return ""
        up = [row for row in self.brokers if row.up]
        if not up:
            return "no broker responds"
        if self.leader is not None:
            row = next((each for each in self.brokers if each.id == self.leader), None)
            if row is not None and row.up:
                return self.obstacle or row.problem or f"the leader {self.leader} is not ready"
            return f"the leader {self.leader} does not respond; an election follows"
        eligible = (*self.isr, *self.elr)
        if eligible and not any(row.id in eligible for row in up):
            names = ", ".join(eligible)
            return f"no leader: only {names} may be elected, and none responds; start one of them"
        candidates = [row for row in up if row.id in eligible] or up
        return next((row.problem for row in candidates if row.problem), "no leader is elected yet")

    def as_json(self) -> dict[str, Any]:
        """Return the object of ``yak cluster status --json``.

        It is that of ``GET /v1/cluster``, plus the process ids, ``ready`` and ``reason``.
        """
        fields = ("cluster", "leader", "epoch", "isr", "elr", "hw", "version")
        row_fields = ("id", "url", "pid", "role", "leo", "hw", "up", "ready", "reason")
        body = asdict(self)
        rows = [{name: row[name] for name in row_fields} for row in body["brokers"]]
        state = {"ready": self.serves, "reason": self.reason}
        return {name: body[name] for name in fields} | {"brokers": rows} | state

    @classmethod
    def from_dict(cls, body: dict[str, Any]) -> ClusterStatus:
        """Return the status that :func:`dataclasses.asdict` has converted, also through JSON."""
        lists = {"isr": tuple(body["isr"]), "elr": tuple(body["elr"])}
        rows = [row | {"state": State(row["state"])} for row in body["brokers"]]
        brokers = tuple(BrokerStatus(**row) for row in rows)
        return cls(**{**body, **lists, "brokers": brokers})


def merge(
    cluster: str, rows: Sequence[BrokerStatus], answers: Mapping[str, Answer]
) -> ClusterStatus:
    """Merge the states of the processes (``rows``) with the responses of the brokers.

    The cluster fields come from the view with the highest (epoch, version). Among equal views,
    that of the leader is used.
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
        any(row.ready for row in leading),
    )


def count_stopped(status: ClusterStatus, min_isr: int) -> ClusterStatus:
    """Return the status without ``serves`` if too few processes of the ISR run to commit records.

    A leader notices the end of a follower only when its acks are missing for some time. ``min_isr``
    is that of the partition state; 0 if it is not known, which leaves the status unchanged.
    """
    stopped = [row.id for row in status.brokers if row.state is not State.RUNNING]
    missing = [node for node in status.isr if node in stopped]
    if not status.serves or not missing or len(status.isr) - len(missing) >= min_isr:
        return status
    names = ", ".join(missing)
    obstacle = f"acks=all cannot commit: no process of {names} runs, and min ISR is {min_isr}"
    return replace(status, serves=False, obstacle=obstacle)


def _with_health(row: BrokerStatus, health: Mapping[str, Any]) -> BrokerStatus:
    if not health:
        return row
    status = str(health.get("status", ""))
    return replace(
        row,
        role=health.get("role"),
        leo=health.get("leo"),
        hw=health.get("hw"),
        up=True,
        health=status,
        ready=bool(health.get("ready", status == Health.OK)),
        reason=row.reason or health.get("reason") or "",
    )


def print_status(status: ClusterStatus) -> None:
    """Print one line on the cluster, a table of the brokers, and the reasons for failures."""
    from rich.console import Console
    from rich.table import Table

    leader = f"leader {status.leader}" if status.leader else "no leader"
    if status.leader and not status.serves:
        leader += " (not ready)"
    summary = [leader]
    if status.epoch is not None:
        summary += [f"epoch {status.epoch}", f"ISR {' '.join(status.isr)}", f"HW {status.hw}"]
    click.echo(f"cluster {status.cluster}: {', '.join(summary)}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("NODE", "STATE", "PID", "ROLE", "LEO", "HW", "URL"):
        right = name in ("PID", "LEO", "HW")
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    for row in status.brokers:
        state = (row.health or "no response") if row.state is State.RUNNING else row.state
        cells = (row.id, state, row.pid, row.role, row.leo, row.hw, row.url)
        table.add_row(*("-" if cell is None else str(cell) for cell in cells))
    Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS).print(table)
    if status.reason:
        click.echo(f"not ready: {status.reason}", err=True)
    for row in status.brokers:
        if row.problem:
            click.echo(row.problem, err=True)
