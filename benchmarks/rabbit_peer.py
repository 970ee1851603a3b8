"""A peer of the cluster benchmark: RabbitMQ streams, three replicas on loopback.

The client is rstream, in this process. A record is acknowledged when a quorum of the three servers
has written it; RabbitMQ streams do not flush to the disk before they acknowledge. Records are sent
as messages of a publish frame, not in sub-entries, with which rstream is slower.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import shutil
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.common import CannotMeasure
from benchmarks.procs import Flow, Latencies, Meter
from benchmarks.servers import HOST, Servers, clean_environment, free_ports, servers

if TYPE_CHECKING:
    from rstream import ConfirmationStatus, Producer
    from rstream.client import Client

PROGRAM: Final = "rabbitmq-server"
INSTALLED: Final = Path("/usr/lib/rabbitmq/bin", PROGRAM)
"""Debian's program on the PATH runs this one as another user, with that user's folders."""
REGISTRY: Final = "epmd"
MODULE: Final = "rstream"
SERVERS: Final = 3
BATCH: Final = 500
BATCH_BYTES: Final = 512 * 1024
BATCHES_MAX: Final = 8
"""Records of a publish frame at most, their bytes, and the frames in flight."""
START_S: Final = 120.0
ANSWER_S: Final = 30.0
RETRY_S: Final = 0.2
LOGIN: Final = "guest"
"""Name and password of a new server; they are accepted on loopback only."""
ERLANG_OPTIONS: Final = (
    "+sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"
)
"""Threads without work sleep at once: busy waits would cost the other processes their cores."""


class RabbitFailed(CannotMeasure):
    """The servers did not form a cluster, or a record was not acknowledged."""


def program() -> str | None:
    """Return the path of the server, None if it is not installed."""
    return str(INSTALLED) if INSTALLED.exists() else shutil.which(PROGRAM)


def missing() -> str:
    """Return why the peer cannot be measured; empty if it can."""
    for name, path in ((PROGRAM, program()), (REGISTRY, shutil.which(REGISTRY))):
        if path is None:
            return f"{name} is not on the PATH"
    if importlib.util.find_spec(MODULE) is None:
        return "rstream is not installed; install the extra bench: pip install 'yak-log[bench]'"
    return ""


class RabbitStreams:
    """The running servers of :func:`rabbit_streams`."""

    def __init__(self, port: int, pids: tuple[int, ...]) -> None:
        self.pids = pids
        self._port = port

    @asynccontextmanager
    async def stream(self, value: bytes) -> AsyncIterator[RabbitStream]:
        """Create the stream for records of this size, and delete it afterwards."""
        from rstream import Producer

        name = f"bench{len(value)}"
        await _created(self._port, name)
        async with Producer(HOST, self._port, username=LOGIN, password=LOGIN) as producer:
            yield RabbitStream(name, value, producer, self._port, self.pids)
            await producer.delete_stream(name)


class RabbitStream:
    """One stream and its producer."""

    def __init__(
        self, name: str, value: bytes, producer: Producer, port: int, pids: tuple[int, ...]
    ) -> None:
        self._name = name
        self._value = value
        self._producer = producer
        self._port = port
        self._pids = pids
        self._count = 0

    async def produce(self, seconds: float, bytes_max: int) -> Flow:
        """Measure publishing for ``seconds``, or until ``bytes_max`` bytes are sent.

        The records stay in the stream for :meth:`read`.
        """
        size = len(self._value)
        sent = confirmed = 0
        failed: list[int | None] = []
        changed = asyncio.Event()

        def on_confirm(status: ConfirmationStatus) -> None:
            nonlocal confirmed
            confirmed += 1
            if not status.is_confirmed:
                failed.append(status.response_code)
            changed.set()

        async def wait_until(count: int) -> None:
            while confirmed < count:
                changed.clear()
                async with asyncio.timeout(ANSWER_S):
                    await changed.wait()

        await self._producer.send_wait(self._name, self._value, timeout=int(ANSWER_S))
        batch = [self._value] * max(1, min(BATCH, BATCH_BYTES // size))
        meter = Meter(self._pids)
        end = time.perf_counter() + seconds
        while not sent or (sent * size < bytes_max and time.perf_counter() < end):
            await self._producer.send_batch(self._name, list(batch), on_publish_confirm=on_confirm)
            sent += len(batch)
            await wait_until(sent - BATCHES_MAX * len(batch))
        await wait_until(sent)
        cost = meter.stop()
        if failed:
            raise RabbitFailed(f"{len(failed)} of {sent} records not confirmed: {failed[0]}")
        self._count += 1 + sent
        return Flow(sent, size, cost)

    async def read(self, seconds: float) -> Flow:
        """Measure repeated reads of the records of :meth:`produce`."""
        read_count = 0
        meter = Meter(self._pids)
        end = time.perf_counter() + seconds
        while not read_count or time.perf_counter() < end:
            read_count += await self._read_once(end)
        return Flow(read_count, len(self._value), meter.stop())

    async def _read_once(self, end: float) -> int:
        """Read all records from the first one on; stop at the time ``end``."""
        from rstream import Consumer, ConsumerOffsetSpecification, OffsetType

        seen, done = 0, asyncio.Event()

        def on_record(data: bytes, _: object) -> None:
            nonlocal seen
            assert data == self._value
            seen += 1
            if seen == self._count or time.perf_counter() > end:
                done.set()

        async with Consumer(HOST, self._port, username=LOGIN, password=LOGIN) as consumer:
            first = ConsumerOffsetSpecification(OffsetType.FIRST, None)
            await consumer.subscribe(
                self._name, on_record, decoder=bytes, offset_specification=first
            )
            async with asyncio.timeout(ANSWER_S):
                await done.wait()
        return seen

    async def latencies(self, seconds: float) -> Latencies:
        """Measure the latency with one record in flight."""
        latencies_s: list[float] = []
        meter = Meter(self._pids)
        end = time.perf_counter() + seconds
        while not latencies_s or time.perf_counter() < end:
            began = time.perf_counter()
            await self._producer.send_wait(self._name, self._value, timeout=int(ANSWER_S))
            latencies_s.append(time.perf_counter() - began)
        self._count += len(latencies_s)
        return Latencies(tuple(latencies_s), meter.stop())


def _start(running: Servers) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Start the servers; return their process ids and their stream ports."""
    path = program()
    assert path is not None, "missing() says so"
    ports = free_ports(1 + 2 * SERVERS)
    registry, streams, links = str(ports[0]), ports[1 : 1 + SERVERS], ports[1 + SERVERS :]
    running.start((REGISTRY, "-port", registry, "-address", HOST))
    cookie = running.folder / ".erlang.cookie"
    cookie.write_text("yak-bench")
    cookie.chmod(0o400)
    peers = "".join(
        f"cluster_formation.classic_config.nodes.{number + 1} = r{number}@localhost\n"
        for number in range(SERVERS)
    )
    pids = []
    for number, (stream, link) in enumerate(zip(streams, links, strict=True)):
        folder = running.folder / f"r{number}"
        folder.mkdir()
        plugins = folder / "enabled_plugins"
        plugins.write_text("[rabbitmq_stream].\n")
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp = none\nstream.listeners.tcp.1 = {HOST}:{stream}\n"
            f"stream.advertised_host = {HOST}\nstream.advertised_port = {stream}\n"
            f"cluster_formation.peer_discovery_backend = classic_config\n{peers}"
            "disk_free_limit.absolute = 100MB\n"
        )
        env = clean_environment(
            HOME=str(running.folder),
            ERL_EPMD_PORT=registry,
            RABBITMQ_ALLOW_INPUT="1",  # the script becomes the server, and keeps its process id
            RABBITMQ_CONFIG_FILE=str(folder / "rabbitmq"),
            RABBITMQ_CONF_ENV_FILE="/dev/null",
            RABBITMQ_DIST_PORT=str(link),
            RABBITMQ_ENABLED_PLUGINS_FILE=str(plugins),
            RABBITMQ_LOG_BASE=str(folder),
            RABBITMQ_MNESIA_BASE=str(folder),
            RABBITMQ_NODENAME=f"r{number}@localhost",
            RABBITMQ_PID_FILE=str(folder / "pid"),
            RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=ERLANG_OPTIONS,
            RABBITMQ_SERVER_START_ARGS="-noinput",
        )
        pids.append(running.start((path,), env).pid)
    return tuple(pids), streams


