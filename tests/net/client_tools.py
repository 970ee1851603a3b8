"""A runtime whose results a test sets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from yak_core.batch import Batch, Builder, placed, records, seal
from yak_core.contract.client_calls import (
    ClientCall,
    ClientResult,
    Poll,
    PollResult,
    SendBatch,
    SendResult,
)
from yak_core.contract.node import Build
from yak_core.errors import ErrorCode, Outcome
from yak_core.ids import Epoch, NodeId
from yak_net.client.producer import Producer

PATIENCE_S = 20.0
FOREVER_MS = 3_600_000
"""A linger longer than any test."""

LOST = SendResult(ErrorCode.REQUEST_TIMED_OUT, Outcome.UNKNOWN, -1, Epoch(-1), "timeout")
REFUSED = SendResult(ErrorCode.NOT_ENOUGH_REPLICAS, Outcome.NOT_WRITTEN, -1, Epoch(-1), "1 in sync")

T = TypeVar("T")


class FakeRuntime:
    """Collects the calls for its node."""

    def __init__(self, made: Made, config: Any) -> None:
        self.config = config
        self.calls: list[tuple[ClientCall, asyncio.Future[ClientResult]]] = []
        self.halt_reason = ""
        self.closed = False
        self.failures = ""
        self.within_s = -1.0
        self._made = made
        self._news = asyncio.Event()

    async def start(self, within_s: float) -> None:
        self.within_s = within_s
        if self._made.refusal is not None:
            raise self._made.refusal

    def ask(self, call: ClientCall) -> asyncio.Future[ClientResult]:
        future: asyncio.Future[ClientResult] = asyncio.get_running_loop().create_future()
        self.calls.append((call, future))
        self._news.set()
        if self._made.bug is not None:
            self.fail(str(self._made.bug))
            raise self._made.bug
        return future

    def cancel(self, future: asyncio.Future[ClientResult]) -> None:
        future.cancel()

    def connection_failures(self) -> str:
        return self.failures

    async def close(self) -> None:
        self._cut()
        await run_ready(self._made.turns_to_close)
        self.closed = True

    def fail(self, reason: str) -> None:
        """Fail as after an exception in the node's step."""
        self.halt_reason = reason
        self._cut()

    def _cut(self) -> None:
        for _, future in self.calls:
            future.cancel()

    async def asked(self, count: int) -> None:
        """Wait for this number of calls."""
        while len(self.calls) < count:
            self._news.clear()
            await self._news.wait()

    def batch(self, index: int) -> Batch:
        """Return the batch of a call."""
        call = self.calls[index][0]
        assert isinstance(call, SendBatch)
        return call.batch

    def values(self) -> list[bytes | None]:
        """Return the values of all batches, in order."""
        return [r.value for index in range(len(self.calls)) for r in records(self.batch(index))]

    def answer(self, index: int, result: ClientResult) -> None:
        """Complete a call."""
        self.calls[index][1].set_result(result)

    def confirm(self, index: int, base: int, epoch: int = 1) -> None:
        """Complete a call as written."""
        self.answer(index, SendResult(ErrorCode.NONE, Outcome.WRITTEN, base, Epoch(epoch)))

    def deliver(self, index: int, *batches: Batch, position: int, hw: int = 100) -> None:
        """Complete a poll with batches."""
        assert isinstance(self.calls[index][0], Poll)
        end = batches[-1].end if batches else position
        self.answer(index, PollResult(ErrorCode.NONE, batches, position, end, hw, Epoch(1)))


class Made:
    """The runtimes that a client made, and the behaviour of the next one."""

    def __init__(self) -> None:
        self.runtimes: list[FakeRuntime] = []
        self.names: list[str] = []
        self.refusal: Exception | None = None
        self.bug: Exception | None = None
        self.turns_to_close = 1
        self._news = asyncio.Event()

    def __call__(
        self,
        name: str,
        build: Build,
        config: Callable[[tuple[NodeId, ...]], Any],
        servers: tuple[str, ...],
    ) -> FakeRuntime:
        runtime = FakeRuntime(self, config(("n1", "n2")))
        self.names.append(f"{name} of {build.__name__} at {','.join(servers)}")
        self.runtimes.append(runtime)
        self._news.set()
        return runtime

    async def number(self, index: int) -> FakeRuntime:
        """Wait for a runtime to be made; return it."""
        while len(self.runtimes) <= index:
            self._news.clear()
            await self._news.wait()
        return self.runtimes[index]


def batch_of(base: int, *values: bytes | None, epoch: int = 1, timestamp_ms: int = 7) -> Batch:
    """Return a batch as a broker sends it."""
    builder = Builder()
    for value in values:
        assert builder.append(value, timestamp_ms=timestamp_ms) is not None
    return placed(seal(builder.build()), base, epoch)


def producer(made: Made, **words: Any) -> Producer:
    """Return a producer whose batches linger without limit by default."""
    return Producer("h:1", runtime=made, **{"linger_ms": FOREVER_MS, **words})


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel a task and check that it ends as cancelled."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def run_ready(count: int = 5) -> None:
    """Run the tasks that are ready."""
    for _ in range(count):
        await asyncio.sleep(0)
