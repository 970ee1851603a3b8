"""Producer for applications: collects records into batches and returns their offsets.

The producer node of yak_core sends the batches in order; it handles timeouts, retries and leader
changes. A record costs one entry in a batch and one small handle; there is one future, one timer
and one call per batch.

``python -m yak_net.client.producer --message "Hello YAK"`` runs ``yak produce``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from time import time_ns
from typing import Final

from yak_core.batch import BATCH_BYTES_MAX, HEADER_BYTES, Builder, Headers, RecordTooLarge
from yak_core.clients.producer import build_producer_on_connections
from yak_core.config import ProducerConfig
from yak_core.contract.client_calls import ClientResult, SendBatch, SendResult
from yak_core.errors import ErrorCode, Outcome
from yak_core.ids import NO_EPOCH, NodeId
from yak_net.client.base import Client
from yak_net.client.batches import ProducerBatch, RecordMetadata, Resolved, Sent
from yak_net.client.errors import MessageSizeTooLargeError
from yak_net.client.options import (
    BOOTSTRAP_TIMEOUT_MS,
    RuntimeFactory,
    at_least,
    close_runtime,
    open_runtime,
    socket_runtime,
)

__all__ = ["Producer", "RecordMetadata", "Resolved", "Sent"]

_running_loop = asyncio.get_running_loop

ACKS: Final[dict[str | int, int]] = {"all": -1, -1: -1, 1: 1, 0: 0}
EXTRA_LINGER_S: Final = 0.1
"""Extra linger of a batch that cannot be sent yet, because too many batches are in flight."""
BATCH_BYTES_MIN: Final = HEADER_BYTES + 64


class Producer(Client):
    """Sends records: ``async with Producer() as producer: await producer.send(b"value")``.

    - ``bootstrap_servers``: ``"host:port,host:port"`` or a list; by default the local cluster,
      else YAK_BOOTSTRAP_SERVERS, else 127.0.0.1:8080.
    - ``acks``: "all", 1 or 0.
    - ``enable_idempotence``: by default True if acks is "all", as in Kafka.
    - ``linger_ms``: how long a batch waits for more records.
    - ``max_batch_size``: in bytes; a larger record, up to ``max_request_size``, is sent alone.
    - ``request_timeout_ms``: time limit of one request; then another broker is tried.
    - ``delivery_timeout_ms``: time limit of a record; then it fails.
    - ``buffer_memory``: :meth:`send` waits while more bytes than this are unresolved.
    - ``bootstrap_timeout_ms``: time limit of :meth:`start` to find a broker.
    - ``on_batch``: called with the result of each batch.
    - ``runtime``: makes the runtime of the producer node.

    ``confirmed``, ``not_written`` and ``unknown`` count the records of each outcome.
    """

    KIND = "producer"
    ERROR_SUFFIX = "; nothing was written; create a new producer"

    def __init__(
        self,
        bootstrap_servers: str | Iterable[str] | None = None,
        *,
        client_id: str | None = None,
        acks: str | int = "all",
        enable_idempotence: bool | None = None,
        linger_ms: int = 5,
        max_batch_size: int = 64 * 1024,
        max_request_size: int = 1024 * 1024,
        request_timeout_ms: int = 1_000,
        delivery_timeout_ms: int = 120_000,
        retry_backoff_ms: int = 100,
        buffer_memory: int = 32 * 1024 * 1024,
        compression_type: str | None = None,
        bootstrap_timeout_ms: int = BOOTSTRAP_TIMEOUT_MS,
        on_batch: Callable[[Resolved], None] | None = None,
        runtime: RuntimeFactory = socket_runtime,
    ) -> None:
        """Raise ValueError for a value out of range, TypeError for a value of the wrong type."""
        if acks not in ACKS:
            raise ValueError(f"acks must be 'all', 1 or 0, got {acks!r}")
        if enable_idempotence and ACKS[acks] != -1:
            raise ValueError(f"enable_idempotence requires acks='all', got acks={acks!r}")
        if compression_type not in (None, "none"):
            raise ValueError(
                f"compression_type must be None or 'none', got {compression_type!r}: compression "
                "is not supported"
            )
        at_least(0, linger_ms=linger_ms, bootstrap_timeout_ms=bootstrap_timeout_ms)
        at_least(1, request_timeout_ms=request_timeout_ms, delivery_timeout_ms=delivery_timeout_ms)
        at_least(1, retry_backoff_ms=retry_backoff_ms, buffer_memory=buffer_memory)
        at_least(BATCH_BYTES_MIN, max_batch_size=max_batch_size, max_request_size=max_request_size)
        if max_request_size > BATCH_BYTES_MAX:
            raise ValueError(
                f"max_request_size must be at most {BATCH_BYTES_MAX}, got {max_request_size}"
            )
        self.confirmed = 0
        self.not_written = 0
        self.unknown = 0
        super().__init__(bootstrap_servers, client_id, bootstrap_timeout_ms, runtime)
        self._config = ProducerConfig(
            (),
            acks=ACKS[acks],
            idempotent=ACKS[acks] == -1 if enable_idempotence is None else enable_idempotence,
            request_timeout_us=request_timeout_ms * 1000,
            delivery_timeout_us=delivery_timeout_ms * 1000,
            retry_backoff_us=retry_backoff_ms * 1000,
        )
        self._linger_s = linger_ms / 1000
        self._batch_bytes = min(max_batch_size, max_request_size)
        self._request_bytes = max_request_size
        self._buffer_memory = buffer_memory
        self._on_batch = on_batch
        self._batch: ProducerBatch | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._in_flight: dict[int, ProducerBatch] = {}
        self._bytes = 0
        self._closed_records = 0
        self._resolved_records = 0
        self._waiting_sends = 0
        self._send_lock = asyncio.Lock()
        self._memory_freed = asyncio.Event()

    # -- start and stop -------------------------------------------------------------------------

    async def start(self) -> None:
        """Find the brokers. Raises NoBrokersAvailable; the call may be repeated then."""
        self._check_not_started()

        def config(brokers: tuple[NodeId, ...]) -> ProducerConfig:
            return replace(self._config, brokers=brokers)

        build = build_producer_on_connections  # a connection delivers each request at most once
        runtime = self._make_runtime(self._name, build, config, self._servers)
        await open_runtime(runtime, self._bootstrap_timeout_ms)
        self._own(runtime)

    async def stop(self, timeout_ms: int | None = None) -> None:
        """Flush, for up to ``timeout_ms``, and stop.

        Records that are unresolved then get an outcome: NOT_WRITTEN if no byte of them was sent, or
        if a broker refused each request with them, else UNKNOWN. Without ``timeout_ms`` this takes
        up to ``delivery_timeout_ms``, the limit of a record. A cancelled call does not wait for the
        records, and stops the producer, too. Raises IllegalStateError on another event loop.
        """
        self._check_loop()
        self._stopped = True
        self._memory_freed.set()  # a pending send() then raises IllegalStateError
        runtime = self._runtime
        if runtime is None:
            return
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(None if timeout_ms is None else timeout_ms / 1000):
                    await self._flush()
        finally:
            try:
                await close_runtime(runtime)
            finally:
                for batch in list(self._in_flight.values()):
                    self._on_stopped(batch)
                self._close()

    # -- sending --------------------------------------------------------------------------------

    async def send(
        self,
        value: bytes | None,
        key: bytes | None = None,
        headers: Headers = (),
        timestamp_ms: int | None = None,
    ) -> Sent:
        """Accept a record and return a handle; await the handle for the offset.

        Records are appended to the log in the order of the calls. The call waits only while more
        than ``buffer_memory`` bytes are unresolved. Raises MessageSizeTooLargeError, and TypeError
        or ValueError for invalid fields. After an error or a cancellation the record is not
        accepted, and other records are not affected. Raises IllegalStateError on another event
        loop.
        """
        if timestamp_ms is None:
            timestamp_ms = time_ns() // 1_000_000
        batch = self._batch
        if (
            batch is not None
            and not self._waiting_sends
            and self._is_open
            and _running_loop() is self._loop  # On another loop, _send_in_turn raises the error.
        ):
            index = batch.builder.append(
                value, key=key, headers=headers, timestamp_ms=timestamp_ms
            )
            if index is not None:
                # No should_close() here: it costs an eighth of the time of this call. A batch that
                # is full to the last byte is closed by the next record or by the linger timer.
                return Sent(batch, index, timestamp_ms)
            self._close_batch()
        return await self._send_in_turn(value, key, headers, timestamp_ms)

    async def send_and_wait(
        self,
        value: bytes | None,
        key: bytes | None = None,
        headers: Headers = (),
        timestamp_ms: int | None = None,
    ) -> RecordMetadata:
        """Send a record and wait until it is confirmed. Raises a YakError."""
        return await (await self.send(value, key, headers, timestamp_ms))

    async def flush(self) -> None:
        """Wait until all accepted records are resolved. Cancelling the wait affects no record.

        Raises IllegalStateError before the start and on another event loop.
        """
        if self._runtime is None:
            self._check_running()
        self._check_loop()
        await self._flush()

    async def _flush(self) -> None:
        self._close_batch()
        waiting = [batch.future for batch in self._in_flight.values()]
        if waiting:
            await asyncio.wait(waiting)

    @property
    def unresolved(self) -> int:
        """Number of accepted records that are not resolved."""
        building = self._batch.builder.count if self._batch is not None else 0
        return self._closed_records + building - self._resolved_records

    def _count_unresolved(self) -> int:
        return self.unresolved

    async def _send_in_turn(
        self, value: bytes | None, key: bytes | None, headers: Headers, timestamp_ms: int
    ) -> Sent:
        """Send a record that needs a new batch, or that queues after other waiting records.

        There is no await after the record is appended, so a cancelled call has sent nothing.
        """
        self._check_running()
        self._waiting_sends += 1
        try:
            async with self._send_lock:
                batch = self._batch
                if batch is not None:
                    index = batch.builder.append(
                        value, key=key, headers=headers, timestamp_ms=timestamp_ms
                    )
                    if index is not None:
                        return Sent(batch, index, timestamp_ms)
                    self._close_batch()
                # Yield to the event loop once per batch. Otherwise an application that sends in a
                # loop would fill the buffer before the first byte leaves the process.
                await asyncio.sleep(0)
                while self._bytes > self._buffer_memory and not self._stopped:
                    self._memory_freed.clear()
                    await self._memory_freed.wait()
                self._check_running()
                return self._send_in_new_batch(value, key, headers, timestamp_ms)
        finally:
            self._waiting_sends -= 1

    def _send_in_new_batch(
        self, value: bytes | None, key: bytes | None, headers: Headers, timestamp_ms: int
    ) -> Sent:
        assert self._batch is None, "the previous batch is still open"
        builder = Builder(self._batch_bytes)
        try:
            builder.append(value, key=key, headers=headers, timestamp_ms=timestamp_ms)
        except RecordTooLarge:
            builder = Builder(self._request_bytes, 1)
            try:
                builder.append(value, key=key, headers=headers, timestamp_ms=timestamp_ms)
            except RecordTooLarge as error:
                raise MessageSizeTooLargeError(
                    f"{error}; nothing was written; {MessageSizeTooLargeError.advice}"
                ) from error
        self._batch = batch = ProducerBatch(builder, self._closed_records)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._linger_s, self._on_linger, batch)
        if builder.should_close(0, 1):
            self._close_batch()
        return Sent(batch, 0, timestamp_ms)

    # -- batches --------------------------------------------------------------------------------

    def _on_linger(self, batch: ProducerBatch) -> None:
        """Close the batch, or hold it open once if the maximum of batches is in flight.

        A held batch grows, so that fewer and larger batches are sent.
        """
        assert batch is self._batch, "the timer of a closed batch fired"
        if batch.linger_extended or len(self._in_flight) < self._config.in_flight_max:
            self._close_batch()
        else:
            batch.linger_extended = True
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(EXTRA_LINGER_S, self._on_linger, batch)

    def _close_batch(self) -> None:
        """Close the open batch, if there is one, and pass it to the node."""
        batch = self._batch
        if batch is None:
            return
        assert self._timer is not None, "the open batch has no timer"
        assert self._runtime is not None, "a batch is open, but the producer is not started"
        self._batch = None
        self._timer.cancel()
        built = batch.build()
        self._closed_records += built.count
        self._bytes += built.size
        self._in_flight[batch.first] = batch
        if self._runtime.halt_reason:
            self._resolve(batch, _NEVER_SENT, self._halt_message(self._runtime.halt_reason))
            return
        try:
            batch.answer = self._runtime.ask(SendBatch(built))
        except Exception as error:
            reason = self._halt_message(f"{type(error).__name__}: {error}")
            self._resolve(batch, _MAY_BE_SENT, reason)
            raise
        batch.answer.add_done_callback(partial(self._on_answer, batch))

    def _on_answer(self, batch: ProducerBatch, answer: asyncio.Future[ClientResult]) -> None:
        if batch.result is not None:
            return  # stop() has resolved the batch
        if answer.cancelled():
            assert self._runtime is not None, "a batch was sent, but the producer is not started"
            if self._stopped and not self._runtime.halt_reason:
                self._resolve(batch, _STOPPED)
            else:
                self._resolve(batch, _MAY_BE_SENT, self._halt_message(self._runtime.halt_reason))
            return
        result = answer.result()
        assert isinstance(result, SendResult), f"a SendBatch returned {result}"
        self._resolve(batch, result)

    def _on_stopped(self, batch: ProducerBatch) -> None:
        """Resolve a batch after the end of the runtime, whose answer may not be handled yet."""
        if batch.answer is not None and batch.answer.done():
            self._on_answer(batch, batch.answer)
        else:
            self._resolve(batch, _STOPPED)

    def _resolve(self, batch: ProducerBatch, result: SendResult, halt_reason: str = "") -> None:
        del self._in_flight[batch.first]
        self._bytes -= batch.size
        self._resolved_records += batch.count
        if result.outcome == Outcome.WRITTEN:
            self.confirmed += batch.count
        elif result.outcome == Outcome.NOT_WRITTEN:
            self.not_written += batch.count
        else:
            self.unknown += batch.count
        resolved = batch.resolve(result, halt_reason)
        self._memory_freed.set()
        building = self._batch
        if building is not None and building.linger_extended:
            self._close_batch()
        if self._on_batch is not None:
            self._on_batch(resolved)


_NEVER_SENT: Final = SendResult(ErrorCode.NONE, Outcome.NOT_WRITTEN, -1, NO_EPOCH)
_MAY_BE_SENT: Final = SendResult(ErrorCode.NONE, Outcome.UNKNOWN, -1, NO_EPOCH)
_STOPPED: Final = SendResult(
    ErrorCode.NETWORK_EXCEPTION, Outcome.UNKNOWN, -1, NO_EPOCH, "the producer was stopped"
)
