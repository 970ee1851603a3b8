"""The page of metrics, made of a broker's counts and of its state when Prometheus asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import (
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from yak_core.broker.health import BrokerHealth
from yak_core.broker.phases import Role
from yak_core.broker.view import BrokerView
from yak_core.config import SECOND
from yak_core.errors import ErrorCode
from yak_core.metadata.store_calls import ProposalKind, ProposalResult
from yak_net.metrics import declared as d
from yak_net.metrics.counts import Counts
from yak_net.metrics.declared import PARTITION, TOPIC, Kind, Metric

ONE_LOG: Final = (TOPIC, PARTITION)

# One more series for each combination of labels, which only says when the process started.
disable_created_metrics()  # type: ignore[no-untyped-call]


@dataclass
class State:
    """The state of a broker's process that metrics show; sizes are bytes.

    ``view`` and ``health`` are None while no node runs. ``status`` is one of ``statuses``.
    """

    node: str
    cluster: str
    version: str
    status: str
    statuses: tuple[str, ...]
    is_ready: bool
    view: BrokerView | None
    health: BrokerHealth | None
    connections: int = 0
    connections_max: int = 0
    accepted: int = 0
    busy: int = 0
    peer_queues: Mapping[str, int | None] = field(default_factory=dict)
    """The bytes queued for each known peer; None if it is not connected."""
    client_queue: int = 0
    http_bytes: int = 0
    log_bytes: int | None = None
    log_lines_dropped: int = 0


class Page(Collector):
    """The page of one broker; :meth:`render` makes it."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._state: State | None = None
        counts.registry.register(self)
        ProcessCollector(registry=counts.registry)
        PlatformCollector(registry=counts.registry)
        GCCollector(registry=counts.registry)

    def render(self, state: State, accept: str) -> tuple[bytes, str]:
        """Return the page and its content type, in a format that the header Accept allows."""
        encode, content_type = choose_encoder(accept)
        self._state = state
        try:
            return encode(self._counts.registry), content_type
        finally:
            self._state = None

    def describe(self) -> list[Family]:
        """Return nothing: the registry asks for the names at the registration, without a state."""
        return []

    def collect(self) -> Iterable[Family]:
        """Return the metrics of the state that is being rendered; none without one."""
        state = self._state
        if state is None:
            return []
        families = _Families()
        _put_process(families, state)
        _put_counts(families, self._counts)
        if state.view is not None:
            _put_view(families, state.view)
            _put_kafka_view(families, state.view, state.log_bytes)
        return families.made.values()


class _Families:
    """The families of one page by name."""

    def __init__(self) -> None:
        self.made: dict[str, Family] = {}

    def put(self, metric: Metric, value: float, *labels: str) -> None:
        """Add the value of one combination of labels."""
        family = self.made.get(metric.name)
        if family is None:
            make = GaugeMetricFamily if metric.kind is Kind.GAUGE else CounterMetricFamily
            family = self.made[metric.name] = make(metric.name, metric.help, labels=metric.labels)
        family.add_metric(labels, value)  # type: ignore[attr-defined]


def _put_process(to: _Families, state: State) -> None:
    to.put(d.INFO, 1, state.node, state.cluster, state.version)
    for status in state.statuses:
        to.put(d.STATUS, status == state.status, status)
    to.put(d.READY, state.is_ready)
    if state.health is not None:
        to.put(d.STORE_ANSWERS, state.health.store_answers)
    to.put(d.CONNECTIONS, state.connections)
    to.put(d.CONNECTIONS_MAX, state.connections_max)
    to.put(d.ACCEPTED, state.accepted)
    to.put(d.BUSY, state.busy)
    for peer, queued in state.peer_queues.items():
        to.put(d.PEER_CONNECTED, queued is not None, peer)
        to.put(d.PEER_QUEUE, queued or 0, peer)
    to.put(d.CLIENT_QUEUE, state.client_queue)
    to.put(d.HTTP_BYTES, state.http_bytes)
    to.put(d.LOG_LINES_DROPPED, state.log_lines_dropped)
    if state.log_bytes is not None:
        to.put(d.LOG_BYTES, state.log_bytes)


def _put_view(to: _Families, view: BrokerView) -> None:
    for role in Role:
        to.put(d.ROLE, view.role is role, role)
    to.put(d.LEADER_KNOWN, view.leader is not None)
    to.put(d.LEADER_EPOCH, view.epoch)
    to.put(d.PARTITION_EPOCH, view.partition_epoch)
    to.put(d.BROKER_EPOCH, view.broker_epoch)
    to.put(d.ISR_SIZE, len(view.isr))
    to.put(d.MIN_ISR, view.min_isr)
    to.put(d.REPLICAS, len(view.replicas))
    to.put(d.UNDER_MIN_ISR, len(view.isr) < view.min_isr)
    to.put(d.LOG_START, view.log_start)
    to.put(d.LOG_END, view.leo)
    to.put(d.APPENDED_END, view.appended_end)
    to.put(d.FLUSHED_END, view.flushed_end)
    to.put(d.HIGH_WATERMARK, view.hw)
    to.put(d.APPEND_QUEUE, view.pending_bytes)
    to.put(d.WAITING, view.waiting_produce, "Produce")
    to.put(d.WAITING, view.waiting_fetch, "Fetch")
    if view.lease_us is not None:
        to.put(d.LEASE, view.lease_us / SECOND)
    if view.silent_us is not None:
        to.put(d.LEADER_SILENT, view.silent_us / SECOND)
    for row in view.replicas:
        to.put(d.REPLICA_IN_ISR, row.in_isr, row.node)
        if row.leo is not None:
            to.put(d.REPLICA_LEO, row.leo, row.node)
        if row.lag_records is not None:
            to.put(d.REPLICA_LAG, row.lag_records, row.node)
        if row.lag_us is not None:
            to.put(d.REPLICA_LAG_S, row.lag_us / SECOND, row.node)
        if row.heard_us is not None and row.node != view.node:
            to.put(d.REPLICA_HEARD_S, row.heard_us / SECOND, row.node)


