"""``GET /v1/offsets`` and ``GET /v1/replicas``: where the log is, by name, time and replica."""

from __future__ import annotations

from typing import Final

import structlog
from aiohttp import web

from yak_core.batch import BatchError
from yak_core.broker.fetch import EARLIEST, LATEST
from yak_core.errors import ErrorCode
from yak_net.http import json_bodies as bodies
from yak_net.http.cluster_stream import ClusterWatch
from yak_net.http.endpoints import OFFSETS, REPLICAS, TIMESTAMP
from yak_net.http.gateway import BrokerStopped, Gateway
from yak_net.http.offset_answers import Offsets, Replica, Replicas
from yak_net.http.problems import problem, stopped_problem
from yak_net.http.records import offset_named
from yak_net.http.reports import BrokerRow
from yak_net.http.request_parsing import check_query, integer_parameter, json_response

PEERS_S: Final = 1.5
"""Seconds to wait for the reports of the other brokers."""

log = structlog.get_logger("yak.http")


async def offsets(gateway: Gateway, request: web.Request) -> web.Response:
    """Handle ``GET /v1/offsets``, at the leader. Raises Problem."""
    check_query(request, OFFSETS)
    has_time = TIMESTAMP.name in request.query
    timestamp = integer_parameter(request, TIMESTAMP)
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
    return json_response(bodies.json_line(found))


async def replicas(gateway: Gateway, request: web.Request, watch: ClusterWatch) -> web.Response:
    """Handle ``GET /v1/replicas``: the replicas as they report themselves. Raises Problem."""
    check_query(request, REPLICAS)
    state = await watch.asked_state(PEERS_S)
    rows = [_replica(row, state.at_ms) for row in state.brokers]
    found = Replicas(state.leader, state.epoch, state.hw, rows)
    return json_response(bodies.json_line(found))


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
