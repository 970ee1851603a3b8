"""Eight rules replaced by what somebody once believed to be right; must never be used elsewhere.

Each is a variant of the protocol's rules object, so a mutant differs from the protocol in one
decision and in nothing else. F numbers are those of the flaw catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from yak_core import rules as right
from yak_core.contract.messages import Replicate
from yak_core.ids import BrokerEpoch, Epoch, NodeId, Offset
from yak_core.log.epochs import EpochIndex
from yak_core.rules import AfterUnknown, JoinFacts, ReplicateDecision, Rules


def _any_epoch(
    my_epoch: Epoch, my_leader: NodeId | None, epoch: Epoch, leader: NodeId
) -> ReplicateDecision:
    if epoch < my_epoch:
        return ReplicateDecision.ACCEPT
    return right.accept_replicate(my_epoch, my_leader, epoch, leader)


def _cut_at_hw(
    epochs: EpochIndex, leo: Offset, hw: Offset, first_of_epoch: bool, message: Replicate
) -> Offset:
    return (
        hw if first_of_epoch else right.truncation_point(epochs, leo, hw, first_of_epoch, message)
    )


def _committed_only(
    hw: Offset,
    committed: tuple[NodeId, ...],
    maximal: tuple[NodeId, ...],
    positions: Mapping[NodeId, Offset],
    min_isr: int,
) -> Offset:
    return right.advance_high_watermark(hw, committed, committed, positions, min_isr)


def _join_early(view: JoinFacts) -> bool:
    return right.may_join(replace(view, epoch_start=0))


def _survives(known: BrokerEpoch, seen: BrokerEpoch) -> bool:
    return True


PROTOCOL = Rules()

MUTANTS: dict[str, Rules] = {
    # F39, F40: nobody looks at the epoch of a message or an ack.
    "no epoch fencing": replace(
        PROTOCOL, accept_replicate=_any_epoch, accept_ack=lambda leader_epoch, ack_epoch: True
    ),
    # F01: a new follower cuts its log at its high watermark (Kafka before KIP-101).
    "truncate by HW": replace(PROTOCOL, truncation_point=_cut_at_hw),
    # F10: a follower acknowledges its log end, whatever it has verified.
    "ack own LEO": replace(PROTOCOL, ack_position=lambda verified, leo: leo),
    # F15: a proposed member does not count for the high watermark (before KIP-497).
    "committed ISR only": replace(PROTOCOL, advance_high_watermark=_committed_only),
    # F14: the high watermark is enough to join the ISR (before KAFKA-7128).
    "expand before the epoch's start": replace(PROTOCOL, may_join=_join_early),
    # F22: what an earlier start acknowledged counts for the next one.
    "progress across incarnations": replace(PROTOCOL, progress_survives=_survives),
    # F18: a call of the store that timed out is taken for refused.
    "time-out treated as failure": replace(
        PROTOCOL, after_unknown=lambda kind: AfterUnknown.FORGET
    ),
    # F70: a cut leaves the idempotence table alone.
    "producer table not rebuilt": replace(
        PROTOCOL, producers_after_truncation=lambda rebuilt, current: current
    ),
}
