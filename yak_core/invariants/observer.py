"""The entry point of the invariants: dispatches each step to its checkers."""

from __future__ import annotations

from itertools import cycle
from typing import Final

from yak_core.broker.roles import Broker
from yak_core.config import BrokerConfig
from yak_core.contract.effects import (
    Answer,
    AnswerLog,
    AppendLog,
    Effect,
    FlushLog,
    Halt,
    Send,
    SendLog,
    TruncateLog,
)
from yak_core.contract.events import (
    Called,
    Cancelled,
    DiskDone,
    Event,
    MetaReply,
    Received,
    Started,
    TimerFired,
)
from yak_core.contract.host import Host
from yak_core.contract.messages import ListOffsetsRequest, ProduceRequest
from yak_core.ids import Micros, NodeId, Offset
from yak_core.invariants.client_checks import ClientChecks
from yak_core.invariants.commit_checks import CommitChecks
from yak_core.invariants.context import CheckContext
from yak_core.invariants.log_checks import LogChecks
from yak_core.invariants.replica import Replica
from yak_core.invariants.shadow_log import log_of
from yak_core.invariants.state_checks import StateChecks
from yak_core.metadata.partition_state import PartitionState
from yak_core.model.disk import DiskImage

LATEST: Final = -1
"""Kafka's timestamp for the latest offset in ListOffsets."""

CHECK_EVERY: Final = 48
"""A broker's assertions run after every 48th step, because they cost a third of a step."""