def _put_counts(to: _Families, counts: Counts) -> None:
    for metric, count in (
        (d.CAMPAIGNS, counts.campaigns),
        (d.ELECTIONS, counts.elections_won),
        (d.LEADER_CHANGES, counts.leader_changes),
        (d.STEP_DOWNS, counts.step_downs),
        (d.TRUNCATIONS, counts.truncations),
        (d.TRUNCATED_RECORDS, counts.truncated_records),
        (d.FENCED, counts.fenced),
        (d.DUPLICATES, counts.duplicates),
        (d.UNKNOWN_OUTCOMES, counts.unknown_outcomes),
        (d.PRODUCED_RECORDS, counts.produced_records),
        (d.PRODUCED_BYTES, counts.produced_bytes),
        (d.FETCHED_RECORDS, counts.fetched_records),
        (d.FETCHED_BYTES, counts.fetched_bytes),
        (d.K_ISR_SHRINKS, counts.isr_shrinks),
        (d.K_ISR_EXPANDS, counts.isr_expands),
        (d.K_MESSAGES_IN, counts.appended_records),
        (d.K_BYTES_IN, counts.appended_bytes),
        (d.K_BYTES_OUT, counts.fetched_bytes),
        (d.K_REPLICATION_IN, counts.received.bytes),
        (d.K_REPLICATION_OUT, counts.sent.bytes),
        (d.K_PRODUCE, counts.requests["Produce"]),
        (d.K_FETCH, counts.requests["Fetch"]),
    ):
        to.put(metric, count)
    for direction, traffic in (("sent", counts.sent), ("received", counts.received)):
        to.put(d.REPLICATED_RECORDS, traffic.records, direction)
        to.put(d.REPLICATED_BYTES, traffic.bytes, direction)
        to.put(d.PEER_MESSAGES, traffic.messages, direction)
    failed = {"Produce": 0, "Fetch": 0}
    for (request, error), count in counts.answers.items():
        to.put(d.K_ERRORS, count, request, error.name)
        if error not in (ErrorCode.NONE, ErrorCode.DUPLICATE_SEQUENCE_NUMBER):
            to.put(d.ERRORS, count, request, error.name)
            failed[request] = failed.get(request, 0) + count
    to.put(d.K_PRODUCE_FAILED, failed["Produce"])
    to.put(d.K_FETCH_FAILED, failed["Fetch"])
    for request, count in counts.requests.items():
        to.put(d.K_REQUESTS, count, request)
    for (kind, result), count in counts.proposals.items():
        to.put(d.PROPOSALS, count, kind, result)
    refused = (ProposalKind.ALTER_ISR.value, ProposalResult.REFUSED.value)
    to.put(d.K_FAILED_ISR, counts.proposals[refused])
    for reason, count in counts.ignored.items():
        to.put(d.IGNORED, count, reason)
    for call, count in counts.store_failures.items():
        to.put(d.STORE_FAILURES, count, call)
    for labels, count in counts.http_requests.items():
        to.put(d.HTTP_REQUESTS, count, *labels)


def _put_kafka_view(to: _Families, view: BrokerView, log_bytes: int | None) -> None:
    leads = view.role is Role.LEADER
    members, replicas = len(view.isr), len(view.replicas)
    under = leads and members < replicas
    under_min, at_min = leads and members < view.min_isr, leads and members == view.min_isr
    to.put(d.K_LEADERS, leads)
    to.put(d.K_PARTITIONS, 1)
    to.put(d.K_UNDER_REPLICATED, under)
    to.put(d.K_UNDER_MIN_ISR, under_min)
    to.put(d.K_AT_MIN_ISR, at_min)
    to.put(d.K_OFFLINE, view.leader is None)
    for metric, value in (
        (d.K_LOG_START, view.log_start),
        (d.K_LOG_END, view.leo),
        (d.K_UNDER_REPLICATED_1, under),
        (d.K_UNDER_MIN_ISR_1, under_min),
        (d.K_AT_MIN_ISR_1, at_min),
        (d.K_ISR, members if leads else 0),
        (d.K_REPLICAS, replicas if leads else 0),
    ):
        to.put(metric, value, *ONE_LOG)
    if log_bytes is not None:
        to.put(d.K_LOG_SIZE, log_bytes, *ONE_LOG)
    if leads:
        for metric, value in (
            (d.X_CURRENT, view.hw),
            (d.X_OLDEST, view.log_start),
            (d.X_ISR, members),
            (d.X_REPLICAS, replicas),
            (d.X_UNDER_REPLICATED, under),
        ):
            to.put(metric, value, *ONE_LOG)
