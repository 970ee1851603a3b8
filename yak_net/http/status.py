"""The endpoints that show the state of a broker: health, probes, cluster and metrics."""

from __future__ import annotations

from aiohttp import web

from yak_core.broker.phases import Phase as NodePhase
from yak_core.contract.messages import DescribeRequest, DescribeResponse
from yak_net.http import json_bodies as bodies
from yak_net.http.endpoints import CLUSTER, METRICS
from yak_net.http.gateway import BrokerStopped, Gateway, Health, Phase
from yak_net.http.problems import COMMON_HEADERS
from yak_net.http.request_parsing import ask, ask_or_problem, check_query, json_response


async def health(gateway: Gateway) -> web.Response:
    """Handle ``GET /health``."""
    # Ask the node also while the broker stops: it still knows the log end offset.
    try:
        view = await ask(gateway, DescribeRequest(0), DescribeResponse)
    except BrokerStopped:
        view = None
    status, ready, reason = state_of(gateway)
    body = bodies.health(status, ready, reason, gateway.node_id, view)
    return json_response(body, 200 if ready else 503)


async def ready(gateway: Gateway) -> web.Response:
    """Handle ``GET /readyz``."""
    _, is_ready, reason = state_of(gateway)
    return _probe("ready", is_ready, reason)


async def live(gateway: Gateway) -> web.Response:
    """Handle ``GET /livez``."""
    halted = gateway.phase is Phase.HALTED
    return _probe("live", not halted, f"halted: {gateway.halt_reason}" if halted else "")


async def metrics(gateway: Gateway, request: web.Request) -> web.Response:
    """Handle ``GET /metrics``, in the text format of Prometheus or OpenMetrics. Raises Problem."""
    check_query(request, METRICS)
    status, is_ready, _ = state_of(gateway)
    accept = ",".join(request.headers.getall("Accept", []))
    body, content_type = gateway.metrics(accept, status, is_ready=is_ready)
    return web.Response(body=body, headers={**COMMON_HEADERS, "Content-Type": content_type})


def _probe(name: str, holds: bool, reason: str) -> web.Response:
    return json_response(bodies.probe(name, holds, reason), 200 if holds else 503)


def state_of(gateway: Gateway) -> tuple[Health, bool, str]:
    """Return the broker's health, whether it is ready, and the reason if it is not ok."""
    match gateway.phase:
        case Phase.STARTING | Phase.STOPPING as phase:
            return Health(phase), False, f"the broker is {phase}"
        case Phase.HALTED:
            return Health.DEGRADED, False, f"halted: {gateway.halt_reason}"
    found = gateway.health()
    if found is None:
        return Health.DEGRADED, False, "the broker has just stopped"
    if found.phase in (NodePhase.RECOVERING, NodePhase.REGISTERING):
        return Health.STARTING, False, found.reason
    return Health.DEGRADED if found.reason else Health.OK, found.is_ready, found.reason


async def cluster(gateway: Gateway, request: web.Request) -> web.Response:
    """Handle ``GET /v1/cluster``. Raises Problem."""
    check_query(request, CLUSTER)
    call = DescribeRequest(0)
    view = await ask_or_problem(gateway, request, call, DescribeResponse, produce=False)
    nodes = (view.node, *(replica.node for replica in view.replicas))
    urls = {node: gateway.url_of(node) for node in nodes}
    return json_response(bodies.cluster(gateway.cluster, view, urls))
