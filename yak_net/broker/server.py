"""One broker in this process, from start to stop.

A broker consists of the node in its host, the backend with its disk, the links to peers, the store,
and the listening socket. It opens the socket first: a port in use is reported before the broker
changes the data directory. Requests that arrive during the start get the answer "starting".
"""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from contextlib import suppress
from typing import Final

import aiohttp
import structlog
from aiohttp import web

from yak_core.broker.health import BrokerHealth, health_of
from yak_core.broker.node import build_broker
from yak_core.broker.roles import Broker
from yak_core.broker.view import BrokerView, view_of
from yak_core.config import BrokerConfig
from yak_core.contract.client_calls import ClientResult
from yak_core.contract.events import Started, StopAsked
from yak_core.contract.host import Host
from yak_core.contract.messages import PeerMessage, Request, Response
from yak_core.contract.notes import Note, PartitionStateObserved
from yak_core.ids import CallId, Micros, NodeId
from yak_core.metadata.store_calls import Read, StoreOk
from yak_net.broker.addresses import Addresses
from yak_net.broker.link_gate import LinkGate, gated
from yak_net.broker.listener import Listener
from yak_net.broker.meters import Meters, version
from yak_net.broker.own_store import OwnStore, WrongStore
from yak_net.broker.peers import Peers
from yak_net.broker.time_search import TimeSearch
from yak_net.http.connections import DESCRIPTORS_MIN
from yak_net.http.gateway import BrokerStopped, Health, Phase
from yak_net.http.routes import routes
from yak_net.http.shares import HTTP_BYTES_MAX, STREAM_BYTES_MAX
from yak_net.http.streams import ClientStream, accept
from yak_net.metadata.redis_store import EMBEDDED_NAME, RedisStore
from yak_net.metadata.store_findings import findings_of
from yak_net.metrics.elections import Election
from yak_net.metrics.journal import Entry
from yak_net.runtime.backend import End, NetBackend, OnAnswer
from yak_net.runtime.budget import Budget
from yak_net.runtime.connection_errors import listen_error
from yak_net.runtime.note_log import log_note
from yak_net.runtime.settings import BrokerSettings, SettingsError
from yak_net.runtime.timers import wall_ms
from yak_net.runtime.tracing import FileRecorder
from yak_net.runtime.wire import CLIENT_PATH, CLUSTER_HEADER, NODE_HEADER, PEER_PATH, certificates
from yak_net.storage import Storage, StorageError, open_storage
from yak_net.storage.system import descriptor_limit
from yak_net.storage.times import TimePosition

STOP_US: Final = 10_000_000
"""Microseconds; a stop that takes longer is not clean."""
PEER_CHECK_S: Final = 1.0

log = structlog.get_logger("yak.broker")


