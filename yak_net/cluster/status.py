"""What a cluster and its brokers are like at one moment; must never ask anybody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

RUNNING: Final = "running"
PAUSED: Final = "paused"
DOWN: Final = "down"

STARTING: Final = "starting"
"""The health of a broker that has not registered yet."""


@dataclass(frozen=True)
class BrokerStatus:
    """One broker. None is what is not known; ``up`` means that it answered.

    ``pid`` is None while no process runs. ``state`` is running, paused or down, ``health`` the
    status that the broker gives itself (empty without an answer), ``remark`` why it is down, or why
    it does not serve.
    """

    id: str
    url: str
    pid: int | None = None
    role: str | None = None
    leo: int | None = None
    hw: int | None = None
    up: bool = False
    state: str = DOWN
    health: str = ""
    remark: str = ""

    @property
    def trouble(self) -> str:
        """What is the matter with it, a sentence; empty if nothing is known to be."""
        if self.state == PAUSED:
            return f"{self.id} is paused"
        if not self.remark or self.remark.startswith(self.id):
            return self.remark
        return f"{self.id}: {self.remark}"


@dataclass(frozen=True)
class ClusterStatus:
    """The cluster at one moment. ``serves`` says whether its leader is there and takes requests."""

    cluster: str
    leader: str | None = None
    epoch: int | None = None
    isr: tuple[str, ...] = ()
    elr: tuple[str, ...] = ()
    hw: int | None = None
    version: int | None = None
    serves: bool = False
    brokers: tuple[BrokerStatus, ...] = ()

    def as_json(self) -> dict[str, object]:
        """The object of ``yak cluster status --json``, the same as ``GET /v1/cluster`` gives."""
        return {
            "cluster": self.cluster,
            "leader": self.leader,
            "epoch": self.epoch,
            "isr": list(self.isr),
            "elr": list(self.elr),
            "hw": self.hw,
            "version": self.version,
            "brokers": [
                {
                    "id": row.id,
                    "url": row.url,
                    "pid": row.pid,
                    "role": row.role,
                    "leo": row.leo,
                    "hw": row.hw,
                    "up": row.up,
                }
                for row in self.brokers
            ],
        }

    @classmethod
    def from_dict(cls, body: dict[str, Any]) -> ClusterStatus:
        """The reverse of :func:`dataclasses.asdict`, after a way through JSON."""
        lists = {"isr": tuple(body["isr"]), "elr": tuple(body["elr"])}
        brokers = tuple(BrokerStatus(**row) for row in body["brokers"])
        return cls(**{**body, **lists, "brokers": brokers})
