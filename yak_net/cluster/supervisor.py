"""Supervisor of the broker processes on this machine; the brokers stop when it ends.

Each broker inherits one end of a pipe, its lifeline. Only this process holds the other end, so the
brokers stop even if this process is killed. The orphan guard ends brokers that are paused or hang.
A broker that was killed or failed stays down until :meth:`Supervisor.restart`.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from yak_net.cluster.errors import CannotStart, ClusterError, UnknownNode, start_errors
from yak_net.cluster.folders import FolderError, lock_cluster
from yak_net.cluster.metadata import SavedMetadata, members, min_isr_of
from yak_net.cluster.orphan_guard import OrphanGuard
from yak_net.cluster.ports import HOST, reserve_ports
from yak_net.cluster.process import BrokerProcess, log_path
from yak_net.cluster.status import (
    Answer,
    BrokerStatus,
    ClusterStatus,
    State,
    count_stopped,
    merge,
)
from yak_net.cluster.status_requests import request_status
from yak_net.cluster.store_check import reconcile
from yak_net.metadata.redis_login import variables_of
from yak_net.runtime.state_file import holder_of

if TYPE_CHECKING:
    import aiohttp

NODES: Final = 3
STOP_S: Final = 15.0
"""Time limit for a broker to stop; a broker limits its own shutdown to ten seconds."""
POLL_S: Final = 0.05
PASSED_ON: Final = ("YAK_LOG_FORMAT",)
"""Variables for brokers that the brokers of a local cluster get, too."""
BROKER: Final = (sys.executable, "-P", "-m", "yak_cli", "broker")

OnEvent = Callable[[str], None]


@dataclass(frozen=True)
class ClusterSpec:
    """Specification of a cluster.

    ``nodes`` is the number of brokers, named n1, n2, ...; None: that of the existing cluster, or 3.
    Without ``redis_url`` the metadata store is embedded. ``port`` is the first of consecutive
    ports; 0: those from ``preferred_port`` on if all are free, else free ports. Traces are recorded
    in ``trace_dir``, if given. Logs go to ``log_dir``, else to ``trace_dir``, else to ``data_dir``.
    ``stop_s`` is the time limit for a broker to stop. Tests set ``env`` (more variables) and
    ``command`` (the program).
    """

    data_dir: Path
    nodes: int | None = None
    cluster: str = "yak"
    redis_url: str = ""
    port: int = 0
    preferred_port: int = 0
    flush: str = "batch"
    min_isr: int | None = None
    trace_dir: Path | None = None
    log_dir: Path | None = None
    stop_s: float = STOP_S
    env: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = BROKER

    @property
    def data(self) -> Path:
        """The absolute path of the data folder."""
        return self.data_dir.absolute()

    @property
    def logs(self) -> Path:
        """The absolute path of the folder of the broker logs."""
        return (self.log_dir or self.trace_dir or self.data_dir).absolute()

    def names(self, members: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return the ids of the brokers.

        ``members`` are the brokers of the existing cluster. Raises CannotStart if they differ.
        """
        count = self.nodes or len(members) or NODES
        names = tuple(f"n{number}" for number in range(1, count + 1))
        if members and set(names) != set(members):
            raise CannotStart(
                f"cluster {self.cluster} has the brokers {', '.join(members)}, got "
                f"{', '.join(names)}; omit --nodes, or give another --cluster and --data-dir"
            )
        return names

    def broker_command(self, node: str, urls: Mapping[str, str]) -> tuple[str, ...]:
        """Return the command line of the broker ``node``; ``urls`` are the URLs of all brokers.

        The Redis URL is passed in the environment, because it may contain a password and other
        users can read the command line.
        """
        command = ["--node-id", node, "--listen", urls[node].removeprefix("http://")]
        command += ["--brokers", ",".join(f"{each}={url}" for each, url in urls.items())]
        command += ["--cluster", self.cluster, "--data-dir", str(self.data / node)]
        command += ["--flush", self.flush]
        if self.min_isr is not None:
            command += ["--min-isr", str(self.min_isr)]
        if self.trace_dir is not None:
            command += ["--trace", str(self.trace_dir.absolute() / f"{node}.jsonl")]
        return (*self.command, *command)


