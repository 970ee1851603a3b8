"""Invalid configurations raise errors that name the field and its value."""

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
        (replace(BROKER, replicas=("n2", "n3")), "n1 .*n2, n3"),
        (replace(BROKER, replicas=("n1", "n1")), "duplicate .*n1, n1"),
        (replace(BROKER, flush="never"), "flush .*batch, os.*'never'"),  # type: ignore[arg-type]
        (replace(BROKER, min_isr=0), "min_isr .*1.*0"),
        (replace(BROKER, lease_us=BROKER.lease_renew_us), "lease_us.* 300000, 300000"),
        (replace(BROKER, replica_lag_us=1), "replica_lag_us .*400000.*1"),
    ],
)
def test_invalid_broker_configuration(config: BrokerConfig, reason: str) -> None:
    """Method: one field of a good configuration changed."""
    check_config("n1", BROKER)
    with pytest.raises(ValueError, match=reason):
        check_config("n1", config)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (replace(CONSUMER, brokers=()), "brokers .*none"),
        (replace(CONSUMER, start_offset=-3), "start_offset .*-2.*-3"),
        (replace(PRODUCER, acks=2), "acks .*-1.*2"),
        (replace(PRODUCER, in_flight_max=0), "in_flight_max .*1.*0"),
        (replace(PRODUCER, acks=1), "idempotent .*acks=-1.*1"),
        (replace(PRODUCER, in_flight_max=6), "in_flight_max .*idempotent.*5.*6"),
    ],
)
def test_invalid_client_configuration(
    config: ProducerConfig | ConsumerConfig, reason: str
) -> None:
    """Method: one field of a good configuration changed."""
    check_client_config(PRODUCER)
    check_client_config(CONSUMER)
    with pytest.raises(ValueError, match=reason):
        check_client_config(config)
