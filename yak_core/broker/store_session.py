"""The broker's session with the metadata store.

The session keeps three things:

- The newest partition state. Each reply is checked against the newest stamp known at the time of
  the call, to detect a store that lost confirmed writes (F80). Each newer state is saved durably
  before the broker adopts it.
- The pending proposal, at most one (R8). After an unknown outcome, the same bytes are sent again.
  The proposal ends when a newer partition state is adopted, or when its guard is refused.
- The leases: the broker's own lease, and the watch over the leader's lease.
"""

from __future__ import annotations

from typing import Final, Protocol

from yak_core.broker.context import Context
from yak_core.broker.lease_watch import LeaseWatch
from yak_core.broker.saved_state import STATE_KEY
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

EMPTIED: Final = (
    "the metadata store was emptied: it has no partition state any more; stop all brokers, then "
    "rebuild it with yak cluster recover"
)
"""The reason of a halt when a store has lost all that this broker has seen in it."""

TIMER_RENEW = "lease-renewal"
TIMER_READ = "read-again"
TIMER_PROPOSAL = "proposal"


class Owner(Protocol):
    """The methods of the broker that the session calls."""

    def apply_state(self, state: PartitionState) -> None:
        """Adopt the newest partition state, which is now saved."""
        ...

    def on_empty_store(self) -> None:
        """Handle a store without a partition state, if this broker has seen none before."""
        ...

    def on_lease_watch(self) -> None:
        """Handle an update of the lease watch."""
        ...

    def on_proposal_dropped(self) -> None:
        """Handle a proposal that ended without a newer partition state."""
        ...

    def halt(self, reason: str) -> None:
        """Halt the broker."""
        ...


@value
class Proposal:
    """The pending change of the partition state; every attempt sends the same request."""

    kind: ProposalKind
    request: Cas

    @property
    def base_partition_epoch(self) -> int:
        """The partition epoch that the proposal replaces; 0 if it creates the partition state."""
        return 0 if self.request.expected is None else self.request.expected[0]


@value
class InFlightCall:
    """A metadata call in flight; ``known_stamp`` is the newest stamp known when it was sent.

    ``attempt`` is the attempt id of the proposal in the call, or empty. It is needed because a
    proposal may be sent several times, and a reply may arrive when another proposal is pending.
    """

    kind: CallKind
    known_stamp: Stamp | None
    sent_at: Micros
    attempt: str


