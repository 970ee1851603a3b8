"""Texts of the generated tables in docs/*.md that the code does not contain."""

from __future__ import annotations

from typing import Final

RULE_TITLES: Final[dict[str, str]] = {
    "R0": "order of partition states",
    "R1": "one place that adopts a partition state",
    "R2": "new leader",
    "R3": "follower",
    "R4": "acks",
    "R5": "high watermark",
    "R6": "ISR shrink",
    "R7": "ISR expansion",
    "R8": "proposals",
    "R9": "produce requests, once and in order",
    "R10": "confirmation",
    "R11": "fetches",
    "R12": "latest offset",
    "R13": "strong reads (not implemented)",
    "R14": "campaign",
    "R15": "expired lease of the leader",
    "R16": "step-down",
    "R17": "start",
}

KAFKA_NAMES: Final[dict[str, str]] = {
    "replicas": "the partition's replicas",
    "min_isr": "`min.insync.replicas`",
    "flush": "`log.flush.interval.messages` = 1, or its default",
    "url": "`advertised.listeners`",
    "replicate_heartbeat_us": "`replica.fetch.wait.max.ms`, in the other direction",
    "lease_renew_us": "`broker.heartbeat.interval.ms`",
    "lease_us": "`broker.session.timeout.ms`",
    "replica_lag_us": "`replica.lag.time.max.ms`",
    "message_bytes_max": "`replica.fetch.max.bytes`",
    "batch_bytes_max": "`message.max.bytes`",
    "producers_max": "none; Kafka forgets by `producer.id.expiration.ms`",
    "brokers": "`bootstrap.servers`",
    "acks": "`acks`",
    "idempotent": "`enable.idempotence`",
    "in_flight_max": "`max.in.flight.requests.per.connection`",
    "queue_max": "`buffer.memory`, in bytes there",
    "request_timeout_us": "`request.timeout.ms`",
    "delivery_timeout_us": "`delivery.timeout.ms`",
    "retry_backoff_us": "`retry.backoff.ms`",
    "fetch_wait_us": "`fetch.max.wait.ms`",
    "fetch_bytes_max": "`fetch.max.bytes`",
    "start_offset": "`auto.offset.reset`",
}
"""Setting -> the nearest setting of Kafka."""

UNDOCUMENTED: Final[dict[str, str]] = {
    "replicate_heartbeat_us": "Interval of the empty messages from a leader to an idle follower.",
    "lease_renew_us": "Interval of the lease renewals of a broker.",
    "lease_us": "Time without a renewal after which the leader's lease expires.",
    "election_stagger_us": "Delay between the campaigns of two candidates.",
    "replica_lag_us": "Time without being caught up after which a member leaves the ISR.",
    "store_retry_us": "Longest wait before a metadata call without a reply is sent again.",
    "window_messages": "Largest number of messages with batches in flight to one follower.",
    "window_bytes": "In-flight bytes at which a leader sends a follower no further batches.",
    "fetch_wait_us_max": "Longest wait of a long poll; limits `wait_us` of the request.",
    "fetch_bytes_max": "Largest payload of a fetch response, unless its first batch is larger.",
    "idempotent": "A retried batch is appended once per producer session.",
    "retry_backoff_us": "Longest wait before a batch or a fetch is sent again.",
    "fetch_wait_us": "Time for which a fetch without records may wait at the broker.",
}
"""Setting -> meaning, for settings without a docstring in the code."""

ERROR_MEANINGS: Final[dict[str, str]] = {
    "OFFSET_OUT_OF_RANGE": "The fetch offset is below the log start or above the LEO.",
    "CORRUPT_MESSAGE": "The CRC or the format of a batch is invalid.",
    "NOT_LEADER_OR_FOLLOWER": "The broker does not lead, stepped down, or stops. Also: acks 0 or 1 "
    "after the leader's lease has expired (R15).",
    "REQUEST_TIMED_OUT": "The acks did not arrive before the request timeout, or the producer gave "
    "up the batch at its delivery timeout.",
    "MESSAGE_TOO_LARGE": "The batch is larger than `batch_bytes_max`.",
    "NETWORK_EXCEPTION": "The connection broke, or the broker stopped before it responded.",
    "NOT_ENOUGH_REPLICAS": "With acks=all, the ISR is below min ISR; nothing was appended.",
    "NOT_ENOUGH_REPLICAS_AFTER_APPEND": "The ISR fell below min ISR after the append; the outcome "
    "is unknown.",
    "INVALID_REQUIRED_ACKS": "`acks` is not -1, 0 or 1.",
    "INVALID_REQUEST": "The request is malformed, or a ListOffsets position is neither -1 nor -2.",
    "OUT_OF_ORDER_SEQUENCE_NUMBER": "An earlier batch of the producer is missing (R9).",
    "DUPLICATE_SEQUENCE_NUMBER": "The batch is already in the log. Brokers do not return this "
    "code: they confirm a duplicate.",
    "INVALID_PRODUCER_EPOCH": "A newer epoch of this producer id fences the producer.",
    "KAFKA_STORAGE_ERROR": "The broker halted, for example because its disk is full.",
    "UNKNOWN_PRODUCER_ID": "The idempotence table has no entry of the producer, and the batch does "
    "not have sequence 0 (R9).",
    "FENCED_LEADER_EPOCH": "The request names a stale leader epoch. Brokers do not return this "
    "code.",
    "UNKNOWN_LEADER_EPOCH": "The client knows a higher leader epoch than the broker.",
    "OFFSET_NOT_AVAILABLE": "The latest offset is unknown until the HW reaches the start of the "
    "leader epoch (R12).",
    "THROTTLING_QUOTA_EXCEEDED": "A limit on pending requests, batches or bytes is reached.",
}
"""Error code -> meaning."""

UNNUMBERED: Final[dict[str, tuple[str, str]]] = {
    "is_superseded": (
        "A second process registers as n1. The first one continues, and both answer as n1.",
        "KIP-380",
    ),
    "readable_end": (
        "A consumer reads a at n1 before any other broker has it. n1 crashes, and a is lost.",
        "own analysis",
    ),
    "serves_acks": (
        "n1 is partitioned and n2 leads. n1 confirms acks=1 records; later it truncates them.",
        "Jepsen on Kafka, 2013",
    ),
    "must_step_down": (
        "n1 sees e2 and stays leader of e1. It never follows n2 and never gets n2's records.",
        "own analysis",
    ),
}
"""Schedule and source for entries of ``Rules`` whose docstrings name no flaw."""

BY_ENTRY: Final[dict[str, tuple[str, ...]]] = {
    "accept_sequence": ("F66", "F67", "F68", "F74", "F75", "F78"),
    "latest_offset": ("F53",),
}
"""Flaws that an entry of ``Rules`` prevents, in addition to those in its docstring."""
