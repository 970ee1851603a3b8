"""What is measured on our own cluster of real brokers; must never use what a client could not.

Three brokers as processes of their own, on loopback and in a temporary folder; the client is this
process. The metadata is in a redis-server of its own if there is one, else embedded in this process
(then its CPU seconds count as the client's). A measurement counts only if the ISR was complete and
the metadata record the same from its beginning to its end; else it is taken again.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar

from benchmarks import redis_peer
from benchmarks.procs import Flow, Latencies, Meter
from yak_core.batch import HEADER_BYTES, Builder
from yak_core.clients.producer import build_producer
from yak_core.config import ProducerConfig
from yak_core.contract.client_calls import ClientCall, ClientResult, SendBatch, SendResult
from yak_core.contract.node import Build
from yak_core.errors import ErrorCode, Outcome
from yak_core.ids import Epoch, NodeId
from yak_net.client.consumer import Consumer
from yak_net.client.options import MakeConfig, Runtime
from yak_net.client.producer import Producer
from yak_net.client.runtime import ClientRuntime
from yak_net.cluster.supervisor import BROKER, ClusterSpec, Supervisor

BROKERS: Final = 3
BATCH_BYTES: Final = 64 * 1024
CHUNK: Final = 500
"""Records between two looks at the clock, as many as the peer has in a pipeline."""
WINDOW: Final = 16
"""Batches given to the node and unresolved; five of them are under way."""
TRIES: Final = 5
READY_S: Final = 60.0
GRACE_S: Final = 60.0
"""How much longer than it was asked to a measurement may take."""
POLL_MS: Final = 1000

T = TypeVar("T")


class Unsteady(Exception):
    """The cluster did not stay as it was for as long as a measurement takes."""


class OwnCluster:
    """The cluster, while :func:`own_cluster` is open."""

    def __init__(self, cluster: Supervisor) -> None:
        self._cluster = cluster
        self._ranges: dict[int, tuple[int, int]] = {}

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the brokers."""
        return tuple(self._cluster.pids.values())

    @property
    def servers(self) -> tuple[str, ...]:
        """Where the brokers are."""
        return self._cluster.bootstrap_servers

    async def leader(self) -> NodeId:
        """Who leads."""
        status = await self._cluster.wait_for_leader(READY_S)
        assert status.leader is not None, "somebody serves"
        return status.leader

    async def produce(self, value: bytes, seconds: float, bytes_max: int) -> Flow:
        """Confirmed records of ``Producer.send``, for so long or of so many bytes.

        They stay for :meth:`read`.
        """

        async def work() -> Flow:
            async with Producer(self.servers, max_batch_size=BATCH_BYTES) as producer:
                first = await producer.send_and_wait(value)
                meter = Meter(self.pids)
                sent = await _send(producer, value, seconds, bytes_max)
                await producer.flush()
                cost = meter.stop()
                assert producer.confirmed == sent + 1, "each record was confirmed"
                last = await producer.send_and_wait(value)
                self._ranges[len(value)] = (first.offset, last.offset)
                return Flow(sent, len(value), cost)

        return await self._steadily(work, seconds)

    async def produce_batches(
        self, value: bytes, batch_bytes: int, seconds: float, bytes_max: int
    ) -> Flow:
        """Confirmed records of whole batches, each record encoded and each batch sent as one."""

        async def work() -> Flow:
            runtime = ClientRuntime("bench", build_producer, _client_config, self.servers)
            try:
                await runtime.start(READY_S)
                _check(await runtime.ask(_batch(value, HEADER_BYTES + 2 * len(value))))
                meter = Meter(self.pids)
                sent = await _send_batches(runtime, value, batch_bytes, seconds, bytes_max)
                return Flow(sent, len(value), meter.stop())
            finally:
                await runtime.close()

        return await self._steadily(work, seconds)

    async def read(self, value: bytes, seconds: float) -> Flow:
        """What :meth:`produce` wrote, from its beginning and again, decoded to single records."""
        begin, end = self._ranges[len(value)]

        async def work() -> Flow:
            taken = 0
            async with Consumer(self.servers, auto_offset_reset=begin) as consumer:
                assert await consumer.getmany(POLL_MS), "it has found the leader"
                meter = Meter(self.pids)
                until = time.perf_counter() + seconds
                while not taken or time.perf_counter() < until:
                    records = await consumer.getmany(POLL_MS)
                    assert not records or records[0].value == value
                    taken += len(records)
                    if await consumer.position() >= end:
                        consumer.seek(begin)
                return Flow(taken, len(value), meter.stop())

        return await self._steadily(work, seconds)

    async def latencies(self, value: bytes, seconds: float) -> Latencies:
        """One record under way at a time."""

        async def work() -> Latencies:
            took: list[float] = []
            async with Producer(self.servers, linger_ms=0) as producer:
                await producer.send_and_wait(value)
                meter = Meter(self.pids)
                until = time.perf_counter() + seconds
                while not took or time.perf_counter() < until:
                    began = time.perf_counter()
                    await producer.send_and_wait(value)
                    took.append(time.perf_counter() - began)
                return Latencies(tuple(took), meter.stop())

        return await self._steadily(work, seconds)

    async def _steadily(self, work: Callable[[], Awaitable[T]], seconds: float) -> T:
        """What ``work`` returns the first time that the cluster stays as it is. Raises Unsteady."""
        for _ in range(TRIES):
            before = await self._until_complete()
            async with asyncio.timeout(seconds + GRACE_S):
                result = await work()
            status = await self._cluster.status()
            if status.version == before:
                return result
        raise Unsteady(f"the ISR changed in each of {TRIES} measurements")

    async def _until_complete(self) -> int | None:
        """The version of the record once a leader serves and the ISR has all brokers."""
        async with asyncio.timeout(READY_S):
            while True:
                status = await self._cluster.wait_for_leader(READY_S)
                if len(status.isr) == BROKERS:
                    return status.version
                await asyncio.sleep(0.05)


