"""What nodes say to each other; must never be changed after it was sent.

Broker to broker: the leader pushes ``Replicate``; the follower answers with ``ReplicateAck``,
``ReplicateReject`` or ``Fenced``. Client to broker: a request arrives at the broker as the event
``Called`` and its answer arrives at the client as ``Received``. Requests carry the client's own
correlation number, so that late and repeated answers are told apart by the core and not by the
transport.
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
    """Leader to follower: the batches from ``prev_offset`` on; empty, it is the heartbeat.

    It always carries where it attaches (``prev_offset`` and the epoch of the record before it), so
    even an empty one re-verifies the follower's log.
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
    """Follower to leader: my log equals yours below ``match``, and (flush=batch) is durable."""

    epoch: Epoch
    broker_epoch: BrokerEpoch
    match: Offset
    seq: int


@value
class ReplicateReject:
    """Follower to leader: my log does not match at ``at``; it could match up to the hint."""

    epoch: Epoch
    broker_epoch: BrokerEpoch
    at: Offset
    hint_offset: Offset
    hint_epoch: Epoch


@value
class Fenced:
    """Anyone to a stale leader: a higher epoch exists."""

    epoch: Epoch
    leader: NodeId | None


@value
class ProduceRequest:
    """One batch to append. ``timeout_us`` bounds the wait for acks (Kafka's Produce)."""

    correlation: int
    leader_epoch: Epoch
    acks: int
    timeout_us: int
    batch: Batch


@value
class ProduceResponse:
    """``base_offset`` and ``epoch`` are -1 unless the outcome is WRITTEN with a known place."""

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
    """Records from ``offset`` on; ``last_epoch`` is the epoch of the record before it, or -1."""

    correlation: int
    offset: Offset
    last_epoch: Epoch
    leader_epoch: Epoch
    bytes_max: int
    wait_us: int


@value
class FetchResponse:
    """Whole batches; the first may begin below the offset that was asked for (as in Kafka).

    ``diverging_end`` is -1, or the end up to which the reader's log prefix can still be trusted.
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
    """``at``: -2 asks for the earliest offset, -1 for the latest (Kafka's ListOffsets)."""

    correlation: int
    at: int


@value
class ListOffsetsResponse:
    """``epoch`` is the leader epoch of the record before ``offset``, -1 when there is none."""

    correlation: int
    error: ErrorCode
    offset: Offset
    epoch: Epoch
    leader: NodeId | None
    leader_epoch: Epoch


@value
class DescribeRequest:
    """Asks a broker for its view of the cluster."""

    correlation: int


@value
class ReplicaStatus:
    """One row of a description: ``match`` is -1 where the answering broker does not know it."""

    node: NodeId
    url: str
    broker_epoch: BrokerEpoch
    match: Offset


@value
class DescribeResponse:
    """The answering broker's own view; ``leader`` is None while it knows of none."""

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


_REPLICATE_HEAD = attrgetter("leader", "epoch_start", "prev_offset", "prev_epoch")
_REPLICATE_TAIL = attrgetter("hw", "log_start", "seq")
_FETCH_TAIL = attrgetter("hw", "log_start", "leader", "leader_epoch", "diverging_end", "detail")
_PRODUCE_HEAD = attrgetter("correlation", "leader_epoch", "acks", "timeout_us")


# Each message on its way takes one of these: dataclasses.replace takes four times as long.


def with_batches(header: Replicate, batches: tuple[Batch, ...]) -> Replicate:
    """The Replicate that a world ships for a SendLog: ``header`` with the batches it read."""
    return Replicate(header.epoch, *_REPLICATE_HEAD(header), batches, *_REPLICATE_TAIL(header))


def with_records(header: FetchResponse, batches: tuple[Batch, ...]) -> FetchResponse:
    """The FetchResponse that a world ships for an AnswerLog."""
    return FetchResponse(header.correlation, header.error, batches, *_FETCH_TAIL(header))


def sealed(request: PeerMessage | Request) -> Message:
    """A request as it leaves its client: a batch gets its producer fields and its CRC."""
    if type(request) is not ProduceRequest or not request.batch.data:
        return request
    return ProduceRequest(*_PRODUCE_HEAD(request), seal(request.batch))