class CannotStart(Exception):
    """The broker cannot start; the message says why and what to do."""


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
        self._backend: NetBackend | None = None
        self._recorder: FileRecorder | None = None
        self._listener: Listener | None = None
        self._unsent = Budget(STREAM_BYTES_MAX)
        self._gate: LinkGate | None = None
        self._in_flight = Budget(HTTP_BYTES_MAX)
        self.meters = Meters(self.node_id, self.cluster, self._unsent, self._in_flight)
        self._storage: Storage | None = None
        self._time_search: TimeSearch | None = None
        self._own_store: OwnStore | None = None
        self._pending: set[asyncio.Future[Response]] = set()
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
        await self._check_peers()
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
        self._listener = Listener(settings, limit, handlers, identity, self.meters.counts)
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
            socket, request.protocol, self._unsent, self.start_call, self.cancel,
            check_records=self.settings.check_records,
        )  # fmt: skip
        return await stream.serve()

    async def _check_peers(self) -> None:
        """Raise CannotStart if a peer's URL answers with another node id or another cluster."""
        others = [(node, url) for node, url in self.settings.brokers if node != self.node_id]
        found = await asyncio.gather(*(_identity_at(url) for _, url in others))
        for (node, url), (name, cluster) in zip(others, found, strict=True):
            if cluster and cluster != self.cluster:
                raise CannotStart(
                    f"cluster mismatch: {name} at {url} belongs to cluster {cluster}, this broker "
                    f"to cluster {self.cluster}; correct --cluster or the list of brokers"
                )
            if name and name != node:
                raise CannotStart(
                    f"expected {node} at {url}, found {name}; correct the list of brokers"
                )

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
            replicas = await self._find_followers(store)
        return settings.broker_config(self.addresses.own_url, replicas)

    async def _find_followers(self, store: RedisStore) -> tuple[NodeId, ...]:
        """Return the ids of all brokers: from the partition state if the cluster exists.

        Otherwise waits until each follower URL answers. Raises CannotStart if two ids are equal.
        """
        found_ids: dict[str, NodeId] = {}
        logged: set[str] = set()
        while True:
            outcome = await store.call(Read())
            if isinstance(outcome, StoreOk) and outcome.value.state is not None:
                return outcome.value.state.replicas
            for url in self.settings.followers:
                name, _ = await _identity_at(url)
                if name:
                    found_ids[url] = name
                elif url not in logged:
                    logged.add(url)
                    log.info("waiting for follower", url=url)
            if len(found_ids) == len(self.settings.followers):
                ids = (self.node_id, *found_ids.values())
                if len(set(ids)) != len(ids):
                    raise CannotStart(
                        f"two brokers have the same id, got {', '.join(sorted(ids))}; "
                        "give each broker its own --node-id"
                    )
                self.peers.update_urls({node: url for url, node in found_ids.items()})
                return tuple(sorted(ids))
            await asyncio.sleep(0.1)

    def _start_node(self, config: BrokerConfig, storage: Storage) -> None:
        assert self.store is not None
        timeout_us = self.settings.config_value("store_timeout_us")
        peers, reached = gated(self.node_id, self.peers, self.store, self._gate, timeout_us)
        sender, store = self.meters.sender(peers), self.meters.store(reached)
        backend = NetBackend(storage, sender, store, self._on_note, self._on_end)
        self._time_search = TimeSearch(storage)
        self.meters.log_bytes = lambda: storage.log.position
        self._storage = None  # the backend's disk closes it from now on
        self._backend = backend
        backend.host = Host(self.node_id, 1, build_broker(), backend, self._recorder)
        self.phase = Phase.RUNNING
        nonce = secrets.randbits(128)
        backend.deliver(Started(self.node_id, config, nonce, storage.recovered))

    # -- stop -----------------------------------------------------------------------------------

    def request_stop(self) -> None:
        """Start a clean stop; ``ended`` is set when it is complete."""
        if self.phase is Phase.RUNNING and self._backend is not None:
            self.phase = Phase.STOPPING
            self._backend.deliver(StopAsked(STOP_US))
        elif self._backend is None:
            self._on_end(End.EXITED, "")

    async def close(self) -> None:
        """Close links, socket, disk, store and trace."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for answer in tuple(self._pending):
            answer.cancel()
        await self.peers.close()
        if self._gate is not None:
            self._gate.close()
        if self._own_store is not None:
            await self._own_store.close()
        if self._listener is not None:
            await self._listener.close()
        if self._time_search is not None:
            await self._time_search.close()
        if self._backend is not None:
            await self._backend.close()
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
        for answer in tuple(self._pending):
            if not answer.done():
                answer.set_exception(BrokerStopped(sent=True))
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
        backend = self._backend
        if backend is None or not backend.host.alive:
            return None
        broker = backend.host.node
        assert isinstance(broker, Broker)
        health = health_of(broker, backend.now())
        problem = "" if self.store is None or health.store_answers else self.store.problem
        if not problem:
            return health
        return dataclasses.replace(health, reason=f"{health.reason}: {problem}")

    def view(self) -> BrokerView | None:
        """Return the state of the node now; None while no node runs."""
        backend = self._backend
        if backend is None or not backend.host.alive:
            return None
        broker = backend.host.node
        assert isinstance(broker, Broker)
        return view_of(broker, backend.now())

    def metrics(self, accept: str, status: Health, *, is_ready: bool) -> tuple[bytes, str]:
        """Return the page of metrics in a format that ``accept`` allows, and its content type."""
        view, health = self.view(), self.health()
        return self.meters.page(accept, self.peers, status, is_ready, view, health)

    def start_call(self, request: Request, on_answer: OnAnswer) -> CallId | None:
        """Deliver a request to the node; return None while no node runs."""
        backend = self._backend
        if backend is None or not backend.host.alive:
            return None
        return backend.ask(request, self.meters.counts.measured(request, on_answer))

    def cancel(self, call: CallId) -> None:
        """Cancel a call whose client disconnected."""
        if self._backend is not None:
            self._backend.cancel(call)

    async def first_since(self, timestamp_ms: int, end: int) -> TimePosition | None:
        """Return the first record below ``end`` since a time, as the gateway says."""
        if self._time_search is None or self.view() is None:
            raise BrokerStopped(sent=False)
        return await self._time_search.find(timestamp_ms, end)

    async def ask(self, request: Request) -> Response:
        """Deliver a request to the node and wait for the response.

        Cancelling the coroutine cancels the call. Raises BrokerStopped if the broker stops first.
        """
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

        def on_answer(result: Response | ClientResult) -> None:
            if not answer.done():
                answer.set_result(result)  # type: ignore[arg-type]

        call = self.start_call(request, on_answer)
        if call is None:
            raise BrokerStopped(sent=False)
        self._pending.add(answer)
        try:
            return await answer
        finally:
            self._pending.discard(answer)
            if not answer.done() or answer.cancelled():
                self.cancel(call)

    # -- peers, notes and background tasks ------------------------------------------------------

    def _receive(self, src: NodeId, message: PeerMessage) -> None:
        if self._backend is not None:
            self.meters.counts.received.add(message)
            self._backend.receive(src, message)

    def _on_lost(self, peer: NodeId) -> None:
        if self._backend is not None:
            self._backend.peer_lost(peer)

    def _leader_silence(self) -> Micros | None:
        view = self.view()
        return None if view is None else view.silent_us

    def _on_note(self, note: Note) -> None:
        self.meters.counts.on_note(note, self._leader_silence)
        if isinstance(note, PartitionStateObserved):
            assert self._backend is not None
            broker = self._backend.host.node
            assert isinstance(broker, Broker)
            if broker.partition is not None:
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


async def _identity_at(url: str) -> tuple[NodeId, str]:
    """Return the id and cluster of the broker at ``url``; empty if none answers in PEER_CHECK_S."""
    with suppress(aiohttp.ClientError, OSError, TimeoutError):
        timeout = aiohttp.ClientTimeout(total=PEER_CHECK_S)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"{url}/health", ssl=certificates(url)) as answer,
        ):
            return (answer.headers.get(NODE_HEADER, ""), answer.headers.get(CLUSTER_HEADER, ""))
    return ("", "")