async def _send(producer: Producer, value: bytes, seconds: float, bytes_max: int) -> int:
    """Send records one by one; returns how many were taken."""
    sent, most = 0, bytes_max // len(value)
    send = producer.send
    until = time.perf_counter() + seconds
    while not sent or (sent < most and time.perf_counter() < until):
        for _ in range(CHUNK):
            await send(value)
        sent += CHUNK
    return sent


async def _send_batches(
    runtime: ClientRuntime, value: bytes, batch_bytes: int, seconds: float, bytes_max: int
) -> int:
    """Encode and send batches; returns how many records were confirmed."""
    sent, most = 0, bytes_max // len(value)
    waiting: deque[asyncio.Future[ClientResult]] = deque()
    until = time.perf_counter() + seconds
    while not sent or (sent < most and time.perf_counter() < until):
        if len(waiting) >= WINDOW:
            _check(await waiting.popleft())
        order = _batch(value, batch_bytes)
        waiting.append(runtime.ask(order))
        sent += order.batch.count
        await asyncio.sleep(0)  # so that the first batches leave before the window is full
    for each in waiting:
        _check(await each)
    return sent


def _batch(value: bytes, batch_bytes: int) -> SendBatch:
    """As many records as it takes, each encoded; one timestamp, as all are made at once."""
    builder = Builder(batch_bytes)
    timestamp_ms = time.time_ns() // 1_000_000
    while builder.append(value, timestamp_ms=timestamp_ms) is not None:
        pass
    return SendBatch(builder.build())


def _client_config(brokers: tuple[NodeId, ...]) -> ProducerConfig:
    return ProducerConfig(brokers)


def _check(result: ClientResult) -> None:
    assert isinstance(result, SendResult)
    assert result.outcome == Outcome.WRITTEN, result


class _Confirming:
    """A runtime that confirms each batch at once, so that a producer is all that works."""

    failed = ""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = 0

    async def start(self, within_s: float) -> None:
        """There is nothing to find."""

    def ask(self, call: ClientCall) -> asyncio.Future[ClientResult]:
        """Written, where the one before ended."""
        assert isinstance(call, SendBatch)
        future: asyncio.Future[ClientResult] = self._loop.create_future()
        future.set_result(SendResult(ErrorCode.NONE, Outcome.WRITTEN, self._end, Epoch(0)))
        self._end += call.batch.count
        return future

    def cancel(self, future: asyncio.Future[ClientResult]) -> None:
        """It is done already."""

    async def close(self) -> None:
        """There is nothing to close."""


async def produce_alone(value: bytes, seconds: float) -> Flow:
    """Records that ``Producer.send`` takes in when nothing else costs anything."""

    def confirming(_: str, __: Build, ___: MakeConfig, ____: tuple[str, ...]) -> Runtime:
        return _Confirming()

    async with Producer("127.0.0.1:1", max_batch_size=BATCH_BYTES, runtime=confirming) as producer:
        meter = Meter(())
        sent = await _send(producer, value, seconds, sys.maxsize)
        await producer.flush()
        cost = meter.stop()
        assert producer.confirmed == sent
        return Flow(sent, len(value), cost)


@asynccontextmanager
async def own_cluster(flush: str, command: tuple[str, ...] = BROKER) -> AsyncIterator[OwnCluster]:
    """Three brokers, all in the ISR; ``command`` starts a broker in another way than usual."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="yak-bench-"))
        url = ""
        if redis_peer.installed():
            url = stack.enter_context(redis_peer.server())[1]
        spec = ClusterSpec(
            nodes=BROKERS,
            data_dir=Path(folder) / "data",
            redis_url=url,
            flush=flush,
            command=command,
        )
        async with Supervisor(spec) as supervisor:
            await supervisor.wait_until_ready(READY_S)
            yield OwnCluster(supervisor)
