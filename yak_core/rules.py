"""The decisions of the protocol, as replaceable pure functions; must never hold state.

Everything worth teaching or breaking is here: a node is given one frozen :class:`Rules` and asks
it. Variants (mutants in the tests, the gallery, student hooks) replace entries; nothing else is
ever patched. Rule numbers are those of docs/protocol.md, flaw numbers (F..) name the schedule that
a rule stops.
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
    """What a broker does with a Replicate, by its epoch and leader."""

    ACCEPT = "accept"
    ADOPT = "adopt"
    """Of a newer epoch, or of this one's leader that was not known yet."""
    FENCED = "fenced"
    CONFLICT = "conflict"
    """Two leaders in one epoch."""


class AfterUnknown(StrEnum):
    """What becomes of a proposal whose outcome is unknown."""

    RESEND = "resend"
    FORGET = "forget"


class SequenceResult(StrEnum):
    """How a producer's batch relates to those before it."""

    ACCEPT = "accept"
    DUPLICATE = "duplicate"
    DUPLICATE_OLD = "duplicate_old"
    """Older than the batches that are remembered."""
    FENCED = "fenced"
    GAP = "gap"


@value
class SequenceCheck:
    """The result, and for duplicates the place of the first copy.

    ``base_offset`` is -1 when only the end below which the batch lies is known.
    """

    result: SequenceResult
    base_offset: Offset = -1
    end: Offset = -1


@value
class JoinFacts:
    """What a leader knows of a follower that might enter the ISR. ``match`` is -1 if unknown."""

    match: Offset
    hw: Offset
    leo: Offset
    epoch_start: Offset
    progress_broker_epoch: BrokerEpoch
    recorded_broker_epoch: BrokerEpoch
    draining: bool
    in_time: bool
    isr_size: int
    min_isr: int


@value
class ElectionFacts:
    """What a broker knows when it considers to stand for election."""

    in_isr: bool
    in_elr: bool
    draining: bool
    leaderless: bool
    lease_over: bool


@value
class RestartFacts:
    """What a restarted broker finds; ``clean_shutdown_epoch`` is 0 when there was no clean marker.

    ``same_disk``: this disk is the one that the registered incarnation used, as far as it tells.
    """

    same_disk: bool
    clean_shutdown_epoch: BrokerEpoch
    clean_shutdown_leo: Offset
    recorded_broker_epoch: BrokerEpoch
    leo: Offset
    flush: FlushMode
    intact: bool


def is_newer(known: tuple[Epoch, int], seen: tuple[Epoch, int]) -> bool:
    """R0: records are ordered by (leader epoch, version); a late answer changes nothing (F59)."""
    return seen > known


def is_superseded(recorded: BrokerEpoch, mine: BrokerEpoch) -> bool:
    """R1: another incarnation of this node id is registered: this one is over."""
    return recorded != mine


def note_epoch_start(epochs: EpochIndex, epoch: Epoch, leo: Offset) -> None:
    """R2: a new leader notes where its epoch begins, before any write (F04, KAFKA-7415)."""
    epochs.note(epoch, leo)


def accept_replicate(
    my_epoch: Epoch, my_leader: NodeId | None, epoch: Epoch, leader: NodeId
) -> ReplicateDecision:
    """R3: ``fenced`` for an epoch that is over (F39), ``adopt`` for a new one, ``conflict`` for
    two leaders in one epoch (F81), else ``accept``."""
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
    """R3: where a follower must cut before it compares: ``leo`` for nowhere.

    Below its epoch's start the leader's log was frozen at its election, from there on it has only
    its own epoch; so an older record at or above the start cannot be the leader's. Never by high
    watermark (F01, KIP-101). ``first_of_epoch``: first message of this epoch.
    """
    start = message.epoch_start
    if leo > start and epochs.before(start + 1) < message.epoch:
        return start
    return leo


def conflict_point(epochs: EpochIndex, leo: Offset, message: Replicate) -> Offset:
    """R3: the offset of the first batch of ``message`` that disagrees with the own log.

    ``leo`` when none does. Batches that are already there are skipped, not cut (F11).
    """
    for batch in message.batches:
        if batch.base_offset >= leo:
            return leo
        if epochs.before(batch.base_offset + 1) != batch.epoch:
            return batch.base_offset
    return leo


def ack_position(verified: Offset, leo: Offset) -> Offset:
    """R3: an ack names what was proven equal to the leader's log, never the own LEO (F10)."""
    return verified


def follower_high_watermark(hw: Offset, leader_hw: Offset, verified: Offset, leo: Offset) -> Offset:
    """R3: a follower's high watermark is bounded by what it has verified (F08, KAFKA-14704)."""
    return max(hw, min(leader_hw, verified))


def accept_ack(leader_epoch: Epoch, ack_epoch: Epoch) -> bool:
    """R4: acks and rejects count in their own epoch only (F40)."""
    return ack_epoch == leader_epoch


def progress_survives(known: BrokerEpoch, seen: BrokerEpoch) -> bool:
    """R4: what one incarnation acknowledged says nothing about the next (F22, KIP-903)."""
    return known == seen


