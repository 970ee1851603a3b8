"""The decisions of the protocol, as replaceable pure functions.

A node receives one frozen :class:`Rules` and calls its entries. Variants of the protocol (mutants
in the tests, the gallery, student hooks) replace entries and patch nothing else. Rule numbers are
those of docs/protocol.md. Flaw numbers (F..) name the schedule that a rule prevents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from yak_core.batch import Batch
from yak_core.config import FlushMode
from yak_core.contract.messages import Replicate
from yak_core.ids import BrokerEpoch, Epoch, Micros, NodeId, Offset
from yak_core.log.epochs import EpochIndex
from yak_core.log.producers import SEQUENCE_MODULUS, ProducerEntry, ProducerTable, successor
from yak_core.metadata.store_calls import ProposalKind
from yak_core.value import value


class ReplicateDecision(StrEnum):
    """How a broker handles a Replicate, depending on its epoch and leader."""

    ACCEPT = "accept"
    ADOPT = "adopt"
    """Enter the message's epoch, or learn the leader of the current epoch, then accept."""
    FENCED = "fenced"
    """Refuse: the epoch is stale."""
    CONFLICT = "conflict"
    """Halt: two leaders in one epoch."""


class AfterUnknown(StrEnum):
    """What a broker does with a proposal whose outcome is unknown."""

    RESEND = "resend"
    FORGET = "forget"


class SequenceResult(StrEnum):
    """How a batch relates to the earlier batches of its producer."""

    ACCEPT = "accept"
    DUPLICATE = "duplicate"
    DUPLICATE_OLD = "duplicate_old"
    """A duplicate that is older than the batches in the idempotence table."""
    FENCED = "fenced"
    GAP = "gap"
    UNKNOWN_PRODUCER = "unknown_producer"
    """The idempotence table has no entry of the producer, and this is not its first batch."""


@value
class SequenceCheck:
    """The result, and for duplicates the base offset and end offset of the first copy.

    If ``base_offset`` is -1, the first copy is somewhere below ``end``.
    """

    result: SequenceResult
    base_offset: Offset = -1
    end: Offset = -1


@value
class JoinFacts:
    """What a leader knows about a follower that may join the ISR; ``match`` is -1 if unknown."""

    match: Offset
    hw: Offset
    leo: Offset
    epoch_start: Offset
    progress_broker_epoch: BrokerEpoch
    recorded_broker_epoch: BrokerEpoch
    draining: bool
    caught_up: bool
    isr_size: int
    min_isr: int


@value
class ElectionFacts:
    """What a broker knows when it decides whether to campaign for leader."""

    in_isr: bool
    in_elr: bool
    draining: bool
    leaderless: bool
    lease_expired: bool


@value
class RestartFacts:
    """What a restarted broker finds; ``clean_shutdown_epoch`` is 0 without a clean marker.

    ``same_disk`` is True if the registered broker epoch was registered from this disk, and
    ``registered_session`` is the storage session of that start. Both sessions are empty if unknown.
    """

    same_disk: bool
    clean_shutdown_epoch: BrokerEpoch
    clean_shutdown_leo: Offset
    recorded_broker_epoch: BrokerEpoch
    leo: Offset
    flush: FlushMode
    intact: bool
    storage_session: str
    registered_session: str


def is_newer(known: tuple[Epoch, int], seen: tuple[Epoch, int]) -> bool:
    """R0: order partition states by (leader epoch, partition epoch); ignore late replies (F59)."""
    return seen > known


def is_superseded(recorded: BrokerEpoch, mine: BrokerEpoch) -> bool:
    """R1: return whether another process has registered under this node id."""
    return recorded != mine


def note_epoch_start(epochs: EpochIndex, epoch: Epoch, leo: Offset) -> None:
    """R2: record where the new leader's epoch begins, before any append (F04, KAFKA-7415)."""
    epochs.add(epoch, leo)


