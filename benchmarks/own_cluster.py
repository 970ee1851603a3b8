"""Measurements of our cluster of real brokers, through the public client API.

Three brokers run as processes on loopback, in a temporary folder; this process is the client. The
metadata store is a separate redis-server if one is installed, else embedded in this process (then
its CPU seconds count as the client's). A measurement is repeated if the ISR was not complete or the
partition state changed during it.
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
"""Records between two reads of the clock; equal to the pipeline size of the peer."""
WINDOW: Final = 16
"""Batches passed to the node and not resolved; five of them are in flight."""
TRIES: Final = 5
READY_S: Final = 60.0
GRACE_S: Final = 60.0
"""Seconds after the planned end at which a measurement fails with a timeout."""
POLL_MS: Final = 1000

T = TypeVar("T")


class StateChanged(Exception):
    """The partition state changed during each try of a measurement."""


class OwnCluster:
    """The running cluster of :func:`own_cluster`."""

    def __init__(self, cluster: Supervisor) -> None:
        self._cluster = cluster
        self._ranges: dict[int, tuple[int, int]] = {}

    @property
    def pids(self) -> tuple[int, ...]:
        """Return the process ids of the brokers."""
        return tuple(self._cluster.pids.values())

    @property
    def servers(self) -> tuple[str, ...]:
        """Return the addresses of the brokers."""
        return self._cluster.bootstrap_servers

    async def leader(self) -> NodeId:
        """Return the leader, after waiting for it."""
        status = await self._cluster.wait_for_leader(READY_S)
        assert status.leader is not None, "no leader after wait_for_leader"
        return status.leader

    async def produce(self, value: bytes, seconds: float, bytes_max: int) -> Flow:
        """Measure ``Producer.send`` for ``seconds``, or until ``bytes_max`` bytes are sent.

        The records stay in the log for :meth:`read`.
        """

        async def work() -> Flow:
            async with Producer(self.servers, max_batch_size=BATCH_BYTES) as producer:
                first = await producer.send_and_wait(value)
                meter = Meter(self.pids)
                sent = await _send(producer, value, seconds, bytes_max)
                await producer.flush()
                cost = meter.stop()
                assert producer.confirmed == sent + 1, f"{producer.confirmed} of {sent + 1} acked"
                last = await producer.send_and_wait(value)
                self._ranges[len(value)] = (first.offset, last.offset)
                return Flow(sent, len(value), cost)

        return await self._with_stable_state(work, seconds)

    async def produce_batches(
        self, value: bytes, batch_bytes: int, seconds: float, bytes_max: int
    ) -> Flow:
        """Measure whole batches: encode each record, send each batch with one call."""

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

        return await self._with_stable_state(work, seconds)

    async def read(self, value: bytes, seconds: float) -> Flow:
        """Measure repeated reads of the records of :meth:`produce`, decoded to single records."""
        begin, end = self._ranges[len(value)]

        async def work() -> Flow:
            read_count = 0
            async with Consumer(self.servers, auto_offset_reset=begin) as consumer:
                assert await consumer.getmany(POLL_MS), "the consumer read no record"
                consumer.seek(begin)  # a small log may be read to its end already
                meter = Meter(self.pids)
                until = time.perf_counter() + seconds
                while not read_count or time.perf_counter() < until:
                    records = await consumer.getmany(POLL_MS)
                    assert not records or records[0].value == value
                    read_count += len(records)
                    if await consumer.position() >= end:
                        consumer.seek(begin)
                return Flow(read_count, len(value), meter.stop())

        return await self._with_stable_state(work, seconds)

    async def latencies(self, value: bytes, seconds: float, every_s: float = 0.0) -> Latencies:
        """Measure the latency with one record in flight; one is sent every ``every_s`` seconds."""

        async def work() -> Latencies:
            latencies_s: list[float] = []
            async with Producer(self.servers, linger_ms=0) as producer:
                await producer.send_and_wait(value)
                meter = Meter(self.pids)
                until = time.perf_counter() + seconds
                while not latencies_s or time.perf_counter() < until:
                    began = time.perf_counter()
                    await producer.send_and_wait(value)
                    latencies_s.append(time.perf_counter() - began)
                    await asyncio.sleep(max(0.0, began + every_s - time.perf_counter()))
                return Latencies(tuple(latencies_s), meter.stop())

        return await self._with_stable_state(work, seconds)

    async def failover_s(self, value: bytes) -> float:
        """Kill the leader; return the seconds until the next record is acknowledged."""
        await self._until_complete()
        async with Producer(self.servers, linger_ms=0) as producer:
            await producer.send_and_wait(value)
            leader = await self.leader()
            began = time.perf_counter()
            await self._cluster.kill(leader)
            async with asyncio.timeout(GRACE_S):
                await producer.send_and_wait(value)
            took_s = time.perf_counter() - began
        await self._cluster.restart(leader)
        return took_s

    async def _with_stable_state(self, work: Callable[[], Awaitable[T]], seconds: float) -> T:
        """Return the result of the first ``work`` without a metadata change. Raise Unsteady."""
        for _ in range(TRIES):
            partition_epoch = await self._until_complete()
            async with asyncio.timeout(seconds + GRACE_S):
                result = await work()
            status = await self._cluster.status()
            if status.version == partition_epoch:
                return result
        raise StateChanged(f"the partition state changed in each of {TRIES} measurements")

    async def _until_complete(self) -> int | None:
        """Wait for a leader and a full ISR. Return the partition epoch."""
        async with asyncio.timeout(READY_S):
            while True:
                status = await self._cluster.wait_for_leader(READY_S)
                if len(status.isr) == BROKERS:
                    return status.version
                await asyncio.sleep(0.05)


async def _send(producer: Producer, value: bytes, seconds: float, bytes_max: int) -> int:
    """Send records one by one, and return their number."""
    sent, records_max = 0, bytes_max // len(value)
    send = producer.send
    until = time.perf_counter() + seconds
    while not sent or (sent < records_max and time.perf_counter() < until):
        for _ in range(CHUNK):
            await send(value)
        sent += CHUNK
    return sent


async def _send_batches(
    runtime: ClientRuntime, value: bytes, batch_bytes: int, seconds: float, bytes_max: int
) -> int:
    """Encode and send batches, and return the number of acknowledged records."""
    sent, records_max = 0, bytes_max // len(value)
    pending: deque[asyncio.Future[ClientResult]] = deque()
    until = time.perf_counter() + seconds
    while not sent or (sent < records_max and time.perf_counter() < until):
        if len(pending) >= WINDOW:
            _check(await pending.popleft())
        call = _batch(value, batch_bytes)
        pending.append(runtime.ask(call))
        sent += call.batch.count
        await asyncio.sleep(0)  # send the first batches before the window is full
    for each in pending:
        _check(await each)
    return sent


def _batch(value: bytes, batch_bytes: int) -> SendBatch:
    """Return a full batch; all records have the same timestamp."""
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


class _AckingRuntime:
    """A runtime that acknowledges each batch immediately, to measure the producer alone."""

    halt_reason = ""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = 0

    async def start(self, within_s: float) -> None:
        """Do nothing: there is no broker to find."""

    def ask(self, call: ClientCall) -> asyncio.Future[ClientResult]:
        """Acknowledge the batch at the next offset."""
        assert isinstance(call, SendBatch)
        future: asyncio.Future[ClientResult] = self._loop.create_future()
        future.set_result(SendResult(ErrorCode.NONE, Outcome.WRITTEN, self._end, Epoch(0)))
        self._end += call.batch.count
        return future

    def cancel(self, future: asyncio.Future[ClientResult]) -> None:
        """Do nothing: the future is already done."""

    def connection_failures(self) -> str:
        """Return that no connection failed."""
        return ""

    async def close(self) -> None:
        """Do nothing: there is no connection to close."""


async def produce_alone(value: bytes, seconds: float) -> Flow:
    """Measure ``Producer.send`` without network and brokers."""

    def acking(_: str, __: Build, ___: MakeConfig, ____: tuple[str, ...]) -> Runtime:
        return _AckingRuntime()

    async with Producer("127.0.0.1:1", max_batch_size=BATCH_BYTES, runtime=acking) as producer:
        meter = Meter(())
        sent = await _send(producer, value, seconds, sys.maxsize)
        await producer.flush()
        cost = meter.stop()
        assert producer.confirmed == sent
        return Flow(sent, len(value), cost)


@asynccontextmanager
async def own_cluster(flush: str, command: tuple[str, ...] = BROKER) -> AsyncIterator[OwnCluster]:
    """Run three brokers, all in the ISR. ``command`` is the command that starts a broker."""
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
