"""A peer of the cluster benchmark: NATS JetStream, a stream with three replicas on loopback.

The client is nats-py, in this process. A record is acknowledged when a quorum of the three servers
has stored it (R3, file storage). The servers flush to the disk every two minutes, their default.
"""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import subprocess
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.common import CannotMeasure
from benchmarks.procs import Flow, Latencies, Meter, longest_wait_s
from benchmarks.servers import HOST, Servers, free_ports, servers

PROGRAM: Final = "nats-server"
MODULE: Final = "nats"
SERVERS: Final = 3
WINDOW_BYTES: Final = 4 << 20
WINDOW_MAX: Final = 2000
"""Records in flight at most, and bytes."""
START_S: Final = 30.0
ANSWER_S: Final = 30.0
RETRY_S: Final = 0.1
STARTING_ANSWER_S: Final = 2.0
"""Seconds until a request is repeated: servers that are not a cluster yet leave it unanswered."""
FAILOVER_STREAM: Final = "failover"
FAILOVER_RETRY_S: Final = 0.05
FAILOVER_ANSWER_S: Final = 0.25
"""Seconds until a record without an answer is sent again during a failover."""


class NatsFailed(CannotMeasure):
    """A nats-server did not start, or the stream has no leader."""


def missing() -> str:
    """Return why the peer cannot be measured; empty if it can."""
    if shutil.which(PROGRAM) is None:
        return f"{PROGRAM} is not on the PATH"
    if importlib.util.find_spec(MODULE) is None:
        return "nats-py is not installed; install the extra bench: pip install 'yak-log[bench]'"
    return ""


class _Group:
    """The three server processes."""

    def __init__(self, running: Servers, ports: tuple[int, ...]) -> None:
        self.urls = tuple(f"nats://{HOST}:{port}" for port in ports)
        self._running = running
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def pids(self) -> tuple[int, ...]:
        """Return the process ids."""
        return tuple(process.pid for process in self._processes.values())

    def config(self, number: int) -> Path:
        """Return the path of a server's configuration."""
        return self._running.folder / f"n{number}.conf"

    def start(self, number: int) -> None:
        """Start a server, for the first time or again."""
        self._processes[number] = self._running.start((PROGRAM, "-c", str(self.config(number))))

    async def end(self, number: int, how: int) -> None:
        """Send a signal to a server, and wait until it has ended."""
        self._processes[number].send_signal(how)
        await asyncio.to_thread(self._processes[number].wait, ANSWER_S)


