"""Producer for applications without an event loop: each call blocks.

It runs a :class:`~yak_net.client.producer.Producer` in a thread of its own (background.py).
docs/python.md has examples.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Iterable
from typing import Self, TypedDict, Unpack

from yak_core.batch import Headers
from yak_net.client.background import EXIT_S, Background, close_client, drop_client, started
from yak_net.client.batches import RecordMetadata, Resolved, Sent
from yak_net.client.errors import Delivery, IllegalStateError, YakError
from yak_net.client.options import RuntimeFactory
from yak_net.client.producer import Producer

__all__ = ["SyncProducer", "SyncSent"]


class ProducerOptions(TypedDict, total=False):
    """Keyword arguments of :class:`~yak_net.client.producer.Producer`, with its defaults."""

    client_id: str | None
    acks: str | int
    enable_idempotence: bool | None
    linger_ms: int
    max_batch_size: int
    max_request_size: int
    request_timeout_ms: int
    delivery_timeout_ms: int
    retry_backoff_ms: int
    buffer_memory: int
    compression_type: str | None
    compression_level: int | None
    bootstrap_timeout_ms: int
    on_batch: Callable[[Resolved], None] | None
    runtime: RuntimeFactory


class SyncProducer:
    """Sends records: ``with SyncProducer() as producer: producer.send(b"value")``.

    The arguments are those of :class:`~yak_net.client.producer.Producer`; ``on_batch`` is called
    in the thread of the producer. The constructor finds the brokers. All threads may use one
    producer; the records of each thread keep their order.

    A producer that is open when the program ends is flushed for up to ten seconds, and a
    RuntimeWarning says which records failed. Close it to get the error instead. After a fork only
    the parent process can use it.
    """

    def __init__(
        self,
        bootstrap_servers: str | Iterable[str] | None = None,
        **options: Unpack[ProducerOptions],
    ) -> None:
        """Raise ValueError or TypeError for an invalid argument, and NoBrokersAvailable."""
        self._failures = failures = _Failures(options.get("on_batch"))
        options["on_batch"] = failures.on_batch
        self._background = Background("producer")

        async def start() -> Producer:
            producer = Producer(bootstrap_servers, **options)
            await producer.start()
            return producer

        self._producer = producer = started(self._background, start)
        self._background.at_exit = lambda: producer.stop(round(EXIT_S * 1000))
        self._background.report = lambda: failures.warn("when the program ended")

    def send(
        self,
        value: bytes | None,
        key: bytes | None = None,
        headers: Headers = (),
        timestamp_ms: int | None = None,
    ) -> SyncSent:
        """Accept a record and return a handle; the record is sent in the background.

        The call waits only while more than ``buffer_memory`` bytes are unresolved. Raises
        MessageSizeTooLargeError, TypeError or ValueError; then the record is not accepted. If
        Ctrl-C interrupts the call, the record may or may not be sent.
        """
        producer, failures = self._producer, self._failures

        async def accept() -> SyncSent:
            sent = await producer.send(value, key, headers, timestamp_ms)
            failures.accepted += 1
            return SyncSent(self._background, failures, sent, failures.accepted - 1)

        return self._background.call(accept)

    def send_and_wait(
        self,
        value: bytes | None,
        key: bytes | None = None,
        headers: Headers = (),
        timestamp_ms: int | None = None,
    ) -> RecordMetadata:
        """Send a record and wait until it is confirmed. Raises a YakError."""
        return self.send(value, key, headers, timestamp_ms).result()

    def flush(self, timeout_ms: int | None = None) -> None:
        """Wait until all accepted records are resolved.

        Raises the YakError of the first record that failed, unless ``result()`` of a record of
        its batch has raised it. Raises TimeoutError after ``timeout_ms``; the records are still
        being sent then.
        """
        producer = self._producer

        async def flush() -> None:
            async with asyncio.timeout(None if timeout_ms is None else timeout_ms / 1000):
                await producer.flush()

        try:
            self._background.call(flush)
        except TimeoutError as error:
            raise TimeoutError(
                f"{self.unresolved} records are not resolved after {timeout_ms} ms; "
                "call flush() again"
            ) from error
        self._failures.raise_first()

    def close(self, timeout_ms: int | None = None) -> None:
        """Flush, for up to ``timeout_ms``, and stop; unresolved records get the outcome UNKNOWN.

        Without ``timeout_ms`` this takes up to ``delivery_timeout_ms``, the limit of a record.
        Raises the same YakError as :meth:`flush`. May be repeated, and has no effect in a forked
        process.
        """
        producer = self._producer
        close_client(self._background, lambda: producer.stop(timeout_ms))
        self._failures.raise_first()

    @property
    def confirmed(self) -> int:
        """Number of records with the outcome WRITTEN."""
        return self._producer.confirmed

    @property
    def not_written(self) -> int:
        """Number of records with the outcome NOT_WRITTEN."""
        return self._producer.not_written

    @property
    def unknown(self) -> int:
        """Number of records with the outcome UNKNOWN."""
        return self._producer.unknown

    @property
    def unresolved(self) -> int:
        """Number of accepted records that are not resolved."""
        return self._producer.unresolved

    def __enter__(self) -> Self:
        """Return the producer, which is started."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close the producer. During another exception, an error of it is a RuntimeWarning."""
        if kind is None:
            self.close()
            return
        producer = self._producer
        close_client(self._background, producer.stop)
        self._failures.warn("when the producer was closed")

    def __del__(self) -> None:
        """Flush and stop in the background, with a ResourceWarning."""
        producer: Producer | None = getattr(self, "_producer", None)
        if producer is not None:
            drop_client(self, self._background, producer.stop)


