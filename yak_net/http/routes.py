"""The routes of a broker's HTTP interface; docs/http.md describes the endpoints.

All state comes from the gateway. An application with these routes also needs :func:`middlewares`,
which convert errors to problems, and ``client_max_size=BODY_BYTES_MAX``. Its runner needs
``auto_decompress=False`` and ``handler_cancellation=True``, which ends the long poll of a client
that disconnects.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware

from yak_core.broker.phases import Phase as NodePhase
from yak_core.config import MIB
from yak_core.contract.messages import DescribeRequest, DescribeResponse
from yak_net.http import json_bodies as bodies
from yak_net.http.gateway import BrokerStopped, Gateway, Health, Phase
from yak_net.http.problems import COMMON_HEADERS, as_problems
from yak_net.http.records import fetch, produce
from yak_net.http.request_parsing import ask, ask_or_problem, check_query, json_response
from yak_net.http.shares import HTTP_BYTES_MAX
from yak_net.runtime.budget import Budget

BATCH_BYTES_MAX: Final = 1 * MIB
"""The default of ``BrokerConfig.batch_bytes_max``."""
BODY_BYTES_MAX: Final = 8 * BATCH_BYTES_MAX
"""Maximum size of a body. JSON escapes can make a full batch six times as large."""

INDEX: Final = """\
YAK broker {node} of cluster {cluster}

POST /v1/records   append records: {{"records": [{{"value": "a"}}], "acks": "all"}}
GET  /v1/records   fetch records: ?offset=N|earliest|latest &max_bytes=N &wait_ms=N
POST /produce      the same as POST /v1/records
GET  /fetch        the same as GET /v1/records
GET  /v1/cluster   the state of the cluster, as this broker knows it
GET  /health       200 if records with acks=all can be committed, else 503; the state
GET  /readyz       the same, without the state
GET  /livez        200 unless this broker has halted
GET  /             this list

  curl {url}/v1/records \\
    -H 'Content-Type: application/json' -d '{{"records": [{{"value": "hello"}}]}}'
  curl '{url}/v1/records?offset=earliest'
"""


def routes(
    gateway: Gateway, batch_bytes_max: int = BATCH_BYTES_MAX, budget: Budget | None = None
) -> list[web.RouteDef]:
    """Return the routes of the broker behind ``gateway``, for ``Application.add_routes``.

    ``budget`` bounds the bytes of all bodies in flight, by default to HTTP_BYTES_MAX.
    """
    in_flight = Budget(HTTP_BYTES_MAX) if budget is None else budget

    async def on_produce(request: web.Request) -> web.Response:
        return await produce(gateway, request, batch_bytes_max, in_flight)

    async def on_fetch(request: web.Request) -> web.StreamResponse:
        return await fetch(gateway, request, in_flight)

    async def on_health(request: web.Request) -> web.Response:
        return await _health(gateway)

    async def on_ready(request: web.Request) -> web.Response:
        _, ready, reason = _state(gateway)
        return _probe("ready", ready, reason)

    async def on_live(request: web.Request) -> web.Response:
        halted = gateway.phase is Phase.HALTED
        return _probe("live", not halted, f"halted: {gateway.halt_reason}" if halted else "")

    async def on_cluster(request: web.Request) -> web.Response:
        return await _cluster(gateway, request)

    async def on_index(request: web.Request) -> web.Response:
        text = INDEX.format(
            node=gateway.node_id, cluster=gateway.cluster, url=gateway.url_of(gateway.node_id)
        )
        return web.Response(text=text, headers=COMMON_HEADERS)

    return [
        web.post("/v1/records", on_produce),
        web.post("/produce", on_produce),
        web.get("/v1/records", on_fetch),
        web.get("/fetch", on_fetch),
        web.get("/health", on_health),
        web.get("/readyz", on_ready),
        web.get("/livez", on_live),
        web.get("/v1/cluster", on_cluster),
        web.get("/", on_index),
    ]


def middlewares() -> list[Middleware]:
    """Return the middlewares that convert errors to problems."""
    return [as_problems]


async def _health(gateway: Gateway) -> web.Response:
    # Ask the node also while the broker stops: it still knows the log end offset.
    try:
        view = await ask(gateway, DescribeRequest(0), DescribeResponse)
    except BrokerStopped:
        view = None
    status, ready, reason = _state(gateway)
    body = bodies.health(status, ready, reason, gateway.node_id, view)
    return json_response(body, 200 if ready else 503)


def _probe(name: str, holds: bool, reason: str) -> web.Response:
    return json_response(bodies.probe(name, holds, reason), 200 if holds else 503)


def _state(gateway: Gateway) -> tuple[Health, bool, str]:
    """Return the broker's health, whether it is ready, and the reason if it is not ok."""
    match gateway.phase:
        case Phase.STARTING | Phase.STOPPING as phase:
            return Health(phase), False, f"the broker is {phase}"
        case Phase.HALTED:
            return Health.DEGRADED, False, f"halted: {gateway.halt_reason}"
    health = gateway.health()
    if health is None:
        return Health.DEGRADED, False, "the broker has just stopped"
    if health.phase in (NodePhase.RECOVERING, NodePhase.REGISTERING):
        return Health.STARTING, False, health.reason
    return Health.DEGRADED if health.reason else Health.OK, health.is_ready, health.reason


async def _cluster(gateway: Gateway, request: web.Request) -> web.Response:
    check_query(request)
    call = DescribeRequest(0)
    view = await ask_or_problem(gateway, request, call, DescribeResponse, produce=False)
    nodes = (view.node, *(replica.node for replica in view.replicas))
    urls = {node: gateway.url_of(node) for node in nodes}
    return json_response(bodies.cluster(gateway.cluster, view, urls))
