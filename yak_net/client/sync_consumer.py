"""Consumer for applications without an event loop: each call blocks.

It runs a :class:`~yak_net.client.consumer.Consumer` in a thread of its own (background.py).
docs/python.md has examples.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Self, TypedDict, Unpack

from yak_core.ids import Offset
from yak_net.client.background import Background, close_client, drop_client, started
from yak_net.client.consumer import Consumer, ConsumerRecord
from yak_net.client.errors import IllegalStateError
from yak_net.client.options import RuntimeFactory

__all__ = ["SyncConsumer"]


class ConsumerOptions(TypedDict, total=False):
    """Keyword arguments of :class:`~yak_net.client.consumer.Consumer`, with its defaults."""

    client_id: str | None
    auto_offset_reset: str | int
    fetch_max_wait_ms: int
    fetch_max_bytes: int
    request_timeout_ms: int
    retry_backoff_ms: int
    metadata_max_age_ms: int
    default_api_timeout_ms: int
    bootstrap_timeout_ms: int
    runtime: RuntimeFactory


class SyncConsumer:
    """Reads records: ``with SyncConsumer() as consumer: for record in consumer: ...``.

    The arguments are those of :class:`~yak_net.client.consumer.Consumer`. The constructor finds
    the brokers and resolves the start position. All threads may use one consumer; each record is
    returned to one of them. After a fork only the parent process can use it.
    """

    def __init__(
        self,
        bootstrap_servers: str | Iterable[str] | None = None,
        **options: Unpack[ConsumerOptions],
    ) -> None:
        """Raise ValueError or TypeError for an invalid argument.

        Raises NoBrokersAvailable, and RequestTimedOutError if no leader returns the position.
        """
        self._background = Background("consumer")
        self._reading = threading.Lock()
        self._closed = False

        async def start() -> Consumer:
            consumer = Consumer(bootstrap_servers, **options)
            await consumer.start()
            return consumer

        self._consumer = consumer = started(self._background, start)
        self._background.at_exit = consumer.stop

    def __iter__(self) -> Self:
        """Return the consumer, an endless iterator over the records from the position on."""
        return self

    def __next__(self) -> ConsumerRecord:
        """Return the next record; the iteration ends when another thread closes the consumer."""
        try:
            return self.getone()
        except IllegalStateError:
            if not self._closed:
                raise
            raise StopIteration from None

    def getone(self) -> ConsumerRecord:
        """Wait for the next record and return it.

        After a YakError, and after Ctrl-C during the call, the position is unchanged.
        """
        with self._reading:
            return self._background.call(
                self._consumer.getone, lambda record: self._seek_back((record,))
            )

    def getmany(self, timeout_ms: int = 0, max_records: int | None = None) -> list[ConsumerRecord]:
        """Return the available records; wait up to ``timeout_ms`` for the first one.

        Return at most ``max_records``, and an empty list after the timeout. After a YakError, and
        after Ctrl-C during the call, the position is unchanged.
        """
        consumer = self._consumer
        with self._reading:
            return self._background.call(
                lambda: consumer.getmany(timeout_ms, max_records), self._seek_back
            )

    def position(self) -> Offset:
        """Return the offset of the next record to return."""
        return self._background.call(self._consumer.position)

    def highwater(self) -> Offset | None:
        """Return the high watermark of the latest fetch response; None before the first one."""
        return self._consumer.highwater()

    def seek(self, offset: Offset) -> None:
        """Continue with the record at ``offset``."""
        consumer = self._consumer

        async def seek() -> None:
            consumer.seek(offset)

        self._background.call(seek)

    def seek_to_beginning(self) -> None:
        """Continue with the first record of the log. Raises the errors of beginning_offset()."""
        self._background.call(self._consumer.seek_to_beginning)

    def seek_to_end(self) -> None:
        """Continue after the last committed record. Raises the errors of end_offset()."""
        self._background.call(self._consumer.seek_to_end)

    def beginning_offset(self) -> Offset:
        """Ask the leader for the offset of the first record of the log, and return it.

        Raises NoBrokersAvailable, and RequestTimedOutError if there is no leader.
        """
        return self._background.call(self._consumer.beginning_offset)

    def end_offset(self) -> Offset:
        """Ask the leader for the offset after the last committed record, and return it.

        Raises NoBrokersAvailable, and RequestTimedOutError if there is no leader.
        """
        return self._background.call(self._consumer.end_offset)

    def close(self) -> None:
        """Stop the consumer. A pending call for a record in another thread ends.

        May be repeated, and has no effect in a forked process.
        """
        self._closed = True
        close_client(self._background, self._consumer.stop)

    def __enter__(self) -> Self:
        """Return the consumer, which is started."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the consumer."""
        self.close()

    def __del__(self) -> None:
        """Stop in the background, with a ResourceWarning."""
        consumer: Consumer | None = getattr(self, "_consumer", None)
        if consumer is not None:
            drop_client(self, self._background, consumer.stop)

    def _seek_back(self, records: Sequence[ConsumerRecord]) -> None:
        """Make records available again that an interrupted call did not return."""
        if records:
            with suppress(IllegalStateError):  # the consumer was closed
                self._consumer.seek(records[0].offset)
