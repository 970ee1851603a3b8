"""The reports of the other brokers, received while a client watches the cluster.

A web page of one broker may not ask another broker (SECURITY.md), and a follower does not know the
ends of the others. So a broker that has watchers watches the others: it reads the stream of each
peer's own report, at the address that brokers use among themselves. It stops when nobody watches.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Final

import aiohttp
import msgspec

from yak_net.http.gateway import Gateway
from yak_net.http.reports import BrokerReport, Heard, Timeline
from yak_net.runtime.wire import CLUSTER_HEADER, NODE_HEADER, certificates

REPORT_PATH: Final = "/v1/cluster/stream?scope=broker"
CONNECT_S: Final = 1.0
"""Seconds to connect to a peer."""
SILENT_S: Final = 3.0
"""Seconds without a report after which a peer counts as down; it sends one each second."""
RETRY_S: Final = 0.5
LINE_MAX: Final = 256 * 1024
"""Longest line of a peer's stream."""

_REPORT: Final = msgspec.json.Decoder(BrokerReport)
_TIMELINE: Final = msgspec.json.Decoder(Timeline)


class PeerReports:
    """The newest reports of the other brokers, between :meth:`start` and :meth:`stop`."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._tasks: dict[str, tuple[str, asyncio.Task[None]]] = {}
        self._reports: dict[str, tuple[BrokerReport, float]] = {}
        self._up: dict[str, bool] = {}
        #: The newest timeline of each peer, kept also when the peer is down.
        self.timelines: dict[str, Timeline] = {}
        self._session: aiohttp.ClientSession | None = None

    def start(self) -> None:
        """Begin to watch the peers."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENT_S)
            self._session = aiohttp.ClientSession(timeout=timeout, read_bufsize=LINE_MAX)

    async def stop(self) -> None:
        """Stop watching, and forget the reports."""
        session, self._session = self._session, None
        tasks = [task for _, task in self._tasks.values()]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._reports.clear()
        self._up.clear()
        if session is not None:
            await session.close()

    def heard(self) -> dict[str, Heard]:
        """Return what is known of each peer now; watch peers that are new or have a new URL."""
        urls = self._gateway.peer_urls()
        for node, url in urls.items():
            watched = self._tasks.get(node)
            if self._session is not None and (watched is None or watched[0] != url):
                if watched is not None:
                    watched[1].cancel()
                self._tasks[node] = (url, asyncio.create_task(self._watch(node, url)))
        now = time.monotonic()
        found = {}
        for node in urls:
            report, at = self._reports.get(node, (None, now))
            up = self._up.get(node)
            if report is None:
                found[node] = Heard(None, None, up)
            else:
                age_s = now - at
                found[node] = Heard(report, int(age_s * 1_000), bool(up) and age_s < SILENT_S)
        return found

    async def _watch(self, node: str, url: str) -> None:
        """Read the reports of one peer; connect again after each failure."""
        while True:
            is_up = False
            with suppress(aiohttp.ClientError, OSError, TimeoutError, ValueError):
                is_up = await self._read(node, url)
            # The last report stays, with its age: it shows where the broker was.
            self._up[node] = is_up
            await asyncio.sleep(RETRY_S)

    async def _read(self, node: str, url: str) -> bool:
        """Read the reports of one connection; return whether the peer is up without reports.

        An earlier version has no reports, and a broker may have too many streams. Raises ValueError
        for what is not a report.
        """
        assert self._session is not None
        address = url.rstrip("/") + REPORT_PATH
        async with self._session.get(address, ssl=certificates(url)) as answer:
            found = (answer.headers.get(NODE_HEADER), answer.headers.get(CLUSTER_HEADER))
            if found != (node, self._gateway.cluster):
                return False
            if answer.status != 200:
                return True
            name = b""
            async for line in answer.content:
                kind, _, value = line.rstrip(b"\n").partition(b": ")
                if kind == b"event":
                    name = value
                elif kind == b"data":
                    self._take(node, name, value)
        return False

    def _take(self, node: str, name: bytes, data: bytes) -> None:
        """Take one event. Raises ValueError if it is malformed."""
        if name == b"report":
            report = _REPORT.decode(data)
            if report.id == node:
                self._reports[node] = (report, time.monotonic())
                self._up[node] = True
        elif name == b"timeline":
            self.timelines[node] = _TIMELINE.decode(data)