def accept_replicate(
    my_epoch: Epoch, my_leader: NodeId | None, epoch: Epoch, leader: NodeId
) -> ReplicateDecision:
    """R3: fence a stale epoch (F39), adopt a new epoch or leader, halt on two leaders (F81)."""
    if epoch < my_epoch:
        return ReplicateDecision.FENCED
    if epoch > my_epoch:
        return ReplicateDecision.ADOPT
    if my_leader is not None and my_leader != leader:
        return ReplicateDecision.CONFLICT
    return ReplicateDecision.ACCEPT if my_leader == leader else ReplicateDecision.ADOPT


def truncation_point(
    epochs: EpochIndex, leo: Offset, hw: Offset, first_of_epoch: bool, message: Replicate
) -> Offset:
    """R3: return where a follower truncates before it compares logs; ``leo`` for no truncation.

    From the start of its epoch, the leader's log contains only records of this epoch. So a
    follower's record with an older epoch at or above this start is not in the leader's log. A
    follower does not truncate to its high watermark (F01, KIP-101). ``first_of_epoch`` is True for
    the first message of the epoch.
    """
    start = message.epoch_start
    if leo > start and epochs.prev_epoch(start + 1) < message.epoch:
        return start
    return leo


def log_matches(epochs: EpochIndex, message: Replicate) -> bool:
    """R3: accept a message only if the record before it has the same epoch in both logs (F03)."""
    return epochs.prev_epoch(message.prev_offset) == message.prev_epoch


def conflict_point(epochs: EpochIndex, leo: Offset, message: Replicate) -> Offset:
    """R3: return the offset of the first batch of ``message`` that conflicts with the own log.

    Return ``leo`` if no batch conflicts. Batches that are already in the log stay (F11).
    """
    for batch in message.batches:
        if batch.base_offset >= leo:
            return leo
        if epochs.prev_epoch(batch.base_offset + 1) != batch.epoch:
            return batch.base_offset
    return leo


def ack_position(verified: Offset, leo: Offset) -> Offset:
    """R3: acknowledge the offset verified against the leader's log, not the own LEO (F10)."""
    return verified


def follower_high_watermark(hw: Offset, leader_hw: Offset, verified: Offset, leo: Offset) -> Offset:
    """R3: limit a follower's high watermark to its verified offset (F08, KAFKA-14704)."""
    return max(hw, min(leader_hw, verified))


def accept_ack(leader_epoch: Epoch, ack_epoch: Epoch) -> bool:
    """R4: count acks and rejects of the leader's own epoch only (F40)."""
    return ack_epoch == leader_epoch


def progress_survives(known: BrokerEpoch, seen: BrokerEpoch) -> bool:
    """R4: drop the acks of a follower's earlier broker epoch (F22, KIP-903)."""
    return known == seen


def advance_high_watermark(
    hw: Offset,
    committed: tuple[NodeId, ...],
    maximal: tuple[NodeId, ...],
    positions: Mapping[NodeId, Offset],
    min_isr: int,
) -> Offset:
    """R5: advance the high watermark to the lowest position in the maximal ISR.

    It does not move while a position is unknown in this epoch, or while the committed ISR is below
    min ISR (F26, KIP-966). An added member counts as soon as it is proposed (F15). A removed member
    counts until the removal is committed (F16, KIP-497).
    """
    if len(committed) < min_isr:
        return hw
    lowest: Offset | None = None
    for node in maximal:
        position = positions.get(node)
        if position is None:
            return hw
        if lowest is None or position < lowest:
            lowest = position
    return hw if lowest is None or lowest < hw else lowest


def in_lag(
    now: Micros, caught_up_at: Micros, match: Offset, leo: Offset, replica_lag_us: Micros
) -> bool:
    """R6: measure the lag of an ISR member in time, not in records (F32, KIP-16)."""
    return match < leo and now - caught_up_at > replica_lag_us


