"""The upgrade of trace lines from schema 1 to schema 2.

:func:`upgraded` renames the types and fields of a parsed line before it is decoded. The digest of
such a trace covers its original bytes. The trace cannot be replayed, because its recorded effects
have other names than the effects of the present code.
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
"""Old name -> new name of types and fields; each old name has one meaning in schema 1."""

TIMERS: Final[Mapping[str, str]] = MappingProxyType(
    {"beat": "lease-renewal", "candidacy": "campaign"}
)
"""Old key -> new key of timers."""

CALLS: Final[Mapping[str, str]] = MappingProxyType({"beat": "renew"})
"""Old kind -> new kind of metadata calls, in ``StoreUnknown``."""

FAULTS: Final[Mapping[str, str]] = MappingProxyType({"cut": "disconnect"})
"""Old kind -> new kind of faults."""


def upgraded(value: object) -> object:
    """Return a parsed line of schema 1, or a part of it, with the names of schema 2."""
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
    for owner, field, values in _RENAMED_VALUES:
        inner = renamed.get(owner)
        if isinstance(inner, dict) and isinstance(inner.get(field), str):
            inner[field] = values.get(inner[field], inner[field])
    return renamed


def _client_config(old: object) -> dict[str, object]:
    """Convert the configuration of a client to ProducerConfig or ConsumerConfig.

    Schema 1 has one class for both. Only a consumer has a ``start_offset`` other than 0, so a
    consumer that started at offset 0 is read as a producer. Only a replay would use the difference.
    """
    fields = old if isinstance(old, dict) else {}
    dropped: tuple[str, ...] = CONSUMER_ONLY
    kind = "ProducerConfig"
    if fields.get("start_offset"):
        kind, dropped = "ConsumerConfig", PRODUCER_ONLY
    return {kind: {name: value for name, value in fields.items() if name not in dropped}}


CONSUMER_ONLY: Final = ("fetch_wait_us", "fetch_bytes_max", "metadata_max_age_us", "start_offset")
PRODUCER_ONLY: Final = ("acks", "idempotent", "in_flight_max", "queue_max", "delivery_timeout_us")


_RENAMED_VALUES: Final = (
    ("SetTimer", "key", TIMERS),
    ("CancelTimer", "key", TIMERS),
    ("TimerFired", "key", TIMERS),
    ("StoreUnknown", "kind", CALLS),
    ("fault", "kind", FAULTS),
)
"""(type, field, old value -> new value)."""
