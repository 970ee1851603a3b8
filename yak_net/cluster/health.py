"""Health of a whole cluster: not only whether it can be used, but whether nothing is missing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from yak_net.cluster.status import ClusterStatus


@dataclass(frozen=True)
class ClusterHealth:
    """Health of a cluster; ``reasons`` is empty if it is healthy.

    ``down`` are the brokers that do not respond. ``out_of_isr`` are the replicas that are not in
    the ISR of the newest partition state, as far as it is known.
    """

    leader: str | None = None
    brokers: tuple[str, ...] = ()
    down: tuple[str, ...] = ()
    out_of_isr: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()

    @property
    def is_healthy(self) -> bool:
        """Whether a leader can commit records, and all brokers are up and in the ISR."""
        return not self.reasons

    def as_json(self) -> dict[str, Any]:
        """Return the object of ``yak cluster health --json``."""
        return {"healthy": self.is_healthy, **asdict(self)}

    def lines(self) -> list[str]:
        """Return the text of ``yak cluster health``."""
        rows = (
            ("Healthy", str(self.is_healthy).lower()),
            ("Reasons", "; ".join(self.reasons)),
            ("Leader", self.leader or ""),
            ("All brokers", " ".join(self.brokers)),
            ("Brokers down", " ".join(self.down)),
            ("Out of the ISR", " ".join(self.out_of_isr)),
        )
        return [f"{name + ':':<16}{value or '-'}" for name, value in rows]


def health_of(status: ClusterStatus) -> ClusterHealth:
    """Judge the status of a cluster. A reason that several brokers have is given once."""
    brokers = tuple(row.id for row in status.brokers)
    known = status.version is not None
    reasons = [status.reason]
    for row in status.brokers:
        if row.problem:
            reasons.append(row.problem)
        elif not row.up:
            reasons.append(f"{row.id} does not respond")
    out_of_isr = tuple(node for node in brokers if known and node not in status.isr)
    reasons += [f"{node} is not in the ISR" for node in out_of_isr]
    return ClusterHealth(
        status.leader,
        brokers,
        tuple(row.id for row in status.brokers if not row.up),
        out_of_isr,
        tuple(dict.fromkeys(reason for reason in reasons if reason)),
    )
