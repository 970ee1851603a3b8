"""Runs the brokers of a cluster as processes on this machine; must never let one outlive it.

What keeps that promise when this process is killed: each broker inherits the end of a pipe (its
lifeline) and stops by itself when the other end, which only this process has, is closed; and the
guard (orphan_guard.py) lets those continue that stood still, and kills those that hang.

A broker that was killed, or died, stays down until :meth:`Supervisor.restart`.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Final

from yak_net.cluster import CannotStart, ClusterError, UnknownNode, must
from yak_net.cluster.metadata import KeptMetadata, members
from yak_net.cluster.orphan_guard import OrphanGuard
from yak_net.cluster.process import HOST, BrokerProcess, environment, log_path, reserve_port
from yak_net.cluster.spec import ClusterSpec
from yak_net.cluster.statefile import InUse, holder_of, take_lock
from yak_net.cluster.status import DOWN, RUNNING, STARTING, BrokerStatus, ClusterStatus

if TYPE_CHECKING:
    import socket

    import aiohttp

    from yak_net.embedded import EmbeddedMetadata

__all__ = ["ClusterSpec", "Supervisor"]

LOOK_S: Final = 0.05

OnEvent = Callable[[str], None]


class Supervisor:
    """A cluster from :meth:`open` to :meth:`close`; ``async with`` also starts all brokers.

    ``on_event`` is told what happens unasked, a sentence each. ``died`` are the brokers that
    ended without being asked to, ``started_pids`` all that were ever started, the guard included.
    """

    def __init__(self, spec: ClusterSpec, on_event: OnEvent | None = None) -> None:
        self.spec = spec
        self.nodes: tuple[str, ...] = ()
        self.urls: dict[str, str] = {}
        self.redis_url = spec.redis_url
        self.died: list[str] = []
        self.started_pids: list[int] = []
        self.stopped_cleanly = True
        self._on_event = on_event
        self._brokers: dict[str, BrokerProcess] = {}
        self._held: list[socket.socket] = []
        self._lock: int | None = None
        self._metadata: KeptMetadata | None = None
        self._guard: OrphanGuard | None = None
        # A file object closes the descriptor even where nobody has come to close it.
        self._lifeline: tuple[IO[bytes], IO[bytes]] | None = None
        self._session: aiohttp.ClientSession | None = None
        self._closing = False
        self._served = False

    async def __aenter__(self) -> Supervisor:
        """Open it and start all brokers. Raises ClusterError; then nothing is left."""
        try:
            await self.open()
            await self.start_all()
        except BaseException:
            await self._close_surely()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop everything; a cancellation meanwhile makes it quick, not incomplete."""
        await self._close_surely()

    # -- what there is --------------------------------------------------------------------------

    @property
    def pids(self) -> dict[str, int]:
        """The process ids of the brokers that run, paused ones included."""
        found = {node: broker.pid for node, broker in self._brokers.items()}
        return {node: pid for node, pid in found.items() if pid is not None}

    @property
    def bootstrap_servers(self) -> tuple[str, ...]:
        """``host:port`` of every broker."""
        return tuple(url.removeprefix("http://") for url in self.urls.values())

    @property
    def embedded(self) -> EmbeddedMetadata | None:
        """The embedded metadata server, None with a Redis."""
        return None if self._metadata is None else self._metadata.server

    @property
    def note(self) -> str:
        """What there is to know about the metadata of a cluster that was here before."""
        return "" if self._metadata is None else self._metadata.note

    def log_of(self, node: str) -> Path:
        """Where the output of a broker goes."""
        return log_path(self.spec.logs, node)

    # -- begin and end --------------------------------------------------------------------------

    async def open(self) -> None:
        """Get everything ready but the brokers. Raises ClusterError; close it then, too."""
        import aiohttp

        spec, data = self.spec, self.spec.data
        for folder in filter(None, (data, spec.trace_dir, spec.logs)):
            with must(f"make the folder {folder}"):
                folder.mkdir(parents=True, exist_ok=True)
        try:
            with must(f"lock {data}"):
                self._lock = take_lock(data / "lock")
        except InUse as busy:
            by = f" by the cluster of process {busy.holder}" if busy.holder else ""
            raise CannotStart(
                f"{data} is in use{by}: stop that one, or give another --data-dir"
            ) from None
        await self._wait_for_former_brokers(data)
        if not self.redis_url:
            self._metadata = KeptMetadata(data, spec.cluster, self._on_event)
            self.redis_url = await self._metadata.start()
        self.nodes = spec.names(await members(self.redis_url, spec.cluster))
        for number, node in enumerate(self.nodes):
            held = reserve_port(spec.port and spec.port + number)
            self._held.append(held)
            self.urls[node] = f"http://{HOST}:{held.getsockname()[1]}"
        with must(f"start {sys.executable}"):
            self._guard = OrphanGuard()
        self.started_pids.append(self._guard.pid)
        reading, writing = os.pipe()
        self._lifeline = (os.fdopen(reading, "rb", 0), os.fdopen(writing, "wb", 0))
        self._session = aiohttp.ClientSession()
        for node in self.nodes:
            self._brokers[node] = self._broker(node, reading)

    def _broker(self, node: str, lifeline: int) -> BrokerProcess:
        words = self.spec.words(node, self.urls)
        mine = {"YAK_REDIS_URL": self.redis_url, "YAK_REUSE_PORT": "1"}
        env = environment({**self.spec.env, **mine})
        return BrokerProcess(node, words, env, self.log_of(node), lifeline, self._on_end)

    async def _wait_for_former_brokers(self, data: Path) -> None:
        """Brokers whose supervisor was killed a moment ago take some time to stop."""
        deadline = time.monotonic() + self.spec.stop_s
        for lock in _locks(data):
            while (holder := holder_of(lock)) is not None:
                if time.monotonic() > deadline:
                    who = f"process {holder}" if holder else "another process"
                    raise CannotStart(f"{lock.parent} is in use by {who}: stop that first")
                await asyncio.sleep(LOOK_S)

    async def start_all(self) -> None:
        """Start each broker that is down. Raises CannotStart."""
        # One after the other: what takes long is what each does once it runs.
        for broker in self._brokers.values():
            async with broker.lock:
                if broker.state == DOWN:
                    await self._start(broker)

    async def stop_all(self) -> None:
        """Stop every broker gracefully, all at once, and kill those that take too long."""
        # All are asked before any is waited for, so that it takes as long as the slowest of them.
        for broker in self._brokers.values():
            broker.ask_to_stop()
        results = await asyncio.gather(*map(self._stop, self._brokers.values()))
        self.stopped_cleanly = all(results)

    async def close(self) -> None:
        """Stop everything and give everything back. May be repeated, and after a failed open."""
        self._closing = True
        await self.stop_all()
        if self._metadata is not None:
            await self._metadata.close(served=self._served)
        if self._session is not None:
            await self._session.close()
        if self._guard is not None:
            self._guard.close()
        for end in self._lifeline or ():
            end.close()
        for held in self._held:
            held.close()
        if self._lock is not None:
            os.close(self._lock)
        self._metadata = self._session = self._guard = self._lifeline = self._lock = None

    def hurry(self) -> None:
        """Kill all brokers at once, for somebody who does not want to wait for a stop."""
        for broker in self._brokers.values():
            broker.kill_now()

    async def _close_surely(self) -> None:
        closing = asyncio.ensure_future(self.close())
        cancelled: asyncio.CancelledError | None = None
        while not closing.done():
            try:
                await asyncio.shield(closing)
            except asyncio.CancelledError as error:
                cancelled = error
                self.hurry()
        closing.result()
        if cancelled is not None:
            raise cancelled

    # -- single brokers -------------------------------------------------------------------------

    async def kill(self, node: str) -> int:
        """SIGKILL; returns the process id that it had, once it is gone."""
        broker = self._find(node)
        async with broker.lock:
            pid = broker.pid
            if pid is None:
                raise ClusterError(f"there is nothing to kill: {broker.why}")
            await broker.kill()
            return pid

    def pause(self, node: str) -> None:
        """SIGSTOP: the broker stands still, as a machine that swaps or a VM that is moved."""
        self._find(node).pause()

    def resume(self, node: str) -> None:
        """SIGCONT."""
        self._find(node).resume()

    async def restart(self, node: str) -> int:
        """Stop the broker if it runs, killing it if that takes too long, and start it again.

        Returns the new process id; :meth:`wait_until_up` waits until it takes part.
        """
        broker = self._find(node)
        async with broker.lock:
            await broker.stop(self.spec.stop_s)
            return await self._start(broker)

    async def wait_until_up(self, node: str, within_s: float = 30.0) -> None:
        """Wait until the broker has registered. Raises ClusterError when it ends, or in vain."""
        broker = self._find(node)
        deadline = time.monotonic() + within_s
        while not _has_started((await self.status()), node):
            if broker.state == DOWN:
                raise ClusterError(broker.why)
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"{node} has not come up within {within_s:g} s: see yak cluster logs {node}"
                )
            await asyncio.sleep(LOOK_S)

    # -- all of them ----------------------------------------------------------------------------

    async def status(self) -> ClusterStatus:
        """Ask all brokers at once, and merge what they say. Takes a second at most."""
        from yak_net.cluster.view import ask, merge

        assert self._session is not None
        asked = {node: self.urls[node] for node in self.nodes if self._is(node, RUNNING)}
        answers = await ask(self._session, asked)
        rows = [
            BrokerStatus(node, self.urls[node], each.pid, state=each.state, remark=each.why)
            for node, each in self._brokers.items()
        ]
        # One that has been killed or paused meanwhile is not up, whatever it answered before.
        answers = {node: each for node, each in answers.items() if self._is(node, RUNNING)}
        status = merge(self.spec.cluster, rows, answers)
        self._served = self._served or status.serves
        return status

    async def wait_for_leader(self, within_s: float = 30.0) -> ClusterStatus:
        """Wait until a leader serves. Raises ClusterError when all are down, or in vain."""
        deadline = time.monotonic() + within_s
        while not (status := await self.status()).serves:
            if all(self._is(node, DOWN) for node in self.nodes):
                raise ClusterError(f"no broker runs: {_troubles(status)}")
            if time.monotonic() > deadline:
                raise ClusterError(_no_leader(status, within_s))
            await asyncio.sleep(LOOK_S)
        return status

    async def wait_until_ready(self, within_s: float = 60.0) -> ClusterStatus:
        """Wait until a leader serves and every broker has come up.

        Raises ClusterError when one of them is down, and when there is no leader in time.
        """
        deadline = time.monotonic() + within_s
        while True:
            status = await self.status()
            for broker in self._brokers.values():
                if broker.state == DOWN:
                    raise ClusterError(broker.why)
            all_up = all(_has_started(status, node) for node in self.nodes)
            in_time = time.monotonic() < deadline
            if status.serves and (all_up or not in_time):
                return status
            if not in_time:
                raise ClusterError(_no_leader(status, within_s))
            await asyncio.sleep(LOOK_S)

    # -- helpers --------------------------------------------------------------------------------

    def _find(self, node: str) -> BrokerProcess:
        if node not in self._brokers:
            raise UnknownNode(f"there is no broker {node}; there are {', '.join(self.nodes)}")
        return self._brokers[node]

    def _is(self, node: str, state: str) -> bool:
        return self._brokers[node].state == state

    async def _start(self, broker: BrokerProcess) -> int:
        if self._closing:
            raise ClusterError(f"{broker.node} is not started, for the cluster is being stopped")
        assert self._guard is not None
        pid = await broker.start()
        self._guard.watch(pid)
        self.started_pids.append(pid)
        return pid

    async def _stop(self, broker: BrokerProcess) -> bool:
        async with broker.lock:
            return broker.state == DOWN or await broker.stop(self.spec.stop_s)

    def _on_end(self, broker: BrokerProcess, pid: int) -> None:
        if self._guard is not None:
            self._guard.forget(pid)
        if not broker.asked:
            self.died.append(broker.node)
            if self._on_event is not None:
                self._on_event(broker.why)


def _troubles(status: ClusterStatus) -> str:
    return "; ".join(row.trouble for row in status.brokers if row.trouble) or "no broker says why"


def _no_leader(status: ClusterStatus, within_s: float) -> str:
    return f"no leader serves after {within_s:g} s: {_troubles(status)}"


def _has_started(status: ClusterStatus, node: str) -> bool:
    return any(row.id == node and row.up and row.health != STARTING for row in status.brokers)


def _locks(data: Path) -> list[Path]:
    """The locks of the brokers' data directories, whether held or not."""
    return sorted(data.glob("*/lock"))
