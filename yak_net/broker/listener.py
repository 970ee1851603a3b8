"""The listening socket of a broker, with the HTTP application behind it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from aiohttp import web

from yak_net.http.connections import Connections
from yak_net.http.hosts import Hosts, check_hosts, hosts_of
from yak_net.http.measured import measured
from yak_net.http.routes import BODY_BYTES_MAX, middlewares
from yak_net.metrics.counts import Counts
from yak_net.runtime.settings import BrokerSettings

SHUTDOWN_S: Final = 1.0
"""Seconds that requests have to complete after the end of the broker."""


class Listener:
    """Serves ``routes`` to at most as many connections as ``limit``, the open files, allows.

    Each response has ``headers``.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        limit: int,
        routes: Iterable[web.AbstractRouteDef],
        headers: Mapping[str, str],
        counts: Counts,
    ) -> None:
        self._settings = settings
        self._headers = headers
        self.connections = Connections(limit)
        app = web.Application(
            client_max_size=BODY_BYTES_MAX,
            middlewares=[
                measured(counts),
                *middlewares(),
                check_hosts(_hosts(settings)),
                self.connections.counted(),
            ],
        )
        app.add_routes(routes)
        app.on_response_prepare.append(self._add_headers)
        self._runner = web.AppRunner(
            app,
            shutdown_timeout=SHUTDOWN_S,
            handler_cancellation=True,  # end a long poll when its client disconnects
        )

    async def open(self) -> int:
        """Accept connections; return the port. Raises OSError."""
        settings = self._settings
        await self._runner.setup()
        reuse_port = settings.reuse_port or None
        return await self.connections.listen(
            self._runner, settings.host, settings.port, reuse_port=reuse_port
        )

    async def close(self) -> None:
        """Close the socket, and the connections when their requests are complete."""
        self.connections.close()
        await self._runner.cleanup()

    async def _add_headers(self, _: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(self._headers)


def _hosts(settings: BrokerSettings) -> Hosts:
    """Return the names of this broker, also that of the URL in the settings of the others."""
    own = [url for node, url in settings.brokers if node == settings.node_id]
    urls = [settings.advertised_url, settings.peer_url, *own]
    return hosts_of(settings.host, urls, settings.allowed_hosts)
