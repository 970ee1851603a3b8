"""One broker in this process, from start to stop.

A broker consists of the node in its host, the backend with its disk, the links to peers, the store,
and the listening socket. It opens the socket first: a port in use is reported before the broker
changes the data directory. Requests that arrive during the start get the answer "starting".
"""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from typing import Final

import structlog
from aiohttp import web

from yak_core.broker.health import BrokerHealth
from yak_core.broker.node import build_broker
from yak_core.broker.view import BrokerView
from yak_core.config import BrokerConfig
from yak_core.contract.events import Started, StopAsked
from yak_core.contract.host import Host
from yak_core.contract.messages import PeerMessage, Request, Response
from yak_core.contract.notes import Note, PartitionStateObserved
from yak_core.ids import Micros, NodeId
from yak_net.broker.addresses import Addresses
from yak_net.broker.errors import CannotStart
from yak_net.broker.introductions import check_peers, find_followers
from yak_net.broker.link_gate import LinkGate, gated
from yak_net.broker.listener import Listener
from yak_net.broker.meters import Meters, version
from yak_net.broker.own_store import OwnStore, WrongStore
from yak_net.broker.peers import Peers
from yak_net.broker.running_node import RunningNode
from yak_net.broker.time_search import TimeSearch
from yak_net.http.connections import DESCRIPTORS_MIN
from yak_net.http.dashboard import client_urls
from yak_net.http.gateway import BrokerStopped, Health, Phase
from yak_net.http.routes import routes
from yak_net.http.shares import HTTP_BYTES_MAX, STREAM_BYTES_MAX
from yak_net.http.streams import ClientStream, accept
from yak_net.metadata.redis_store import EMBEDDED_NAME, RedisStore
from yak_net.metadata.store_findings import findings_of
from yak_net.metrics.elections import Election
from yak_net.metrics.journal import Entry
from yak_net.runtime.backend import End, NetBackend
from yak_net.runtime.budget import Budget
from yak_net.runtime.connection_errors import listen_error
from yak_net.runtime.note_log import log_note
from yak_net.runtime.settings import BrokerSettings, SettingsError
from yak_net.runtime.timers import wall_ms
from yak_net.runtime.tracing import FileRecorder
from yak_net.runtime.wire import CLIENT_PATH, CLUSTER_HEADER, NODE_HEADER, PEER_PATH
from yak_net.storage import LoopWrites, Storage, StorageError, open_storage
from yak_net.storage.system import descriptor_limit
from yak_net.storage.times import TimePosition

STOP_US: Final = 10_000_000
"""Microseconds; a stop that takes longer is not clean."""

log = structlog.get_logger("yak.broker")