class Invariants:
    """Checks one cluster; an :class:`~yak_core.contract.host.Observer` of its hosts.

    The world calls :meth:`on_state` for each partition state that the store accepts, before it
    delivers the reply, and :meth:`on_crash` after a broker crashed. The hosts call
    :meth:`after_step`. All three raise InvariantViolated.
    """

    def __init__(self, brokers: tuple[NodeId, ...], check_every: int = CHECK_EVERY) -> None:
        # A broker with inconsistent fields stays inconsistent, so it is enough to run its
        # assertions after every ``check_every``-th step.
        self._due = cycle((*(False,) * (check_every - 1), True))
        self.context = CheckContext(brokers)
        self._may_halt: dict[NodeId, None] = {}
        self._logs = LogChecks(self.context)
        self._commits = CommitChecks(self.context)
        self._states = StateChecks(self.context, self._commits)
        self._clients = ClientChecks(self.context, self._commits)
        self._replicas = self.context.replicas
        self._deferred: list[Effect] = []
        self._checks = {
            AppendLog: self._logs.on_append,
            TruncateLog: self._logs.on_truncate,
            FlushLog: self._logs.on_flush,
            SendLog: self._logs.on_send_log,
            Send: self._logs.on_send,
            Answer: self._defer,
            AnswerLog: self._defer,
            Halt: self._defer,
        }

    @property
    def committed_end(self) -> Offset:
        """The true high watermark: the end of the records that any leader has committed."""
        return self.context.ledger.end

    def on_state(self, state: PartitionState) -> None:
        """Check the partition state ``state``, which the store accepted."""
        self._states.on_state(state)

    def on_store_rebuilt(self, state: PartitionState) -> None:
        """Record that the store was emptied while all brokers were down, and now has ``state``.

        Later states are forgotten. A broker that had acted on one of them is then a violation.
        """
        assert not any(replica.up for replica in self._replicas.values()), "a broker runs"
        self._states.on_store_rebuilt(state)

    def on_crash(self, node_id: NodeId, image: DiskImage) -> None:
        """Check the disk of a crashed broker; ``image`` is what its next start will recover."""
        replica = self._replicas[node_id]
        replica.up = False
        replica.damaged = replica.damaged or not image.intact
        replica.disk = log_of(image.batches)
        if not replica.damaged:
            self._check_durable(replica)
        self._commits.check_complete()

    def allow_halt(self, node_id: NodeId) -> None:
        """Allow the broker to halt, because a fault of its world requires that."""
        self._may_halt[node_id] = None

    def on_damage(self, node_id: NodeId) -> None:
        """Record that a broker that is down lost flushed records or has an old copy of its disk.

        Its disk is not checked until it has registered again, and that registration must be
        unclean.
        """
        replica = self._replicas[node_id]
        assert not replica.up, "on_damage was called while the broker runs"
        replica.damaged = True

    def after_step(self, host: Host, now: Micros, event: Event, effects: list[Effect]) -> None:
        """Check the effects of a step and the state of the node after it."""
        replica = self._replicas.get(host.node_id)
        self.context.host = host
        if replica is None:
            self._clients.after_step(host.node_id, event, effects)
            return
        node: Broker = host.node  # type: ignore[assignment]
        kind = type(event)
        if kind is DiskDone:
            self._logs.on_disk_done(replica, node, event)  # type: ignore[arg-type]
            if not effects:
                return  # A later step checks the new ends, before any message depends on them.
        if next(self._due):
            node.check()
        stale = False
        if kind is Received:
            stale = event.message.epoch < replica.epoch  # type: ignore[union-attr]
        elif kind is not DiskDone and kind is not TimerFired and kind is not MetaReply:
            self._on_other_event(replica, host, event)
        leading = node.leading
        role_state = (
            node.partition,
            leading,
            node.context.hint,
            node.broker_epoch,
            None if leading is None else leading.pending_isr,
        )
        if role_state != replica.role_state:
            replica.role_state = role_state
            self._on_role_change(replica, node)
        if effects:
            checks = self._checks
            for effect in effects:
                check = checks.get(type(effect))
                if check is not None:
                    check(replica, node, effect)  # type: ignore[operator]
        # A node that crashed within the step has issued effects that were not carried out, so its
        # log is not compared. As a leader it may have sent its high watermark, so that is checked.
        if replica.log_changed and host.alive:
            self._logs.check_log(replica, node)
        if stale:
            self._check_unchanged(replica, node, event, effects)
        if node.log.hw != replica.hw and (leading is not None or host.alive):
            self._commits.on_hw(replica, node)
        if kind is Received:
            if leading is not None:
                self._logs.check_progress(replica, leading, event.src)  # type: ignore[union-attr]
        elif kind is Called:
            self._check_queue(replica)
        if effects and self._deferred:
            self._check_deferred(replica, node)

    # -- events ---------------------------------------------------------------------------------

    def _on_role_change(self, replica: Replica, node: Broker) -> None:
        """Check a change of partition state, role, leader epoch, broker epoch or proposed ISR."""
        leading = node.leading
        if node.partition is not replica.partition:
            self._states.on_partition(replica, node)
        if (
            leading is not replica.leading
            or node.epoch != replica.epoch
            or node.broker_epoch != replica.broker_epoch
        ):
            self._states.on_role_change(replica, node)
        if leading is not None and (
            node.partition is not replica.leader_partition
            or leading.pending_isr is not replica.pending_isr
        ):
            self._commits.on_isr(replica, node, leading)
            for peer in leading.progress:
                self._logs.check_progress(replica, leading, peer)

    def _on_other_event(self, replica: Replica, host: Host, event: Event) -> None:
        if type(event) is Called:
            request = event.request
            if type(request) is ProduceRequest:
                replica.calls[event.call] = request
                replica.current_produce = event.call
            elif type(request) is ListOffsetsRequest and request.at == LATEST:
                replica.latest_offset_call = event.call
        elif type(event) is Cancelled:
            replica.calls.pop(event.call, None)
            replica.written.pop(event.call, None)
        elif type(event) is Started:
            self._on_started(replica, host, event)

    def _on_started(self, replica: Replica, host: Host, event: Started) -> None:
        recovered = event.recovered
        headers = recovered.headers
        # A real broker recovers only the headers of the tail; the shadow of the last start has the
        # batches below it.
        first = headers[0].base_offset if headers else recovered.leo
        log = log_of(replica.log.batches[: replica.log.count_below(first)])
        log.extend(headers)
        log.durable = len(log.links)
        assert isinstance(event.config, BrokerConfig), "a broker started without BrokerConfig"
        replica.disk = log
        replica.damaged = replica.damaged or not recovered.intact
        if not replica.damaged:
            self._check_durable(replica)
        replica.begin(host.start, event.config, log)

    def _check_durable(self, replica: Replica) -> None:
        """Check that all flushed batches are in ``replica.disk``, the log found on the disk."""
        log, found = replica.log, replica.disk
        assert found is not None
        if not found.holds(log.durable, log.link_at(log.durable)):
            self.context.fail(
                "DurableSurvives",
                replica.node_id,
                f"all flushed records, which end at {log.durable_end}, on the disk",
                f"the log on the disk ends at {found.leo} or differs below that offset",
            )

    def _check_unchanged(
        self, replica: Replica, node: Broker, event: Event, effects: list[Effect]
    ) -> None:
        """Check that a message of an older epoch changed neither log nor high watermark."""
        assert isinstance(event, Received)
        touched = node.hw != replica.hw or any(
            type(effect) in (AppendLog, TruncateLog) for effect in effects
        )
        if touched:
            self.context.fail(
                "StaleMessageIgnored",
                replica.node_id,
                f"no change by a message of an epoch below {replica.epoch}",
                f"a {type(event.message).__name__} of {event.src} changed the log or the high "
                "watermark",
            )

    def _check_queue(self, replica: Replica) -> None:
        """Check the number of unanswered produce requests.

        ``calls`` still holds the requests that this step answers, which are in ``_deferred``.
        """
        replica.current_produce = None
        if len(replica.calls) > replica.config.waiting_max + len(self._deferred):
            self.context.fail(
                "QueuesBounded",
                replica.node_id,
                f"at most {replica.config.waiting_max} unanswered produce requests",
                f"{len(replica.calls)} are unanswered",
            )

    # -- effects --------------------------------------------------------------------------------

    def _defer(self, replica: Replica, node: Broker, effect: Effect) -> None:
        """Defer the check of an effect until the whole step is applied.

        An answer is compared with the records that are committed after the step.
        """
        self._deferred.append(effect)

    def _check_deferred(self, replica: Replica, node: Broker) -> None:
        effects, self._deferred = self._deferred, []
        for effect in effects:
            if type(effect) is Answer:
                self._clients.on_answer(replica, node, effect)
            elif type(effect) is AnswerLog:
                self._clients.on_answer_log(replica, node, effect)
            elif (
                type(effect) is Halt
                and replica.node_id not in self._may_halt
                and not replica.disk_full
            ):
                self.context.fail(
                    "NoHalt",
                    replica.node_id,
                    "no halt, because the store and the disks kept all acknowledged writes",
                    f"the broker halted: {effect.reason}",
                )
