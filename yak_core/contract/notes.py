"""The notes that a node publishes for traces, plots and tests."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

from yak_core.ids import BrokerEpoch, Epoch, NodeId, Offset
from yak_core.metadata.store_calls import CallKind, ProposalKind, ProposalResult
from yak_core.value import value


class IgnoreReason(StrEnum):
    """Why a node ignored a message."""

    NOT_ITS_OWN = "another leader's"
    BATCHES_DO_NOT_FIT = "batches do not fit"
    BEYOND_LOG_END = "beyond the log's end"
    STALE = "stale"
    NO_REPLICA = "not a replica"
    OTHER_EPOCH = "another epoch"
    EARLIER_BROKER_EPOCH = "an earlier incarnation"


@value
class Registered:
    """The broker registered as ``broker_epoch``; it now takes part in the protocol."""

    broker_epoch: BrokerEpoch
    clean: bool


@value
class BecameLeader:
    """This node leads ``epoch``; ``epoch_start`` is its log end offset at the election."""

    epoch: Epoch
    epoch_start: Offset


@value
class BecameFollower:
    """This node follows ``leader`` in ``epoch``; None if the leader is unknown."""

    epoch: Epoch
    leader: NodeId | None


@value
class SteppedDown:
    """The leader of ``epoch`` saw ``seen_epoch`` and stepped down; ``unknown`` is the number of
    pending produce requests that were answered with outcome UNKNOWN."""

    epoch: Epoch
    seen_epoch: Epoch
    unknown: int


@value
class Campaigned:
    """This node campaigns for leader of ``epoch``."""

    epoch: Epoch


@value
class HighWatermarkAdvanced:
    """This node knows that records below ``hw`` are committed."""

    hw: Offset


@value
class Truncated:
    """The log was truncated from ``end_before`` to ``end``."""

    end_before: Offset
    end: Offset
    epoch: Epoch


@value
class FencedPeer:
    """A message from ``peer`` was refused, because its ``epoch`` is stale."""

    peer: NodeId
    epoch: Epoch


@value
class IgnoredMessage:
    """A message of type ``kind`` was ignored."""

    peer: NodeId
    kind: str
    reason: IgnoreReason


@value
class LogDiverged:
    """A Replicate did not match this log at ``at``; the hint was sent to the leader."""

    at: Offset
    hint_offset: Offset
    hint_epoch: Epoch


@value
class IsrProposed:
    """The leader proposed this ISR to the store; until the proposal is resolved, the members of
    both the committed and the proposed ISR count."""

    isr: tuple[NodeId, ...]
    base_partition_epoch: int


@value
class IsrShrunk:
    """The committed ISR lost members."""

    isr: tuple[NodeId, ...]
    removed: tuple[NodeId, ...]
    partition_epoch: int


@value
class IsrExpanded:
    """The committed ISR gained members."""

    isr: tuple[NodeId, ...]
    added: tuple[NodeId, ...]
    partition_epoch: int


@value
class ProposalEnded:
    """A metadata proposal of ``kind`` was resolved with ``result``."""

    kind: ProposalKind
    result: ProposalResult


@value
class StoreUnknown:
    """A metadata call of ``kind`` got no reply; the store may or may not have applied it."""

    kind: CallKind


@value
class PartitionStateObserved:
    """The broker adopted the partition state with this partition epoch and leader epoch."""

    partition_epoch: int
    epoch: Epoch


@value
class ProduceRefused:
    """A produce request was refused before anything was written."""

    error: str
    producer_id: int


@value
class DuplicateRecognised:
    """A retried batch was found in the idempotence table, at ``base_offset``."""

    producer_id: int
    base_sequence: int
    base_offset: Offset


@value
class ProducerReset:
    """A producer starts a new producer epoch; in the one before, it gave up ``abandoned`` batches.

    After the last epoch of a producer id, the next id starts with producer epoch 0.
    """

    producer_epoch: int
    abandoned: int


Note: TypeAlias = (
    Registered
    | BecameLeader
    | BecameFollower
    | SteppedDown
    | Campaigned
    | HighWatermarkAdvanced
    | Truncated
    | FencedPeer
    | IgnoredMessage
    | LogDiverged
    | IsrProposed
    | IsrShrunk
    | IsrExpanded
    | ProposalEnded
    | StoreUnknown
    | PartitionStateObserved
    | ProduceRefused
    | DuplicateRecognised
    | ProducerReset
)
"""What a node reports to its world; notes never change a decision."""