async def _connected(port: int) -> Client:
    from rstream.client import Client

    client = Client(HOST, port, frame_max=1 << 20, heartbeat=60)
    await client.start()
    await client.authenticate(vhost="/", username=LOGIN, password=LOGIN)
    return client


async def _created(port: int, name: str) -> None:
    """Create a stream with a replica on each server. Raise RabbitFailed.

    A server that has just started may not know the others yet: then there are fewer replicas.
    """
    from rstream.exceptions import ClientError, ServerError

    deadline = time.monotonic() + START_S
    problem = "no server answers"
    while time.monotonic() < deadline:
        try:
            client = await _connected(port)
        except (OSError, ClientError, ServerError) as error:
            problem = f"no server answers: {error}"
            await asyncio.sleep(RETRY_S)
            continue
        try:
            await client.create_stream(name, {"initial-cluster-size": str(SERVERS)})
            _, replicas = await client.query_leader_and_replicas(name)
            if len(replicas) == SERVERS - 1:
                return
            problem = f"the stream has {len(replicas) + 1} of {SERVERS} replicas"
            await client.delete_stream(name)
        except (ClientError, ServerError) as error:
            problem = f"no stream {name}: {error!r}"
        finally:
            await client.close()
        await asyncio.sleep(RETRY_S)
    raise RabbitFailed(f"{problem} within {START_S:g} s")


@asynccontextmanager
async def rabbit_streams() -> AsyncIterator[RabbitStreams]:
    """Run three connected servers. Raise RabbitFailed."""
    # rstream logs each end of a connection, also those that it was asked for.
    logging.getLogger(MODULE).setLevel(logging.CRITICAL)
    with servers("yak-bench-rabbit-", end_signal=signal.SIGKILL) as running:
        pids, ports = _start(running)
        for port in ports:
            await _listening(port)
        yield RabbitStreams(ports[0], pids)


async def _listening(port: int) -> None:
    """Wait until a server accepts connections. Raise RabbitFailed."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            _, writer = await asyncio.open_connection(HOST, port)
        except OSError:
            await asyncio.sleep(RETRY_S)
            continue
        writer.close()
        await writer.wait_closed()
        return
    raise RabbitFailed(f"{PROGRAM} did not start within {START_S:g} s")
