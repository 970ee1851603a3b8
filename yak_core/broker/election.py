"""When a broker proposes itself as the leader; must never depose a leader whose beat moves.

Silence between brokers deposes nobody (F49): only a record without a leader, or a leader's beat
that has not moved for a lease as seen through the store, permits to stand. Members of the ISR
stand first, members of the ELR after them, one stagger apart.
"""

from __future__ import annotations

from yak_core.broker.context import Desk
from yak_core.broker.store_session import Session
from yak_core.contract.effects import CancelTimer, SetTimer
from yak_core.contract.notes import StoodForElection
from yak_core.ids import Incarnation, Micros
from yak_core.metadata.partition_state import Record
from yak_core.metadata.transitions import Rejected, elect
from yak_core.rules import StandView

ELECT = "elect"
TIMER_CANDIDACY = "candidacy"


def schedule(desk: Desk, session: Session, view: Record | None) -> None:
    """Set the timer for the instant at which this broker may stand, or take it back."""
    if view is None or not _eligible(desk, view):
        desk.emit(CancelTimer(TIMER_CANDIDACY))
        return
    # Counted from when the watch began, so that later replies do not put it off.
    lease_us: Micros = 0 if view.leader is None else desk.config.lease_us
    stagger = desk.config.stagger_us
    due = session.watch.over_at(lease_us) + _rank(desk, view) * stagger
    wait = max(0, due - desk.now)
    desk.emit(SetTimer(TIMER_CANDIDACY, wait, wait + stagger // 2))


def stand(desk: Desk, session: Session, view: Record | None, incarnation: Incarnation) -> None:
    """The timer ran out: propose to lead, if everything still holds."""
    if view is None or not session.may_propose(view):
        return
    watch = session.watch
    over = watch.is_over(desk.now, desk.config.lease_us, session.gap_us)
    entry = view.node(desk.node)
    standing = StandView(
        in_isr=desk.node in view.isr,
        in_elr=desk.node in view.elr,
        draining=entry is not None and entry.draining,
        leaderless=view.leader is None,
        lease_over=over and (watch.leader, watch.epoch) == (view.leader, view.leader_epoch),
    )
    if not desk.rules.may_stand(standing):
        return
    record = elect(view, attempt=desk.attempt(), node=desk.node, incarnation=incarnation)
    if isinstance(record, Rejected):
        return
    guard = None if view.leader is None else (view.leader, watch.beat)
    desk.note(StoodForElection(record.leader_epoch))
    session.propose(ELECT, view, record, guard)


def _eligible(desk: Desk, view: Record) -> bool:
    return view.leader != desk.node and (desk.node in view.isr or desk.node in view.elr)


def _rank(desk: Desk, view: Record) -> int:
    """How many others should stand before this broker."""
    first = tuple(node for node in view.isr if node != view.leader)
    order = (*first, *(node for node in view.elr if node != view.leader))
    return order.index(desk.node)
