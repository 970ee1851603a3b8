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

from yak_core.config import MIB
from yak_net.http import endpoints as ep
from yak_net.http import offsets, openapi, status
from yak_net.http.cluster_stream import ClusterWatch
from yak_net.http.gateway import Gateway
from yak_net.http.problems import COMMON_HEADERS, Handler, as_problems
from yak_net.http.record_stream import STREAMS_MAX, stream_records
from yak_net.http.records import fetch, produce
from yak_net.http.shares import HTTP_BYTES_MAX
from yak_net.http.sse import Slots
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
GET  /v1/records/stream   committed records as server-sent events: ?offset=N|earliest|latest
GET  /v1/offsets   earliest and latest offset; ?timestamp=MS the first record since then
GET  /v1/replicas  log end, high watermark and lag of each replica
GET  /v1/cluster   the state of the cluster, as this broker knows it
GET  /v1/cluster/stream   the same with all brokers, as server-sent events, while it changes
GET  /health       200 if records with acks=all can be committed, else 503; the state
GET  /readyz       the same, without the state
GET  /livez        200 unless this broker has halted
GET  /metrics      counters and gauges for Prometheus
GET  /openapi.json the description of these endpoints for programs
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

    record_streams = Slots(STREAMS_MAX, "streams of records")

    async def on_records_stream(request: web.Request) -> web.StreamResponse:
        return await stream_records(gateway, request, in_flight, record_streams)

    handlers: dict[ep.Endpoint, Handler] = {
        ep.PRODUCE: on_produce,
        ep.FETCH: on_fetch,
        ep.STREAM_RECORDS: on_records_stream,
        **_state_handlers(gateway),
    }
    return [
        web.get(path, handlers[each], allow_head=not each.is_stream)
        if each.method == "GET"
        else web.route(each.method, path, handlers[each])
        for each in ep.ENDPOINTS
        for path in each.paths
    ]


def _state_handlers(gateway: Gateway) -> dict[ep.Endpoint, Handler]:
    """Return the handlers of the endpoints that show the state of broker and cluster."""
    watch = ClusterWatch(gateway)

    async def on_health(request: web.Request) -> web.Response:
        return await status.health(gateway)

    async def on_ready(request: web.Request) -> web.Response:
        return await status.ready(gateway)

    async def on_live(request: web.Request) -> web.Response:
        return await status.live(gateway)

    async def on_cluster(request: web.Request) -> web.Response:
        return await status.cluster(gateway, request)

    async def on_cluster_stream(request: web.Request) -> web.StreamResponse:
        return await watch.stream(request)

    async def on_offsets(request: web.Request) -> web.Response:
        return await offsets.offsets(gateway, request)

    async def on_replicas(request: web.Request) -> web.Response:
        return await offsets.replicas(gateway, request, watch)

    async def on_metrics(request: web.Request) -> web.Response:
        return await status.metrics(gateway, request)

    async def on_index(request: web.Request) -> web.Response:
        text = INDEX.format(
            node=gateway.node_id, cluster=gateway.cluster, url=gateway.url_of(gateway.node_id)
        )
        return web.Response(text=text, headers=COMMON_HEADERS)

    async def on_openapi(request: web.Request) -> web.Response:
        return web.Response(
            body=openapi.document(gateway.version), headers=COMMON_HEADERS, content_type=ep.JSON
        )

    return {
        ep.OFFSETS: on_offsets,
        ep.REPLICAS: on_replicas,
        ep.CLUSTER: on_cluster,
        ep.STREAM_CLUSTER: on_cluster_stream,
        ep.HEALTH: on_health,
        ep.READY: on_ready,
        ep.LIVE: on_live,
        ep.METRICS: on_metrics,
        ep.OPENAPI: on_openapi,
        ep.INDEX: on_index,
    }


def middlewares() -> list[Middleware]:
    """Return the middlewares that convert errors to problems."""
    return [as_problems]
