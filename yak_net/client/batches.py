"""Unresolved batches of a producer, and the handles of the records in them.

A batch and its records are resolved when their outcome is known.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any, Final, NamedTuple

from yak_core.batch import Batch, Builder
from yak_core.contract.client_calls import ClientResult, SendResult
from yak_core.errors import ErrorCode
from yak_core.value import value
from yak_net.client.compressing import Compression
from yak_net.client.errors import Delivery, IllegalStateError, UnknownError, YakError, send_error


class RecordMetadata(NamedTuple):
    """Position of a record: ``timestamp`` in ms; ``offset`` and ``leader_epoch``, -1 if unknown.

    Both are unknown with acks=0, and for a duplicate whose offset the broker no longer stores.
    """

    offset: int
    timestamp: int
    leader_epoch: int


@value
class Resolved:
    """Result of a batch of ``count`` records, the first of which has the number ``first``.

    A producer numbers the records that it accepts from 0. Awaiting one of the records raises
    ``error``, unless that is None. ``base_offset`` and ``leader_epoch`` are -1 if unknown.
    """

    first: int
    count: int
    outcome: Delivery
    error: YakError | None
    base_offset: int
    leader_epoch: int


_CLOSED: Final = Builder()
"""Replaces the builder of a closed batch, so that the memory of the records can be freed."""


class ProducerBatch:
    """Records that are sent together and get one result. Only the producer changes the fields.

    ``result`` is None until the batch is resolved. Then ``future`` is done; it never has an
    exception. ``halt_reason`` is the reason why the client halted, if that resolved the batch.
    """

    __slots__ = (
        *("answer", "builder", "count", "first", "future", "result", "size"),
        *("halt_reason", "linger_extended"),
    )

    def __init__(self, builder: Builder, first: int) -> None:
        self.builder = builder
        self.first = first
        #: The result of the node; None before the batch is passed to the node.
        self.answer: asyncio.Future[ClientResult] | None = None
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.count = 0
        self.size = 0
        self.linger_extended = False
        self.result: SendResult | None = None
        self.halt_reason = ""

    def build(self, compression: Compression) -> Batch:
        """Close the batch and return it in the record batch format."""
        built = compression.apply(self.builder.build())
        self.builder = _CLOSED
        self.count = built.count
        self.size = built.size
        return built

    def resolve(self, result: SendResult, halt_reason: str = "") -> Resolved:
        """Set the result and wake the waiting tasks; return the result for ``on_batch``."""
        assert self.result is None, "the batch is already resolved"
        self.result = result
        self.halt_reason = halt_reason
        if not self.future.done():  # an event loop that is closing may have cancelled it
            self.future.set_result(None)
        return Resolved(
            self.first,
            self.count,
            Delivery[result.outcome.name],
            self.error(result),
            result.base_offset,
            result.epoch,
        )

    def error(self, result: SendResult) -> YakError | None:
        """Return a new exception, since each raise extends its traceback; None if there is none."""
        if self.halt_reason:
            return UnknownError(self.halt_reason, Delivery[result.outcome.name])
        return None if result.error == ErrorCode.NONE else send_error(result)


class Sent:
    """Handle of an accepted record. Await it, once or many times, for the RecordMetadata.

    Cancelling the wait does not cancel the record. ``timestamp`` is in ms.
    """

    __slots__ = ("_batch", "_index", "timestamp")

    def __init__(self, batch: ProducerBatch, index: int, timestamp: int) -> None:
        self._batch = batch
        self._index = index
        self.timestamp = timestamp

    def __await__(self) -> Generator[Any, None, RecordMetadata]:
        """Wait until the record is resolved. Raises a YakError.

        Before that, it can be awaited only on the event loop of its producer.
        """
        if self._batch.result is None:
            if asyncio.get_running_loop() is not self._batch.future.get_loop():
                raise IllegalStateError(
                    "the record belongs to another event loop; await it on the loop of its producer"
                )
            # Shielded, because all records of the batch share the future.
            yield from asyncio.shield(self._batch.future).__await__()
        return self.result()

    def done(self) -> bool:
        """Return whether the record is resolved."""
        return self._batch.result is not None

    @property
    def outcome(self) -> Delivery:
        """The outcome of the record; UNKNOWN while the record is in flight."""
        result = self._batch.result
        return Delivery.UNKNOWN if result is None else Delivery[result.outcome.name]

    def result(self) -> RecordMetadata:
        """Return the position. Raises a YakError, or InvalidStateError before it is resolved."""
        batch = self._batch
        result = batch.result
        if result is None:
            raise asyncio.InvalidStateError("the record is not resolved yet; await it")
        error = batch.error(result)
        if error is not None:
            raise error
        base = result.base_offset
        offset = -1 if base < 0 else base + self._index
        return RecordMetadata(offset, self.timestamp, result.epoch)
