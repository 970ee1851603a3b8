"""A peer of the cluster benchmark: NATS JetStream, a stream with three replicas on loopback.

The client is nats-py, in this process. A record is acknowledged when a quorum of the three servers
has stored it (R3, file storage). The servers flush to the disk every two minutes, their default.
"""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import socket
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.procs import Flow, Latencies, Meter
from yak_net.cluster.orphan_guard import OrphanGuard

PROGRAM: Final = "nats-server"
MODULE: Final = "nats"
HOST: Final = "127.0.0.1"
SERVERS: Final = 3
WINDOW_BYTES: Final = 4 << 20
WINDOW_MAX: Final = 2000
"""Records in flight at most, and bytes."""
START_S: Final = 30.0
ANSWER_S: Final = 30.0
END_S: Final = 5.0
RETRY_S: Final = 0.1


class NatsFailed(Exception):
    """A nats-server did not start, or the stream has no leader."""


def missing() -> str:
    """Return why the peer cannot be measured; empty if it can."""
    if shutil.which(PROGRAM) is None:
        return f"{PROGRAM} is not on the PATH"
    if importlib.util.find_spec(MODULE) is None:
        return "nats-py is not installed; install the extra bench: pip install 'yak-log[bench]'"
    return ""


class NatsStreams:
    """The running servers of :func:`nats_streams`."""

    def __init__(self, stream: Any, pids: tuple[int, ...]) -> None:
        self.pids = pids
        self._stream = stream

    async def add(self, value: bytes) -> None:
        """Create the stream for records of this size, and wait until it takes one."""
        from nats.js.api import StorageType, StreamConfig

        name = _name(value)
        config = StreamConfig(
            name=name, subjects=[name], num_replicas=SERVERS, storage=StorageType.FILE
        )
        await _until(lambda: self._stream.add_stream(config), f"no stream {name}")
        await _until(lambda: self._stream.publish(name, value), f"no leader of {name}")

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

    async def delete(self, value: bytes) -> None:
        """Delete the stream of this size, to free its disk space."""
        await self._stream.delete_stream(_name(value))


def _name(value: bytes) -> str:
    return f"bench{len(value)}"


async def _until(work: Callable[[], Awaitable[object]], problem: str) -> None:
    """Repeat ``work`` until it succeeds; a cluster that starts refuses it. Raise NatsFailed."""
    from nats.errors import Error

    deadline = time.monotonic() + START_S
    while True:
        try:
            await work()
            return
        except (Error, OSError) as error:
            if time.monotonic() > deadline:
                raise NatsFailed(f"{problem} within {START_S:g} s: {error}") from error
        await asyncio.sleep(RETRY_S)


async def _on_error(error: Exception) -> None:
    """Log nothing: the call that fails raises the error."""


@contextmanager
def _servers() -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Run three servers in a temporary folder; yield their process ids and client ports."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="yak-bench-nats-")))
        guard = OrphanGuard()  # kills the servers if this process is killed
        stack.callback(guard.close)
        ports = _free_ports(2 * SERVERS)
        clients, routes = ports[:SERVERS], ports[SERVERS:]
        urls = ", ".join(f'"nats://{HOST}:{port}"' for port in routes)
        pids = []
        for number, (client, route) in enumerate(zip(clients, routes, strict=True)):
            path = folder / f"n{number}.conf"
            path.write_text(
                f'server_name: n{number}\nlisten: "{HOST}:{client}"\nmax_payload: 1MB\n'
                f'jetstream {{ store_dir: "{folder}/n{number}" }}\n'
                f'cluster {{ name: bench, listen: "{HOST}:{route}", routes: [{urls}] }}\n'
            )
            process = subprocess.Popen(
                [PROGRAM, "-c", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
            guard.watch(process.pid)
            stack.callback(guard.unwatch, process.pid)
            stack.callback(_end, process)
            pids.append(process.pid)
        yield tuple(pids), clients


def _free_ports(count: int) -> tuple[int, ...]:
    """Return ports that were free just now."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        return tuple(probe.getsockname()[1] for probe in probes)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(END_S)


@asynccontextmanager
async def nats_streams() -> AsyncIterator[NatsStreams]:
    """Run three connected servers. Raise NatsFailed."""
    import nats

    with _servers() as (pids, ports):
        connection: Any = None

        async def connect() -> None:
            nonlocal connection
            connection = await nats.connect(
                [f"nats://{HOST}:{port}" for port in ports], pending_size=64 << 20,
                allow_reconnect=False, error_cb=_on_error,
            )  # fmt: skip

        await _until(connect, "no server answers")
        try:
            stream = connection.jetstream(
                timeout=ANSWER_S, publish_async_max_pending=2 * WINDOW_MAX
            )
            yield NatsStreams(stream, pids)
        finally:
            await connection.close()
