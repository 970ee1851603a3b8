"""What a client raises: a class for each of Kafka's codes that the core has; must never retry.

A sentence says what happened, what became of the records, and what to do next. ``outcome`` is what
other clients lack: after a time-out a record is not lost, it is unknown.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Final

from yak_core.contract.client_calls import PollResult, SendResult
from yak_core.errors import RETRIABLE, ErrorCode


class Delivery(StrEnum):
    """The core's Outcome as applications and JSON see it."""

    WRITTEN = "written"
    NOT_WRITTEN = "not_written"
    UNKNOWN = "unknown"


_SENTENCES: Final = {
    Delivery.WRITTEN: "the records were written",
    Delivery.NOT_WRITTEN: "nothing was written",
    Delivery.UNKNOWN: "whether the records were written is unknown",
}
_LOOK_FIRST: Final = "look for them in the log before you send them again"


class YakError(Exception):
    """Base of all. ``code`` and ``name`` are Kafka's, -1 for what only a client can meet.

    ``retriable``: the same request may succeed later. ``outcome`` of a read is always
    NOT_WRITTEN.
    """

    code: ClassVar[int] = -1
    name: ClassVar[str] = "UNKNOWN_SERVER_ERROR"
    retriable: ClassVar[bool] = False
    meaning: ClassVar[str] = "something failed"
    advice: ClassVar[str] = "look at the logs of the brokers"

    def __init__(self, sentence: str, outcome: Delivery = Delivery.NOT_WRITTEN) -> None:
        super().__init__(sentence)
        self.outcome = outcome

    def __init_subclass__(cls) -> None:
        """A code of the core brings its name and whether it is retriable."""
        if isinstance(cls.code, ErrorCode):
            cls.name = cls.code.name
            cls.retriable = cls.code in RETRIABLE


class OffsetOutOfRangeError(YakError):
    """Kafka's 1."""

    code = ErrorCode.OFFSET_OUT_OF_RANGE
    meaning = "the offset asked for is not in the log"
    advice = "go on from one that is, such as the earliest or the latest"


class CorruptRecordError(YakError):
    """Kafka's 2 (CORRUPT_MESSAGE)."""

    code = ErrorCode.CORRUPT_MESSAGE
    meaning = "a batch of records is damaged"
    advice = "send it again, and if that fails too, look at the network between you and the broker"


class NotLeaderOrFollowerError(YakError):
    """Kafka's 6."""

    code = ErrorCode.NOT_LEADER_OR_FOLLOWER
    meaning = "the broker that was asked does not lead"
    advice = "try again once yak cluster status names a leader"


class RequestTimedOutError(YakError):
    """Kafka's 7."""

    code = ErrorCode.REQUEST_TIMED_OUT
    meaning = "no answer came in time"
    advice = "try again once yak cluster status names a leader"


class MessageSizeTooLargeError(YakError):
    """Kafka's 10 (MESSAGE_TOO_LARGE)."""

    code = ErrorCode.MESSAGE_TOO_LARGE
    meaning = "a record or batch is larger than what is taken"
    advice = "make it smaller, or raise max_request_size here and batch_bytes_max at the brokers"


class NetworkExceptionError(YakError):
    """Kafka's 13."""

    code = ErrorCode.NETWORK_EXCEPTION
    meaning = "the connection ended before an answer came"
    advice = "try again"


class NotEnoughReplicasError(YakError):
    """Kafka's 19."""

    code = ErrorCode.NOT_ENOUGH_REPLICAS
    meaning = "fewer brokers are in sync than min ISR asks for"
    advice = "start the brokers that are missing, and send again"


class NotEnoughReplicasAfterAppendError(YakError):
    """Kafka's 20."""

    code = ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND
    meaning = "fewer brokers hold the records than min ISR asks for"
    advice = "start the brokers that are missing"


class InvalidRequiredAcksError(YakError):
    """Kafka's 21."""

    code = ErrorCode.INVALID_REQUIRED_ACKS
    meaning = "the broker does not know this value of acks"
    advice = "use all, 1 or 0"


class InvalidRequestError(YakError):
    """Kafka's 42."""

    code = ErrorCode.INVALID_REQUEST
    meaning = "the broker could not make sense of the request"
    advice = "use the same version of YAK at both ends"


class OutOfOrderSequenceNumberError(YakError):
    """Kafka's 45."""

    code = ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    meaning = "an earlier batch of this producer is not in the log"
    advice = "send again what was not confirmed"


class DuplicateSequenceNumberError(YakError):
    """Kafka's 46."""

    code = ErrorCode.DUPLICATE_SEQUENCE_NUMBER
    meaning = "the broker has these records already, and no longer knows where"
    advice = _LOOK_FIRST


class InvalidProducerEpochError(YakError):
    """Kafka's 47."""

    code = ErrorCode.INVALID_PRODUCER_EPOCH
    meaning = "this producer is fenced"
    advice = "start a new producer"


class KafkaStorageError(YakError):
    """Kafka's 56."""

    code = ErrorCode.KAFKA_STORAGE_ERROR
    meaning = "the disk of the broker fails"
    advice = "look at the log and the disk of that broker"


class FencedLeaderEpochError(YakError):
    """Kafka's 74."""

    code = ErrorCode.FENCED_LEADER_EPOCH
    meaning = "the leader epoch that this client knows is over"
    advice = "try again"


class UnknownLeaderEpochError(YakError):
    """Kafka's 75."""

    code = ErrorCode.UNKNOWN_LEADER_EPOCH
    meaning = "the broker has not heard of the leader epoch that this client knows"
    advice = "try again"


class OffsetNotAvailableError(YakError):
    """Kafka's 78."""

    code = ErrorCode.OFFSET_NOT_AVAILABLE
    meaning = "a new leader does not know yet how far the log is committed"
    advice = "try again"


class ThrottlingQuotaExceededError(YakError):
    """Kafka's 89."""

    code = ErrorCode.THROTTLING_QUOTA_EXCEEDED
    meaning = "too much is under way"
    advice = "wait for some of it to be confirmed, and send again"


class NoBrokersAvailable(NetworkExceptionError):
    """None of the bootstrap servers answered, so nothing was begun."""


class UnsupportedCompressionTypeError(YakError):
    """Kafka's 76: records in the log that this client cannot decompress."""

    code = 76
    name = "UNSUPPORTED_COMPRESSION_TYPE"


class IllegalStateError(YakError):
    """The client is not running: it was not started, or it was stopped."""

    name = "ILLEGAL_STATE"


class UnknownError(YakError):
    """The client itself is over, because of a bug; the sentence has what is known of it."""


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
        FencedLeaderEpochError,
        UnknownLeaderEpochError,
        OffsetNotAvailableError,
        ThrottlingQuotaExceededError,
    )
}
"""The class of each code; there is none for NONE."""


def send_error(result: SendResult) -> YakError:
    """What to raise for records whose delivery ended with an error."""
    outcome = Delivery[result.outcome.name]
    kind = ERRORS[result.error]
    advice = _LOOK_FIRST if outcome is Delivery.UNKNOWN else kind.advice
    return kind(f"{_what(kind, result.detail)}; {_SENTENCES[outcome]}; {advice}", outcome)


def read_error(result: PollResult) -> YakError:
    """What to raise for a poll that ended with an error."""
    kind = ERRORS[result.error]
    return kind(f"{_what(kind, result.detail)}; {kind.advice}")


def _what(kind: type[YakError], detail: str) -> str:
    return f"{kind.meaning}: {detail}" if detail else kind.meaning
