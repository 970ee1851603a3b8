"""``GET /v1/offsets`` and ``GET /v1/replicas``: where the log is, by name, time and replica."""

from __future__ import annotations

from typing import Final

import structlog
from aiohttp import web
from msgspec import Struct, structs

from yak_core.batch import BatchError
from yak_core.broker.fetch import EARLIEST, LATEST
from yak_core.errors import ErrorCode
from yak_net.http import json_bodies as bodies
from yak_net.http.cluster_stream import ClusterWatch
from yak_net.http.gateway import BrokerStopped, Gateway
from yak_net.http.problems import problem, stopped_problem
from yak_net.http.records import offset_named
from yak_net.http.reports import BrokerRow
from yak_net.http.request_parsing import check_query, integer_parameter, json_response

PEERS_S: Final = 1.5
"""Seconds to wait for the reports of the other brokers."""

log = structlog.get_logger("yak.http")


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


async def offsets(gateway: Gateway, request: web.Request) -> web.Response:
    """Handle ``GET /v1/offsets``, at the leader. Raises Problem."""
    check_query(request, "timestamp", "redirect")
    has_time = "timestamp" in request.query
    timestamp = integer_parameter(request, "timestamp", 0)
    latest = await offset_named(gateway, request, LATEST)
    found = Offsets(await offset_named(gateway, request, EARLIEST), latest)
    if has_time:
        try:
            # The records below the HW do not change, whatever happens to this leader meanwhile.
            record = await gateway.first_since(timestamp, latest)
        except BrokerStopped as stopped:
            raise stopped_problem(gateway.phase, stopped.sent, produce=False) from stopped
        except (BatchError, OSError) as error:
            log.warning("search by time failed", reason=str(error))
            raise problem(ErrorCode.KAFKA_STORAGE_ERROR) from error
        if record is not None:
            found.offset, found.timestamp_ms, found.epoch = record
    return json_response(bodies.json_line(structs.asdict(found)))


async def replicas(gateway: Gateway, request: web.Request, watch: ClusterWatch) -> web.Response:
    """Handle ``GET /v1/replicas``: the replicas as they report themselves. Raises Problem."""
    check_query(request)
    state = await watch.asked_state(PEERS_S)
    return json_response(
        bodies.json_line(
            {
                "leader": state.leader,
                "epoch": state.epoch,
                "hw": state.hw,
                "replicas": [_replica(row, state.at_ms) for row in state.brokers],
            }
        )
    )


def _replica(row: BrokerRow, at_ms: int) -> Replica:
    return Replica(
        row.id,
        row.up,
        row.role,
        row.in_isr,
        row.in_elr,
        row.leo,
        row.hw,
        row.lag_records,
        row.lag_ms,
        None if row.lag_ms is None else at_ms - row.lag_ms,
        row.age_ms,
    )
