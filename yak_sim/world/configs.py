"""Configurations of the brokers and clients of a world, built from its topology."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from yak_core.config import BrokerConfig, ConsumerConfig, ProducerConfig, check_config, flush_mode
from yak_core.ids import NodeId, Offset
from yak_sim.physics.topology import Topology

ACKS: Final[Mapping[str, int]] = {"all": -1, "1": 1, "0": 0}


def broker_config(topology: Topology) -> BrokerConfig:
    """Return the configuration of all brokers. Raise ValueError for an invalid setting."""
    config = BrokerConfig(
        replicas=topology.brokers,
        min_isr=topology.min_isr,
        flush=flush_mode(topology.flush),
        **_settings(BrokerConfig, topology.limits),
    )
    check_config(topology.brokers[0], config)
    return config


def producer_config(
    topology: Topology, acks: str, in_flight: int, first: NodeId | None
) -> ProducerConfig:
    """Return the configuration of a producer.

    ``first`` is the broker that the producer asks for the leader first. Raise ValueError for an
    unknown broker, and for ``acks`` other than ``all``, ``1`` and ``0``.
    """
    if acks not in ACKS:
        raise ValueError(f"acks must be one of {', '.join(ACKS)}, got {acks!r}")
    brokers = topology.brokers
    at = 0 if first is None else brokers.index(first)
    return ProducerConfig(
        **_limits(ProducerConfig, topology),
        brokers=(*brokers[at:], *brokers[:at]),
        acks=ACKS[acks],
        idempotent=acks == "all",
        in_flight_max=min(in_flight, 5),
    )


def consumer_config(topology: Topology, start_offset: Offset) -> ConsumerConfig:
    """Return the configuration of a consumer."""
    limits = _limits(ConsumerConfig, topology)
    return ConsumerConfig(**limits, brokers=topology.brokers, start_offset=start_offset)


def _limits(config: type, topology: Topology) -> dict[str, Any]:
    """Return the limits for this kind of client. Raise ValueError for an unknown limit."""
    either = {field.name for kind in (ProducerConfig, ConsumerConfig) for field in fields(kind)}
    for name, _ in topology.client_limits:
        if name not in either:
            raise ValueError(f"unknown client limit {name!r}; expected one of {sorted(either)}")
    known = {field.name for field in fields(config)}
    return {name: value for name, value in topology.client_limits if name in known}


def _settings(config: type, pairs: tuple[tuple[str, int], ...]) -> dict[str, Any]:
    """Return the pairs as a dict. Raise ValueError for a name that is no field of ``config``."""
    known = {field.name for field in fields(config)}
    for name, _ in pairs:
        if name not in known:
            raise ValueError(f"unknown field {name!r} of {config.__name__}")
    return dict(pairs)
