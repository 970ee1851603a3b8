"""Words that the generated tables need and the code does not have; must never repeat the code."""

from __future__ import annotations

from typing import Final

RULE_TITLES: Final[dict[str, str]] = {
    "R0": "order of records",
    "R1": "one way to change the view",
    "R2": "becoming leader",
    "R3": "following",
    "R4": "acks",
    "R5": "the high watermark",
    "R6": "leaving the ISR",
    "R7": "joining the ISR",
    "R8": "proposals",
    "R9": "producing, once and in order",
    "R10": "confirming",
    "R11": "reading",
    "R12": "the latest offset",
    "R13": "strong reads (not built)",
    "R14": "standing for election",
    "R15": "a leader past its lease",
    "R16": "stepping down",
    "R17": "starting",
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
"""The nearest setting of Kafka's, for readers who know that one."""

UNDOCUMENTED: Final[dict[str, str]] = {
    "replicate_heartbeat_us": "How often a leader sends an empty message to an idle follower.",
    "lease_renew_us": "How often a broker tells the store that it lives.",
    "lease_us": "A leader whose beat has not moved for so long may be replaced.",
    "election_stagger_us": "How long each candidate waits behind the one before it.",
    "replica_lag_us": "A member of the ISR that was not caught up for so long is taken out.",
    "store_retry_us": "Longest wait before a metadata call without an answer is sent again.",
    "window_messages": "Replicate messages with batches under way to one follower.",
    "window_bytes": "Bytes under way to one follower.",
    "fetch_wait_us_max": "Longest wait of a long poll, whatever the request says.",
    "fetch_bytes_max": "Payload of one answer to a fetch, unless its first batch is larger.",
    "idempotent": "Retries are recognised, so each record is in the log once per session.",
    "retry_backoff_us": "Longest wait before a batch or a fetch is sent again.",
    "fetch_wait_us": "How long a fetch without records may wait at the broker.",
}
"""Settings without a line of their own in the code."""

READING: Final[tuple[tuple[str, str], ...]] = (
    ("yak_core/contract/events.py", "what a node is told"),
    ("yak_core/contract/effects.py", "what a node orders"),
    ("yak_core/broker/follower.py", "the smaller role: cut, append, acknowledge"),
    ("yak_core/broker/progress.py", "what a leader knows of one follower"),
    ("yak_core/broker/leader.py", "the larger role: push, count, propose"),
    ("yak_core/rules.py", "every decision that is worth breaking"),
    ("yak_core/contract/host.py", "the engine that runs a node in any world"),
    (
        "tests/golden/scripts/hw_moves_when_the_whole_isr_has_acknowledged.golden",
        "one produced record, message by message",
    ),
    ("scenarios/leader_failover.py", "a whole failover as a story that checks itself"),
)
"""What a newcomer reads, in order, and why."""

UNNUMBERED: Final[dict[str, tuple[str, str]]] = {
    "is_superseded": (
        "a second process registers under n1's name; the first goes on, and both answer as n1.",
        "KIP-380",
    ),
    "readable_end": (
        "a consumer reads a at n1 before anybody else has it; n1 dies; a never was.",
        "own analysis",
    ),
    "serves_acks": (
        "n1 is cut off and n2 leads; n1 goes on confirming acks=1 records, and all are cut.",
        "Jepsen on Kafka, 2013",
    ),
    "must_step_down": (
        "n1 hears of e2 and stays leader of e1; it never follows, so it never gets n2's records.",
        "own analysis",
    ),
}
"""Schedule and source for entries of ``Rules`` whose docstrings name no number of a flaw."""

BY_ENTRY: Final[dict[str, tuple[str, ...]]] = {
    "accept_sequence": ("F66", "F67", "F68", "F74", "F78"),
    "latest_offset": ("F53",),
}
"""Numbers that belong to an entry of ``Rules`` besides those that its docstring names."""
