"""The control server of a supervisor: commands over HTTP, for those who know its token."""

from __future__ import annotations

import dataclasses
import hmac
import secrets
from collections.abc import Awaitable, Callable

from aiohttp import web

from yak_net.cluster.errors import ClusterError, UnknownNode
from yak_net.cluster.process import HOST
from yak_net.cluster.supervisor import Supervisor

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ControlServer:
    """Takes commands for ``supervisor`` on 127.0.0.1; ``on_down`` is called to stop it.

    ``GET /status``, ``POST /nodes/NODE/VERB`` with the verbs kill, restart, pause and resume, and
    ``POST /down``, each with the token. Answers are JSON, errors ``{"error": sentence}`` with the
    status 404 for an unknown broker and 409 for a command that failed.
    """

    def __init__(self, supervisor: Supervisor, on_down: Callable[[], None]) -> None:
        self.token = secrets.token_urlsafe(32)
        self._supervisor = supervisor
        self._on_down = on_down
        self._verbs = {"pause": supervisor.pause, "resume": supervisor.resume}
        self._verbs |= {"kill": supervisor.kill, "restart": supervisor.restart}
        app = web.Application(middlewares=[self._guarded])
        app.router.add_get("/status", self._status)
        app.router.add_post(f"/nodes/{{node}}/{{verb:{'|'.join(self._verbs)}}}", self._act)
        app.router.add_post("/down", self._down)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def start(self) -> str:
        """Listen; return the address, host:port."""
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, 0).start()
        return f"{HOST}:{self._runner.addresses[0][1]}"

    async def close(self) -> None:
        """Take no more commands."""
        await self._runner.cleanup()

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given, f"Bearer {self.token}".encode()):
            return web.json_response({"error": "wrong token"}, status=401)
        try:
            return await handler(request)
        except ClusterError as error:
            status = 404 if isinstance(error, UnknownNode) else 409
            return web.json_response({"error": str(error)}, status=status)

    async def _status(self, request: web.Request) -> web.Response:
        return web.json_response(dataclasses.asdict(await self._supervisor.status()))

    async def _act(self, request: web.Request) -> web.Response:
        node, verb = request.match_info["node"], request.match_info["verb"]
        pid = await self._verbs[verb](node)
        if verb == "restart":
            await self._supervisor.wait_until_up(node)
        return web.json_response({"pid": pid})

    async def _down(self, request: web.Request) -> web.Response:
        self._on_down()
        return web.json_response({})
