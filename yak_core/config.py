"""Every limit and period of the protocol, with its default; must never hold state.

Times are microseconds, sizes bytes. The defaults keep the order that the protocol needs for
liveness: heartbeat << beat << lease, and store time-out << lease. Safety rests on none of them.
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
"""KAFKA-5494."""
FlushMode: TypeAlias = Literal["batch", "os"]
FLUSH_MODES: Final[tuple[FlushMode, ...]] = get_args(FlushMode)


@value
class BrokerConfig:
    """What a broker is told at its start, the same for all brokers of a cluster but ``url``."""

    replicas: tuple[NodeId, ...]
    """Who holds a copy; written into the record by whoever creates it."""
    min_isr: int = 2
    """Kafka's ``min.insync.replicas``; used only to create the record, which then owns it (F27)."""
    flush: FlushMode = "batch"
    """``batch``: acks=all means flushed by the ISR. ``os``: written; a crash is then unclean."""
    creates: bool = True
    """May create the metadata record when the store is empty."""
    url: str = ""
    """Where clients and peers reach this broker; opaque to the core."""
    replicate_heartbeat_us: int = 100 * MS
    lease_renew_us: int = 300 * MS
    lease_us: int = 3 * SECOND
    election_stagger_us: int = 200 * MS
    replica_lag_us: int = 2 * SECOND
    store_retry_us: int = 100 * MS
    store_timeout_us: int = 500 * MS
    """After which the world ends a metadata call without an answer as unknown."""
    window_messages: int = 16
    window_bytes: int = 1 * MIB
    message_bytes_max: int = 256 * KIB
    """Payload of one Replicate, unless a single batch is larger."""
    batch_bytes_max: int = 1 * MIB
    """Largest batch that a producer may send."""
    append_bytes_max: int = 16 * MIB
    """Unfinished append bytes above which produce requests are answered busy (R9)."""
    uncommitted_max: int = 65_536
    """Batches above the high watermark beyond which produce requests are answered busy."""
    waiting_max: int = 4096
    """Produce and fetch requests that may wait at once; beyond it, busy."""
    producers_max: int = 10_000
    """Producer ids remembered for idempotence; beyond it the longest idle one is forgotten."""
    fetch_wait_us_max: int = 30 * SECOND
    fetch_bytes_max: int = 4 * MIB


@value
class ProducerConfig:
    """What a producer node is told at its start."""

    brokers: tuple[NodeId, ...]
    """Where to look for the leader, in this order (Kafka's ``bootstrap.servers``)."""
    acks: int = -1
    """-1: all in-sync replicas, 1: the leader's log, 0: none. Idempotence needs -1."""
    idempotent: bool = True
    in_flight_max: int = 5
    """Batches sent and not yet resolved; five at most with idempotence (KAFKA-5494)."""
    queue_max: int = 100_000
    """Batches accepted and not yet resolved; beyond it, busy."""
    request_timeout_us: int = 1 * SECOND
    """How long a broker may leave a request unanswered before the client asks elsewhere."""
    delivery_timeout_us: int = 120 * SECOND
    """From acceptance of a batch to giving up on it (Kafka's ``delivery.timeout.ms``)."""
    retry_backoff_us: int = 100 * MS


@value
class ConsumerConfig:
    """What a consumer node is told at its start."""

    brokers: tuple[NodeId, ...]
    """Where to look for the leader, in this order (Kafka's ``bootstrap.servers``)."""
    request_timeout_us: int = 1 * SECOND
    """How long a broker may leave a request unanswered before the client asks elsewhere."""
    retry_backoff_us: int = 100 * MS
    fetch_wait_us: int = 500 * MS
    fetch_bytes_max: int = 1 * MIB
    metadata_max_age_us: int = 5 * SECOND
    """How long a consumer that reads nothing believes in its leader before it asks elsewhere."""
    start_offset: int = 0
    """Where a consumer begins; -1 is the latest offset, -2 the earliest (Kafka's ListOffsets)."""


ClientConfig: TypeAlias = ProducerConfig | ConsumerConfig
Config: TypeAlias = BrokerConfig | ClientConfig


def flush_mode(text: str) -> FlushMode:
    """The flush mode of this name; ValueError, with a sentence, for another word."""
    for mode in FLUSH_MODES:
        if mode == text:
            return mode
    raise ValueError(f"flush is one of {', '.join(FLUSH_MODES)}, not {text!r}")


def check_config(node: NodeId, config: BrokerConfig) -> None:
    """ValueError, with a sentence, for a configuration that a broker cannot run with."""
    if node not in config.replicas:
        raise ValueError(f"{node} is not one of the replicas {', '.join(config.replicas)}")
    if len(dict.fromkeys(config.replicas)) != len(config.replicas):
        raise ValueError(f"a replica is named twice in {', '.join(config.replicas)}")
    flush_mode(config.flush)
    if config.min_isr < 1:
        raise ValueError(f"min_isr is at least 1, not {config.min_isr}")
    if not config.replicate_heartbeat_us < config.lease_renew_us < config.lease_us:
        raise ValueError("the heartbeat must be shorter than the beat, and the beat than the lease")
    if config.replica_lag_us < 4 * config.replicate_heartbeat_us:
        raise ValueError("the lag must be at least four heartbeats, or no ack can come in time")


def check_client_config(config: ClientConfig) -> None:
    """ValueError, with a sentence, for a configuration that a client cannot run with."""
    if not config.brokers:
        raise ValueError("a client needs at least one broker to ask")
    if isinstance(config, ConsumerConfig):
        if config.start_offset < -2:
            raise ValueError(f"start_offset is at least -2, not {config.start_offset}")
        return
    if config.acks not in (-1, 0, 1):
        raise ValueError(f"acks is -1 (all), 1 or 0, not {config.acks}")
    if config.in_flight_max < 1:
        raise ValueError(f"in_flight_max is at least 1, not {config.in_flight_max}")
    if config.idempotent and config.acks != -1:
        raise ValueError("idempotence needs acks=all")
    if config.idempotent and config.in_flight_max > IDEMPOTENT_IN_FLIGHT_MAX:
        raise ValueError("idempotence allows five batches in flight")
