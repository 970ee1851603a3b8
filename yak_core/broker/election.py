"""When a broker proposes itself as the leader; must never depose a leader whose beat moves.

Silence between brokers deposes nobody (F49): only a record without a leader, or a leader's beat
that has not moved for a lease as seen through the store, permits to stand. Members of the ISR
stand first, members of the ELR after them, one stagger apart.
"""

from __future__ import annotations

from yak_core.broker.context import Context
from yak_core.broker.store_session import StoreSession
from yak_core.contract.effects import CancelTimer, SetTimer
from yak_core.contract.notes import Campaigned
from yak_core.ids import BrokerEpoch, Micros
from yak_core.metadata.partition_state import PartitionState
from yak_core.metadata.transitions import Rejected, elect
from yak_core.rules import ElectionFacts

ELECT = "elect"
TIMER_CAMPAIGN = "candidacy"


def schedule(context: Context, session: StoreSession, view: PartitionState | None) -> None:
    """Set the timer for the instant at which this broker may stand, or take it back."""
    if view is None or not _eligible(context, view):
        context.emit(CancelTimer(TIMER_CAMPAIGN))
        return
    # Counted from when the watch began, so that later replies do not put it off.
    lease_us: Micros = 0 if view.leader is None else context.config.lease_us
    stagger = context.config.election_stagger_us
    due = session.watch.over_at(lease_us) + _rank(context, view) * stagger
    wait = max(0, due - context.now)
    context.emit(SetTimer(TIMER_CAMPAIGN, wait, wait + stagger // 2))


def campaign(
    context: Context, session: StoreSession, view: PartitionState | None, broker_epoch: BrokerEpoch
) -> None:
    """The timer ran out: propose to lead, if everything still holds."""
    if view is None or not session.may_propose(view):
        return
    watch = session.watch
    over = watch.is_over(context.now, context.config.lease_us, session.gap_us)
    entry = view.node(context.node)
    facts = ElectionFacts(
        in_isr=context.node in view.isr,
        in_elr=context.node in view.elr,
        draining=entry is not None and entry.draining,
        leaderless=view.leader is None,
        lease_over=over and (watch.leader, watch.epoch) == (view.leader, view.leader_epoch),
    )
    if not context.rules.may_campaign(facts):
        return
    record = elect(view, attempt=context.attempt(), node=context.node, broker_epoch=broker_epoch)
    if isinstance(record, Rejected):
        return
    guard = None if view.leader is None else (view.leader, watch.beat)
    context.note(Campaigned(record.leader_epoch))
    session.propose(ELECT, view, record, guard)


def _eligible(context: Context, view: PartitionState) -> bool:
    return view.leader != context.node and (context.node in view.isr or context.node in view.elr)


def _rank(context: Context, view: PartitionState) -> int:
    """How many others should stand before this broker."""
    first = tuple(node for node in view.isr if node != view.leader)
    order = (*first, *(node for node in view.elr if node != view.leader))
    return order.index(context.node)
