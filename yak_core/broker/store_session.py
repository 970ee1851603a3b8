"""One broker's dealings with the metadata store; must never decide who leads or who is in sync.

It owns three things. The newest record seen: each reply is checked against the newest stamp that
was known when the call was made, so a store that lost confirmed writes is noticed (F80), and each
newer record is saved durably before the broker acts on it. The one outstanding proposal (R8): its
bytes are frozen, an unknown outcome resends them, and it ends only when a newer record is acted on
or when its guard is refused. The beats: the own lease, and the watch over the leader's.
"""

from __future__ import annotations

from typing import Protocol

from yak_core.broker.context import Context
from yak_core.broker.lease_watch import LeaseWatch
from yak_core.broker.saved_state import RECORD_KEY
from yak_core.contract.effects import CallMeta, CancelTimer, SaveState, SetTimer
from yak_core.contract.notes import ProposalEnded, StoreUnknown
from yak_core.ids import BrokerEpoch, CallId, Micros, OpId, Stamp
from yak_core.metadata.partition_state import PartitionState, encode_partition_state, follows
from yak_core.metadata.store_calls import (
    CallKind,
    Cas,
    Guard,
    MetaOutcome,
    MetaValue,
    ProposalKind,
    ProposalResult,
    Publish,
    Read,
    Refusal,
    Refused,
    RenewLease,
    StoreOk,
    Unknown,
)
from yak_core.rules import AfterUnknown
from yak_core.value import value

TIMER_RENEW = "lease-renewal"
TIMER_READ = "read-again"
TIMER_PROPOSAL = "proposal"


class Owner(Protocol):
    """The broker, as the session sees it."""

    def apply_state(self, state: PartitionState) -> None:
        """The newest record is saved: take it as the view."""
        ...

    def on_absent(self) -> None:
        """The store holds no record, and never held one that this broker knew."""
        ...

    def on_watch(self) -> None:
        """The lease watch took in a reply."""
        ...

    def on_proposal_dropped(self) -> None:
        """The outstanding proposal ended without a newer record."""
        ...

    def halt(self, reason: str) -> None:
        """Stop for good."""
        ...


@value
class Proposal:
    """The one outstanding change of the record, frozen as it was first sent."""

    kind: ProposalKind
    request: Cas

    @property
    def base_partition_epoch(self) -> int:
        """Version that it would replace; 0 when it would create the record."""
        return 0 if self.request.expected is None else self.request.expected[0]


@value
class OpenCall:
    """A metadata call without an answer yet; ``floor`` is the newest stamp known when it left.

    ``attempt`` names the proposal that it carries, for one proposal may be sent several times and
    its answers may come when another one is outstanding.
    """

    kind: CallKind
    floor: Stamp | None
    sent_at: Micros
    attempt: str


