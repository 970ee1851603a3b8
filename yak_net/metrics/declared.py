"""The declared metrics of a broker: names, kinds, labels and meanings.

There are two families. ``kafka_*`` are the names that the example configuration of the JMX
exporter gives to Kafka's metrics (lower case, ``PerSec`` as ``_total``), and those of
kafka_exporter, so that dashboards and alerts for Kafka apply. ``yak_*`` are for what Kafka does not
show. docs/metrics.md lists both.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

TOPIC: Final = "yak"
PARTITION: Final = "0"
"""The labels of the one log of a cluster, for metrics that Kafka has for each partition."""

_PARTITION: Final = ("topic", "partition")


class Kind(StrEnum):
    """The type of a metric."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True)
class Metric:
    """One metric; the name of a counter ends in ``_total``."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


METRICS: Final[dict[str, Metric]] = {}
"""All metrics by name, in the order of the page docs/metrics.md."""


def _declare(kind: Kind, name: str, text: str, *labels: str) -> Metric:
    assert name not in METRICS, f"{name} is declared twice"
    METRICS[name] = Metric(name, kind, text, labels)
    return METRICS[name]


def _gauge(name: str, text: str, *labels: str) -> Metric:
    return _declare(Kind.GAUGE, name, text, *labels)


def _counter(name: str, text: str, *labels: str) -> Metric:
    return _declare(Kind.COUNTER, name, text, *labels)


def _histogram(name: str, text: str, *labels: str) -> Metric:
    return _declare(Kind.HISTOGRAM, name, text, *labels)


# -- the broker and the log -----------------------------------------------------------------------

INFO = _gauge(
    "yak_broker_info", "Always 1; the labels name the broker.", "node", "cluster", "version"
)
STATUS = _gauge("yak_broker_status", "1 for the present status of GET /health, else 0.", "status")
READY = _gauge(
    "yak_ready", "1 if this broker expects that acks=all can be committed (GET /readyz)."
)
ROLE = _gauge("yak_role", "1 for the present role, else 0.", "role")
LEADER_KNOWN = _gauge("yak_leader_known", "1 if this broker knows the leader.")
LEADER_EPOCH = _gauge("yak_leader_epoch", "The newest leader epoch that this broker knows.")
PARTITION_EPOCH = _gauge("yak_partition_epoch", "The version of the partition state.")
BROKER_EPOCH = _gauge("yak_broker_epoch", "The registration of this start of the broker.")
ISR_SIZE = _gauge("yak_isr_size", "Members of the ISR, as this broker knows it.")
MIN_ISR = _gauge("yak_min_isr", "Members of the ISR that acks=all needs.")
REPLICAS = _gauge("yak_replicas", "Replicas in the partition state.")
UNDER_MIN_ISR = _gauge("yak_under_min_isr", "1 if the ISR has fewer members than min ISR.")
LOG_START = _gauge("yak_log_start_offset", "The first offset of the log.")
LOG_END = _gauge("yak_log_end_offset", "LEO: the end of the log, with pending appends.")
APPENDED_END = _gauge("yak_log_appended_offset", "The end of the records that are written.")
FLUSHED_END = _gauge("yak_log_flushed_offset", "The end of the records that are flushed.")
HIGH_WATERMARK = _gauge("yak_high_watermark", "The end of the committed records, as known here.")
LOG_BYTES = _gauge("yak_log_bytes", "Size of the log on disk.")
LEASE = _gauge("yak_lease_remaining_seconds", "Rest of the leader's lease; only on the leader.")
LEADER_SILENT = _gauge(
    "yak_leader_silent_seconds", "Time since the last message of the leader; only on a follower."
)
REPLICA_LEO = _gauge(
    "yak_replica_log_end_offset",
    "The end of a replica's log: its own, and on the leader also what the others acknowledged.",
    "replica",
)
REPLICA_LAG = _gauge(
    "yak_replica_lag_records", "Records of the leader that a replica lacks; only on the leader.",
    "replica",
)  # fmt: skip
REPLICA_LAG_S = _gauge(
    "yak_replica_lag_seconds",
    "Time since a replica had all records of the leader; only on the leader.",
    "replica",
)
REPLICA_HEARD_S = _gauge(
    "yak_replica_silent_seconds", "Time since the last ack of a replica; only on the leader.",
    "replica",
)  # fmt: skip
REPLICA_IN_ISR = _gauge("yak_replica_in_isr", "1 if a replica is in the ISR.", "replica")

# -- changes --------------------------------------------------------------------------------------

CAMPAIGNS = _counter("yak_campaigns_total", "Campaigns of this broker.")
ELECTIONS = _counter("yak_elections_total", "Elections that this broker won.")
LEADER_CHANGES = _counter("yak_leader_changes_total", "Leaders that this broker learned of.")
STEP_DOWNS = _counter("yak_step_downs_total", "Times that this broker stepped down.")
FAILOVER = _histogram(
    "yak_failover_seconds",
    "Phases of a failover, on the new leader: detect (last message of the old leader to the "
    "campaign), elect (campaign to leadership), first_ack (leadership to the first acknowledged "
    "record with acks=all).",
    "phase",
)
TRUNCATIONS = _counter("yak_truncations_total", "Truncations of this log.")
TRUNCATED_RECORDS = _counter("yak_truncated_records_total", "Records removed by truncations.")
PROPOSALS = _counter(
    "yak_proposals_total", "Changes of the partition state that this broker proposed.",
    "kind", "result",
)  # fmt: skip
FENCED = _counter("yak_fenced_messages_total", "Messages of a stale leader that were refused.")
IGNORED = _counter("yak_ignored_messages_total", "Messages of peers that were ignored.", "reason")
DUPLICATES = _counter("yak_duplicate_batches_total", "Repeated batches that were recognised.")
UNKNOWN_OUTCOMES = _counter(
    "yak_unknown_outcomes_total", "Produce requests that were answered with outcome unknown."
)

# -- requests, bytes and times --------------------------------------------------------------------

REQUEST_S = _histogram(
    "yak_request_seconds",
    "Time from a client's request to the answer, by HTTP or WebSocket; a fetch includes its wait.",
    "request",
)
ERRORS = _counter("yak_errors_total", "Answers with an error.", "request", "error")
PRODUCED_RECORDS = _counter("yak_produce_records_total", "Records of acknowledged batches.")
PRODUCED_BYTES = _counter("yak_produce_bytes_total", "Bytes of acknowledged batches.")
FETCHED_RECORDS = _counter("yak_fetch_records_total", "Records of batches that clients fetched.")
FETCHED_BYTES = _counter("yak_fetch_bytes_total", "Bytes of batches that clients fetched.")
REPLICATED_RECORDS = _counter(
    "yak_replication_records_total", "Records of batches sent to and received from peers.",
    "direction",
)  # fmt: skip
REPLICATED_BYTES = _counter(
    "yak_replication_bytes_total", "Bytes of batches sent to and received from peers.", "direction"
)
PEER_MESSAGES = _counter(
    "yak_peer_messages_total", "Messages sent to and received from peers.", "direction"
)
HTTP_REQUESTS = _counter("yak_http_requests_total", "HTTP requests.", "method", "path", "status")
HTTP_S = _histogram(
    "yak_http_request_seconds", "Time of HTTP requests; without streams and WebSockets.",
    "method", "path",
)  # fmt: skip
FLUSH_S = _histogram("yak_flush_seconds", "Time of a flush (fdatasync) of the log or a small file.")
WRITE_S = _histogram("yak_write_seconds", "Time of a write to the log or a small file.")
STORE_S = _histogram("yak_store_call_seconds", "Time of a call to the metadata store.", "call")
STORE_FAILURES = _counter(
    "yak_store_failures_total", "Calls to the metadata store without a reply.", "call"
)
STORE_ANSWERS = _gauge("yak_store_answers", "1 if the metadata store answers.")

# -- resources ------------------------------------------------------------------------------------

CONNECTIONS = _gauge("yak_connections", "Open connections.")
CONNECTIONS_MAX = _gauge("yak_connections_max", "Most open connections.")
ACCEPTED = _counter("yak_connections_accepted_total", "Connections that were accepted.")
BUSY = _gauge("yak_requests_in_progress", "HTTP requests and WebSockets that may take long.")
WAITING = _gauge("yak_waiting_requests", "Requests that wait for acks or records.", "request")
PEER_CONNECTED = _gauge("yak_peer_connected", "1 if a peer receives from this broker.", "peer")
PEER_QUEUE = _gauge("yak_peer_queue_bytes", "Bytes queued for a peer.", "peer")
CLIENT_QUEUE = _gauge(
    "yak_client_queue_bytes", "Bytes of answers queued for WebSockets of clients."
)
HTTP_BYTES = _gauge("yak_http_bytes", "Bytes of HTTP bodies in flight.")
APPEND_QUEUE = _gauge("yak_append_queue_bytes", "Bytes of appends that are not written yet.")
LOG_LINES_DROPPED = _counter("yak_log_lines_dropped_total", "Lines that the process log dropped.")

# -- Kafka's names --------------------------------------------------------------------------------

_REPLICA_MANAGER: Final = "kafka_server_replicamanager_"
_TOPICS: Final = "kafka_server_brokertopicmetrics_"
_LOG: Final = "kafka_log_log_"
_CLUSTER: Final = "kafka_cluster_partition_"
_EXPORTER: Final = "kafka_topic_partition_"

K_LEADERS = _gauge(f"{_REPLICA_MANAGER}leadercount", "Partitions that this broker leads: 0 or 1.")
K_PARTITIONS = _gauge(f"{_REPLICA_MANAGER}partitioncount", "Partitions on this broker: 1.")
K_UNDER_REPLICATED = _gauge(
    f"{_REPLICA_MANAGER}underreplicatedpartitions",
    "1 if this broker leads, and the ISR lacks replicas.",
)
K_UNDER_MIN_ISR = _gauge(
    f"{_REPLICA_MANAGER}underminisrpartitioncount",
    "1 if this broker leads, and the ISR is below min ISR.",
)
K_AT_MIN_ISR = _gauge(
    f"{_REPLICA_MANAGER}atminisrpartitioncount",
    "1 if this broker leads, and the ISR has exactly min ISR members.",
)
K_ISR_SHRINKS = _counter(f"{_REPLICA_MANAGER}isrshrinks_total", "Times that the ISR shrank.")
K_ISR_EXPANDS = _counter(f"{_REPLICA_MANAGER}isrexpands_total", "Times that the ISR grew.")
K_FAILED_ISR = _counter(
    f"{_REPLICA_MANAGER}failedisrupdates_total", "Changes of the ISR that the store refused."
)
K_OFFLINE = _gauge(
    "kafka_controller_kafkacontroller_offlinepartitionscount",
    "1 if this broker knows no leader.",
)
K_MESSAGES_IN = _counter(f"{_TOPICS}messagesin_total", "Records that producers sent.")
K_BYTES_IN = _counter(f"{_TOPICS}bytesin_total", "Bytes of batches that producers sent.")
K_BYTES_OUT = _counter(f"{_TOPICS}bytesout_total", "Bytes of batches that clients fetched.")
K_REPLICATION_IN = _counter(
    f"{_TOPICS}replicationbytesin_total", "Bytes of batches received from the leader."
)
K_REPLICATION_OUT = _counter(
    f"{_TOPICS}replicationbytesout_total", "Bytes of batches sent to followers."
)
K_PRODUCE = _counter(f"{_TOPICS}totalproducerequests_total", "Produce requests.")
K_PRODUCE_FAILED = _counter(
    f"{_TOPICS}failedproducerequests_total", "Produce requests with an error."
)
K_FETCH = _counter(f"{_TOPICS}totalfetchrequests_total", "Fetch requests.")
K_FETCH_FAILED = _counter(f"{_TOPICS}failedfetchrequests_total", "Fetch requests with an error.")
K_REQUESTS = _counter(
    "kafka_network_requestmetrics_requests_total", "Requests of clients.", "request"
)
K_ERRORS = _counter(
    "kafka_network_requestmetrics_errors_total", "Answers by error, also NONE.", "request", "error"
)
K_LOG_START = _gauge(f"{_LOG}logstartoffset", "The first offset of the log.", *_PARTITION)
K_LOG_END = _gauge(f"{_LOG}logendoffset", "The end of the log.", *_PARTITION)
K_LOG_SIZE = _gauge(f"{_LOG}size", "Size of the log on disk in bytes.", *_PARTITION)
K_UNDER_REPLICATED_1 = _gauge(
    f"{_CLUSTER}underreplicated", "As underreplicatedpartitions.", *_PARTITION
)
K_UNDER_MIN_ISR_1 = _gauge(f"{_CLUSTER}underminisr", "As underminisrpartitioncount.", *_PARTITION)
K_AT_MIN_ISR_1 = _gauge(f"{_CLUSTER}atminisr", "As atminisrpartitioncount.", *_PARTITION)
K_ISR = _gauge(
    f"{_CLUSTER}insyncreplicascount", "Members of the ISR; 0 on a follower.", *_PARTITION
)
K_REPLICAS = _gauge(f"{_CLUSTER}replicascount", "Replicas; 0 on a follower.", *_PARTITION)
X_CURRENT = _gauge(f"{_EXPORTER}current_offset", "The HW; only on the leader.", *_PARTITION)
X_OLDEST = _gauge(f"{_EXPORTER}oldest_offset", "The log start; only on the leader.", *_PARTITION)
X_ISR = _gauge(
    f"{_EXPORTER}in_sync_replica", "Members of the ISR; only on the leader.", *_PARTITION
)
X_REPLICAS = _gauge(f"{_EXPORTER}replicas", "Replicas; only on the leader.", *_PARTITION)
X_UNDER_REPLICATED = _gauge(
    f"{_EXPORTER}under_replicated_partition",
    "1 if the ISR lacks replicas; only on the leader.",
    *_PARTITION,
)
