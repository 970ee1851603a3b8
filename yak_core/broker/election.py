"""Election: when a broker campaigns for leader.

A broker campaigns only if the partition state has no leader, or if the leader did not renew its
lease in the store for ``lease_us``. Lost messages between brokers do not start an election (F49).
ISR members campaign first, ELR members after them, one stagger apart.
"""

from __future__ import annotations

from yak_core.broker.context import Context
from yak_core.broker.store_session import StoreSession
from yak_core.contract.effects import CancelTimer, SetTimer
from yak_core.contract.notes import Campaigned
from yak_core.ids import BrokerEpoch, Micros
from yak_core.metadata.partition_state import PartitionState
from yak_core.metadata.store_calls import ProposalKind
from yak_core.metadata.transitions import Rejected, elect
from yak_core.rules import ElectionFacts

TIMER_CAMPAIGN = "campaign"


class Candidate:
    """A broker as a candidate: when it campaigns, and whether it still may at that time."""

    __slots__ = ("context", "session", "due")

    def __init__(self, context: Context, session: StoreSession) -> None:
        self.context = context
        self.session = session
        #: The turn of this broker for which the timer is set; None if it is not running.
        self.due: Micros | None = None

    def schedule(self, partition: PartitionState | None) -> None:
        """Set the timer for the time at which this broker may campaign, or cancel the timer.

        The timer is set once for each turn. Each reply of the store comes here, and a timer that
        is set again takes a new random time: the campaign could come later than its turn allows.
        """
        context = self.context
        if partition is None or not _eligible(context, partition):
            self.due = None
            context.emit(CancelTimer(TIMER_CAMPAIGN))
            return
        # Counted from the last observed renewal, so that later replies do not postpone the turn.
        lease_us: Micros = 0 if partition.leader is None else context.config.lease_us
        stagger = context.config.election_stagger_us
        due = self.session.watch.expires_at(lease_us) + _rank(context, partition) * stagger
        if due == self.due:
            return
        self.due = due
        wait = max(0, due - context.now)
        context.emit(SetTimer(TIMER_CAMPAIGN, wait, wait + stagger // 2))

    def on_due(
        self, partition: PartitionState | None, broker_epoch: BrokerEpoch, leads: bool
    ) -> None:
        """End the turn: propose this broker as leader, if the conditions still hold."""
        self.due = None
        context, session, watch = self.context, self.session, self.session.watch
        if leads or partition is None or not session.may_propose(partition):
            return
        expired = watch.has_expired(context.now, context.config.lease_us, session.reply_gap_us)
        entry = partition.node(context.node)
        facts = ElectionFacts(
            in_isr=context.node in partition.isr,
            in_elr=context.node in partition.elr,
            draining=entry is not None and entry.draining,
            leaderless=partition.leader is None,
            lease_expired=expired
            and (watch.leader, watch.epoch) == (partition.leader, partition.leader_epoch),
        )
        if not context.rules.may_campaign(facts):
            return
        attempt = context.new_attempt()
        state = elect(partition, attempt=attempt, node=context.node, broker_epoch=broker_epoch)
        if isinstance(state, Rejected):
            return
        guard = None if partition.leader is None else (partition.leader, watch.renewals)
        context.note(Campaigned(state.leader_epoch))
        session.propose(ProposalKind.ELECT, partition, state, guard)


def _eligible(context: Context, partition: PartitionState) -> bool:
    return partition.leader != context.node and (
        context.node in partition.isr or context.node in partition.elr
    )


def _rank(context: Context, partition: PartitionState) -> int:
    """Return the number of candidates that campaign before this broker."""
    first = tuple(node for node in partition.isr if node != partition.leader)
    order = (*first, *(node for node in partition.elr if node != partition.leader))
    return order.index(context.node)