class SyncSent:
    """Handle of a record that a :class:`SyncProducer` accepted. ``timestamp`` is in ms."""

    __slots__ = ("_background", "_failures", "_number", "_sent", "timestamp")

    def __init__(
        self, background: Background, failures: _Failures, sent: Sent, number: int
    ) -> None:
        self.timestamp = sent.timestamp
        self._background = background
        self._failures = failures
        self._sent = sent
        self._number = number

    def done(self) -> bool:
        """Return whether the record is resolved."""
        return self._sent.done()

    @property
    def outcome(self) -> Delivery:
        """The outcome of the record; UNKNOWN while the record is in flight."""
        return self._sent.outcome

    def result(self, timeout_ms: int | None = None) -> RecordMetadata:
        """Wait until the record is resolved; return its position, or raise its YakError.

        Raises TimeoutError after ``timeout_ms``; the record is still being sent then.
        """
        sent = self._sent
        if not sent.done():
            try:
                self._background.call(lambda: _resolved(sent, timeout_ms))
            except IllegalStateError:
                if not sent.done():  # closing the producer has resolved the record
                    raise
        try:
            return sent.result()
        except YakError:
            self._failures.mark_seen(self._number)
            raise


async def _resolved(sent: Sent, timeout_ms: int | None) -> None:
    try:
        async with asyncio.timeout(None if timeout_ms is None else timeout_ms / 1000):
            await sent
    except TimeoutError as error:
        raise TimeoutError(
            f"the record is not resolved after {timeout_ms} ms; call result() again"
        ) from error
    except YakError:
        return  # result() raises it


class _Failures:
    """The failed batches whose error the application has not seen.

    Without a lock, since a process that is forked may copy a locked one: each operation on the
    dictionary is atomic.
    """

    def __init__(self, on_batch: Callable[[Resolved], None] | None) -> None:
        self.accepted = 0
        self._unseen: dict[int, Resolved] = {}
        self._then = on_batch

    def on_batch(self, batch: Resolved) -> None:
        if batch.error is not None:
            self._unseen[batch.first] = batch
        if self._then is not None:
            self._then(batch)

    def mark_seen(self, number: int) -> None:
        """Remove the batch of the record ``number``."""
        for first, batch in tuple(self._unseen.items()):
            if first <= number < first + batch.count:
                self._unseen.pop(first, None)

    def take(self) -> list[Resolved]:
        """Return the failed batches and forget them."""
        found = [self._unseen.pop(first, None) for first in tuple(self._unseen)]
        return [batch for batch in found if batch is not None]

    def raise_first(self) -> None:
        """Raise the first error that the application has not seen."""
        for batch in self.take():
            assert batch.error is not None
            raise batch.error

    def warn(self, when: str) -> None:
        """Warn of the failed records, with the first error."""
        found = self.take()
        if found:
            counts: dict[Delivery, int] = {}
            for batch in found:
                counts[batch.outcome] = counts.get(batch.outcome, 0) + batch.count
            texts = [f"{count} {outcome}" for outcome, count in counts.items()]
            warnings.warn(
                f"records failed {when}: {', '.join(texts)}; the first error: {found[0].error}; "
                "call close() to get the error",
                RuntimeWarning,
                stacklevel=3,
            )
