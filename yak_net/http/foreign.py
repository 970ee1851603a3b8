"""The first bytes of clients that speak another protocol than HTTP, and what to tell them.

People point Kafka's tools at a broker, or give an https:// address. Their first bytes say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

HEAD_BYTES: Final = 8
"""Bytes of a Kafka request up to its api version: length, api key (2 bytes), api version (2)."""
_KAFKA_API_KEY_MAX: Final = 200
_KAFKA_API_VERSION_MAX: Final = 100
_TLS_HANDSHAKE: Final = b"\x16\x03"
"""Type of a TLS record with a handshake, and the major version of each TLS (RFC 8446, 5.1)."""


@dataclass(frozen=True)
class Foreign:
    """Another protocol: the ``event`` for the log, and what happened and what to do."""

    event: str
    reason: str


def foreign_protocol(first: bytes) -> Foreign | None:
    """Return the protocol that the first bytes of a connection belong to; None for HTTP.

    One byte is enough: no HTTP request begins with the first byte of a Kafka request or of a TLS
    handshake.
    """
    assert first
    if first[:2] == _TLS_HANDSHAKE[: len(first)]:
        return Foreign(
            "TLS client refused",
            "the client began a TLS handshake, and this port has no TLS; use http:// instead of "
            "https://, or put a proxy with TLS in front of the broker",
        )
    if _may_be_kafka(first):
        return Foreign(
            "Kafka client refused",
            "the client speaks Kafka's protocol, which YAK does not; use yak produce, yak consume, "
            "yak_net in Python, or HTTP",
        )
    return None


def _may_be_kafka(first: bytes) -> bool:
    """Return whether the bytes begin a request of Kafka: a length below 16 MiB, a known api key."""
    if first[:1] != b"\0":
        return False
    head = first[:HEAD_BYTES].ljust(HEAD_BYTES, b"\0")
    api_key = int.from_bytes(head[4:6], "big")
    api_version = int.from_bytes(head[6:8], "big")
    return api_key <= _KAFKA_API_KEY_MAX and api_version <= _KAFKA_API_VERSION_MAX
