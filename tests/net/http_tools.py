"""Brokers in a manual world with real HTTP, and a gateway with scripted responses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import jsonschema_rs
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from tests.core.brokers import ready_brokers
from yak_core.broker.health import BrokerHealth, health_of
from yak_core.broker.roles import Broker
from yak_core.broker.view import BrokerView, view_of
from yak_core.config import BrokerConfig, FlushMode
from yak_core.contract.client_calls import ClientResult
from yak_core.contract.messages import Request, Response
from yak_core.ids import Micros, NodeId
from yak_core.manual.run import advance
from yak_core.manual.world import Manual
from yak_net.http.gateway import BrokerStopped, Gateway, Health, Phase
from yak_net.http.openapi import document
from yak_net.http.problems import Handler
from yak_net.http.routes import BATCH_BYTES_MAX, BODY_BYTES_MAX, middlewares, routes
from yak_net.metrics.elections import Election
from yak_net.metrics.journal import Entry
from yak_net.runtime.budget import Budget
from yak_net.storage.times import TimePosition

SECOND = 1_000_000
NODES = ("n1", "n2", "n3")
NOW_MS = 1_700_000_000_000
DOCUMENT = json.loads(document("0"))
COMPONENTS = DOCUMENT["components"]
JSON = {"Content-Type": "application/json"}
T = TypeVar("T")
Client = TestClient[web.Request, web.Application]


def url(node: NodeId) -> str:
    """URL of a broker; no process listens there."""
    return f"http://{node}.invalid:8080"


def cluster(
    nodes: tuple[NodeId, ...] = NODES, min_isr: int = 2, flush: FlushMode = "batch"
) -> Manual:
    """Make brokers: the first leads, all are in the ISR, and all have the partition state."""
    configs = {node: BrokerConfig(nodes, min_isr, flush, url=url(node)) for node in nodes}
    return ready_brokers(configs)


class WorldGateway:
    """The gateway of one broker; its world moves only during a request or by ``move``."""

    def __init__(self, world: Manual, node_id: NodeId = "n1") -> None:
        self.world = world
        self.node_id = node_id
        self.cluster = "test"
        self.version = "0"
        self.phase = Phase.RUNNING
        self.halt_reason = ""
        self.urls = {node: url(node) for node in NODES}
        self.peers: dict[NodeId, str] = {}
        self.waits = asyncio.Event()
        """Set once a request is pending."""
        self.left = asyncio.Event()
        """Set when a handler is cancelled."""
        self._waiting: dict[int, asyncio.Future[Response]] = {}

    @property
    def node(self) -> Broker:
        """Return the broker."""
        node = self.world.host(self.node_id).node
        assert isinstance(node, Broker)
        return node

    def url_of(self, node: NodeId | None) -> str:
        return "" if node is None else self.urls[node]

    def peer_urls(self) -> dict[NodeId, str]:
        return self.peers

    def history(self) -> tuple[list[Election], list[Entry]]:
        return [], []

    def wall_ms(self) -> int:
        return NOW_MS

    def appended_bytes(self) -> int:
        return 0

    def health(self) -> BrokerHealth | None:
        if not self.world.is_up(self.node_id):
            return None
        return health_of(self.node, self.world.nodes[self.node_id].clock)

    def view(self) -> BrokerView | None:
        if not self.world.is_up(self.node_id):
            return None
        return view_of(self.node, self.world.nodes[self.node_id].clock)

    def metrics(self, accept: str, status: Health, *, is_ready: bool) -> tuple[bytes, str]:
        return (f"{status} {is_ready} {accept}".encode(), "text/plain")

    def move(self, us: Micros = 0, until: Callable[[], bool] = lambda: False) -> None:
        """Advance the world and complete the requests that have answers."""
        advance(self.world, us, until)
        for handle, future in self._waiting.items():
            answer = self.world.transit.answers.get(handle)
            if answer is not None and not future.done():
                assert not isinstance(answer, ClientResult)
                future.set_result(answer)
            elif not self.world.is_up(self.node_id) and not future.done():
                future.set_exception(BrokerStopped(sent=True))

    async def first_since(self, timestamp_ms: int, end: int) -> TimePosition | None:
        raise BrokerStopped(sent=False)

    async def ask(self, request: Request) -> Response:
        if not self.world.is_up(self.node_id):
            raise BrokerStopped(sent=False)
        handle = self.world.call(self.node_id, request)
        future = self._waiting[handle] = asyncio.get_running_loop().create_future()
        self.move()
        if not future.done():
            self.waits.set()
        try:
            answer: Response = await future
            return answer
        finally:
            del self._waiting[handle]
            if future.cancelled():
                self.world.cancel(handle)
                self.left.set()


class ScriptedGateway:
    """Returns the result of ``answer`` for each request, or raises it."""

    def __init__(self, answer: Callable[[Request], Response | BaseException]) -> None:
        self.answer = answer
        self.node_id = "n1"
        self.cluster = "test"
        self.version = "0"
        self.phase = Phase.RUNNING
        self.halt_reason = ""
        self.urls = {node: url(node) for node in NODES}
        self.peers: dict[NodeId, str] = {}
        self.asked: list[Request] = []

    def url_of(self, node: NodeId | None) -> str:
        return "" if node is None else self.urls.get(node, "")

    def peer_urls(self) -> dict[NodeId, str]:
        return self.peers

    def history(self) -> tuple[list[Election], list[Entry]]:
        return [], []

    def wall_ms(self) -> int:
        return NOW_MS

    def appended_bytes(self) -> int:
        return 0

    def health(self) -> BrokerHealth | None:
        return None

    def view(self) -> BrokerView | None:
        return None

    def metrics(self, accept: str, status: Health, *, is_ready: bool) -> tuple[bytes, str]:
        return (f"{status} {is_ready} {accept}".encode(), "text/plain")

    async def first_since(self, timestamp_ms: int, end: int) -> TimePosition | None:
        raise BrokerStopped(sent=False)

    async def ask(self, request: Request) -> Response:
        self.asked.append(request)
        answer = self.answer(request)
        if isinstance(answer, BaseException):
            raise answer
        return answer


@web.middleware
async def documented(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Check that each answer is one of those that /openapi.json has for its endpoint."""
    response = await handler(request)
    resource = request.match_info.route.resource
    if resource is None or request.method == "HEAD":
        return response
    operation = DOCUMENT["paths"][resource.canonical][request.method.lower()]
    found = operation["responses"].get(str(response.status))
    assert found is not None, f"undocumented status {response.status} of {resource.canonical}"
    if response.status != 307:
        assert response.content_type in found["content"], response.content_type
    if isinstance(response, web.Response) and response.content_type.endswith("json"):
        assert isinstance(response.body, bytes)
        schema = {**found["content"][response.content_type]["schema"], "components": COMPONENTS}
        jsonschema_rs.validate(schema, json.loads(response.body))
    return response


