"""Brokers and clients on sockets, disks and Redis. This module exports the client API.

The example needs a cluster: start one with ``./yak cluster up --detach``. Clients in the same
folder find its brokers; elsewhere, set YAK_BOOTSTRAP_SERVERS or pass ``bootstrap_servers``::

    import asyncio

    from yak_net import Consumer, Producer, YakError

    async def main() -> None:
        async with Producer() as producer:
            sent = await producer.send(b"hello", key=b"greeting")
            try:
                metadata = await sent
            except YakError as error:
                raise SystemExit(f"{error.outcome}: {error}") from error
            print(metadata.offset)  # 0
        async with Consumer(auto_offset_reset=metadata.offset) as consumer:
            async for record in consumer:
                print(record.offset, record.key, record.value)  # 0 b'greeting' b'hello'
                break

    asyncio.run(main())

Without an event loop, use ``SyncProducer`` and ``SyncConsumer``. docs/python.md has more examples.
``__all__`` is the public API, listed in docs/api.md. Each name is imported at its first use, so
``import yak_net`` alone is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

__all__ = [
    "Consumer", "ConsumerRecord", "CorruptRecordError", "Delivery", "DuplicateSequenceNumberError",
    "FencedLeaderEpochError", "IllegalStateError", "InvalidProducerEpochError",
    "InvalidRequestError", "InvalidRequiredAcksError", "KafkaStorageError",
    "MessageSizeTooLargeError", "NetworkExceptionError", "NoBrokersAvailable",
    "NotEnoughReplicasAfterAppendError", "NotEnoughReplicasError", "NotLeaderOrFollowerError",
    "OffsetNotAvailableError", "OffsetOutOfRangeError", "OutOfOrderSequenceNumberError", "Producer",
    "RecordMetadata", "RequestTimedOutError", "Resolved", "Sent", "SyncConsumer", "SyncProducer",
    "SyncSent", "ThrottlingQuotaExceededError", "UnknownError", "UnknownLeaderEpochError",
    "UnknownProducerIdError", "UnreadableError", "UnsupportedCompressionTypeError", "YakError",
]  # fmt: skip

_HOMES: Final = {
    "Consumer": "consumer",
    "ConsumerRecord": "consumer",
    "Producer": "producer",
    "RecordMetadata": "batches",
    "Resolved": "batches",
    "Sent": "batches",
    "SyncConsumer": "sync_consumer",
    "SyncProducer": "sync_producer",
    "SyncSent": "sync_producer",
}
"""Submodules of yak_net.client that define these names; all other names are in ``errors``."""

if TYPE_CHECKING:
    from yak_net.client.batches import RecordMetadata, Resolved, Sent
    from yak_net.client.consumer import Consumer, ConsumerRecord
    from yak_net.client.errors import (
        CorruptRecordError,
        Delivery,
        DuplicateSequenceNumberError,
        FencedLeaderEpochError,
        IllegalStateError,
        InvalidProducerEpochError,
        InvalidRequestError,
        InvalidRequiredAcksError,
        KafkaStorageError,
        MessageSizeTooLargeError,
        NetworkExceptionError,
        NoBrokersAvailable,
        NotEnoughReplicasAfterAppendError,
        NotEnoughReplicasError,
        NotLeaderOrFollowerError,
        OffsetNotAvailableError,
        OffsetOutOfRangeError,
        OutOfOrderSequenceNumberError,
        RequestTimedOutError,
        ThrottlingQuotaExceededError,
        UnknownError,
        UnknownLeaderEpochError,
        UnknownProducerIdError,
        UnreadableError,
        UnsupportedCompressionTypeError,
        YakError,
    )
    from yak_net.client.producer import Producer
    from yak_net.client.sync_consumer import SyncConsumer
    from yak_net.client.sync_producer import SyncProducer, SyncSent
else:

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"yak_net.client.{_HOMES.get(name, 'errors')}"), name)

    def __dir__() -> list[str]:
        return __all__
