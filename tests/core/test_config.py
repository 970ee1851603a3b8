"""Configurations that nobody can run with are refused in a sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from yak_core.config import (
    BrokerConfig,
    ConsumerConfig,
    ProducerConfig,
    check_client_config,
    check_config,
)

BROKER = BrokerConfig(("n1", "n2"))
PRODUCER = ProducerConfig(("n1",))
CONSUMER = ConsumerConfig(("n1",))


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (replace(BROKER, replicas=("n2", "n3")), "n1 is not one of the replicas n2, n3"),
        (replace(BROKER, replicas=("n1", "n1")), "a replica is named twice in n1, n1"),
        (replace(BROKER, flush="never"), "flush is one of batch, os, not 'never'"),  # type: ignore[arg-type]
        (replace(BROKER, min_isr=0), "min_isr is at least 1, not 0"),
        (replace(BROKER, lease_us=BROKER.lease_renew_us), "and the beat than the lease"),
        (replace(BROKER, replica_lag_us=1), "the lag must be at least four heartbeats"),
    ],
)
def test_a_broker_is_not_started_with_it(config: BrokerConfig, reason: str) -> None:
    """Method: one field of a good configuration changed."""
    check_config("n1", BROKER)
    with pytest.raises(ValueError, match=reason):
        check_config("n1", config)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (replace(CONSUMER, brokers=()), "a client needs at least one broker to ask"),
        (replace(CONSUMER, start_offset=-3), "start_offset is at least -2, not -3"),
        (replace(PRODUCER, acks=2), r"acks is -1 \(all\), 1 or 0, not 2"),
        (replace(PRODUCER, in_flight_max=0), "in_flight_max is at least 1, not 0"),
        (replace(PRODUCER, acks=1), "idempotence needs acks=all"),
        (replace(PRODUCER, in_flight_max=6), "idempotence allows five batches in flight"),
    ],
)
def test_a_client_is_not_started_with_it(
    config: ProducerConfig | ConsumerConfig, reason: str
) -> None:
    """Method: one field of a good configuration changed."""
    check_client_config(PRODUCER)
    check_client_config(CONSUMER)
    with pytest.raises(ValueError, match=reason):
        check_client_config(config)
