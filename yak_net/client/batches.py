"""A producer's batches under way, and the records' shares in them; must never send anything."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any, Final, NamedTuple

from yak_core.batch import Batch, Builder
from yak_core.contract.client_calls import SendResult
from yak_core.errors import ErrorCode
from yak_core.value import value
from yak_net.client.errors import Delivery, UnknownError, YakError, send_error


class RecordMetadata(NamedTuple):
    """Where a record is: ``timestamp`` in ms, ``offset`` and ``leader_epoch`` -1 if nobody said.

    A broker does not say with acks=0, nor when it recognises what was written long ago.
    """

    offset: int
    timestamp: int
    leader_epoch: int


@value
class Resolved:
    """What became of a batch: of ``count`` records from number ``first`` on.

    The records that a producer took are numbered from 0. ``error`` is what awaiting one of them
    raises, None if they have a place. ``base_offset`` and ``leader_epoch`` are -1 unless known.
    """

    first: int
    count: int
    outcome: Delivery
    error: YakError | None
    base_offset: int
    leader_epoch: int


_CLOSED: Final = Builder()
"""Stands for the builder of a batch that takes in no more, so that its records can be freed."""


class ProducerBatch:
    """Records that share a fate; the only writer is the producer.

    ``result`` is None until it is known, ``future`` is done then, and never has an exception.
    ``over`` says why the client is, if that is what ended the batch.
    """

    __slots__ = ("builder", "count", "first", "future", "held", "over", "result", "size")

    def __init__(self, builder: Builder, first: int) -> None:
        self.builder = builder
        self.first = first
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.count = 0
        self.size = 0
        self.held = False
        self.result: SendResult | None = None
        self.over = ""

    def build(self) -> Batch:
        """Take in no more."""
        built = self.builder.build()
        self.builder = _CLOSED
        self.count = built.count
        self.size = built.size
        return built

    def resolve(self, result: SendResult, over: str = "") -> Resolved:
        """Tell those who wait."""
        assert self.result is None, "a batch is resolved once"
        self.result = result
        self.over = over
        if not self.future.done():  # the loop of its waiters may have cancelled it, at its end
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
        """A new one for whoever asks, since each raise adds to an exception's traceback."""
        if self.over:
            return UnknownError(self.over, Delivery[result.outcome.name])
        return None if result.error == ErrorCode.NONE else send_error(result)


class Sent:
    """A record that the producer took. Await it, as often as you like, for its RecordMetadata.

    To give up waiting for one record changes nothing for any. ``timestamp`` is in ms.
    """

    __slots__ = ("_batch", "_index", "timestamp")

    def __init__(self, batch: ProducerBatch, index: int, timestamp: int) -> None:
        self._batch = batch
        self._index = index
        self.timestamp = timestamp

    def __await__(self) -> Generator[Any, None, RecordMetadata]:
        """Wait until its fate is known. Raises a YakError."""
        if self._batch.result is None:
            # Shielded, because the future is that of all records of the batch.
            yield from asyncio.shield(self._batch.future).__await__()
        return self.result()

    def done(self) -> bool:
        """Whether its fate is known."""
        return self._batch.result is not None

    @property
    def outcome(self) -> Delivery:
        """Return what became of it; UNKNOWN while it is under way."""
        result = self._batch.result
        return Delivery.UNKNOWN if result is None else Delivery[result.outcome.name]

    def result(self) -> RecordMetadata:
        """Where it is. Raises a YakError, and InvalidStateError as long as it is not done."""
        batch = self._batch
        result = batch.result
        if result is None:
            raise asyncio.InvalidStateError("the record is under way: await it")
        error = batch.error(result)
        if error is not None:
            raise error
        base = result.base_offset
        offset = -1 if base < 0 else base + self._index
        return RecordMetadata(offset, self.timestamp, result.epoch)
