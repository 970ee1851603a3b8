"""Exceptions of the clients: one class for each Kafka error code that yak_core defines.

A message says what happened, whether the records were written, and what to do. ``outcome`` holds
the second part as a value. After a timeout it is UNKNOWN: the records may be in the log.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Final

from yak_core.batch import BatchError, UnsupportedCodec
from yak_core.contract.client_calls import PollResult, SendResult
from yak_core.errors import RETRIABLE, ErrorCode


class Delivery(StrEnum):
    """The Outcome of yak_core, with the names that applications and JSON use."""

    WRITTEN = "written"
    NOT_WRITTEN = "not_written"
    UNKNOWN = "unknown"


_OUTCOME_TEXTS: Final = {
    Delivery.WRITTEN: "the records were written",
    Delivery.NOT_WRITTEN: "nothing was written",
    Delivery.UNKNOWN: "whether the records were written is unknown",
}
_CHECK_LOG: Final = "check whether the log contains them before you send them again"


class YakError(Exception):
    """Base class of all errors of the clients.

    ``code`` and ``name`` are Kafka's; ``code`` is -1 if Kafka has no such error.

    ``retriable``: the same request may succeed later. ``outcome`` of a read is always
    NOT_WRITTEN.
    """

    code: ClassVar[int] = -1
    name: ClassVar[str] = "UNKNOWN_SERVER_ERROR"
    retriable: ClassVar[bool] = False
    meaning: ClassVar[str] = "the request failed"
    advice: ClassVar[str] = "see the logs of the brokers"

    def __init__(self, message: str, outcome: Delivery = Delivery.NOT_WRITTEN) -> None:
        super().__init__(message)
        self.outcome = outcome

    def __init_subclass__(cls) -> None:
        """Set ``name`` and ``retriable`` of a class whose code is an ErrorCode of yak_core."""
        if isinstance(cls.code, ErrorCode):
            cls.name = cls.code.name
            cls.retriable = cls.code in RETRIABLE


class OffsetOutOfRangeError(YakError):
    """Kafka's 1: the requested offset is not in the log."""

    code = ErrorCode.OFFSET_OUT_OF_RANGE
    meaning = "the requested offset is not in the log"
    advice = "continue at an offset in the log, such as the earliest or the latest"


class UnreadableError(YakError):
    """A consumer cannot decode the records from ``offset`` on, up to before ``next_offset``.

    The next read continues at ``next_offset``. Both are -1 for an error of a producer.
    """

    offset: int = -1
    next_offset: int = -1


class CorruptRecordError(UnreadableError):
    """Kafka's 2 (CORRUPT_MESSAGE): a record batch is corrupt."""

    code = ErrorCode.CORRUPT_MESSAGE
    meaning = "a record batch is corrupt"
    advice = "retry, and check the network to the broker if that fails too"


class NotLeaderOrFollowerError(YakError):
    """Kafka's 6: the broker is not the leader."""

    code = ErrorCode.NOT_LEADER_OR_FOLLOWER
    meaning = "the broker is not the leader"
    advice = "retry when yak cluster status shows a leader"


class RequestTimedOutError(YakError):
    """Kafka's 7: no response arrived before the timeout."""

    code = ErrorCode.REQUEST_TIMED_OUT
    meaning = "no response arrived before the timeout"
    advice = "retry when yak cluster status shows a leader"


class MessageSizeTooLargeError(YakError):
    """Kafka's 10 (MESSAGE_TOO_LARGE): a record or batch is larger than the limit."""

    code = ErrorCode.MESSAGE_TOO_LARGE
    meaning = "a record or batch is larger than the limit"
    advice = (
        "make it smaller, or raise max_request_size of the producer and batch_bytes_max of the "
        "brokers"
    )


class NetworkExceptionError(YakError):
    """Kafka's 13: the connection closed before a response arrived."""

    code = ErrorCode.NETWORK_EXCEPTION
    meaning = "the connection closed before a response arrived"
    advice = "retry"


class NotEnoughReplicasError(YakError):
    """Kafka's 19: the ISR has fewer members than min ISR."""

    code = ErrorCode.NOT_ENOUGH_REPLICAS
    meaning = "the ISR has fewer members than min ISR"
    advice = "start the missing brokers and send the records again"


class NotEnoughReplicasAfterAppendError(YakError):
    """Kafka's 20: fewer replicas than min ISR have appended the records."""

    code = ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND
    meaning = "fewer replicas than min ISR have appended the records"
    advice = "start the missing brokers"


class InvalidRequiredAcksError(YakError):
    """Kafka's 21: the broker does not support this value of acks."""

    code = ErrorCode.INVALID_REQUIRED_ACKS
    meaning = "the broker does not support this value of acks"
    advice = "use all, 1 or 0"


class InvalidRequestError(YakError):
    """Kafka's 42: the broker rejected the request as invalid."""

    code = ErrorCode.INVALID_REQUEST
    meaning = "the broker rejected the request as invalid"
    advice = "use the same version of YAK for the client and the brokers"


class OutOfOrderSequenceNumberError(YakError):
    """Kafka's 45: an earlier batch of this producer is not in the log."""

    code = ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    meaning = "an earlier batch of this producer is not in the log"
    advice = "send the unconfirmed records again"