class NatsStreams:
    """The running servers of :func:`nats_streams`."""

    def __init__(self, stream: Any, starting: Any, group: _Group) -> None:
        self._stream = stream
        self._starting = starting  # the same, with a shorter timeout
        self._group = group

    @property
    def pids(self) -> tuple[int, ...]:
        """Return the process ids of the servers."""
        return self._group.pids

    async def add(self, value: bytes) -> None:
        """Create the stream for records of this size, and wait until it takes one."""
        name = _name(value)
        await _add(self._starting, name)
        await _until(lambda: self._starting.publish(name, value), f"no leader of {name}")

    async def produce(self, value: bytes, seconds: float, bytes_max: int) -> Flow:
        """Measure publishing for ``seconds``, or until ``bytes_max`` bytes are sent."""
        name, sent, records_max = _name(value), 0, bytes_max // len(value)
        window = max(1, min(WINDOW_MAX, WINDOW_BYTES // len(value)))
        pending: deque[Any] = deque()
        meter = Meter(self.pids)
        end = time.perf_counter() + seconds
        while not sent or (sent < records_max and time.perf_counter() < end):
            if len(pending) >= window:
                for _ in range(window // 2 or 1):
                    await pending.popleft()
            pending.append(await self._stream.publish_async(name, value))
            sent += 1
        for each in pending:
            await each
        return Flow(sent, len(value), meter.stop())

    async def read(self, value: bytes, seconds: float) -> Flow:
        """Measure repeated reads of the records of :meth:`produce`, with an ordered consumer.

        The server pushes them; a pull consumer of this client is slower.
        """
        name = _name(value)
        count = (await self._stream.stream_info(name)).state.messages
        read_count = 0
        meter = Meter(self.pids)
        end = time.perf_counter() + seconds
        while not read_count or time.perf_counter() < end:
            read_count += await self._read_once(name, value, count, end)
        return Flow(read_count, len(value), meter.stop())

    async def _read_once(self, name: str, value: bytes, count: int, end: float) -> int:
        """Read ``count`` records from the first one on; stop at the time ``end``."""
        seen, done = 0, asyncio.Event()

        async def on_message(message: Any) -> None:
            nonlocal seen
            assert message.data == value
            seen += 1
            if seen == count or time.perf_counter() > end:
                done.set()

        reader = await self._stream.subscribe(
            name, stream=name, ordered_consumer=True, cb=on_message, pending_msgs_limit=-1,
            pending_bytes_limit=-1,
        )  # fmt: skip
        async with asyncio.timeout(ANSWER_S):
            await done.wait()
        await reader.unsubscribe()
        return seen

    async def latencies(self, value: bytes, seconds: float) -> Latencies:
        """Measure the latency with one record in flight."""
        name = _name(value)
        latencies_s: list[float] = []
        meter = Meter(self.pids)
        end = time.perf_counter() + seconds
        while not latencies_s or time.perf_counter() < end:
            began = time.perf_counter()
            await self._stream.publish(name, value)
            latencies_s.append(time.perf_counter() - began)
        return Latencies(tuple(latencies_s), meter.stop())

    async def failover_s(self, value: bytes, how: int) -> float:
        """Send a signal to the leader; return the longest time without an acknowledgement.

        The client has an own connection, and connects to another server as soon as it can. The
        server is started again, and has all records at the return.
        """
        options = {"reconnect_time_wait": FAILOVER_RETRY_S, "max_reconnect_attempts": -1}
        connection = await _connect(self._group.urls, **options)
        try:
            stream = connection.jetstream(timeout=FAILOVER_ANSWER_S)
            await _add(stream, FAILOVER_STREAM)
            leader = await self._until_complete(stream)
            await stream.publish(FAILOVER_STREAM, value)
            ended = asyncio.create_task(self._group.end(leader, how))
            longest_s = await longest_wait_s(
                lambda: _until(
                    lambda: stream.publish(FAILOVER_STREAM, value), "no leader", FAILOVER_RETRY_S
                ),
                ended.done,
            )
            await ended
            self._group.start(leader)
            await self._until_complete(stream)
        finally:
            await connection.close()
        return longest_s

    async def _until_complete(self, stream: Any) -> int:
        """Wait until all servers have the stream; return the number of its leader."""
        leader = ""

        async def check() -> None:
            nonlocal leader
            found = (await stream.stream_info(FAILOVER_STREAM)).cluster
            copies = [each.name for each in found.replicas or () if each.current]
            if not found.leader or len(copies) < SERVERS - 1:
                raise NatsFailed(f"{len(copies) + 1} of {SERVERS} servers have all records")
            leader = found.leader

        await _until(check, "the stream is not complete")
        return int(leader.removeprefix("n"))

    async def delete(self, value: bytes) -> None:
        """Delete the stream of this size, to free its disk space."""
        await self._stream.delete_stream(_name(value))


def _name(value: bytes) -> str:
    return f"bench{len(value)}"


async def _add(stream: Any, name: str) -> None:
    """Create a stream with three replicas, unless it exists."""
    from nats.js.api import StorageType, StreamConfig

    config = StreamConfig(
        name=name, subjects=[name], num_replicas=SERVERS, storage=StorageType.FILE
    )
    await _until(lambda: stream.add_stream(config), f"no stream {name}")


async def _until(
    work: Callable[[], Awaitable[object]], problem: str, retry_s: float = RETRY_S
) -> None:
    """Repeat ``work`` until it succeeds; a cluster that starts refuses it. Raise NatsFailed."""
    from nats.errors import Error

    deadline = time.monotonic() + START_S
    while True:
        try:
            await work()
            return
        except (Error, OSError, NatsFailed) as error:
            if time.monotonic() > deadline:
                raise NatsFailed(f"{problem} within {START_S:g} s: {error}") from error
        await asyncio.sleep(retry_s)


async def _on_error(error: Exception) -> None:
    """Log nothing: the call that fails raises the error."""


@contextmanager
def _servers() -> Iterator[_Group]:
    """Run three servers in a temporary folder."""
    with servers("yak-bench-nats-") as running:
        ports = free_ports(2 * SERVERS)
        clients, routes = ports[:SERVERS], ports[SERVERS:]
        urls = ", ".join(f'"nats://{HOST}:{port}"' for port in routes)
        group = _Group(running, clients)
        for number, (client, route) in enumerate(zip(clients, routes, strict=True)):
            group.config(number).write_text(
                f'server_name: n{number}\nlisten: "{HOST}:{client}"\nmax_payload: 1MB\n'
                f'jetstream {{ store_dir: "{running.folder}/n{number}" }}\n'
                f'cluster {{ name: bench, listen: "{HOST}:{route}", routes: [{urls}] }}\n'
            )
            group.start(number)
        yield group


async def _connect(urls: Sequence[str], **options: Any) -> Any:
    """Return a connection, once a server accepts one. Raise NatsFailed."""
    import nats

    found: list[Any] = []

    async def connect() -> None:
        found.append(await nats.connect(list(urls), error_cb=_on_error, **options))

    await _until(connect, "no server answers")
    return found[0]


@asynccontextmanager
async def nats_streams() -> AsyncIterator[NatsStreams]:
    """Run three connected servers. Raise NatsFailed."""
    with _servers() as group:
        connection = await _connect(group.urls, pending_size=64 << 20, allow_reconnect=False)
        try:
            stream = connection.jetstream(
                timeout=ANSWER_S, publish_async_max_pending=2 * WINDOW_MAX
            )
            starting = connection.jetstream(timeout=STARTING_ANSWER_S)
            yield NatsStreams(stream, starting, group)
        finally:
            await connection.close()
