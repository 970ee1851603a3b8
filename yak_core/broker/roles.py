"""The broker: its start, its change between the two roles, and its stop.

A broker recovers its log and registers in the partition state. Then it leads or follows, according
to the partition state or a message with a higher epoch. Only :meth:`Broker.apply_state` changes the
broker's view of the partition state (R1). The parts of a broker are ``log`` (ends and epochs),
``session`` (the metadata store), ``follower`` and ``leading`` (the two roles), ``readers`` and
``writers`` (client requests).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Never, TypeAlias

from yak_core.broker.addresses import announce_addresses
from yak_core.broker.context import Context, LeaderHint
from yak_core.broker.describe import note_changes, snapshot_of
from yak_core.broker.election import Candidate
from yak_core.broker.fetch import Readers
from yak_core.broker.follower import Follower
from yak_core.broker.leader import Leader
from yak_core.broker.phases import FINAL_PHASES, RUNNING, STOPPING, TRANSITIONS, Phase, Role
from yak_core.broker.produce import Writers
from yak_core.broker.replica_log import Log
from yak_core.broker.saved_state import SavedValues, read_saved
from yak_core.broker.shutdown import Shutdown
from yak_core.broker.startup import Startup
from yak_core.broker.store_session import StoreSession
from yak_core.config import BrokerConfig, check_config
from yak_core.contract.effects import Effect, Exit, Halt, SetTimer
from yak_core.contract.events import DiskDone, Event, NoSpace, Started, StopAsked
from yak_core.contract.node import Snapshot
from yak_core.contract.notes import BecameFollower, BecameLeader, SteppedDown
from yak_core.errors import ErrorCode
from yak_core.fork import fork_of
from yak_core.ids import NO_BROKER_EPOCH, Epoch, Micros, NodeId, Offset
from yak_core.metadata.partition_state import PartitionState
from yak_core.rules import Rules

TIMER_HEARTBEAT: Final = "heartbeat"

Handlers: TypeAlias = Mapping[type, Callable[["Broker", Never], None]]
"""The handler of each event type; ``Started`` has none, because it builds the broker."""


class Broker:
    """A replica of the log, built from its first event; ``rules`` are its decisions.

    ``saved_error`` is the error message for an unreadable saved value, empty if all are readable.
    """

    __slots__ = (
        "handlers", "rules", "context", "node_id", "config", "phase", "broker_epoch", "partition",
        "log", "session", "startup", "follower", "leading", "readers", "writers", "saved_hw",
        "saved_error", "shutdown", "candidate",
    )  # fmt: skip

    def __init__(self, now: Micros, started: Started, rules: Rules, handlers: Handlers) -> None:
        config = started.config
        assert isinstance(config, BrokerConfig), f"expected a BrokerConfig, got {config!r}"
        check_config(started.node, config)
        self.handlers = handlers
        self.rules = rules
        self.node_id = started.node
        self.config = config
        self.phase: Phase = Phase.RECOVERING
        self.broker_epoch = NO_BROKER_EPOCH
        self.partition: PartitionState | None = None
        self.leading: Leader | None = None
        recovered = started.recovered
        found = read_saved(recovered.saved)
        saved = SavedValues() if isinstance(found, str) else found
        self.saved_hw = saved.hw
        self.saved_error = found if isinstance(found, str) else ""
        self.context = Context(started.node, config, rules, started.nonce, now)
        self.log = Log(self.context, recovered, saved.hw)
        self.session = StoreSession(self.context, self, saved.state)
        self.candidate = Candidate(self.context, self.session)
        self.follower = Follower(self.context, self, self.log)
        self.readers = Readers(self.context, self.log)
        self.writers = Writers(self.context, self.log)
        self.startup = Startup(self.context, self.log, self.session, recovered, saved)
        self.shutdown = Shutdown(self.context, self.log)

    # -- the node contract ----------------------------------------------------------------------

    def step(self, now: Micros, event: Event) -> list[Effect]:
        """Handle one event; return the effects in order (see docs/contract.md).

        After the event, a leader reacts once to a new LEO, high watermark or partition state: it
        sends records to the followers and answers pending requests.
        """
        if self.phase is not RUNNING and self.phase in FINAL_PHASES:
            return []
        context, log, partition = self.context, self.log, self.partition
        leo, appended_end, hw = log.leo, log.appended_end, log.hw
        context.now = now
        self.handlers[type(event)](self, event)  # type: ignore[arg-type]
        leading = self.leading
        if leading is not None:
            if log.leo != leo:
                leading.send_pending_all()
            if log.appended_end != appended_end:
                self.writers.on_appended()
            if log.hw != hw:
                self.writers.on_committed()
                self.readers.on_committed()
            if self.partition is not partition:
                self.writers.on_partition(leading.partition)
        effects, context.effects = context.effects, []
        return effects

    def snapshot(self) -> Snapshot:
        """Return the current state; see :mod:`yak_core.broker.describe`."""
        return snapshot_of(self)

    def check(self) -> None:
        """Assert the invariants that hold between two steps, for all variants of the rules.

        These checks find programming errors in one broker. Violations of the protocol are found by
        :mod:`yak_core.invariants`, which sees all brokers.
        """
        assert not self.context.effects, "effects left over from the last step"
        self.log.check()
        self.session.check()
        self.follower.check()
        self.readers.check()
        self.writers.check()
        if self.phase is RUNNING:
            assert self.broker_epoch != 0, "running without a broker epoch"
            assert self.partition is not None, "running without a partition state"
        leading = self.leading
        if leading is not None:
            assert self.phase is RUNNING, f"leader in phase {self.phase}"
            assert self.context.hint == LeaderHint(self.node_id, leading.epoch), "wrong leader hint"
            assert leading.partition is self.partition, "two views of the partition state"
            leading.check()

    @property
    def role(self) -> Role:
        """Whether this broker leads or follows."""
        return Role.FOLLOWER if self.leading is None else Role.LEADER

    @property
    def epoch(self) -> Epoch:
        """The newest leader epoch that this broker knows."""
        return self.context.hint.epoch

    @property
    def leader(self) -> NodeId | None:
        """The leader of :attr:`epoch`; None if unknown."""
        return self.context.hint.leader

    @property
    def hw(self) -> Offset:
        """The high watermark of this replica."""
        return self.log.hw

    @property
    def pending_isr(self) -> tuple[NodeId, ...] | None:
        """The ISR of this leader's pending proposal; None without one."""
        return None if self.leading is None else self.leading.pending_isr

    # -- start and stop -------------------------------------------------------------------------

    def begin(self) -> list[Effect]:
        """Start the broker; return the effects of the first step."""
        if self.saved_error:
            self.halt(self.saved_error)
        elif self.startup.begin():
            self._enter(Phase.REGISTERING)
        effects, self.context.effects = self.context.effects, []
        return effects

    def on_empty_store(self) -> None:
        """Handle a metadata store without a partition state."""
        if self.phase is Phase.REGISTERING:
            reason = self.startup.on_empty_store()
            if reason:
                self.halt(reason)

    def on_stop_asked(self, event: StopAsked) -> None:
        if self.broker_epoch == 0:
            self._enter(Phase.STOPPING)
            if not self.shutdown.restore_marker(self.startup, event.deadline_us):
                self.exit(clean=False)
            return
        self._enter(Phase.STOPPING)
        self._fail_pending_requests(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        self.shutdown.begin(event.deadline_us)

    def exit(self, *, clean: bool) -> None:
        """Exit after a complete stop (``clean``) or after the stop timeout."""
        self._enter(Phase.STOPPED)
        self.context.emit(Exit(clean))

    def halt(self, reason: str) -> None:
        """Halt, because continuing could break a guarantee; ``reason`` is for the operator."""
        if self.phase is Phase.HALTED:
            return
        self._enter(Phase.HALTED)
        self._fail_pending_requests(ErrorCode.KAFKA_STORAGE_ERROR)
        self.context.emit(Halt(reason))

    def halt_on_two_leaders(self, other: NodeId | None) -> None:
        """Halt, because ``other`` leads the epoch of the known leader, too (F81)."""
        self.halt(
            f"two leaders for epoch {self.epoch}: {self.leader} and {other} (F81); keep all data "
            "directories, and read docs/runbook.md#two-leaders"
        )

    def _fail_pending_requests(self, error: ErrorCode) -> None:
        """Stop leading, and answer every pending request."""
        self.leading = None
        self.context.hint = LeaderHint(None, self.epoch)
        self.writers.fail_all(error)
        self.readers.redirect()

    def _enter(self, phase: Phase) -> None:
        assert phase is self.phase or phase in TRANSITIONS[self.phase], (self.phase, phase)
        self.phase = phase

    # -- partition state ------------------------------------------------------------------------

    def apply_state(self, state: PartitionState) -> None:
        """Adopt a newer partition state; this is the only place that does so (R1)."""
        resolved = self.session.end_proposal(state)
        if self.phase is Phase.REGISTERING:
            self.partition = state
            registered = self.startup.on_state(state, resolved)
            if isinstance(registered, str):
                self.halt(registered)
                return
            if not registered:
                return
            self.broker_epoch = registered
            self._enter(Phase.RUNNING)
            self.context.hint = LeaderHint(None, state.leader_epoch)
            self.session.begin_renewals(registered)
        elif self.phase is not RUNNING:
            return
        if self.rules.is_superseded(state.broker_epoch_of(self.node_id), self.broker_epoch):
            self.halt(f"fenced: another process registered as {self.node_id}; halting")
            return
        known = self.partition
        self.partition = state
        note_changes(self.context, known, state)
        self._update_role(state)
        self.follower.on_isr(state.isr)
        if (
            self.phase is RUNNING
            and self.leading is not None
            and self.leading.partition is not state
        ):
            self.leading.on_partition(state, None if resolved is None else resolved[0])
        self.on_lease_watch()
        if self.phase is RUNNING:
            announce_addresses(self.context, self.session, state, self.broker_epoch)

    def _update_role(self, state: PartitionState) -> None:
        """Take the role from the partition state, unless a message has shown a higher epoch."""
        if state.leader_epoch < self.epoch:
            return
        if state.leader_epoch > self.epoch or self.leader is None:
            self._enter_epoch(state.leader_epoch, state.leader)
        elif state.leader != self.leader:
            self.halt_on_two_leaders(state.leader)
            return
        mine = state.leader == self.node_id and state.leader_broker_epoch == self.broker_epoch
        if mine and self.leading is None:
            self._become_leader(state)

    def _enter_epoch(self, epoch: Epoch, leader: NodeId | None) -> None:
        """Enter a new epoch, or learn the leader of the current one, as a follower.

        A leader steps down first.
        """
        if self.leading is not None and not self.rules.must_step_down(self.leading.epoch, epoch):
            return
        changed = (epoch, leader) != (self.epoch, self.leader)
        self.context.hint = LeaderHint(leader, epoch)
        if self.leading is not None:
            self._step_down(epoch)
        self.follower.begin(leader)
        if changed and leader != self.node_id:
            self.context.note(BecameFollower(epoch, leader))

    def _become_leader(self, state: PartitionState) -> None:
        """Become leader (R2): record the epoch's start, flush, reset progress, keep the HW."""
        log = self.log
        log.new_generation()
        self.rules.note_epoch_start(log.epochs, self.epoch, log.leo)
        log.producers = self.rules.producers_of_new_leader(log.producers)
        self.leading = Leader(self.context, log, self.session, self.epoch, state, self.broker_epoch)
        self.context.note(BecameLeader(self.epoch, log.leo))
        self.heartbeat()
        self.leading.advance_hw()

    def _step_down(self, seen: Epoch) -> None:
        """Step down after a higher epoch (R16); answer pending requests with UNKNOWN (R10)."""
        assert self.leading is not None
        epoch = self.leading.epoch
        self.leading = None
        unknown = self.writers.step_down()
        self.readers.redirect()
        self.log.new_generation()
        self.context.note(SteppedDown(epoch, seen, unknown))

    # -- the store ------------------------------------------------------------------------------

    def on_lease_watch(self) -> None:
        """Schedule the campaign after a change of the lease watch."""
        if self.phase is RUNNING and self.leading is None:
            self.candidate.schedule(self.partition)

    def on_proposal_dropped(self) -> None:
        """Handle a proposal that ended without a newer partition state."""
        if self.leading is not None:
            self.leading.on_proposal_dropped()
        elif self.phase is Phase.REGISTERING:
            self.session.read_state_later()

    # -- disk -----------------------------------------------------------------------------------

    def on_disk_done(self, event: DiskDone) -> None:
        if isinstance(event.result, NoSpace):
            self._on_no_space()
            return
        if self.phase is STOPPING:
            self.log.complete(event)
            if self.shutdown.on_disk_done(event.op, self.broker_epoch):
                self.exit(clean=True)
            return
        log = self.log
        if event.op not in log.pending and self._on_other_disk_done(event):
            return
        log.complete(event)
        if self.leading is not None:
            self.leading.on_log_progress()
        elif self.follower.ack_pending:
            self.follower.on_log_progress(self.broker_epoch)

    def _on_other_disk_done(self, event: DiskDone) -> bool:
        """Handle the completion of a SendLog or SaveState; return False for other operations."""
        if self.leading is not None and self.leading.on_shipped(event.op, event.result):
            return True
        if self.session.on_saved(event.op):
            return True
        started = self.startup.on_saved(event.op, self.partition)
        if isinstance(started, str):
            self.halt(started)
        elif started:
            self._enter(Phase.REGISTERING)
        return bool(started)

    def _on_no_space(self) -> None:
        """Halt after a failed append.

        The log on disk ends below ``leo``, and the leader may already have replicated the missing
        records. The next start recovers the log from the disk.
        """
        if self.phase is STOPPING:
            self.exit(clean=False)
        else:
            self.halt("no space left for the log; free disk space, then restart this broker")

    # -- peers ----------------------------------------------------------------------------------

    def enter_higher_epoch(self, epoch: Epoch, leader: NodeId | None) -> None:
        """Enter the higher epoch of a message, then read the partition state (R1)."""
        if leader != self.node_id:
            self._enter_epoch(epoch, leader)
        self.session.read_state()

    def heartbeat(self) -> None:
        """Send heartbeats if this broker leads, and set the timer for the next ones."""
        if self.leading is not None:
            period = self.context.config.replicate_heartbeat_us
            self.context.emit(SetTimer(TIMER_HEARTBEAT, period, period))
            self.leading.on_heartbeat()

    def fork(self) -> Broker:
        """Return a copy that shares only immutable values."""
        return fork_of(self)
