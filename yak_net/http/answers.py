"""The JSON answers of the endpoints, as structures: the handlers fill them, OpenAPI shows them."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType

from yak_net.http.json_bodies import FetchedRecord


class Produced(Struct):
    """The answer to produced records; ``base_offset`` and ``epoch`` are null with acks 0."""

    base_offset: int | None
    count: int
    epoch: int | None
    hw: int


class Fetched(Struct):
    """Records; continue at ``next_offset``."""

    records: list[FetchedRecord]
    next_offset: int
    hw: int
    log_start: int
    epoch: int


class HealthAnswer(Struct):
    """The health of the broker; null means unknown."""

    status: str
    ready: bool
    reason: str
    node: str
    role: str | None
    leader: str | None
    epoch: int | None
    leo: int | None
    hw: int | None
    isr: list[str] | None


class Ready(Struct):
    """Whether acks=all can be committed."""

    ready: bool
    reason: str


class Live(Struct):
    """Whether the broker has not halted."""

    live: bool
    reason: str


class ClusterBroker(Struct):
    """One broker, as the broker that answers knows it."""

    id: str
    url: str | None
    role: str | None
    leo: int | None
    hw: int | None
    up: bool | None


class Cluster(Struct):
    """The cluster, as the broker that answers knows it."""

    cluster: str
    leader: str | None
    epoch: int
    isr: list[str]
    elr: list[str]
    hw: int
    version: int
    brokers: list[ClusterBroker]


class ProblemLeader(Struct):
    """The leader, as the broker that answers knows it."""

    id: str
    url: str | None


class ProblemBody(Struct):
    """An error (RFC 9457); see docs/http.md#errors."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    error_code: int
    error: str
    retriable: bool
    outcome: str | UnsetType = UNSET
    leader: ProblemLeader | UnsetType | None = UNSET
    leader_epoch: int | UnsetType = UNSET
    high_watermark: int | UnsetType = UNSET
    log_start_offset: int | UnsetType = UNSET
    next_offset: int | UnsetType = UNSET
