"""The configuration of brokers and clients: every limit and period, with its default.

Times are microseconds, sizes are bytes. For liveness the protocol needs heartbeat << lease renewal
<< lease, and store timeout << lease; the defaults satisfy this. Safety does not depend on them.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

from yak_core.ids import NodeId
from yak_core.value import value

MS = 1_000
SECOND = 1_000_000
KIB = 1024
MIB = 1024 * KIB
IDEMPOTENT_IN_FLIGHT_MAX = 5
"""Largest ``in_flight_max`` of an idempotent producer (KAFKA-5494)."""
FlushMode: TypeAlias = Literal["batch", "os"]
FLUSH_MODES: Final[tuple[FlushMode, ...]] = get_args(FlushMode)


@value
class BrokerConfig:
    """The configuration of a broker; all fields but its URLs are the same in the whole cluster."""

    replicas: tuple[NodeId, ...]
    """The brokers that hold a copy; used only to create the partition state."""
    min_isr: int = 2
    """Initial ``min.insync.replicas``; after the creation, the partition state has it (F27)."""
    flush: FlushMode = "batch"
    """``batch``: with acks=all, the ISR flushes before it acknowledges. ``os``: the ISR writes
    without a flush, and a start after a crash is unclean."""
    creates: bool = True
    """Whether this broker may create the partition state when the store is empty."""
    url: str = ""
    """URL of this broker for clients; the core does not interpret it."""
    peer_url: str = ""
    """URL of this broker for other brokers, not interpreted either; empty if it is ``url``."""
    replicate_heartbeat_us: int = 100 * MS
    lease_renew_us: int = 300 * MS
    lease_us: int = 3 * SECOND
    election_stagger_us: int = 200 * MS
    replica_lag_us: int = 2 * SECOND
    store_retry_us: int = 100 * MS
    store_timeout_us: int = 500 * MS
    """Timeout of a metadata call; the world then returns Unknown."""
    window_messages: int = 16
    window_bytes: int = 1 * MIB
    message_bytes_max: int = 256 * KIB
    """Largest payload of one Replicate, unless a single batch is larger."""
    batch_bytes_max: int = 1 * MIB
    """Largest batch that a producer may send."""
    append_bytes_max: int = 16 * MIB
    """Largest number of pending append bytes; above it, produce requests get a busy error (R9)."""
    uncommitted_max: int = 65_536
    """Largest number of batches above the high watermark; above it, producers get a busy error."""
    waiting_max: int = 4096
    """Largest number of pending produce requests, and of pending fetch requests."""
    producers_max: int = 10_000
    """Largest number of producer ids kept for idempotence; the longest idle one is removed."""
    fetch_wait_us_max: int = 30 * SECOND
    fetch_bytes_max: int = 4 * MIB


@value
class ProducerConfig:
    """The configuration of a producer."""

    brokers: tuple[NodeId, ...]
    """Brokers to ask for the leader, in this order (Kafka's ``bootstrap.servers``)."""
    acks: int = -1
    """-1: all in-sync replicas, 1: the leader only, 0: no acks. Idempotence needs -1."""
    idempotent: bool = True
    in_flight_max: int = 5
    """Largest number of batches in flight; at most 5 with idempotence (KAFKA-5494)."""
    queue_max: int = 100_000
    """Largest number of unresolved batches; more get a busy error."""
    request_timeout_us: int = 1 * SECOND
    """Time without a response after which the client asks another broker."""
    delivery_timeout_us: int = 120 * SECOND
    """Time from the acceptance of a batch until the producer gives up the batch."""
    retry_backoff_us: int = 100 * MS


@value
class ConsumerConfig:
    """The configuration of a consumer."""

    brokers: tuple[NodeId, ...]
    """Brokers to ask for the leader, in this order (Kafka's ``bootstrap.servers``)."""
    request_timeout_us: int = 1 * SECOND
    """Time without a response after which the client asks another broker."""
    retry_backoff_us: int = 100 * MS
    fetch_wait_us: int = 500 * MS
    fetch_bytes_max: int = 1 * MIB
    metadata_max_age_us: int = 5 * SECOND
    """Time without new records after which the consumer asks another broker for the leader."""
    start_offset: int = 0
    """First offset to read; -1 is the latest, -2 the earliest (Kafka's ListOffsets)."""


ClientConfig: TypeAlias = ProducerConfig | ConsumerConfig
Config: TypeAlias = BrokerConfig | ClientConfig


def flush_mode(text: str) -> FlushMode:
    """Return the flush mode called ``text``. Raise ValueError for an unknown name."""
    for mode in FLUSH_MODES:
        if mode == text:
            return mode
    raise ValueError(f"flush must be one of {', '.join(FLUSH_MODES)}, got {text!r}")


def check_config(node: NodeId, config: BrokerConfig) -> None:
    """Raise ValueError if a broker cannot run with this configuration."""
    if node not in config.replicas:
        raise ValueError(f"{node} is not one of the replicas {', '.join(config.replicas)}")
    if len(dict.fromkeys(config.replicas)) != len(config.replicas):
        raise ValueError(f"duplicate replica in {', '.join(config.replicas)}")
    flush_mode(config.flush)
    if config.min_isr < 1:
        raise ValueError(f"min_isr must be at least 1, got {config.min_isr}")
    if not config.replicate_heartbeat_us < config.lease_renew_us < config.lease_us:
        raise ValueError(
            "expected replicate_heartbeat_us < lease_renew_us < lease_us, got "
            f"{config.replicate_heartbeat_us}, {config.lease_renew_us}, {config.lease_us}"
        )
    if config.replica_lag_us < 4 * config.replicate_heartbeat_us:
        raise ValueError(
            "replica_lag_us must be at least 4 * replicate_heartbeat_us = "
            f"{4 * config.replicate_heartbeat_us}, got {config.replica_lag_us}"
        )


def check_client_config(config: ClientConfig) -> None:
    """Raise ValueError if a client cannot run with this configuration."""
    if not config.brokers:
        raise ValueError("brokers must name at least one broker, got none")
    if isinstance(config, ConsumerConfig):
        if config.start_offset < -2:
            raise ValueError(f"start_offset must be at least -2, got {config.start_offset}")
        return
    if config.acks not in (-1, 0, 1):
        raise ValueError(f"acks must be -1 (all), 1 or 0, got {config.acks}")
    if config.in_flight_max < 1:
        raise ValueError(f"in_flight_max must be at least 1, got {config.in_flight_max}")
    if config.idempotent and config.acks != -1:
        raise ValueError(f"an idempotent producer needs acks=-1 (all), got {config.acks}")
    if config.idempotent and config.in_flight_max > IDEMPOTENT_IN_FLIGHT_MAX:
        raise ValueError(
            "in_flight_max of an idempotent producer must be at most "
            f"{IDEMPOTENT_IN_FLIGHT_MAX}, got {config.in_flight_max}"
        )
