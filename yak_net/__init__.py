"""Brokers and clients on sockets, disks and Redis. This module exports the client API.

Each name is imported at its first use, so ``import yak_net`` alone is fast.
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
    "RecordMetadata", "RequestTimedOutError", "ThrottlingQuotaExceededError", "UnknownError",
    "UnknownLeaderEpochError", "UnsupportedCompressionTypeError", "YakError",
]  # fmt: skip

_HOMES: Final = {
    "Consumer": "consumer",
    "ConsumerRecord": "consumer",
    "Producer": "producer",
    "RecordMetadata": "batches",
}
"""Submodules of yak_net.client that define these names; all other names are in ``errors``."""

if TYPE_CHECKING:
    from yak_net.client.batches import RecordMetadata
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
        UnsupportedCompressionTypeError,
        YakError,
    )
    from yak_net.client.producer import Producer
else:

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"yak_net.client.{_HOMES.get(name, 'errors')}"), name)

    def __dir__() -> list[str]:
        return __all__
