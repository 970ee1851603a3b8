"""Consumer for applications: reads the committed records of the log in order, without gaps.

The consumer node of yak_core fetches whole batches; it handles timeouts and leader changes. This
module decodes a batch when the application needs its records. While the application processes the
records of one fetch, the next fetch is in flight.

``python -m yak_net.client.consumer --from-beginning`` runs ``yak consume``.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from yak_core.batch import Batch, BatchError, columns
from yak_core.clients.consumer import build_consumer
from yak_core.config import ConsumerConfig
from yak_core.contract.client_calls import ClientResult, Poll, PollResult, Seek
from yak_core.errors import ErrorCode
from yak_core.ids import NodeId, Offset
from yak_net.client.base import Client
from yak_net.client.consumer.records import ConsumerRecord, consumer_records
from yak_net.client.errors import (
    IllegalStateError,
    RequestTimedOutError,
    UnknownError,
    UnreadableError,
    read_error,
    unreadable_error,
)
from yak_net.client.options import (
    BOOTSTRAP_TIMEOUT_MS,
    Runtime,
    RuntimeFactory,
    at_least,
    close_runtime,
    open_runtime,
    socket_runtime,
)

__all__ = ["Consumer", "ConsumerRecord"]

LATEST: Final = -1
EARLIEST: Final = -2
RESETS: Final = {"latest": LATEST, "earliest": EARLIEST}
PAUSE_S: Final = 0.02
"""Pause after a poll that returned at once without records: the broker has too many readers."""


class Consumer(Client):
    """Reads records: ``async with Consumer() as consumer: async for record in consumer: ...``.

    - ``bootstrap_servers``: ``"host:port,host:port"`` or a list; by default the local cluster,
      else YAK_BOOTSTRAP_SERVERS, else 127.0.0.1:8080.
    - ``auto_offset_reset``: the start position: "latest", "earliest" or an offset. It is resolved
      before :meth:`start` returns; records appended after that are read.
    - ``fetch_max_wait_ms``: how long a broker delays an empty response.
    - ``fetch_max_bytes``: size limit of a response; a single batch may be larger.
    - ``request_timeout_ms``: time limit of one request; then another broker is tried.
    - ``default_api_timeout_ms``: time limit of the calls that need a response of the leader.
    - ``bootstrap_timeout_ms``: time limit of :meth:`start` to find a broker.
    - ``runtime``: makes the runtime of the consumer node.
    """

    KIND = "consumer"

    def __init__(
        self,
        bootstrap_servers: str | Iterable[str] | None = None,
        *,
        client_id: str | None = None,
        auto_offset_reset: str | int = "latest",
        fetch_max_wait_ms: int = 500,
        fetch_max_bytes: int = 1024 * 1024,
        request_timeout_ms: int = 1_000,
        retry_backoff_ms: int = 100,
        metadata_max_age_ms: int = 5_000,
        default_api_timeout_ms: int = 60_000,
        bootstrap_timeout_ms: int = BOOTSTRAP_TIMEOUT_MS,
        runtime: RuntimeFactory = socket_runtime,
    ) -> None:
        """Raise ValueError for a value out of range, TypeError for a value of the wrong type."""
        if isinstance(auto_offset_reset, str):
            if auto_offset_reset not in RESETS:
                raise ValueError(
                    "auto_offset_reset must be 'latest', 'earliest' or an offset, "
                    f"got {auto_offset_reset!r}"
                )
            self._start_at = RESETS[auto_offset_reset]
        else:
            at_least(0, auto_offset_reset=auto_offset_reset)
            self._start_at = auto_offset_reset
        at_least(0, fetch_max_wait_ms=fetch_max_wait_ms, bootstrap_timeout_ms=bootstrap_timeout_ms)
        at_least(1, fetch_max_bytes=fetch_max_bytes, request_timeout_ms=request_timeout_ms)
        at_least(1, retry_backoff_ms=retry_backoff_ms, metadata_max_age_ms=metadata_max_age_ms)
        at_least(1, default_api_timeout_ms=default_api_timeout_ms)
        super().__init__(bootstrap_servers, client_id, bootstrap_timeout_ms, runtime)
        self._config = ConsumerConfig(
            (),
            request_timeout_us=request_timeout_ms * 1000,
            retry_backoff_us=retry_backoff_ms * 1000,
            metadata_max_age_us=metadata_max_age_ms * 1000,
            fetch_wait_us=fetch_max_wait_ms * 1000,
            fetch_bytes_max=fetch_max_bytes,
        )
        self._api_timeout_s = default_api_timeout_ms / 1000
        self._position: Offset = -1
        self._highwater: Offset | None = None
        self._poll: asyncio.Future[ClientResult] | None = None
        self._poll_started_at = 0.0
        self._batches: deque[Batch] = deque()
        self._records: deque[ConsumerRecord] = deque()
        # The error of the batch after _records, until it is raised.
        self._unreadable: UnreadableError | None = None

    # -- start and stop -------------------------------------------------------------------------

    async def start(self) -> None:
        """Find the brokers and resolve the start position.

        Raises NoBrokersAvailable, and RequestTimedOutError if no leader returns the start
        position. The call may be repeated then.
        """
        self._check_not_started()
        start_offset = self._start_at
        if start_offset < 0:
            start_offset = await self._resolve_offset(start_offset)
        runtime = self._runtime_for(self._config, start_offset)
        await open_runtime(runtime, self._bootstrap_timeout_ms)
        self._own(runtime)
        self._position = start_offset
        self._start_poll()

    async def stop(self) -> None:
        """Stop the consumer. A pending call for a record raises IllegalStateError.

        Raises IllegalStateError on another event loop.
        """
        self._check_loop()
        self._stopped = True
        self._drop_fetched()
        if self._runtime is not None:
            await close_runtime(self._runtime)
            self._close()

    # -- reading --------------------------------------------------------------------------------

    def __aiter__(self) -> Consumer:
        """Return the consumer, an endless iterator over the records from the position on."""
        return self

    async def __anext__(self) -> ConsumerRecord:
        """Return the next record; the iteration ends when the consumer is stopped."""
        try:
            return await self.getone()
        except IllegalStateError:
            if not self._stopped:
                raise
            raise StopAsyncIteration from None

    async def getone(self) -> ConsumerRecord:
        """Wait for the next record and return it.

        Raises CorruptRecordError or UnsupportedCompressionTypeError once for a batch that cannot be
        decoded: ``offset`` and ``next_offset`` of the error are the records that the next call
        skips. After any other YakError the position is unchanged.
        """
        self._check_loop()
        while not self._records:
            await self._fetch_more(None)
        record = self._records.popleft()
        self._position = record.offset + 1
        return record

    async def getmany(
        self, timeout_ms: int = 0, max_records: int | None = None
    ) -> list[ConsumerRecord]:
        """Return the available records; wait up to ``timeout_ms`` for the first one.

        Return all records that were fetched, but at most ``max_records``, and an empty list after
        the timeout. Raises the errors of :meth:`getone`; records before a batch that cannot be
        decoded are returned first.
        """
        at_least(0, timeout_ms=timeout_ms)
        if max_records is not None:
            at_least(1, max_records=max_records)
        self._check_loop()
        deadline = asyncio.get_running_loop().time() + timeout_ms / 1000
        while not self._records:
            if not await self._fetch_more(deadline):
                return []
        wanted = sys.maxsize if max_records is None else max_records
        while len(self._records) < wanted and self._decode_fetched():
            continue
        if wanted >= len(self._records):
            found = list(self._records)
            self._records.clear()
        else:
            found = [self._records.popleft() for _ in range(wanted)]
        self._position = found[-1].offset + 1
        return found

    # -- positions ------------------------------------------------------------------------------

    async def position(self) -> Offset:
        """Return the offset of the next record to return."""
        self._check_running()
        return self._position

    def highwater(self) -> Offset | None:
        """Return the high watermark of the latest fetch response; None before the first one."""
        return self._highwater

    def seek(self, offset: Offset) -> None:
        """Continue with the record at ``offset``."""
        at_least(0, offset=offset)
        runtime = self._check_running()
        self._drop_fetched()
        self._position = offset
        runtime.ask(Seek(offset))

    async def seek_to_beginning(self) -> None:
        """Continue with the first record of the log. Raises the errors of beginning_offset()."""
        self.seek(await self.beginning_offset())

    async def seek_to_end(self) -> None:
        """Continue after the last committed record. Raises the errors of end_offset()."""
        self.seek(await self.end_offset())

    async def beginning_offset(self) -> Offset:
        """Ask the leader for the offset of the first record of the log, and return it.

        Raises NoBrokersAvailable, and RequestTimedOutError if there is no leader.
        """
        self._check_running()
        return await self._resolve_offset(EARLIEST)

    async def end_offset(self) -> Offset:
        """Ask the leader for the offset after the last committed record, and return it.

        Raises NoBrokersAvailable, and RequestTimedOutError if there is no leader.
        """
        self._check_running()
        return await self._resolve_offset(LATEST)

    # -- helpers --------------------------------------------------------------------------------

    def _runtime_for(self, config: ConsumerConfig, start_offset: Offset) -> Runtime:
        def complete(brokers: tuple[NodeId, ...]) -> ConsumerConfig:
            return replace(config, brokers=brokers, start_offset=start_offset)

        return self._make_runtime(self._name, build_consumer, complete, self._servers)

    async def _resolve_offset(self, at: Offset) -> Offset:
        """Return the first offset (``at`` is -2) or the committed end (-1), from the leader.

        A separate consumer node sends the ListOffsets request and retries it. The high watermark
        of a fetch response is not used: after a failover, the high watermark of the new leader may
        be lower than what the old leader confirmed. The leader answers ListOffsets only when its
        high watermark has reached the start of its epoch (rule R12).
        """
        config = replace(self._config, fetch_wait_us=0, fetch_bytes_max=1)
        runtime = self._runtime_for(config, at)
        try:
            async with asyncio.timeout(self._api_timeout_s):
                await open_runtime(runtime, self._bootstrap_timeout_ms)
                result = await runtime.ask(Poll())
        except TimeoutError as error:
            failures = runtime.connection_failures()
            cause = f": cannot connect to {failures}" if failures else ""
            raise RequestTimedOutError(
                f"no leader answered within {self._api_timeout_s:g} s{cause}; "
                f"{RequestTimedOutError.advice}"
            ) from error
        finally:
            await close_runtime(runtime)
        assert isinstance(result, PollResult), f"a Poll returned {result}"
        if result.error != ErrorCode.NONE:
            raise read_error(result)
        return result.position

    def _drop_fetched(self) -> None:
        """Drop the fetched records and cancel the poll in flight."""
        self._batches.clear()
        self._records.clear()
        self._unreadable = None
        poll, self._poll = self._poll, None
        if poll is not None and self._runtime is not None:
            self._runtime.cancel(poll)

    def _start_poll(self) -> asyncio.Future[ClientResult]:
        """Return the poll in flight; start one if there is none."""
        if self._poll is None:
            self._poll = self._check_running().ask(Poll())
            self._poll_started_at = asyncio.get_running_loop().time()
        return self._poll

    async def _fetch_more(self, deadline: float | None) -> bool:
        """Try to make records available; return False after the loop time ``deadline``."""
        self._check_running()
        error, self._unreadable = self._unreadable, None
        if error is not None:
            error.offset, self._position = self._position, error.next_offset
            raise error
        if self._batches:
            self._decode(self._batches.popleft())
            return True
        loop = asyncio.get_running_loop()
        poll = self._start_poll()
        if not poll.done():
            # asyncio.wait, because a cancelled caller must not cancel the poll of the next caller.
            remaining = None if deadline is None else max(0.0, deadline - loop.time())
            await asyncio.wait((poll,), timeout=remaining)
        if self._poll is not poll:
            return True  # another task called seek or stop, or took the result
        if not poll.done():
            return False
        self._poll = None
        if poll.cancelled():
            self._check_running()
            raise UnknownError(self._halt_message(""))
        result = poll.result()
        assert isinstance(result, PollResult), f"a Poll returned {result}"
        if result.error != ErrorCode.NONE:
            raise read_error(result)
        self._keep(result)
        if not result.batches and loop.time() - self._poll_started_at < PAUSE_S:
            await asyncio.sleep(PAUSE_S)
        return True

    def _keep(self, result: PollResult) -> None:
        """Keep the batches of a poll; if there are any, start the next poll."""
        self._highwater = result.hw
        if result.batches:
            self._batches.extend(result.batches)
            self._start_poll()

    def _decode_fetched(self) -> bool:
        """Decode the next batch that was fetched, without waiting; return False if none was."""
        if self._unreadable is not None:
            return False
        poll = self._poll
        if not self._batches and poll is not None and poll.done() and not poll.cancelled():
            result = poll.result()
            assert isinstance(result, PollResult), f"a Poll returned {result}"
            if result.error == ErrorCode.NONE and result.batches:
                self._poll = None
                self._keep(result)
        if not self._batches:
            return False
        self._decode(self._batches.popleft())
        return True

    def _decode(self, batch: Batch) -> None:
        """Make the records of a batch from the position on available, up to an unreadable one."""
        try:
            found = columns(batch)
        except BatchError as error:
            self._set_unreadable(batch, error)
            return
        self._records.extend(consumer_records(batch, found, self._position))
        if found.error is not None:
            self._set_unreadable(batch, found.error)

    def _set_unreadable(self, batch: Batch, error: BatchError) -> None:
        self._unreadable = unreadable_error(error, batch.end)
        self._unreadable.__cause__ = error