def may_join(facts: JoinFacts) -> bool:
    """R7: let a follower join the ISR if its log would be complete as a leader's log.

    The follower holds all records below the high watermark and below the epoch's start (F14,
    KAFKA-7128). It has acknowledged them in this epoch under its registered broker epoch (F21),
    and it is not draining (F24). Below min ISR it must also be caught up, or the ISR flaps (F31).
    """
    if facts.match < 0 or facts.draining:
        return False
    registered = facts.recorded_broker_epoch
    if registered == 0 or facts.progress_broker_epoch != registered:
        return False
    if facts.match < facts.hw or facts.match < facts.epoch_start:
        return False
    return facts.caught_up or facts.isr_size >= facts.min_isr


def after_unknown(kind: ProposalKind) -> AfterUnknown:
    """R8: resend the same bytes after a call without a reply, which may have been applied (F18)."""
    return AfterUnknown.RESEND


def accept_sequence(known: ProducerEntry | None, batch: Batch) -> SequenceCheck:
    """R9: decide whether a batch is the producer's next one, a retry or invalid (KIP-98, KIP-360).

    An unknown producer must begin with sequence 0. Messages can be reordered, so any other first
    sequence could append a later batch first. The verdict tells a producer that was removed from
    the table to start a new epoch, not this epoch again.
    """
    first = batch.base_sequence
    if known is None and first != 0:
        return SequenceCheck(SequenceResult.UNKNOWN_PRODUCER)
    if known is None or batch.producer_epoch > known.epoch:
        return SequenceCheck(SequenceResult.ACCEPT if first == 0 else SequenceResult.GAP)
    if batch.producer_epoch < known.epoch:
        return SequenceCheck(SequenceResult.FENCED)
    last = successor(first, batch.count - 1)
    for known_first, known_last, base, end in known.batches:
        if (known_first, known_last) == (first, last):
            return SequenceCheck(SequenceResult.DUPLICATE, base, end)
    if first == successor(known.last_sequence):
        return SequenceCheck(SequenceResult.ACCEPT)
    distance = (known.last_sequence - last) % SEQUENCE_MODULUS
    if distance < SEQUENCE_MODULUS // 2:
        # Older than the idempotence table: the batch is below the oldest batch of the table.
        return SequenceCheck(SequenceResult.DUPLICATE_OLD, -1, known.batches[0][2])
    return SequenceCheck(SequenceResult.GAP)


def producers_after_truncation(
    rebuilt: Callable[[], ProducerTable], current: ProducerTable
) -> ProducerTable:
    """R9: rebuild the idempotence table after a truncation (F70, KAFKA-12153)."""
    return rebuilt()


def producers_of_new_leader(producers: ProducerTable) -> ProducerTable:
    """R9: keep the idempotence table when a follower becomes leader (F69)."""
    return producers


def confirm(waiting_epoch: Epoch, epoch: Epoch, end: Offset, hw: Offset) -> bool:
    """R10: confirm an acks=all request when it is committed in the epoch of its append (F58)."""
    return hw >= end and waiting_epoch == epoch


def survives_step_down(acks: int) -> bool:
    """R10: answer each pending request with UNKNOWN when the leader steps down (F58)."""
    return False


def readable_end(hw: Offset, leo: Offset) -> Offset:
    """R11: show only committed records to readers."""
    return hw


def diverged(epochs: EpochIndex, leo: Offset, offset: Offset, last_epoch: Epoch) -> Offset:
    """R11: return -1, or the end up to which the reader's log matches this log (F55, KIP-320)."""
    if last_epoch < 0 or offset == 0:
        return -1
    epoch, end = epochs.end_of(last_epoch, leo)
    if epoch == last_epoch and end >= offset:
        return -1
    return min(end, offset)


def latest_offset(hw: Offset, epoch_start: Offset) -> Offset | None:
    """R12: return the latest offset, or None until the HW reaches the epoch's start (KIP-207)."""
    return hw if hw >= epoch_start else None


def may_campaign(facts: ElectionFacts) -> bool:
    """R14: campaign if there is no leader, or the leader's lease has expired (F49).

    A lease has expired if the leader has not renewed it for ``lease_us``. The candidate must be in
    the ISR or ELR and must not be draining.
    """
    if facts.draining or not (facts.in_isr or facts.in_elr):
        return False
    return facts.leaderless or facts.lease_expired


