"""How commands reach the supervisor of a running cluster; must never serve who lacks the token.

A small HTTP server on 127.0.0.1 in the supervisor, and the one call that commands make to it:
``GET /status``, ``POST /nodes/NODE/VERB`` with the verbs kill, restart, pause and resume, and
``POST /down``. Answers are JSON; an error is ``{"error": sentence, "usage": true or false}``.
"""

from __future__ import annotations

import dataclasses
import hmac
import http.client
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from yak_net.cluster import ClusterError, UnknownNode

if TYPE_CHECKING:
    from aiohttp import web

    from yak_net.cluster.statefile import ClusterState
    from yak_net.cluster.supervisor import Supervisor

HOST: Final = "127.0.0.1"
VERBS: Final = ("kill", "restart", "pause", "resume")
CALL_S: Final = 90.0
"""A restart may take a graceful stop, and then a start."""


class NotRunning(ClusterError):
    """Nobody answers at the control address, or somebody else does."""


class ControlServer:
    """Takes commands for ``supervisor``; ``on_down`` is called when it shall stop."""

    def __init__(self, supervisor: Supervisor, token: str, on_down: Callable[[], None]) -> None:
        self._supervisor = supervisor
        self._token = token
        self._on_down = on_down
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        """Listen, and return the address, host:port."""
        from aiohttp import web

        app = web.Application(middlewares=[self._guarded()])
        app.router.add_get("/status", self._status)
        app.router.add_post("/nodes/{node}/{verb}", self._act)
        app.router.add_post("/down", self._down)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, 0).start()
        host, port = self._runner.addresses[0][:2]
        return f"{host}:{port}"

    async def close(self) -> None:
        """Take no more commands."""
        if self._runner is not None:
            await self._runner.cleanup()

    def _guarded(self) -> Any:
        from aiohttp import web

        expected = f"Bearer {self._token}".encode()

        @web.middleware
        async def guarded(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
            if not hmac.compare_digest(given, expected):
                return web.json_response({"error": "the token is wrong"}, status=401)
            try:
                return await handler(request)
            except ClusterError as error:
                usage = isinstance(error, UnknownNode)
                return web.json_response({"error": str(error), "usage": usage}, status=409)

        return guarded

    async def _status(self, request: web.Request) -> web.Response:
        from aiohttp import web

        return web.json_response(dataclasses.asdict(await self._supervisor.status()))

    async def _act(self, request: web.Request) -> web.Response:
        from aiohttp import web

        node, verb = request.match_info["node"], request.match_info["verb"]
        supervisor = self._supervisor
        if verb == "kill":
            return web.json_response({"pid": await supervisor.kill(node)})
        if verb == "restart":
            pid = await supervisor.restart(node)
            await supervisor.wait_until_up(node)
            return web.json_response({"pid": pid})
        if verb not in VERBS:
            raise ClusterError(f"there is no command {verb!r}; there are {', '.join(VERBS)}")
        act = supervisor.pause if verb == "pause" else supervisor.resume
        act(node)
        return web.json_response({"pid": supervisor.pids.get(node)})

    async def _down(self, request: web.Request) -> web.Response:
        from aiohttp import web

        self._on_down()
        return web.json_response({})


def call(state: ClusterState, method: str, path: str) -> dict[str, Any]:
    """Give one command, and wait until it is done. Raises NotRunning, UnknownNode, ClusterError."""
    # Not urllib, which would go through a proxy where one is set.
    host, _, port = state.control.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=CALL_S)
    try:
        connection.request(method, path, headers={"Authorization": f"Bearer {state.token}"})
        answer = connection.getresponse()
        body = json.loads(answer.read())
    except TimeoutError as error:
        raise ClusterError(f"the supervisor gave no answer within {CALL_S:g} s") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise NotRunning(f"the supervisor (process {state.supervisor}) does not answer") from error
    finally:
        connection.close()
    if not isinstance(body, dict) or answer.status == 401:
        raise NotRunning(f"somebody else answers at {state.control}")
    if answer.status != 200:
        kind = UnknownNode if body.get("usage") else ClusterError
        raise kind(str(body.get("error", f"HTTP status {answer.status}")))
    return body