class StoreSession:
    """The session of one start of a broker with the metadata store."""

    __slots__ = (
        "context", "owner", "seen", "saving", "in_flight", "proposal", "watch", "lease_deadline",
        "broker_epoch", "replied_at",
    )  # fmt: skip

    def __init__(self, context: Context, owner: Owner, saved: PartitionState | None) -> None:
        self.context = context
        self.owner = owner
        #: The newest partition state seen; None if neither this start nor an earlier one saw one.
        self.seen = saved
        #: Partition states that are being saved, oldest first; the last one is ``seen``.
        self.saving: dict[OpId, PartitionState] = {}
        #: Calls in flight, oldest first: at most one read and one lease renewal.
        self.in_flight: dict[CallId, InFlightCall] = {}
        #: The pending proposal, if any.
        self.proposal: Proposal | None = None
        #: The watch over the leader's lease.
        self.watch = LeaseWatch()
        #: The time until which this broker holds its own lease; does not decrease.
        self.lease_deadline: Micros = 0
        #: The registered broker epoch; 0 before the registration, and then no lease is renewed.
        self.broker_epoch: BrokerEpoch = BrokerEpoch(0)
        #: Time of the last reply to a call; before the first, the time of the start.
        self.replied_at: Micros = context.now

    def check(self) -> None:
        """Assert the invariants of the fields."""
        kinds = [call.kind for call in self.in_flight.values()]
        assert kinds.count(CallKind.READ) <= 1, "more than one read in flight"
        assert kinds.count(CallKind.RENEW) <= (self.broker_epoch != 0), "unexpected lease renewal"
        if self.saving:
            assert next(reversed(self.saving.values())) is self.seen, "newest state not saved last"
        for call in self.in_flight.values():
            assert call.known_stamp is None or self.seen is not None, "known stamp, none seen"

    # -- calls ----------------------------------------------------------------------------------

    def read_state(self) -> None:
        """Read the partition state, unless a read is in flight."""
        if not self._has_in_flight(CallKind.READ):
            self._call(CallKind.READ, Read())

    def begin_renewals(self, broker_epoch: BrokerEpoch) -> None:
        """Start the lease renewals, after the registration of this start."""
        self.broker_epoch = broker_epoch
        self.lease_deadline = self.context.now
        self.on_renewal_due()

    def on_renewal_due(self) -> None:
        """Renew the lease, and set the timer for the next renewal."""
        period = self.context.config.lease_renew_us
        self.context.emit(SetTimer(TIMER_RENEW, period, period))
        if not self._has_in_flight(CallKind.RENEW):
            known = None if self.seen is None else self.seen.stamp
            self._call(CallKind.RENEW, RenewLease(self.context.node, self.broker_epoch, known))

    def read_state_later(self) -> None:
        """Read the partition state again after a backoff."""
        retry = self.context.config.store_retry_us
        self.context.emit(SetTimer(TIMER_READ, retry // 2, retry))

    def may_propose(self, partition: PartitionState | None) -> bool:
        """Return whether no proposal is pending and ``partition`` is the newest state seen."""
        return self.proposal is None and not self.saving and self.seen is partition

    def propose(
        self,
        kind: ProposalKind,
        base: PartitionState | None,
        state: PartitionState,
        guard: Guard | None,
    ) -> None:
        """Propose to the store to replace ``base`` by ``state``; None creates the state."""
        assert self.proposal is None, "another proposal is pending"
        expected = None if base is None else base.stamp
        self.proposal = Proposal(kind, Cas(expected, state, guard))
        self._call(CallKind.PROPOSAL, self.proposal.request)

    def resend(self) -> None:
        """Send the pending proposal again, with the same bytes."""
        if self.proposal is not None:
            self._call(CallKind.PROPOSAL, self.proposal.request)

    def publish(self, status: tuple[tuple[str, str], ...]) -> None:
        """Write the status fields to the store."""
        self._call(CallKind.PUBLISH, Publish(status))

    def end_proposal(self, state: PartitionState) -> tuple[Proposal, bool] | None:
        """Return the proposal that ``state`` resolves, and whether it was applied; else None."""
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

    # -- replies --------------------------------------------------------------------------------

    def on_reply(self, call_id: CallId, outcome: MetaOutcome) -> None:
        """Handle the reply to a metadata call."""
        call = self.in_flight.pop(call_id, None)
        if call is None:
            return
        if isinstance(outcome, Unknown):
            self._on_unknown(call)
            return
        self.replied_at = self.context.now
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
            self._save_newer_state(value.state)
        elif not value.unchanged:
            self.owner.on_empty_store()
            return
        self._watch(call, value)

    def _watch(self, call: InFlightCall, value: MetaValue) -> None:
        """Update the lease watch, if the reply has the newest partition state.

        Leader, epoch and renewal count must come from the same reply.
        """
        stored = self.seen
        if stored is None:
            return
        reply_stamp = call.known_stamp if value.state is None else value.state.stamp
        if reply_stamp != stored.stamp:
            return
        renewals = 0 if stored.leader is None else value.renewals_of(stored.leader)
        epoch, now = stored.leader_epoch, self.context.now
        self.watch.on_reply(now, stored.leader, epoch, renewals, self.reply_gap_us)
        self.owner.on_lease_watch()

    @property
    def reply_gap_us(self) -> Micros:
        """The time without a reply after which the lease watch restarts.

        It is two renewal periods and one store timeout, so one lost reply is not an outage.
        """
        return 2 * self.context.config.lease_renew_us + self.context.config.store_timeout_us

    def on_saved(self, op: OpId) -> bool:
        """Adopt the partition state that was saved; return False if ``op`` is not of this part."""
        state = self.saving.pop(op, None)
        if state is None:
            return False
        self.owner.apply_state(state)
        return True

    def _on_unknown(self, call: InFlightCall) -> None:
        self.context.note(StoreUnknown(call.kind))
        retry = self.context.config.store_retry_us
        if call.kind is CallKind.READ:
            self.read_state_later()
        elif self._carries_proposal(call) and self.proposal is not None:
            if self.context.rules.after_unknown(self.proposal.kind) is AfterUnknown.RESEND:
                self.context.emit(SetTimer(TIMER_PROPOSAL, retry // 2, retry))
            else:
                self._drop_proposal(ProposalResult.FORGOTTEN)

    def _carries_proposal(self, call: InFlightCall) -> bool:
        """Return whether this call carried the pending proposal."""
        proposal = self.proposal
        return proposal is not None and call.attempt == proposal.request.state.attempt

    def _on_refused(self, outcome: Refused) -> None:
        if outcome.reason == Refusal.GUARD:
            # Renewal counts only grow, so the store will not accept these bytes later.
            self._drop_proposal(ProposalResult.REFUSED)

    def _drop_proposal(self, result: ProposalResult) -> None:
        assert self.proposal is not None
        self.context.note(ProposalEnded(self.proposal.kind, result))
        self.proposal = None
        self.context.emit(CancelTimer(TIMER_PROPOSAL))
        self.owner.on_proposal_dropped()

    def _lineage_holds(self, call: InFlightCall, value: MetaValue) -> bool:
        """Return whether the store still has all writes confirmed before the call; else halt."""
        known = call.known_stamp
        if known is None or value.unchanged:
            return True
        state = value.state
        if state is None:
            self.owner.halt(EMPTIED)
            return False
        assert self.seen is not None
        if state.store_id != self.seen.store_id:
            self.owner.halt(
                "connected to another metadata store: "
                f"expected store id {self.seen.store_id}, got {state.store_id}; correct the "
                "address of the store, or read the help of yak cluster recover"
            )
            return False
        if state.partition_epoch < known[0] or follows(state, known) is False:
            self.owner.halt(
                "the metadata store lost confirmed writes: "
                f"this broker has seen version {known[0]}, which is missing from the history of "
                f"the stored version {state.partition_epoch}; keep all data directories, and read "
                "docs/runbook.md#store-behind-its-brokers"
            )
            return False
        return True

    def _save_newer_state(self, state: PartitionState) -> None:
        """Save a newer partition state; the broker adopts it when it is durable."""
        if self.seen is not None:
            known = (self.seen.leader_epoch, self.seen.partition_epoch)
            if state.stamp == self.seen.stamp:
                self._adopt_saved_state()
                return
            if not self.context.rules.is_newer(known, (state.leader_epoch, state.partition_epoch)):
                return
        self.seen = state
        op = self.context.new_op()
        self.saving[op] = state
        self.context.emit(SaveState(op, STATE_KEY, encode_partition_state(state)))

    def _adopt_saved_state(self) -> None:
        """Adopt the state saved by an earlier start, if the store has the same one."""
        if not self.saving and self.broker_epoch == 0 and self.seen is not None:
            self.owner.apply_state(self.seen)

    def _has_in_flight(self, kind: CallKind) -> bool:
        return any(call.kind is kind for call in self.in_flight.values())

    def _call(self, kind: CallKind, request: Read | Cas | RenewLease | Publish) -> None:
        call = self.context.new_call()
        known_stamp = None if self.seen is None else self.seen.stamp
        attempt = request.state.attempt if isinstance(request, Cas) else ""
        self.in_flight[call] = InFlightCall(kind, known_stamp, self.context.now, attempt)
        self.context.emit(CallMeta(call, request))