def serves_acks(acks: int, now: Micros, lease_deadline: Micros) -> bool:
    """R15: serve only acks=all after the own lease has expired; acks 0 and 1 could be lost."""
    return acks == -1 or now < lease_deadline


def must_step_down(my_epoch: Epoch, seen_epoch: Epoch) -> bool:
    """R16: step down when any message or partition state shows a higher epoch."""
    return seen_epoch > my_epoch


def is_clean(facts: RestartFacts) -> bool:
    """R17: decide whether a restarted broker keeps its ISR membership.

    It does with flush=batch if no flushed data is missing (F13, F29, KIP-966). It does if the
    storage session is that of the registered start: all that this start wrote is there. It also
    does if the clean marker belongs to the registered broker epoch and the log reaches the marker's
    end offset. On an emptied disk or an old copy of the disk it does not.
    """
    if not facts.intact or not facts.same_disk:
        return False
    if facts.flush == "batch":
        return True
    if facts.storage_session != "" and facts.storage_session == facts.registered_session:
        return True
    return (
        facts.clean_shutdown_epoch == facts.recorded_broker_epoch > 0
        and facts.leo >= facts.clean_shutdown_leo
    )


@dataclass(frozen=True, slots=True)
class Rules:
    """One entry for each decision; ``Rules()`` is the protocol, a variant replaces entries."""

    is_newer: Callable[[tuple[Epoch, int], tuple[Epoch, int]], bool] = is_newer
    is_superseded: Callable[[BrokerEpoch, BrokerEpoch], bool] = is_superseded
    note_epoch_start: Callable[[EpochIndex, Epoch, Offset], None] = note_epoch_start
    accept_replicate: Callable[[Epoch, NodeId | None, Epoch, NodeId], ReplicateDecision] = (
        accept_replicate
    )
    truncation_point: Callable[[EpochIndex, Offset, Offset, bool, Replicate], Offset] = (
        truncation_point
    )
    log_matches: Callable[[EpochIndex, Replicate], bool] = log_matches
    conflict_point: Callable[[EpochIndex, Offset, Replicate], Offset] = conflict_point
    ack_position: Callable[[Offset, Offset], Offset] = ack_position
    follower_high_watermark: Callable[[Offset, Offset, Offset, Offset], Offset] = (
        follower_high_watermark
    )
    accept_ack: Callable[[Epoch, Epoch], bool] = accept_ack
    progress_survives: Callable[[BrokerEpoch, BrokerEpoch], bool] = progress_survives
    advance_high_watermark: Callable[
        [Offset, tuple[NodeId, ...], tuple[NodeId, ...], Mapping[NodeId, Offset], int], Offset
    ] = advance_high_watermark
    in_lag: Callable[[Micros, Micros, Offset, Offset, Micros], bool] = in_lag
    may_join: Callable[[JoinFacts], bool] = may_join
    after_unknown: Callable[[ProposalKind], AfterUnknown] = after_unknown
    accept_sequence: Callable[[ProducerEntry | None, Batch], SequenceCheck] = accept_sequence
    producers_after_truncation: Callable[
        [Callable[[], ProducerTable], ProducerTable], ProducerTable
    ] = producers_after_truncation
    producers_of_new_leader: Callable[[ProducerTable], ProducerTable] = producers_of_new_leader
    confirm: Callable[[Epoch, Epoch, Offset, Offset], bool] = confirm
    survives_step_down: Callable[[int], bool] = survives_step_down
    readable_end: Callable[[Offset, Offset], Offset] = readable_end
    diverged: Callable[[EpochIndex, Offset, Offset, Epoch], Offset] = diverged
    latest_offset: Callable[[Offset, Offset], Offset | None] = latest_offset
    may_campaign: Callable[[ElectionFacts], bool] = may_campaign
    serves_acks: Callable[[int, Micros, Micros], bool] = serves_acks
    must_step_down: Callable[[Epoch, Epoch], bool] = must_step_down
    is_clean: Callable[[RestartFacts], bool] = is_clean
