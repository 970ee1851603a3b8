"""The JSON answers about offsets and replicas."""

from __future__ import annotations

from msgspec import Struct


class Offsets(Struct):
    """The offsets of the log: the log start and the high watermark.

    ``offset``, ``timestamp_ms`` and ``epoch`` are those of the record since the time that was
    asked for; null if there is none, or no time was asked for.
    """

    earliest: int
    latest: int
    offset: int | None = None
    timestamp_ms: int | None = None
    epoch: int | None = None


class Replica(Struct):
    """One replica: what it reports itself, and its lag as the leader knows it; null is unknown.

    ``caught_up_at_ms`` is the wall clock of the broker that answers.
    """

    id: str
    up: bool | None
    role: str | None
    in_isr: bool
    in_elr: bool
    leo: int | None
    hw: int | None
    lag_records: int | None
    lag_ms: int | None
    caught_up_at_ms: int | None
    age_ms: int | None


class Replicas(Struct):
    """The replicas, with leader, epoch and HW of the newest report."""

    leader: str | None
    epoch: int | None
    hw: int | None
    replicas: list[Replica]
