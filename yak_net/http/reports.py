"""What brokers report about themselves, and the state of the cluster that is made of it.

A broker knows itself exactly, and a leader knows how far its followers are. The rest comes from the
other brokers' own reports (:mod:`yak_net.http.peer_reports`). All structures are JSON: times are
milliseconds, and null means unknown.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct, field

from yak_core.broker.view import BrokerView, ReplicaView, newest
from yak_net.http.gateway import Gateway
from yak_net.http.status import state_of
from yak_net.metrics.elections import Election
from yak_net.metrics.journal import Entry

US_PER_MS = 1_000


class ReplicaReport(Struct):
    """One replica, as the broker that reports knows it.

    ``leo`` of another broker is the end that it acknowledged to the leader. ``lag_records`` and
    ``lag_ms`` are the distance to the leader, and the time since there was none. ``heard_ms`` is
    the time since its last ack.
    """

    id: str
    in_isr: bool
    in_elr: bool
    leo: int | None
    hw: int | None
    lag_records: int | None
    lag_ms: int | None
    heard_ms: int | None


class BrokerReport(Struct):
    """One broker, as it reports itself; ``at_ms`` is its wall clock.

    ``epoch``, ``leader``, ``isr``, ``elr``, ``min_isr`` and ``version`` (the partition epoch) are
    what it knows of the cluster. ``lease_ms`` is the rest of a leader's lease, ``silent_ms`` the
    time since a follower heard its leader.
    """

    id: str
    url: str | None
    at_ms: int
    status: str
    ready: bool
    reason: str
    role: str | None = None
    epoch: int | None = None
    leader: str | None = None
    version: int | None = None
    isr: list[str] = field(default_factory=list)
    elr: list[str] = field(default_factory=list)
    min_isr: int | None = None
    log_start: int | None = None
    hw: int | None = None
    leo: int | None = None
    flushed: int | None = None
    lease_ms: int | None = None
    silent_ms: int | None = None
    replicas: list[ReplicaReport] = field(default_factory=list)


class Timeline(Struct):
    """The newest elections and events, oldest first."""

    elections: list[Election]
    events: list[Entry]


class BrokerRow(Struct):
    """One broker in the state of the cluster.

    ``up`` is null if the broker that answers does not know it. ``age_ms`` is the age of the
    broker's own report, null without one; then ``leo`` is what it acknowledged to the leader.
    ``lag_records`` and ``lag_ms`` are known to the leader.
    """

    id: str
    url: str | None
    up: bool | None
    age_ms: int | None
    status: str | None
    ready: bool | None
    reason: str
    role: str | None
    epoch: int | None
    leader: str | None
    in_isr: bool
    in_elr: bool
    log_start: int | None
    hw: int | None
    leo: int | None
    flushed: int | None
    lag_records: int | None
    lag_ms: int | None
    lease_ms: int | None
    silent_ms: int | None


class ClusterState(Struct):
    """The state of the cluster, as broker ``node`` knows it at ``at_ms`` of its wall clock.

    ``leader``, ``epoch``, ``isr``, ``elr``, ``min_isr``, ``hw`` and ``version`` are those of the
    newest report.
    """

    cluster: str
    node: str
    at_ms: int
    leader: str | None
    epoch: int | None
    version: int | None
    isr: list[str]
    elr: list[str]
    min_isr: int | None
    hw: int | None
    brokers: list[BrokerRow]


class Heard(Struct):
    """What is known of another broker: its newest report, its age, and whether it is up."""

    report: BrokerReport | None
    age_ms: int | None
    up: bool | None


def own_report(gateway: Gateway) -> BrokerReport:
    """Return what this broker reports about itself now."""
    status, ready, reason = state_of(gateway)
    report = BrokerReport(
        gateway.node_id,
        gateway.url_of(gateway.node_id) or None,
        gateway.wall_ms(),
        str(status),
        ready,
        reason,
    )
    view = gateway.view()
    return report if view is None else _with_view(report, view)


def _with_view(report: BrokerReport, view: BrokerView) -> BrokerReport:
    report.role, report.epoch, report.leader = str(view.role), view.epoch, view.leader
    report.version, report.min_isr = view.partition_epoch, view.min_isr
    report.isr, report.elr = list(view.isr), list(view.elr)
    report.log_start, report.hw, report.leo = view.log_start, view.hw, view.leo
    report.flushed = view.flushed_end
    report.lease_ms, report.silent_ms = _ms(view.lease_us), _ms(view.silent_us)
    report.replicas = [_replica(row) for row in view.replicas]
    return report


def _replica(row: ReplicaView) -> ReplicaReport:
    return ReplicaReport(
        row.node,
        row.in_isr,
        row.in_elr,
        row.leo,
        row.hw,
        row.lag_records,
        _ms(row.lag_us),
        _ms(row.heard_us),
    )


def _ms(us: int | None) -> int | None:
    return None if us is None else us // US_PER_MS


def cluster_state(gateway: Gateway, own: BrokerReport, others: dict[str, Heard]) -> ClusterState:
    """Return the state of the cluster, of the own report and those of the others."""
    heard = {own.id: Heard(own, 0, True), **others}
    reports = [one.report for one in heard.values() if one.report is not None]
    top = newest([own, *(report for report in reports if report is not own)])
    assert top is not None, "at least the own report is there"
    nodes = sorted({*heard, *(replica.id for replica in top.replicas)})
    known = {replica.id: replica for replica in top.replicas}
    return ClusterState(
        gateway.cluster,
        own.id,
        own.at_ms,
        top.leader,
        top.epoch,
        top.version,
        top.isr,
        top.elr,
        top.min_isr,
        top.hw,
        [
            _row(gateway, node, heard.get(node, Heard(None, None, None)), known.get(node), top)
            for node in nodes
        ],
    )


def _row(
    gateway: Gateway, node: str, heard: Heard, known: ReplicaReport | None, top: BrokerReport
) -> BrokerRow:
    """Return the row of a broker: its own report if there is one, else what the leader knows."""
    own = heard.report
    acknowledged = None if known is None else known.leo
    return BrokerRow(
        id=node,
        url=gateway.url_of(node) or None,
        up=heard.up,
        age_ms=heard.age_ms,
        status=None if own is None else own.status,
        ready=None if own is None else own.ready,
        reason="" if own is None else own.reason,
        role=None if own is None else own.role,
        epoch=None if own is None else own.epoch,
        leader=None if own is None else own.leader,
        in_isr=node in top.isr,
        in_elr=node in top.elr,
        log_start=None if own is None else own.log_start,
        hw=None if own is None else own.hw,
        leo=acknowledged if own is None or own.leo is None else own.leo,
        flushed=None if own is None else own.flushed,
        lag_records=None if known is None else known.lag_records,
        lag_ms=None if known is None else known.lag_ms,
        lease_ms=None if own is None else own.lease_ms,
        silent_ms=None if own is None else own.silent_ms,
    )


def merged(timelines: Iterable[Timeline]) -> Timeline:
    """Return one timeline of several brokers' ones; of two elections, that with more times."""
    elections: dict[int, Election] = {}
    events: dict[Entry, None] = {}
    for timeline in timelines:
        for election in timeline.elections:
            known = elections.get(election.epoch)
            if known is None or _times(election) > _times(known):
                elections[election.epoch] = election
        events |= dict.fromkeys(timeline.events)
    return Timeline(
        [election for _, election in sorted(elections.items())],
        sorted(events, key=lambda entry: entry.at_ms),
    )


def _times(election: Election) -> int:
    times = (election.detect_ms, election.elect_ms, election.first_ack_ms)
    return sum(one is not None for one in times)