@asynccontextmanager
async def serving(
    gateway: Gateway,
    batch_bytes_max: int = BATCH_BYTES_MAX,
    body_bytes_max: int = BODY_BYTES_MAX,
    budget: Budget | None = None,
    **runner: Any,
) -> AsyncIterator[Client]:
    """Yield a client of a server on a free loopback port, set up as in a broker process.

    ``runner`` are options of aiohttp's AppRunner; the test server sets ``handler_cancellation``.
    """
    # A scripted gateway may give answers that no broker gives.
    checks = [] if isinstance(gateway, ScriptedGateway) else [documented]
    app = web.Application(client_max_size=body_bytes_max, middlewares=[*checks, *middlewares()])
    app.add_routes(routes(gateway, batch_bytes_max, budget))
    server = TestServer(app, host="127.0.0.1")
    await server.start_server(**{"auto_decompress": False, **runner})
    async with TestClient(server, auto_decompress=False) as client:
        yield client


async def problem(answer: ClientResponse, status: int, error: str) -> dict[str, Any]:
    """Check that an answer is this problem with all its members; return the body."""
    assert answer.content_type == "application/problem+json", await answer.text()
    body: dict[str, Any] = await answer.json(content_type=None)
    assert (body["status"], body["error"]) == (status, error), body
    assert answer.status == status
    assert body["type"] == f"urn:yak:error:{error}"
    assert body["instance"] == answer.url.raw_path
    assert isinstance(body["error_code"], int)
    assert isinstance(body["retriable"], bool)
    assert body["title"]
    assert body["detail"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    return body


async def raw(client: Client, sent: bytes) -> bytes:
    """Send bytes; return the server's answer up to the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.server.port)
    writer.write(sent)
    await writer.drain()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def records_of(*values: str) -> dict[str, Any]:
    """Return the body that produces these values."""
    return {"records": [{"value": value} for value in values]}
