"""``GET /v1/cluster/stream``: the state of the cluster as server-sent events, while it changes.

One task makes the events for all clients, at most ten times a second, and only while there are
clients. A slow client gets the newest state, not each one. With ``scope=broker``, the stream is the
report of this broker alone, which the other brokers read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import structlog
from aiohttp import web
from msgspec import Struct, to_builtins

from yak_net.http.endpoints import STREAM_CLUSTER
from yak_net.http.gateway import Gateway, Phase
from yak_net.http.peer_reports import PeerReports
from yak_net.http.reports import (
    ClusterState,
    Timeline,
    cluster_state,
    merged,
    own_report,
)
from yak_net.http.request_parsing import check_query, invalid_request
from yak_net.http.sse import EventStream, Slots, event

STREAMS_MAX: Final = 64
"""Open streams of one scope of one broker."""
PERIOD_S: Final = 0.1
"""Seconds between two states that differ."""
IDLE_S: Final = 1.0
"""Seconds between two states that differ only in times."""
LINGER_S: Final = 5.0
"""Seconds for which the task continues without clients: a browser connects again."""
TIMES: Final = ("at_ms", "age_ms", "lag_ms", "lease_ms", "silent_ms", "heard_ms")
"""Members that change all the time; a change of them alone is not sent at once."""

log = structlog.get_logger("yak.http")


def _nothing() -> None:
    """Do nothing."""


async def _nothing_later() -> None:
    """Do nothing."""


class Feed:
    """The newest events of one scope, made by one task while there are clients.

    ``name`` is the name of the events with a state. ``on_start`` is called before the first event,
    ``on_stop`` after the last one.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Struct],
        timeline: Callable[[], Timeline],
        on_start: Callable[[], None] = _nothing,
        on_stop: Callable[[], Awaitable[None]] = _nothing_later,
    ) -> None:
        self._name = name
        self._make = make
        self._timeline = timeline
        self._on_start, self._on_stop = on_start, on_stop
        self._clients = 0
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        #: The numbers of the newest events; 0 before the first.
        self._number = self._timeline_number = 0
        self._event = self._timeline_event = b""
        self._known: tuple[object, bytes] | None = None
        self._made_at = 0.0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Keep the task running."""
        self._clients += 1
        if self._task is None:
            self._on_start()
            self._task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            self._clients -= 1

    async def serve(self, stream: EventStream, ended: Callable[[], bool]) -> None:
        """Send the events to one client until ``ended()`` or an error of the task."""
        number = timeline = 0
        with self.watched():
            while self._task is not None:
                if number == self._number:
                    if ended():
                        return
                    changed = self._changed
                    with suppress(TimeoutError):
                        async with asyncio.timeout(IDLE_S):
                            await changed.wait()
                    continue
                events = self._event
                if timeline != self._timeline_number:
                    events = self._timeline_event + events
                number, timeline = self._number, self._timeline_number
                await stream.send(events)

    async def _run(self) -> None:
        now = asyncio.get_running_loop().time
        alone_since = now()
        try:
            while self._clients or now() - alone_since < LINGER_S:
                if self._clients:
                    alone_since = now()
                self._refresh(now())
                await asyncio.sleep(PERIOD_S)
        except Exception:
            log.exception("watching the cluster failed")
        finally:
            self._task = self._known = None
            self._changed.set()
            await self._on_stop()

    def _refresh(self, now: float) -> None:
        """Make the events again if the state differs, or IDLE_S after the last ones."""
        state = self._make()
        timeline = event("timeline", self._timeline())
        known = (_without_times(to_builtins(state)), timeline)
        if known == self._known and now - self._made_at < IDLE_S:
            return
        if timeline != self._timeline_event:
            self._timeline_event = timeline
            self._timeline_number += 1
        self._known = known
        self._event = event(self._name, state)
        self._number += 1
        self._made_at = now
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def _without_times(found: object) -> object:
    """Return JSON without the members of TIMES."""
    if isinstance(found, dict):
        return {name: _without_times(value) for name, value in found.items() if name not in TIMES}
    if isinstance(found, list):
        return [_without_times(value) for value in found]
    return found


class ClusterWatch:
    """The streams of one broker about itself and about its cluster."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._peers = PeerReports(gateway)
        self._feeds = {
            "broker": Feed("report", lambda: own_report(gateway), self._own_timeline),
            "cluster": Feed(
                "state", self.state, self._timeline, self._peers.start, self._peers.stop
            ),
        }
        self._slots = {scope: Slots(STREAMS_MAX, f"{scope} streams") for scope in self._feeds}

    def state(self) -> ClusterState:
        """Return the state of the cluster, as far as it is known now."""
        return cluster_state(self._gateway, own_report(self._gateway), self._peers.heard())

    async def asked_state(self, within_s: float) -> ClusterState:
        """Return the state of the cluster, when each peer has reported, or cannot be reached.

        Waits for at most ``within_s`` seconds.
        """
        deadline = asyncio.get_running_loop().time() + within_s
        with self._feeds["cluster"].watched():
            while True:
                state = self.state()
                all_known = all(row.up is not None for row in state.brokers)
                if all_known or asyncio.get_running_loop().time() > deadline:
                    return state
                await asyncio.sleep(PERIOD_S / 5)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Handle ``GET /v1/cluster/stream``. Raises Problem before the first event."""
        check_query(request, STREAM_CLUSTER)
        scope = request.query.get("scope", "cluster")
        if scope not in self._feeds:
            shown = ascii(scope)[:60]
            raise invalid_request(f"scope must be cluster or broker, got {shown}")
        with self._slots[scope].take():
            stream = EventStream(request)
            await stream.open()
            await self._feeds[scope].serve(stream, self._has_ended)
            return await stream.close()

    def _has_ended(self) -> bool:
        return self._gateway.phase is not Phase.STARTING and self._gateway.view() is None

    def _own_timeline(self) -> Timeline:
        return Timeline(*self._gateway.history())

    def _timeline(self) -> Timeline:
        return merged([self._own_timeline(), *self._peers.timelines.values()])
