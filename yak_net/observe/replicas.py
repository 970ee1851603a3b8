"""The replicas of a cluster side by side: what ``yak describe`` shows.

The log end and the high watermark of a replica are its own, if it answers. Of a replica that does
not answer, the leader's view is shown (``GET /v1/replicas``), which is older.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from yak_net.cluster.status import BrokerStatus, ClusterStatus
from yak_net.cluster.status_requests import get_json, remote_status

if TYPE_CHECKING:
    import aiohttp

NO_ANSWER: Final = "no answer"
REPLICAS_S: Final = 3.0
"""Seconds for the leader's view: it asks the other replicas, of which one may not answer."""

Row: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Replica:
    """One replica; unknown values are None.

    ``leo`` and ``hw`` are offsets, ``lag`` is the number of records that the leader has and this
    replica has not, ``lag_ms`` the time for which it has not had all of them. ``up`` means that
    the broker answered; ``reason`` says what is wrong with it.
    """

    id: str
    url: str
    role: str | None
    state: str
    in_isr: bool
    in_elr: bool
    leo: int | None
    hw: int | None
    lag: int | None
    lag_ms: int | None
    up: bool
    reason: str


@dataclass(frozen=True)
class Description:
    """A cluster and its replicas; ``ready`` means that a leader can commit records."""

    cluster: str
    leader: str | None
    epoch: int | None
    isr: tuple[str, ...]
    elr: tuple[str, ...]
    hw: int | None
    version: int | None
    ready: bool
    reason: str
    replicas: tuple[Replica, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the object of ``yak describe --json`` (docs/formats.md)."""
        return asdict(self)


async def describe(servers: Sequence[str]) -> Description:
    """Return the description of the cluster that one of the URLs ``servers`` belongs to.

    Raises ClusterError if no server answers as a broker.
    """
    import aiohttp

    status = await remote_status(servers)
    leader = next((row for row in status.brokers if row.id == status.leader), None)
    known: Mapping[str, Row] = {}
    if leader is not None and leader.up and leader.url:
        async with aiohttp.ClientSession() as session:
            known = await _leaders_view(session, leader.url)
    return described(status, known)


def described(status: ClusterStatus, known: Mapping[str, Row]) -> Description:
    """Merge the answers of the brokers with the leader's view of its replicas, by node id."""
    leader = next((row for row in status.brokers if row.id == status.leader), None)
    end = leader.leo if leader is not None and leader.up else None
    return Description(
        status.cluster,
        status.leader,
        status.epoch,
        status.isr,
        status.elr,
        status.hw,
        status.version,
        status.serves,
        status.reason,
        tuple(_replica(row, status, known.get(row.id, {}), end) for row in status.brokers),
    )


async def _leaders_view(session: aiohttp.ClientSession, url: str) -> Mapping[str, Row]:
    """Return the rows of ``GET /v1/replicas`` by node id; empty if the leader does not have it."""
    rows, view = await asyncio.gather(
        get_json(session, f"{url}/v1/replicas", 200, timeout_s=REPLICAS_S),
        get_json(session, f"{url}/v1/cluster", 200),
    )
    found = {str(row["id"]): row for row in view.get("brokers", ())}
    for row in rows.get("replicas", ()):
        found[str(row["id"])] = {**found.get(str(row["id"]), {}), **row}
    return found


def _replica(row: BrokerStatus, status: ClusterStatus, known: Row, end: int | None) -> Replica:
    leo = row.leo if row.up else known.get("leo")
    hw = row.hw if row.up else known.get("hw")
    lag = None if leo is None or end is None else max(0, end - leo)
    lag_ms = known.get("lag_ms")
    return Replica(
        row.id,
        row.url,
        row.role,
        row.health or NO_ANSWER,
        row.id in status.isr,
        row.id in status.elr,
        leo,
        hw,
        lag,
        None if lag_ms is None else int(lag_ms),
        row.up,
        row.problem if row.up else row.problem or _silent(row),
    )


def _silent(row: BrokerStatus) -> str:
    where = f"at {row.url}" if row.url else "and its URL is not known"
    return f"{row.id} does not answer {where}"
