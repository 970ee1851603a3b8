"""The bench of the real world: loopback sockets, real files, the real store protocol.

Time is real. A crash is that of a machine: unsynced data is lost.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from aiohttp import web

from tests.conformance.bench import CLIENT, Monitor
from tests.net.power import Power
from tests.net.storage_tools import path_of
from tests.stepped import stepped
from yak_core.config import BrokerConfig, ProducerConfig
from yak_core.contract.events import NotSent, Received, Recovered, Started
from yak_core.contract.host import Host
from yak_core.contract.messages import PeerMessage, Request
from yak_core.contract.node import Node
from yak_core.ids import CallId, Micros, NodeId
from yak_core.metadata.store_calls import MetaOutcome, MetaRequest, Unknown
from yak_net.broker.peers import Peers
from yak_net.client.links import Links
from yak_net.client.runtime import ClientBackend
from yak_net.http.shares import STREAM_BYTES_MAX
from yak_net.http.streams import ClientStream, accept
from yak_net.metadata.embedded import EmbeddedMetadata
from yak_net.metadata.redis_store import RedisStore
from yak_net.runtime.backend import NetBackend, OnAnswer
from yak_net.runtime.budget import Budget
from yak_net.runtime.wire import CLIENT_PATH, PEER_PATH
from yak_net.storage import LoopWrites, System, open_storage
from yak_net.storage.loop_writes import STALLED_S

CONFIG = BrokerConfig(("n1", "n2"))
SECOND = 1_000_000
STORE_US = 60 * SECOND
"""Never reached: a disconnected store refuses at once, and replies are lost at once."""


class FaultyDisk:
    """The real file system of one machine, with stalls, NoSpace and power failures."""

    def __init__(self, root: Path) -> None:
        root.mkdir(exist_ok=True)
        self.power = Power(root)
        self.power.settle()
        self.full = False
        self.open = threading.Event()
        self.open.set()
        calls = self.power.system
        self.system = System(
            write=self._write,
            sync=lambda fd: self._held(calls.sync, fd),
            truncate=lambda fd, size: self._held(calls.truncate, fd, size),
            replace=lambda source, target: self._held(calls.replace, source, target),
            unlink=lambda path: self._held(calls.unlink, path),
            sync_folder=lambda folder: self._held(calls.sync_folder, folder),
            boot_id=lambda: root.name,
            file_system=lambda folder: "ext4",
        )

    def _held(self, call: Callable[..., None], *args: object) -> None:
        assert self.open.wait(60), "the disk was not released"
        call(*args)

    def _write(self, fd: int, buffers: Sequence[bytes | memoryview], at: int) -> int:
        assert self.open.wait(60), "the disk was not released"
        if self.full and path_of(fd).suffix == ".log":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.power.system.write(fd, buffers, at)


class FaultyStore:
    """The store of one node, whose replies can be lost."""

    def __init__(self, store: RedisStore) -> None:
        self.store = store
        self.loses_replies = False

    async def call(self, request: MetaRequest) -> MetaOutcome:
        outcome = await self.store.call(request)
        return Unknown() if self.loses_replies else outcome


class Storm:
    """Drops, duplicates and delays messages to one node while active."""

    def __init__(self, receive: Callable[[NodeId, PeerMessage], None]) -> None:
        self.raging = True
        self._receive = receive
        self._draw = random.Random(1)

    def __call__(self, src: NodeId, message: PeerMessage) -> None:
        if not self.raging:
            self._receive(src, message)
            return
        for _ in range(self._draw.choice((0, 1, 1, 2))):
            delay = self._draw.uniform(0, 0.02)
            asyncio.get_running_loop().call_later(delay, self._receive, src, message)


class Place:
    """One machine: its address, its disk, and its running process, if any."""

    def __init__(self, bench: NetBench, node_id: NodeId) -> None:
        self.bench = bench
        self.node_id = node_id
        self.starts = 0
        self.disk = FaultyDisk(bench.path / f"{node_id}-0")
        # Its clock stands still, so that a stall of the disk ends the writes of the loop: the
        # checks run on the loop, which must not wait until a check releases the disk.
        self.loop_writes = LoopWrites(clock=lambda: 0.0)
        self.store = FaultyStore(RedisStore(bench.store_url, "bench", STORE_US))
        self.backend: NetBackend | None = None
        self.peers: Peers | None = None
        self.storm: Storm | None = None
        self.runner: web.AppRunner | None = None
        self.port = 0
        self.dead: list[tuple[NetBackend, FaultyDisk]] = []

    async def start(self, node: Node) -> None:
        self.starts += 1
        peers = self.peers = Peers(self.node_id, "bench", self._receive, self._lost)
        if self.bench.stormy:
            self.storm = Storm(self._receive)
            peers.receive = self.storm
        app = web.Application()
        app.router.add_get(PEER_PATH, peers.serve)
        app.router.add_get(CLIENT_PATH, self._serve_client)
        self.runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self.runner.addresses[0][1]
        storage = open_storage(self.disk.power.root, self.node_id, system=self.disk.system)
        backend = NetBackend(
            storage, peers, self.store, lambda note: None, lambda how, why: None, self.loop_writes
        )
        self.backend = backend
        monitor = self.bench.monitor
        backend.host = Host(
            self.node_id, self.starts, stepped(lambda _: node), backend, monitor, (monitor,)
        )
        nonce = random.SystemRandom().getrandbits(128)
        await self.bench.connect()
        backend.deliver(Started(self.node_id, CONFIG, nonce, storage.recovered))

    async def crash(self) -> None:
        assert self.backend is not None
        self.backend.abandon()
        self.dead.append((self.backend, self.disk))
        self.backend = None
        power = self.disk.power
        after = self.bench.path / f"{self.node_id}-{self.starts}"
        power.after(after, lose_bytes=True, lose_names=True)
        # A restart ends a stall of the disk, or recovery would hang.
        full = self.disk.full
        self.disk = FaultyDisk(after)
        self.disk.full = full
        await self.leave()

    async def kill(self) -> None:
        """End the process: its disk executes no further operation, and keeps the written ones."""
        assert self.backend is not None
        self.backend.abandon()
        await self.backend.close()
        self.backend = None
        await self.leave()

    async def leave(self) -> None:
        """Leave the network."""
        if self.peers is not None:
            await self.peers.close()
        if self.runner is not None:
            await self.runner.cleanup()
        self.peers = self.runner = None

    async def close(self) -> None:
        await self.leave()
        if self.backend is not None:
            self.backend.abandon()
            self.dead.append((self.backend, self.disk))
        for backend, disk in self.dead:
            disk.open.set()
            await backend.close()
            disk.power.close()
        await self.store.store.close()

    async def _serve_client(self, request: web.Request) -> web.StreamResponse:
        socket = await accept(request, self.node_id, "bench")
        backend = self.backend

        def start_call(request: Request, on_answer: OnAnswer) -> CallId | None:
            return backend.ask(request, on_answer) if backend and backend.host.alive else None

        def cancel(call: CallId) -> None:
            """Drop the cancellation, because the checks count events."""

        unsent = Budget(STREAM_BYTES_MAX)
        stream = ClientStream(socket, request.protocol, unsent, start_call, cancel)
        return await stream.serve()

    def _receive(self, src: NodeId, message: PeerMessage) -> None:
        if self.backend is not None:
            self.backend.receive(src, message)

    def _lost(self, peer: NodeId) -> None:
        """Drop PeerLost, which is optional, because the checks count events."""


class NetBench:
    """Two places on this machine; see :class:`tests.conformance.bench.Bench`. Close it."""

    patience = 3

    def __init__(self, path: Path, stormy: bool, haste: int) -> None:
        self.haste = haste
        self.path = path
        self.stormy = stormy
        self.monitor = Monitor()
        self.answers: list[object] = []
        self.errors: list[BaseException] = []
        self.metadata = EmbeddedMetadata()
        self.store_url = self.metadata.start()
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(self._on_error)
        self.places: dict[NodeId, Place] = {}
        self.client: ClientBackend | None = None
        self.links: Links | None = None

    def _on_error(self, _loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        error = context.get("exception")
        self.errors.append(
            error if isinstance(error, BaseException) else RuntimeError(str(context["message"]))
        )

    def place(self, node_id: NodeId) -> Place:
        if node_id not in self.places:
            self.places[node_id] = Place(self, node_id)
        return self.places[node_id]

    async def connect(self) -> None:
        """Connect all running places with each other."""
        up = [place for place in self.places.values() if place.peers is not None]
        urls = {place.node_id: f"http://127.0.0.1:{place.port}" for place in up}
        async with asyncio.timeout(10):
            for place in up:
                assert place.peers is not None
                place.peers.update_urls(urls)
                if not place.peers.started:
                    await place.peers.start()
            for place in up:
                for other in up:
                    while place is not other and not place.peers.is_connected(other.node_id):  # type: ignore[union-attr]
                        await asyncio.sleep(0.001)

    def start(self, node_id: NodeId, node: Node) -> None:
        self.loop.run_until_complete(self.place(node_id).start(node))

    def start_client(self, node: Node) -> None:
        async def start() -> None:
            links = self.links = Links(
                lambda src, message: client.deliver(Received(src, message)),
                lambda broker: None,
                lambda correlation: client.deliver(NotSent(correlation)),
            )
            links.urls["n2"] = f"http://127.0.0.1:{self.places['n2'].port}"
            client = self.client = ClientBackend(links, None, lambda reason: None)
            build = stepped(lambda _: node)
            client.host = Host(CLIENT, 1, build, client, self.monitor, (self.monitor,))
            client.deliver(Started(CLIENT, ProducerConfig(("n2",)), 1, Recovered()))

        self.loop.run_until_complete(start())

    def crash(self, node_id: NodeId) -> None:
        self.loop.run_until_complete(self.places[node_id].crash())

    def kill(self, node_id: NodeId) -> None:
        self.loop.run_until_complete(self.places[node_id].kill())

    def is_up(self, node_id: NodeId) -> bool:
        backend = self.places[node_id].backend
        return backend is not None and backend.host.alive

    def call(self, node_id: NodeId, request: Request) -> None:
        async def ask() -> None:
            if node_id == CLIENT:
                assert self.client is not None
                self.client.ask(request)  # type: ignore[arg-type]
                return
            backend = self.places[node_id].backend
            assert backend is not None
            backend.ask(request, self.answers.append)

        self.loop.run_until_complete(ask())

    def run_until(self, condition: Callable[[], bool], within_us: Micros) -> bool:
        async def wait() -> bool:
            until = self.loop.time() + within_us / SECOND
            while not condition() and not self.errors and self.loop.time() < until:
                await asyncio.sleep(0.002)
            return condition()

        met = self.loop.run_until_complete(wait())
        if self.errors:
            raise self.errors.pop()
        return met

    def stall_disk(self, node_id: NodeId) -> None:
        place = self.places[node_id]
        place.disk.open.clear()
        place.loop_writes.thread_took(STALLED_S + 1)

    def release_disk(self, node_id: NodeId) -> None:
        self.places[node_id].disk.open.set()

    def fill_disk(self, node_id: NodeId) -> None:
        self.places[node_id].disk.full = True

    def cut_store(self) -> None:
        self.metadata.down()

    def lose_replies(self, node_id: NodeId) -> None:
        self.places[node_id].store.loses_replies = True

    def heal_store(self) -> None:
        self.metadata.up()
        for place in self.places.values():
            place.store.loses_replies = False

    def heal_network(self) -> None:
        for place in self.places.values():
            if place.storm is not None:
                place.storm.raging = False

    def close(self) -> None:
        """End all tasks and threads and close all sockets."""
        if self.links is not None:
            self.loop.run_until_complete(self.links.close())
        for place in self.places.values():
            self.loop.run_until_complete(place.close())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        self.metadata.stop()
