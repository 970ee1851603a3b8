"""What a node remarks on: facts for traces, plots, stories and tests; must never steer anything."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

from yak_core.ids import BrokerEpoch, Epoch, NodeId, Offset
from yak_core.metadata.store_calls import CallKind, ProposalKind, ProposalResult
from yak_core.value import value


class IgnoreReason(StrEnum):
    """Why a message changed nothing."""

    NOT_ITS_OWN = "another leader's"
    BATCHES_DO_NOT_FIT = "batches do not fit"
    BEYOND_LOG_END = "beyond the log's end"
    STALE = "stale"
    NO_REPLICA = "not a replica"
    OTHER_EPOCH = "another epoch"
    EARLIER_BROKER_EPOCH = "an earlier incarnation"


@value
class Registered:
    """This incarnation is in the record; it may take part from here on."""

    broker_epoch: BrokerEpoch
    clean: bool


@value
class BecameLeader:
    """This node leads ``epoch``; its log ended at ``epoch_start`` when it began."""

    epoch: Epoch
    epoch_start: Offset


@value
class BecameFollower:
    """This node follows ``leader`` in ``epoch``; None while the epoch has no leader."""

    epoch: Epoch
    leader: NodeId | None


@value
class SteppedDown:
    """A leader of ``epoch`` saw ``seen_epoch``; ``unknown`` waiting requests were failed so."""

    epoch: Epoch
    seen_epoch: Epoch
    unknown: int


@value
class Campaigned:
    """This node proposed itself as the leader of ``epoch``."""

    epoch: Epoch


@value
class HighWatermarkAdvanced:
    """Records below ``hw`` are committed as far as this node knows."""

    hw: Offset


@value
class Truncated:
    """The log was cut from ``end_before`` to ``end``."""

    end_before: Offset
    end: Offset
    epoch: Epoch


@value
class FencedPeer:
    """A message of ``peer`` was refused, because its ``epoch`` is over."""

    peer: NodeId
    epoch: Epoch


@value
class IgnoredMessage:
    """A message of the type ``kind`` changed nothing."""

    peer: NodeId
    kind: str
    reason: IgnoreReason


@value
class LogDiverged:
    """A Replicate did not attach at ``at``; the hint went back to the leader."""

    at: Offset
    hint_offset: Offset
    hint_epoch: Epoch


@value
class IsrProposed:
    """The leader asked the store for this ISR; until it knows, both old and proposed count."""

    isr: tuple[NodeId, ...]
    base_partition_epoch: int


@value
class IsrShrunk:
    """The recorded ISR lost members."""

    isr: tuple[NodeId, ...]
    removed: tuple[NodeId, ...]
    partition_epoch: int


@value
class IsrExpanded:
    """The recorded ISR gained members."""

    isr: tuple[NodeId, ...]
    added: tuple[NodeId, ...]
    partition_epoch: int


@value
class ProposalEnded:
    """A metadata proposal of ``kind`` ended: ``applied``, ``overtaken`` or ``refused``."""

    kind: ProposalKind
    result: ProposalResult


@value
class StoreUnknown:
    """A metadata call of ``kind`` got no answer; it may or may not have happened."""

    kind: CallKind


@value
class PartitionStateObserved:
    """The view is now the record of this version (and leader epoch)."""

    partition_epoch: int
    epoch: Epoch


@value
class ProduceRefused:
    """A produce request was answered with an error before anything was written."""

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
    """A producer node gave up on ``abandoned`` batches and starts a new producer epoch."""

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