class Supervisor:
    """A cluster from :meth:`open` to :meth:`close`; ``async with`` also starts all brokers.

    ``on_event`` is called with a message for each unexpected event, such as the end of a broker.
    ``died`` lists the brokers that ended unexpectedly. ``started_pids`` lists all processes that
    were started, including the guard. ``rebuilt`` says what was done to the metadata store, if
    anything was.
    """

    def __init__(self, spec: ClusterSpec, on_event: OnEvent = lambda _: None) -> None:
        self.spec = spec
        self.nodes: tuple[str, ...] = ()
        self.urls: dict[str, str] = {}
        self.redis_url = spec.redis_url
        self.rebuilt = ""
        self.died: list[str] = []
        self.started_pids: list[int] = []
        self.stopped_cleanly = True
        self._on_event = on_event
        self._brokers: dict[str, BrokerProcess] = {}
        self._resources = AsyncExitStack()
        self._guard: OrphanGuard | None = None
        self._session: aiohttp.ClientSession | None = None
        self._closing = False
        #: Min ISR of the cluster; 0 until a leader was ready and the record could be read.
        self._min_isr = 0

    async def __aenter__(self) -> Supervisor:
        """Open the cluster and start all brokers. Raises ClusterError; then no process is left."""
        try:
            await self.open()
            await self.start_all()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the cluster. After a cancellation, kill the brokers and still release everything."""
        closing = asyncio.ensure_future(self.close())
        cancelled: asyncio.CancelledError | None = None
        while not closing.done():
            try:
                await asyncio.shield(closing)
            except asyncio.CancelledError as error:
                cancelled = error
                self.kill_all()
        closing.result()
        if cancelled is not None:
            raise cancelled

    @property
    def pids(self) -> dict[str, int]:
        """The process ids of the running and the paused brokers."""
        return {node: each.pid for node, each in self._brokers.items() if each.pid is not None}

    @property
    def bootstrap_servers(self) -> tuple[str, ...]:
        """``host:port`` of each broker."""
        return tuple(url.removeprefix("http://") for url in self.urls.values())

    def log_of(self, node: str) -> Path:
        """Return the log file of a broker."""
        return log_path(self.spec.logs, node)

    # -- open and close -------------------------------------------------------------------------

    async def open(self) -> None:
        """Prepare all but the brokers. Raises ClusterError; call :meth:`close` in each case."""
        spec, data, resources = self.spec, self.spec.data, self._resources
        for folder in filter(None, (data, spec.trace_dir, spec.logs)):
            with start_errors(f"make the folder {folder}"):
                folder.mkdir(parents=True, exist_ok=True)
        try:
            with start_errors(f"lock {data}"):
                resources.callback(os.close, lock_cluster(data))
        except FolderError as error:
            raise CannotStart(str(error)) from None
        await self._wait_for_former_brokers()
        if self.redis_url:
            self.rebuilt = await reconcile(data, spec.cluster, self.redis_url, final=True)
        else:
            metadata = SavedMetadata(data, spec.cluster, self._on_event)
            resources.push_async_callback(metadata.close)
            url = self.redis_url = await metadata.start()
            self.rebuilt = await reconcile(data, spec.cluster, url, final=metadata.final)
            await metadata.keep_saved()
        self.nodes = spec.names(await members(self.redis_url, spec.cluster))
        sockets = reserve_ports(len(self.nodes), spec.port, spec.preferred_port, self._on_event)
        for node, reserved in zip(self.nodes, map(resources.enter_context, sockets), strict=True):
            self.urls[node] = f"http://{HOST}:{reserved.getsockname()[1]}"
        with start_errors(f"start {sys.executable}"):
            self._guard = OrphanGuard()
        resources.callback(self._guard.close)
        self.started_pids.append(self._guard.pid)
        lifeline, kept_end = os.pipe()
        resources.callback(os.close, lifeline)
        resources.callback(os.close, kept_end)
        import aiohttp

        self._session = await resources.enter_async_context(aiohttp.ClientSession())
        ours = [name for name in os.environ if name.startswith("YAK_") and name not in PASSED_ON]
        env = {name: value for name, value in os.environ.items() if name not in ours}
        passwords = {name: os.environ.get(name, "") for name in variables_of(self.redis_url)}
        env |= {**passwords, **spec.env, "YAK_REDIS_URL": self.redis_url, "YAK_REUSE_PORT": "1"}
        for node in self.nodes:
            self._brokers[node] = BrokerProcess(
                node,
                spec.broker_command(node, self.urls),
                env,
                self.log_of(node),
                lifeline,
                self._on_end,
            )

    async def _wait_for_former_brokers(self) -> None:
        """Wait until the brokers of a killed supervisor have stopped. Raises CannotStart."""
        deadline = time.monotonic() + self.spec.stop_s
        for lock in sorted(self.spec.data.glob("*/lock")):
            while (holder := holder_of(lock)) is not None:
                if time.monotonic() > deadline:
                    raise CannotStart(f"{lock.parent} is in use by process {holder}; stop it first")
                await asyncio.sleep(POLL_S)

    async def start_all(self) -> None:
        """Start each broker that is down. Raises CannotStart."""
        # Sequentially: the start of a process is short, and the brokers then recover in parallel.
        for broker in self._brokers.values():
            async with broker.lock:
                if broker.state is State.DOWN:
                    await self._start(broker)

    async def close(self) -> None:
        """Stop all brokers and release all resources. May be repeated, and after a failed open."""
        self._closing = True
        # Send all signals before waiting, so that the brokers stop in parallel.
        for broker in self._brokers.values():
            broker.request_stop()
        self.stopped_cleanly = all(await asyncio.gather(*map(self._stop, self._brokers.values())))
        await self._resources.aclose()

    def kill_all(self) -> None:
        """Kill all brokers at once."""
        for broker in self._brokers.values():
            broker.kill_now()

    # -- single brokers -------------------------------------------------------------------------

    async def kill(self, node: str) -> int:
        """Send SIGKILL, wait until the broker has ended, and return its former process id."""
        broker = self.process_of(node)
        async with broker.lock:
            pid = broker.pid
            if pid is None:
                raise ClusterError(f"cannot kill {node}: {broker.down_reason}")
            await broker.kill()
            return pid

    async def pause(self, node: str) -> int | None:
        """Send SIGSTOP: simulates a machine that swaps, or a VM that migrates."""
        broker = self.process_of(node)
        broker.pause()
        return broker.pid

    async def resume(self, node: str) -> int | None:
        """Send SIGCONT to a paused broker."""
        broker = self.process_of(node)
        broker.resume()
        return broker.pid

    async def restart(self, node: str) -> int:
        """Stop the broker if it runs, killing it after ``stop_s``, and start it again.

        Return the new process id. :meth:`wait_until_up` waits until the broker has registered.
        """
        broker = self.process_of(node)
        async with broker.lock:
            await broker.stop(self.spec.stop_s)
            return await self._start(broker)

    # -- the cluster ----------------------------------------------------------------------------

    async def status(self) -> ClusterStatus:
        """Request the status of all brokers in parallel, and merge it. Takes up to one second."""
        running = [node for node, broker in self._brokers.items() if broker.state is State.RUNNING]
        responses = await asyncio.gather(*map(self._request_status, running))
        answers = dict(zip(running, responses, strict=True))
        rows = []
        for node, broker in self._brokers.items():
            rows.append(
                BrokerStatus(
                    node, self.urls[node], broker.pid, state=broker.state, reason=broker.down_reason
                )
            )
            # A broker that was killed or paused after its response is not up.
            if broker.state is not State.RUNNING:
                answers.pop(node, None)
        status = merge(self.spec.cluster, rows, answers)
        if status.serves and not self._min_isr:
            self._min_isr = await min_isr_of(self.redis_url, self.spec.cluster)
        return count_stopped(status, self._min_isr)

    async def wait_until_up(self, node: str, within_s: float = 30.0) -> None:
        """Wait until the broker has registered. Raises ClusterError at its end or the timeout."""

        def is_up(status: ClusterStatus) -> bool:
            self._check_runs(node)
            return any(row.id == node and row.has_started for row in status.brokers)

        if not is_up(await self._poll(is_up, within_s)):
            raise ClusterError(
                f"{node} has not registered within {within_s:g} s; see yak cluster logs {node}"
            )

    async def wait_for_leader(self, within_s: float = 30.0) -> ClusterStatus:
        """Wait for a ready leader. Raises ClusterError at the timeout, or if all are down."""

        def has_leader(status: ClusterStatus) -> bool:
            if all(row.state is State.DOWN for row in status.brokers):
                raise ClusterError(f"all brokers are down: {status.problems}")
            return status.serves

        return _check_ready(await self._poll(has_leader, within_s), within_s)

    async def wait_until_ready(self, within_s: float = 60.0) -> ClusterStatus:
        """Wait until a leader is ready; until the timeout, also for all brokers to register.

        Raises ClusterError if a broker is down, or if no leader is ready at the timeout.
        """

        def is_ready(status: ClusterStatus) -> bool:
            for node in self.nodes:
                self._check_runs(node)
            return status.serves and all(row.has_started for row in status.brokers)

        return _check_ready(await self._poll(is_ready, within_s), within_s)

    # -- helpers --------------------------------------------------------------------------------

    def process_of(self, node: str) -> BrokerProcess:
        """Return the process of a broker, which may be down. Raises UnknownNode."""
        if node not in self._brokers:
            raise UnknownNode(f"no broker {node}; the brokers are {', '.join(self.nodes)}")
        return self._brokers[node]

    def _check_runs(self, node: str) -> None:
        if self.process_of(node).state is State.DOWN:
            raise ClusterError(self._brokers[node].down_reason)

    async def _start(self, broker: BrokerProcess) -> int:
        if self._closing:
            raise ClusterError(f"cannot start {broker.node}: the cluster is stopping")
        assert self._guard is not None
        pid = await broker.start()
        self._guard.watch(pid)
        self.started_pids.append(pid)
        return pid

    async def _stop(self, broker: BrokerProcess) -> bool:
        async with broker.lock:
            return broker.state is State.DOWN or await broker.stop(self.spec.stop_s)

    def _on_end(self, broker: BrokerProcess, pid: int) -> None:
        assert self._guard is not None
        self._guard.unwatch(pid)
        if not broker.ended_by:
            self.died.append(broker.node)
            self._on_event(broker.down_reason)

    async def _poll(
        self, is_done: Callable[[ClusterStatus], bool], within_s: float
    ) -> ClusterStatus:
        """Return the first status for which ``is_done`` is true, or the last one at the timeout."""
        deadline = time.monotonic() + within_s
        while True:
            status = await self.status()
            if is_done(status) or time.monotonic() > deadline:
                return status
            await asyncio.sleep(POLL_S)

    async def _request_status(self, node: str) -> Answer:
        assert self._session is not None
        return await request_status(self._session, self.urls[node])


def _check_ready(status: ClusterStatus, within_s: float) -> ClusterStatus:
    if not status.serves:
        raise ClusterError(f"no leader is ready after {within_s:g} s: {status.problems}")
    return status
