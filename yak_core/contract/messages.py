"""The messages between nodes; they are immutable.

Broker to broker: the leader pushes ``Replicate``; the follower answers with ``ReplicateAck``,
``ReplicateReject`` or ``Fenced``. Client to broker: a request arrives at the broker as the event
``Called``, and the response arrives at the client as ``Received``. Each request carries a
correlation number chosen by the client. With it the core, not the transport, recognises late and
duplicate responses.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TypeAlias

from yak_core.batch import Batch, seal
from yak_core.errors import ErrorCode, Outcome
from yak_core.ids import BrokerEpoch, Epoch, NodeId, Offset
from yak_core.value import value


@value
class Replicate:
    """Leader to follower: batches from ``prev_offset``; without batches, a heartbeat.

    ``prev_epoch`` is the epoch of the record before ``prev_offset``. A heartbeat has both, too, so
    it also verifies the follower's log.
    """

    epoch: Epoch
    leader: NodeId
    epoch_start: Offset
    prev_offset: Offset
    prev_epoch: Epoch
    batches: tuple[Batch, ...]
    hw: Offset
    log_start: Offset
    seq: int


@value
class ReplicateAck:
    """Follower to leader: the log equals the leader's below ``match``, flushed if flush=batch."""

    epoch: Epoch
    broker_epoch: BrokerEpoch
    match: Offset
    seq: int


@value
class ReplicateReject:
    """Follower to leader: the log does not match at ``at``; it may match up to the hint."""

    epoch: Epoch
    broker_epoch: BrokerEpoch
    at: Offset
    hint_offset: Offset
    hint_epoch: Epoch


@value
class Fenced:
    """Broker to a stale leader: a higher epoch exists."""

    epoch: Epoch
    leader: NodeId | None


@value
class ProduceRequest:
    """One batch to append; ``timeout_us`` limits the wait for acks (Kafka's Produce)."""

    correlation: int
    leader_epoch: Epoch
    acks: int
    timeout_us: int
    batch: Batch


@value
class ProduceResponse:
    """The result of a produce request; ``base_offset`` and ``epoch`` are -1 unless the outcome is
    WRITTEN and the offset is known."""

    correlation: int
    error: ErrorCode
    outcome: Outcome
    base_offset: Offset
    epoch: Epoch
    hw: Offset
    leader: NodeId | None
    leader_epoch: Epoch
    detail: str = ""


@value
class FetchRequest:
    """Fetch records from ``offset``; ``last_epoch`` is the epoch of the record before, or -1."""

    correlation: int
    offset: Offset
    last_epoch: Epoch
    leader_epoch: Epoch
    bytes_max: int
    wait_us: int


@value
class FetchResponse:
    """Whole batches; the first may begin below the requested offset (as in Kafka).

    ``diverging_end`` is -1, or the end of the log prefix on which reader and leader still agree.
    """

    correlation: int
    error: ErrorCode
    batches: tuple[Batch, ...]
    hw: Offset
    log_start: Offset
    leader: NodeId | None
    leader_epoch: Epoch
    diverging_end: Offset = -1
    detail: str = ""


@value
class ListOffsetsRequest:
    """Request an offset; ``at`` is -2 for the earliest, -1 for the latest (Kafka's ListOffsets)."""

    correlation: int
    at: int


@value
class ListOffsetsResponse:
    """The requested offset; ``epoch`` is that of the record before ``offset``, or -1."""

    correlation: int
    error: ErrorCode
    offset: Offset
    epoch: Epoch
    leader: NodeId | None
    leader_epoch: Epoch


@value
class DescribeRequest:
    """Request a broker's view of the cluster."""

    correlation: int


@value
class ReplicaStatus:
    """One replica in a DescribeResponse; ``match`` is -1 if the broker does not know it."""

    node: NodeId
    url: str
    broker_epoch: BrokerEpoch
    match: Offset


@value
class DescribeResponse:
    """The answering broker's view of the cluster; ``leader`` is None while it is unknown."""

    correlation: int
    node: NodeId
    role: str
    leader: NodeId | None
    leader_epoch: Epoch
    partition_epoch: int
    isr: tuple[NodeId, ...]
    elr: tuple[NodeId, ...]
    leo: Offset
    hw: Offset
    log_start: Offset
    replicas: tuple[ReplicaStatus, ...]


PeerMessage: TypeAlias = Replicate | ReplicateAck | ReplicateReject | Fenced
Request: TypeAlias = ProduceRequest | FetchRequest | ListOffsetsRequest | DescribeRequest
Response: TypeAlias = ProduceResponse | FetchResponse | ListOffsetsResponse | DescribeResponse
Message: TypeAlias = PeerMessage | Request | Response
"""What a node sends to another node."""


_REPLICATE_HEAD = attrgetter("leader", "epoch_start", "prev_offset", "prev_epoch")
_REPLICATE_TAIL = attrgetter("hw", "log_start", "seq")
_FETCH_TAIL = attrgetter("hw", "log_start", "leader", "leader_epoch", "diverging_end", "detail")
_PRODUCE_HEAD = attrgetter("correlation", "leader_epoch", "acks", "timeout_us")


# Called for each message sent: dataclasses.replace takes four times as long.


def with_batches(header: Replicate, batches: tuple[Batch, ...]) -> Replicate:
    """Return the Replicate that a world sends for a SendLog: ``header`` with ``batches``."""
    return Replicate(header.epoch, *_REPLICATE_HEAD(header), batches, *_REPLICATE_TAIL(header))


def with_records(header: FetchResponse, batches: tuple[Batch, ...]) -> FetchResponse:
    """Return the FetchResponse that a world sends for an AnswerLog: ``header`` with ``batches``."""
    return FetchResponse(header.correlation, header.error, batches, *_FETCH_TAIL(header))


def sealed(request: PeerMessage | Request) -> Message:
    """Return the message as the client sends it: a batch gets its producer fields and CRC."""
    if type(request) is not ProduceRequest or not request.batch.data:
        return request
    return ProduceRequest(*_PRODUCE_HEAD(request), seal(request.batch))
