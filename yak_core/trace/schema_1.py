"""The names of trace schema 1, and the names of schema 2 that replaced them.

A trace of schema 1 is still read: :func:`upgraded` renames one parsed line before it is decoded.
Its digest is that of its own bytes. Such a trace cannot be replayed, because the effects that it
records have other names than those of today.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        # types
        "BeatCall": "RenewLease",
        "RecordObserved": "PartitionStateObserved",
        "StoodForElection": "Campaigned",
        # fields
        "base_version": "base_partition_epoch",
        "beat_us": "lease_renew_us",
        "beats": "renewals",
        "heartbeat_us": "replicate_heartbeat_us",
        "inc": "start",
        "incarnation": "broker_epoch",
        "lag_us": "replica_lag_us",
        "leader_incarnation": "leader_broker_epoch",
        "record": "state",
        "stagger_us": "election_stagger_us",
        "version": "partition_epoch",
        "view": "status",
    }
)
"""Types and fields, old to new; no line of schema 1 uses one of these words in two senses."""

TIMERS: Final[Mapping[str, str]] = MappingProxyType(
    {"beat": "lease-renewal", "candidacy": "campaign"}
)
"""Keys of timers."""

CALLS: Final[Mapping[str, str]] = MappingProxyType({"beat": "renew"})
"""Kinds of metadata calls, in ``StoreUnknown``."""

FAULTS: Final[Mapping[str, str]] = MappingProxyType({"cut": "disconnect"})
"""Kinds of faults."""


def upgraded(value: object) -> object:
    """A parsed line of schema 1, or a part of it, with the names of schema 2."""
    if isinstance(value, list):
        return [upgraded(item) for item in value]
    if not isinstance(value, dict):
        return value
    renamed = {NAMES.get(name, name): upgraded(item) for name, item in value.items()}
    if "Done" in renamed:
        done = renamed.pop("Done")
        renamed["StoreOk" if done else "DiskOk"] = done
    if "ClientConfig" in renamed:
        return _client_config(renamed["ClientConfig"])
    for owner, field, words in _WORDS:
        inner = renamed.get(owner)
        if isinstance(inner, dict) and isinstance(inner.get(field), str):
            inner[field] = words.get(inner[field], inner[field])
    return renamed


def _client_config(old: object) -> dict[str, object]:
    """One class served both kinds of client; only consumers begin elsewhere than at offset 0.

    So a consumer that began there is read as a producer, which matters to a replay only.
    """
    fields = old if isinstance(old, dict) else {}
    dropped: tuple[str, ...] = CONSUMER_ONLY
    kind = "ProducerConfig"
    if fields.get("start_offset"):
        kind, dropped = "ConsumerConfig", PRODUCER_ONLY
    return {kind: {name: value for name, value in fields.items() if name not in dropped}}


CONSUMER_ONLY: Final = ("fetch_wait_us", "fetch_bytes_max", "metadata_max_age_us", "start_offset")
PRODUCER_ONLY: Final = ("acks", "idempotent", "in_flight_max", "queue_max", "delivery_timeout_us")


_WORDS: Final = (
    ("SetTimer", "key", TIMERS),
    ("CancelTimer", "key", TIMERS),
    ("TimerFired", "key", TIMERS),
    ("StoreUnknown", "kind", CALLS),
    ("fault", "kind", FAULTS),
)
"""Type, field and what its value was called."""