class DuplicateSequenceNumberError(YakError):
    """Kafka's 46: the records are already in the log, and the broker no longer stores their
    offsets."""

    code = ErrorCode.DUPLICATE_SEQUENCE_NUMBER
    meaning = "the records are already in the log, and the broker no longer stores their offsets"
    advice = _CHECK_LOG


class InvalidProducerEpochError(YakError):
    """Kafka's 47: this producer is fenced."""

    code = ErrorCode.INVALID_PRODUCER_EPOCH
    meaning = "this producer is fenced"
    advice = "create a new producer"


class KafkaStorageError(YakError):
    """Kafka's 56: the disk of the broker failed."""

    code = ErrorCode.KAFKA_STORAGE_ERROR
    meaning = "the disk of the broker failed"
    advice = "check the log and the disk of the broker"


class UnknownProducerIdError(YakError):
    """Kafka's 59: the broker does not know this producer, and the batch is not its first one."""

    code = ErrorCode.UNKNOWN_PRODUCER_ID
    meaning = "the broker does not know this producer"
    advice = "send the unconfirmed records again"


class FencedLeaderEpochError(YakError):
    """Kafka's 74: the leader epoch of this client is stale."""

    code = ErrorCode.FENCED_LEADER_EPOCH
    meaning = "the leader epoch of this client is stale"
    advice = "retry"


class UnknownLeaderEpochError(YakError):
    """Kafka's 75: the leader epoch of this client is newer than that of the broker."""

    code = ErrorCode.UNKNOWN_LEADER_EPOCH
    meaning = "the leader epoch of this client is newer than that of the broker"
    advice = "retry"


class OffsetNotAvailableError(YakError):
    """Kafka's 78: the high watermark of a new leader has not reached the start of its epoch."""

    code = ErrorCode.OFFSET_NOT_AVAILABLE
    meaning = "the high watermark of a new leader has not reached the start of its epoch"
    advice = "retry"


class ThrottlingQuotaExceededError(YakError):
    """Kafka's 89: too many requests or bytes are pending."""

    code = ErrorCode.THROTTLING_QUOTA_EXCEEDED
    meaning = "too many requests or bytes are pending"
    advice = "wait until some of them complete, then retry"


class NoBrokersAvailable(NetworkExceptionError):
    """No broker can be reached, so nothing was sent.

    ``reason`` is the message without its advice. ``remedy`` is the advice, or empty for the general
    one, which a command words differently.
    """

    def __init__(self, reason: str, remedy: str = "") -> None:
        advice = remedy or "start a cluster with yak cluster up, or correct bootstrap_servers"
        super().__init__(f"{reason}; {advice}")
        self.reason = reason
        self.remedy = remedy


class UnsupportedCompressionTypeError(UnreadableError):
    """Kafka's 76: the client cannot decompress a batch in the log."""

    code = 76
    name = "UNSUPPORTED_COMPRESSION_TYPE"
    meaning = "the records are compressed"


class IllegalStateError(YakError):
    """The client is not running: it is not started, or it was stopped."""

    name = "ILLEGAL_STATE"


class UnknownError(YakError):
    """The client halted because of a bug; the message holds the reason."""


ERRORS: Final[dict[int, type[YakError]]] = {
    kind.code: kind
    for kind in (
        OffsetOutOfRangeError,
        CorruptRecordError,
        NotLeaderOrFollowerError,
        RequestTimedOutError,
        MessageSizeTooLargeError,
        NetworkExceptionError,
        NotEnoughReplicasError,
        NotEnoughReplicasAfterAppendError,
        InvalidRequiredAcksError,
        InvalidRequestError,
        OutOfOrderSequenceNumberError,
        DuplicateSequenceNumberError,
        InvalidProducerEpochError,
        KafkaStorageError,
        UnknownProducerIdError,
        FencedLeaderEpochError,
        UnknownLeaderEpochError,
        OffsetNotAvailableError,
        ThrottlingQuotaExceededError,
    )
}
"""The class of each error code; NONE has no class."""


def send_error(result: SendResult) -> YakError:
    """Return the exception for a batch whose result is an error."""
    outcome = Delivery[result.outcome.name]
    kind = ERRORS[result.error]
    advice = _CHECK_LOG if outcome is Delivery.UNKNOWN else kind.advice
    what = _description(kind, result.detail)
    return kind(f"{what}; {_OUTCOME_TEXTS[outcome]}; {advice}", outcome)


def read_error(result: PollResult) -> YakError:
    """Return the exception for a poll whose result is an error."""
    kind = ERRORS[result.error]
    return kind(f"{_description(kind, result.detail)}; {kind.advice}")


def unreadable_error(error: BatchError, next_offset: int) -> UnreadableError:
    """Return the exception for a batch that ends before ``next_offset`` and cannot be decoded."""
    is_codec = isinstance(error, UnsupportedCodec)
    kind = UnsupportedCompressionTypeError if is_codec else CorruptRecordError
    what = str(error).partition("; ")[0]
    found = kind(f"{kind.meaning}: {what}; the next read continues at offset {next_offset}")
    found.next_offset = next_offset
    return found


def _description(kind: type[YakError], detail: str) -> str:
    """Return what happened, without the advice in ``detail``: ``kind`` has advice for clients."""
    what = detail.partition("; ")[0].removeprefix("fenced: ")
    return f"{kind.meaning}: {what}" if what else kind.meaning