def advance_high_watermark(
    hw: Offset,
    committed: tuple[NodeId, ...],
    maximal: tuple[NodeId, ...],
    positions: Mapping[NodeId, Offset],
    min_isr: int,
) -> Offset:
    """R5: the minimum over the maximal ISR of the positions known in this epoch.

    Frozen while the committed ISR is below min ISR (F26, KIP-966); a proposed member counts as
    soon as it is proposed (F15), a removed one until the removal is recorded (F16, KIP-497).
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
    """R6: a member is out of sync by time, never by count (F32, KIP-16)."""
    return match < leo and now - caught_up_at > replica_lag_us


def may_join(view: JoinFacts) -> bool:
    """R7: a follower may enter the ISR once it has all that a leader of it would need.

    It holds everything committed and everything below this epoch's start (F14, KAFKA-7128), as
    shown in this epoch under its registered incarnation (F21), and is not draining (F24). Under
    min ISR it must also be caught up, or the ISR would flap (F31).
    """
    if view.match < 0 or view.draining:
        return False
    if view.progress_broker_epoch != view.recorded_broker_epoch or view.recorded_broker_epoch == 0:
        return False
    if view.match < view.hw or view.match < view.epoch_start:
        return False
    return view.in_time or view.isr_size >= view.min_isr


def after_unknown(kind: ProposalKind) -> AfterUnknown:
    """R8: a call without an answer may have happened, so the same bytes are sent again (F18)."""
    return AfterUnknown.RESEND


def accept_sequence(known: ProducerEntry | None, batch: Batch) -> SequenceCheck:
    """R9: is this batch the producer's next one, a retry, or neither (KIP-98, KIP-360)?

    An unknown producer begins at sequence 0: messages may overtake each other, so accepting any
    first sequence could put a later batch first.
    """
    first = batch.base_sequence
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
    behind = (known.last_sequence - last) % SEQUENCE_MODULUS
    if behind < SEQUENCE_MODULUS // 2:
        # Older than what is remembered: somewhere below the oldest batch that is.
        return SequenceCheck(SequenceResult.DUPLICATE_OLD, -1, known.batches[0][2])
    return SequenceCheck(SequenceResult.GAP)


def producers_after_truncation(
    rebuilt: Callable[[], ProducerTable], current: ProducerTable
) -> ProducerTable:
    """R9: after a cut the table is folded again up to the cut (F70, KAFKA-12153)."""
    return rebuilt()


def producers_of_new_leader(followed: ProducerTable) -> ProducerTable:
    """R9: a new leader knows the producers of every record in its log (F69)."""
    return followed


def confirm(waiting_epoch: Epoch, epoch: Epoch, end: Offset, hw: Offset) -> bool:
    """R10: an acks=all request is confirmed when it is committed, in its own epoch only (F58)."""
    return hw >= end and waiting_epoch == epoch


def survives_step_down(acks: int) -> bool:
    """R10: no waiting request outlives its leader's epoch: each is failed as unknown (F58)."""
    return False


def readable_end(hw: Offset, leo: Offset) -> Offset:
    """R11: readers see committed records only."""
    return hw


def diverged(epochs: EpochIndex, leo: Offset, offset: Offset, last_epoch: Epoch) -> Offset:
    """R11: -1, or the end up to which a reader's position agrees with this log (F55, KIP-320)."""
    if last_epoch < 0 or offset == 0:
        return -1
    epoch, end = epochs.end_of(last_epoch, leo)
    if epoch == last_epoch and end >= offset:
        return -1
    return min(end, offset)


def latest_offset(hw: Offset, epoch_start: Offset) -> Offset | None:
    """R12: a new leader does not know the latest offset before its HW has caught up (KIP-207)."""
    return hw if hw >= epoch_start else None


def may_campaign(view: ElectionFacts) -> bool:
    """R14: stand when nobody leads, or the leader's beat has not moved for a lease (F49)."""
    if view.draining or not (view.in_isr or view.in_elr):
        return False
    return view.leaderless or view.lease_over


def serves_acks(acks: int, now: Micros, lease_deadline: Micros) -> bool:
    """R15: past its own lease a leader takes acks=all only; the rest could be lost at once."""
    return acks == -1 or now < lease_deadline


def must_step_down(my_epoch: Epoch, seen_epoch: Epoch) -> bool:
    """R16: any evidence of a higher epoch ends a leadership."""
    return seen_epoch > my_epoch


def is_clean(view: RestartFacts) -> bool:
    """R17: may this restart keep its ISR membership?

    Yes if the clean marker is that of the registered incarnation and the log still ends there, or
    if acks meant flushed and nothing that had been flushed is missing (F13, F29, KIP-966). Never on
    an emptied disk, or an old copy of it.
    """
    if not view.intact or not view.same_disk:
        return False
    if view.flush == "batch":
        return True
    return (
        view.clean_shutdown_epoch == view.recorded_broker_epoch > 0
        and view.leo >= view.clean_shutdown_leo
    )


@dataclass(frozen=True, slots=True)
class Rules:
    """One entry a decision; ``Rules()`` is the protocol, a variant replaces entries."""

    is_newer: Callable[[tuple[Epoch, int], tuple[Epoch, int]], bool] = is_newer
    is_superseded: Callable[[BrokerEpoch, BrokerEpoch], bool] = is_superseded
    note_epoch_start: Callable[[EpochIndex, Epoch, Offset], None] = note_epoch_start
    accept_replicate: Callable[
        [Epoch, NodeId | None, Epoch, NodeId], ReplicateDecision
    ] = accept_replicate
    truncation_point: Callable[[EpochIndex, Offset, Offset, bool, Replicate], Offset] = (
        truncation_point
    )
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