class StoreSession:
    """The store, as seen by one incarnation."""

    __slots__ = (
        "context",
        "owner",
        "seen",
        "saving",
        "open",
        "proposal",
        "watch",
        "lease_deadline",
        "broker_epoch",
    )

    def __init__(self, context: Context, owner: Owner, saved: PartitionState | None) -> None:
        self.context = context
        self.owner = owner
        #: The newest record that was seen; None before the first of all starts.
        self.seen = saved
        #: Records on their way to the disk, oldest first; the last one is ``seen``.
        self.saving: dict[OpId, PartitionState] = {}
        #: Calls without an answer, oldest first: at most one read and one renewal among them.
        self.open: dict[CallId, OpenCall] = {}
        #: The one outstanding proposal.
        self.proposal: Proposal | None = None
        #: How long the leader's lease has not been renewed.
        self.watch = LeaseWatch()
        #: Until when this broker holds its own lease; never falls.
        self.lease_deadline: Micros = 0
        #: What this start registered as; 0 before that, and no lease is renewed then.
        self.broker_epoch: BrokerEpoch = BrokerEpoch(0)

    def check(self) -> None:
        """Assert the bounds above."""
        kinds = [call.kind for call in self.open.values()]
        assert kinds.count(CallKind.READ) <= 1, "one read at a time"
        assert kinds.count(CallKind.RENEW) <= (self.broker_epoch != 0), "one renewal, registered"
        if self.saving:
            assert next(reversed(self.saving.values())) is self.seen, "the newest is saved last"
        for call in self.open.values():
            assert call.floor is None or self.seen is not None, "what was known is not forgotten"

    # -- what the broker asks for ---------------------------------------------------------------

    def order_read(self) -> None:
        """Read the record, unless a read is under way."""
        if not self._is_open(CallKind.READ):
            self._call(CallKind.READ, Read())

    def begin_renewals(self, broker_epoch: BrokerEpoch) -> None:
        """Beat from now on: the registration of this incarnation is done."""
        self.broker_epoch = broker_epoch
        self.lease_deadline = self.context.now
        self.on_renewal_due()

    def on_renewal_due(self) -> None:
        """Beat, and set the timer for the next one."""
        period = self.context.config.lease_renew_us
        self.context.emit(SetTimer(TIMER_RENEW, period, period))
        if not self._is_open(CallKind.RENEW):
            known = None if self.seen is None else self.seen.stamp
            self._call(CallKind.RENEW, RenewLease(self.context.node, self.broker_epoch, known))

    def read_again(self) -> None:
        """Read once more after a back-off."""
        retry = self.context.config.store_retry_us
        self.context.emit(SetTimer(TIMER_READ, retry // 2, retry))

    def may_propose(self, partition: PartitionState | None) -> bool:
        """Is nothing outstanding, and is the view the newest record that was seen?"""
        return self.proposal is None and not self.saving and self.seen is partition

    def propose(
        self,
        kind: ProposalKind,
        base: PartitionState | None,
        state: PartitionState,
        guard: Guard | None,
    ) -> None:
        """Ask the store to replace ``base`` by ``state``."""
        assert self.proposal is None, "one proposal at a time"
        expected = None if base is None else base.stamp
        self.proposal = Proposal(kind, Cas(expected, state, guard))
        self._call(CallKind.PROPOSAL, self.proposal.request)

    def resend(self) -> None:
        """The proposal timer ran out: send the same bytes again."""
        if self.proposal is not None:
            self._call(CallKind.PROPOSAL, self.proposal.request)

    def publish(self, status: tuple[tuple[str, str], ...]) -> None:
        """Write the status hash."""
        self._call(CallKind.PUBLISH, Publish(status))

    def end_proposal(self, state: PartitionState) -> tuple[Proposal, bool] | None:
        """The record is acted on: the proposal that it settles, and whether it was applied."""
        proposal = self.proposal
        if proposal is None or state.partition_epoch <= proposal.base_partition_epoch:
            return None
        self.proposal = None
        self.context.emit(CancelTimer(TIMER_PROPOSAL))
        applied = follows(state, proposal.request.state.stamp) is True
        self.context.note(
            ProposalEnded(
                proposal.kind, ProposalResult.APPLIED if applied else ProposalResult.OVERTAKEN
            )
        )
        return (proposal, applied)

    # -- what comes back ------------------------------------------------------------------------

    def on_reply(self, call_id: CallId, outcome: MetaOutcome) -> None:
        """A call ended."""
        call = self.open.pop(call_id, None)
        if call is None:
            return
        if isinstance(outcome, Unknown):
            self._on_unknown(call)
            return
        if call.kind is CallKind.PUBLISH:
            return
        value = outcome.value if isinstance(outcome, StoreOk) else outcome.current
        if not self._lineage_holds(call, value):
            return
        if call.kind is CallKind.RENEW and isinstance(outcome, StoreOk):
            self.lease_deadline = max(
                self.lease_deadline, call.sent_at + self.context.config.lease_us
            )
        if isinstance(outcome, Refused) and self._carries_proposal(call):
            self._on_refused(outcome)
        if value.state is not None:
            self._take_in_state(value.state)
        elif not value.unchanged:
            self.owner.on_absent()
            return
        self._watch(call, value)

    def _watch(self, call: OpenCall, value: MetaValue) -> None:
        """Leader, epoch and beat must come out of one reply, and out of the newest record."""
        stored = self.seen
        if stored is None:
            return
        described = call.floor if value.state is None else value.state.stamp
        if described != stored.stamp:
            return
        renewals = 0 if stored.leader is None else value.renewals_of(stored.leader)
        self.watch.saw(self.context.now, stored.leader, stored.leader_epoch, renewals, self.gap_us)
        self.owner.on_watch()

    @property
    def gap_us(self) -> Micros:
        """Silence of the store after which the watch over the leader begins anew.

        Two beats and a call that got no answer: one lost reply is not an outage.
        """
        return 2 * self.context.config.lease_renew_us + self.context.config.store_timeout_us

    def on_saved(self, op: OpId) -> bool:
        """A SaveState completed; True if it was this session's. The record is acted on now."""
        state = self.saving.pop(op, None)
        if state is None:
            return False
        self.owner.apply_state(state)
        return True

    def _on_unknown(self, call: OpenCall) -> None:
        self.context.note(StoreUnknown(call.kind))
        retry = self.context.config.store_retry_us
        if call.kind is CallKind.READ:
            self.read_again()
        elif self._carries_proposal(call) and self.proposal is not None:
            if self.context.rules.after_unknown(self.proposal.kind) is AfterUnknown.RESEND:
                self.context.emit(SetTimer(TIMER_PROPOSAL, retry // 2, retry))
            else:
                self._drop_proposal(ProposalResult.FORGOTTEN)

    def _carries_proposal(self, call: OpenCall) -> bool:
        """Is this an answer to the proposal that is outstanding now?"""
        proposal = self.proposal
        return proposal is not None and call.attempt == proposal.request.state.attempt

    def _on_refused(self, outcome: Refused) -> None:
        if outcome.reason == Refusal.GUARD:
            # Beats only grow, so these bytes can never be written any more.
            self._drop_proposal(ProposalResult.REFUSED)

    def _drop_proposal(self, result: ProposalResult) -> None:
        assert self.proposal is not None
        self.context.note(ProposalEnded(self.proposal.kind, result))
        self.proposal = None
        self.context.emit(CancelTimer(TIMER_PROPOSAL))
        self.owner.on_proposal_dropped()

    def _lineage_holds(self, call: OpenCall, value: MetaValue) -> bool:
        """Does the store still hold everything that it had confirmed when the call was made?"""
        floor = call.floor
        if floor is None or value.unchanged:
            return True
        state = value.state
        if state is None:
            self.owner.halt("the metadata store was emptied: it holds no record any more")
            return False
        assert self.seen is not None
        if state.store_id != self.seen.store_id:
            self.owner.halt("the metadata store is another one: its store id differs")
            return False
        if state.partition_epoch < floor[0] or follows(state, floor) is False:
            self.owner.halt(
                "the metadata store lost confirmed writes: "
                f"it holds version {state.partition_epoch}, "
                f"this broker has seen version {floor[0]}"
            )
            return False
        return True

    def _take_in_state(self, state: PartitionState) -> None:
        """Save a newer record; it is acted on once it is durable."""
        if self.seen is not None:
            known = (self.seen.leader_epoch, self.seen.partition_epoch)
            if state.stamp == self.seen.stamp:
                self._act_again()
                return
            if not self.context.rules.is_newer(known, (state.leader_epoch, state.partition_epoch)):
                return
        self.seen = state
        op = self.context.op()
        self.saving[op] = state
        self.context.emit(SaveState(op, RECORD_KEY, encode_partition_state(state)))

    def _act_again(self) -> None:
        """The stored record is the one saved in an earlier start: act on it if nobody has yet."""
        if not self.saving and self.broker_epoch == 0 and self.seen is not None:
            self.owner.apply_state(self.seen)

    def _is_open(self, kind: CallKind) -> bool:
        return any(call.kind is kind for call in self.open.values())

    def _call(self, kind: CallKind, request: Read | Cas | RenewLease | Publish) -> None:
        call = self.context.call()
        floor = None if self.seen is None else self.seen.stamp
        attempt = request.state.attempt if isinstance(request, Cas) else ""
        self.open[call] = OpenCall(kind, floor, self.context.now, attempt)
        self.context.emit(CallMeta(call, request))
