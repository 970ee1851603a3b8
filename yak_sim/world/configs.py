"""Configurations of a world's brokers and clients, made from the settings of its topology."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from yak_core.config import BrokerConfig, ConsumerConfig, ProducerConfig, check_config, flush_mode
from yak_core.ids import NodeId, Offset
from yak_sim.physics.topology import Topology

ACKS: Final[Mapping[str, int]] = {"all": -1, "1": 1, "0": 0}


def broker_config(topology: Topology) -> BrokerConfig:
    """Return the configuration of every broker. Raises ValueError for a wrong setting."""
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
    """Return the configuration of a producer that asks ``first`` for the leader, if named.

    Raises ValueError for ``acks`` other than all, 1 and 0, and for an unknown broker.
    """
    if acks not in ACKS:
        raise ValueError(f"acks is one of {', '.join(ACKS)}, not {acks!r}")
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
    """The limits of clients that this kind of client has. Raises ValueError for one of neither."""
    either = {field.name for kind in (ProducerConfig, ConsumerConfig) for field in fields(kind)}
    for name, _ in topology.client_limits:
        if name not in either:
            raise ValueError(f"no client has {name!r}")
    known = {field.name for field in fields(config)}
    return {name: value for name, value in topology.client_limits if name in known}


def _settings(config: type, pairs: tuple[tuple[str, int], ...]) -> dict[str, Any]:
    """Checked fields of a config; ValueError for one that it does not have."""
    known = {field.name for field in fields(config)}
    for name, _ in pairs:
        if name not in known:
            raise ValueError(f"{config.__name__} has no {name!r}")
    return dict(pairs)
