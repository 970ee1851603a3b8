"""Control server of a supervisor: HTTP on 127.0.0.1, each request authorized by a token."""

from __future__ import annotations

import dataclasses
import hmac
import secrets
from collections.abc import Awaitable, Callable

from aiohttp import web

from yak_net.cluster.errors import ClusterError, InvalidFault, UnknownNode
from yak_net.cluster.faults import Faults
from yak_net.cluster.ports import HOST
from yak_net.cluster.supervisor import Supervisor

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ControlServer:
    """Serves the commands of ``yak cluster`` for ``supervisor``; ``on_down`` stops the cluster.

    The requests are ``GET /status``, ``POST /nodes/NODE/VERB`` (kill, restart, pause, resume,
    wipe), ``POST /faults/disturb`` and ``/faults/heal`` with the arguments of
    :class:`yak_net.cluster.faults.Faults` as JSON, and ``POST /down``, each with the token as a
    bearer token. Responses are JSON objects. An error is ``{"error": message}`` with status 400 for
    invalid arguments, 401 for a wrong token, 404 for an unknown broker, and 409 for a failed
    command.
    """

    def __init__(self, supervisor: Supervisor, on_down: Callable[[], None]) -> None:
        self.token = secrets.token_urlsafe(32)
        self._supervisor = supervisor
        self._on_down = on_down
        self._faults = Faults(supervisor)
        self._verbs = {"pause": supervisor.pause, "resume": supervisor.resume}
        self._verbs |= {"kill": supervisor.kill, "restart": supervisor.restart}
        app = web.Application(middlewares=[self._authorize])
        app.router.add_get("/status", self._status)
        app.router.add_post(f"/nodes/{{node}}/{{verb:{'|'.join(self._verbs)}}}", self._run_verb)
        app.router.add_post("/nodes/{node}/wipe", self._wipe)
        app.router.add_post("/faults/disturb", self._disturb)
        app.router.add_post("/faults/heal", self._heal)
        app.router.add_post("/down", self._down)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def start(self) -> str:
        """Listen on a free port; return the address, host:port."""
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, 0).start()
        return f"{HOST}:{self._runner.addresses[0][1]}"

    async def close(self) -> None:
        """Stop listening."""
        self._faults.close()
        await self._runner.cleanup()

    @web.middleware
    async def _authorize(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        header = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(header, f"Bearer {self.token}".encode()):
            return web.json_response({"error": "wrong token"}, status=401)
        try:
            return await handler(request)
        except ClusterError as error:
            status = {UnknownNode: 404, InvalidFault: 400}.get(type(error), 409)
            return web.json_response({"error": str(error)}, status=status)

    async def _status(self, request: web.Request) -> web.Response:
        return web.json_response(dataclasses.asdict(await self._supervisor.status()))

    async def _run_verb(self, request: web.Request) -> web.Response:
        node, verb = request.match_info["node"], request.match_info["verb"]
        pid = await self._verbs[verb](node)
        if verb == "restart":
            await self._supervisor.wait_until_up(node)
        return web.json_response({"pid": pid})

    async def _wipe(self, request: web.Request) -> web.Response:
        return web.json_response({"path": await self._faults.wipe(request.match_info["node"])})

    async def _disturb(self, request: web.Request) -> web.Response:
        given = await request.json()
        return web.json_response(
            await self._faults.disturb(
                str(given["one"]),
                str(given["other"]),
                two_way=bool(given["two_way"]),
                delay_us=int(given.get("delay_us", 0)),
                bytes_per_s=int(given.get("bytes_per_s", 0)),
                for_us=given.get("for_us"),
            )
        )

    async def _heal(self, request: web.Request) -> web.Response:
        return web.json_response(await self._faults.heal(str((await request.json())["target"])))

    async def _down(self, request: web.Request) -> web.Response:
        self._on_down()
        return web.json_response({})