class BrokerServer:
    """A broker that runs until its incarnation ends; implements the Gateway of its routes.

    ``ended`` is set when the incarnation has ended. ``halt_reason`` is then the reason of a halt,
    or empty after a requested stop; ``clean`` says whether that stop was clean.
    """

    def __init__(self, settings: BrokerSettings) -> None:
        self.settings = settings
        self.node_id: NodeId = settings.node_id
        self.cluster = settings.cluster
        self.version = version()
        self.phase = Phase.STARTING
        self.halt_reason = ""
        self.clean = False
        self.ended = asyncio.Event()
        self.peers = Peers(self.node_id, self.cluster, self._receive, self._on_lost)
        self.addresses = Addresses(settings, self.peers)
        self.store: RedisStore | None = None
        self._recorder: FileRecorder | None = None
        self._listener: Listener | None = None
        self._unsent = Budget(STREAM_BYTES_MAX)
        self._gate: LinkGate | None = None
        self._in_flight = Budget(HTTP_BYTES_MAX)
        self.meters = Meters(self.node_id, self.cluster, self._unsent, self._in_flight)
        self.node = RunningNode(self.meters)
        self._storage: Storage | None = None
        self._time_search: TimeSearch | None = None
        self._own_store: OwnStore | None = None
        self._tasks: list[asyncio.Task[None]] = []

    # -- start ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen, recover the log, and start the incarnation.

        Raises CannotStart if the broker cannot start; the caller then calls :meth:`close`.
        """
        settings = self.settings
        timeout_us = settings.config_value("store_timeout_us")
        try:
            self.store = RedisStore(settings.redis_url, self.cluster, timeout_us)
        except ValueError as error:
            raise CannotStart(str(error)) from error
        await self._listen()
        try:
            self._storage = storage = await asyncio.to_thread(
                open_storage,
                settings.data_dir,
                self.node_id,
                self.cluster,
                producers_max=settings.config_value("producers_max"),
                system=self.meters.system(),
            )
        except StorageError as error:
            raise CannotStart(str(error)) from error
        for warning in storage.warnings:
            log.warning("recovery", warning=warning)
        recovered = storage.recovered
        log.info("recovered", leo=recovered.leo, intact=recovered.intact)
        self._own_store = OwnStore(self.store, storage.folder)
        try:
            await self._own_store.check()
        except WrongStore as error:
            raise CannotStart(str(error)) from error
        await check_peers(settings)
        try:
            config = await self._config(self.store)
        except SettingsError as error:
            raise CannotStart(str(error)) from error
        if self.settings.trace is not None:
            try:
                call_soon = asyncio.get_running_loop().call_soon
                self._recorder = FileRecorder(self.settings.trace, call_soon=call_soon)
            except OSError as error:
                reason = error.strerror or str(error)
                raise CannotStart(
                    f"cannot write the trace {self.settings.trace}: {reason}; "
                    "choose another file with --trace"
                ) from error
            log.info("recording trace", file=str(self._recorder.path))
        await self.peers.start()
        if settings.link_gate is not None:
            self._gate = LinkGate(settings.link_gate)
        self._start_node(config, storage)

    async def _listen(self) -> None:
        settings = self.settings
        limit = descriptor_limit()
        if limit < DESCRIPTORS_MIN:
            raise CannotStart(
                f"the limit of open files is {limit}, at least {DESCRIPTORS_MIN} are needed; "
                f"raise it, for example with ulimit -n {DESCRIPTORS_MIN}"
            )
        handlers = [
            *routes(self, budget=self._in_flight),
            web.get(PEER_PATH, self.peers.serve),
            web.get(CLIENT_PATH, self._serve_client),
        ]
        identity = {NODE_HEADER: self.node_id, CLUSTER_HEADER: self.cluster}
        self._listener = Listener(
            settings, limit, handlers, identity, self.meters.counts,
            lambda: client_urls(self).values(),
        )  # fmt: skip
        self.meters.connections = self._listener.connections
        try:
            port = await self._listener.open()
        except OSError as error:
            reason = listen_error(error, settings.host, settings.port)
            raise CannotStart(reason) from error
        self.addresses.listen_on(port)

    async def _serve_client(self, request: web.Request) -> web.StreamResponse:
        socket = await accept(request, self.node_id, self.cluster)
        stream = ClientStream(
            socket, request.protocol, self._unsent, self.node.start_call, self.node.cancel,
            check_records=self.settings.check_records,
        )  # fmt: skip
        return await stream.serve()

    async def _config(self, store: RedisStore) -> BrokerConfig:
        """Return the node's configuration.

        A leader that was given follower URLs first waits until it knows the ids of its followers.
        """
        settings = self.settings
        # The supervisor of an embedded store says once how durable it is.
        if not settings.lifeline or await store.name() != EMBEDDED_NAME:
            for finding in await findings_of(store):
                log.warning("metadata store", finding=str(finding.name), warning=str(finding))
        if store.problem:
            log.warning("metadata store", problem=store.problem)
        self._tasks.append(asyncio.create_task(self._watch_store(store)))
        replicas = tuple(sorted(node for node, _ in settings.brokers)) or (self.node_id,)
        if not settings.knows_replicas and settings.creates:
            replicas = await find_followers(settings, store, self.peers)
        return settings.broker_config(self.addresses.own_url, replicas)

    def _start_node(self, config: BrokerConfig, storage: Storage) -> None:
        assert self.store is not None
        timeout_us = self.settings.config_value("store_timeout_us")
        peers, reached = gated(self.node_id, self.peers, self.store, self._gate, timeout_us)
        sender, store = self.meters.sender(peers), self.meters.store(reached)
        loop_writes = LoopWrites.of(config.flush)
        backend = NetBackend(storage, sender, store, self._on_note, self._on_end, loop_writes)
        self._time_search = TimeSearch(storage)
        self.meters.log_bytes = lambda: storage.log.position
        self._storage = None  # the backend's disk closes it from now on
        self.node.backend = backend
        backend.host = Host(self.node_id, 1, build_broker(), backend, self._recorder)
        self.phase = Phase.RUNNING
        nonce = secrets.randbits(128)
        backend.deliver(Started(self.node_id, config, nonce, storage.recovered))

    # -- stop -----------------------------------------------------------------------------------

    def request_stop(self) -> None:
        """Start a clean stop; ``ended`` is set when it is complete."""
        if self.phase is Phase.RUNNING and self.node.backend is not None:
            self.phase = Phase.STOPPING
            self.node.backend.deliver(StopAsked(STOP_US))
        elif self.node.backend is None:
            self._on_end(End.EXITED, "")

    async def close(self) -> None:
        """Close links, socket, disk, store and trace."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.node.close()
        await self.peers.close()
        if self._gate is not None:
            self._gate.close()
        if self._own_store is not None:
            await self._own_store.close()
        if self._listener is not None:
            await self._listener.close()
        if self._time_search is not None:
            await self._time_search.close()
        if self.node.backend is not None:
            await self.node.backend.close()
        elif self._storage is not None:
            self._storage.close()
        if self.store is not None:
            await self.store.close()
        if self._recorder is not None:
            self._recorder.close()

    def _on_end(self, end: End, reason: str) -> None:
        if end is End.EXITED:
            self.phase = Phase.STOPPING
            self.clean = not reason
        else:
            self.phase = Phase.HALTED
            self.halt_reason = reason
        self.node.stopped()
        self.ended.set()

    # -- the gateway ----------------------------------------------------------------------------

    def url_of(self, node: NodeId | None) -> str:
        """Return a broker's URL for clients, as in the partition state; "" if it is unknown."""
        return self.addresses.client_url_of(node)

    def peer_urls(self) -> dict[NodeId, str]:
        """Return the other brokers' URLs for brokers."""
        return self.peers.urls()

    def history(self) -> tuple[list[Election], list[Entry]]:
        """Return the newest elections and events that this broker has seen, oldest first."""
        counts = self.meters.counts
        return list(counts.elections), list(counts.journal)

    def wall_ms(self) -> int:
        """Return the wall clock in ms since 1970, for record timestamps."""
        return wall_ms()

    def health(self) -> BrokerHealth | None:
        """Return the health of the node now; the reason has what is known of the store's outage."""
        health = self.node.health()
        if health is None or health.store_answers or self.store is None or not self.store.problem:
            return health
        return dataclasses.replace(health, reason=f"{health.reason}: {self.store.problem}")

    def view(self) -> BrokerView | None:
        """Return the state of the node now; None while no node runs."""
        return self.node.view()

    def metrics(self, accept: str, status: Health, *, is_ready: bool) -> tuple[bytes, str]:
        """Return the page of metrics in a format that ``accept`` allows, and its content type."""
        view, health = self.view(), self.health()
        return self.meters.page(accept, self.peers, status, is_ready, view, health)

    def appended_bytes(self) -> int:
        """Return the size of all batches appended since the start of the process."""
        return self.meters.counts.appended_bytes

    async def first_since(self, timestamp_ms: int, end: int) -> TimePosition | None:
        """Return the first record below ``end`` since a time, as the gateway says."""
        if self._time_search is None or self.view() is None:
            raise BrokerStopped(sent=False)
        return await self._time_search.find(timestamp_ms, end)

    async def ask(self, request: Request) -> Response:
        """Deliver a request to the node and wait for the response, as the gateway says."""
        return await self.node.ask(request)

    # -- peers, notes and background tasks ------------------------------------------------------

    def _receive(self, src: NodeId, message: PeerMessage) -> None:
        if self.node.backend is not None:
            self.meters.counts.received.add(message)
            self.node.backend.receive(src, message)

    def _on_lost(self, peer: NodeId) -> None:
        if self.node.backend is not None:
            self.node.backend.peer_lost(peer)

    def _leader_silence(self) -> Micros | None:
        view = self.view()
        return None if view is None else view.silent_us

    def _on_note(self, note: Note) -> None:
        self.meters.counts.on_note(note, self._leader_silence)
        if isinstance(note, PartitionStateObserved):
            broker = self.node.broker
            if broker is not None and broker.partition is not None:
                self.addresses.update(broker.partition)
                if self._own_store is not None:
                    self._own_store.remember(broker.partition.store_id)
        log_note(note)

    async def _watch_store(self, store: RedisStore) -> None:
        problem = store.problem
        while True:
            await asyncio.sleep(0.2)
            if store.problem != problem:
                problem = store.problem
                if problem:
                    log.warning("metadata store", problem=problem)
                else:
                    log.info("metadata store", problem="resolved")
