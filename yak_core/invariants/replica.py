"""The state that the checkers keep about one broker, across all its starts."""

from __future__ import annotations

from yak_core.broker.leader import Leader
from yak_core.config import BrokerConfig
from yak_core.contract.messages import ProduceRequest
from yak_core.ids import NO_BROKER_EPOCH, BrokerEpoch, CallId, Epoch, NodeId, Offset
from yak_core.invariants.shadow_log import ShadowLog
from yak_core.metadata.partition_state import PartitionState


class Replica:
    """One broker as the checkers know it."""

    config: BrokerConfig

    def __init__(self, node_id: NodeId) -> None:
        self.node_id = node_id
        #: Whether the broker has flush=batch, so an ack means flushed.
        self.flush_each = True
        #: Highest leader epoch of the broker after a registration.
        self.registered_epoch: Epoch = Epoch(0)
        #: Final shadow logs of earlier registered starts.
        self.ended_logs: dict[BrokerEpoch, ShadowLog] = {}
        #: The log that a crash left on the disk; None while the broker runs.
        self.disk: ShadowLog | None = None
        #: The disk lost flushed batches, and the broker has not registered since.
        self.damaged = False
        #: Number of batches that the broker acknowledged, or committed as the leader.
        self.acked = 0
        #: Highest acknowledged end by broker epoch and leader epoch.
        self.acked_ends: dict[tuple[BrokerEpoch, Epoch], Offset] = {}
        #: The last restart lost acknowledged batches.
        self.lost_acked = False
        #: Whether the broker is running.
        self.up = False
        self._begin(0, ShadowLog())

    def begin(self, start: int, config: BrokerConfig, log: ShadowLog) -> None:
        """Begin start number ``start`` of the broker, with the log found on its disk."""
        if self.broker_epoch != NO_BROKER_EPOCH:
            self.ended_logs[self.broker_epoch] = self.log
        claimed = self.log.link_at(self.acked)
        if not log.holds(self.acked, claimed):
            self.lost_acked = True
            self.acked = 0
        self.config = config
        self.flush_each = config.flush == "batch"
        self.disk = None
        self.up = True
        self._begin(start, log)

    def _begin(self, start: int, log: ShadowLog) -> None:
        #: Number of the present start, from 1.
        self.start = start
        #: Broker epoch of the present start; NO_BROKER_EPOCH before its registration.
        self.broker_epoch: BrokerEpoch = NO_BROKER_EPOCH
        #: Leader epoch of the broker.
        self.epoch: Epoch = Epoch(0)
        #: The Leader object of the broker; None unless it leads.
        self.leading: Leader | None = None
        #: High watermark of the broker.
        self.hw: Offset = 0
        #: Fields of the broker that change with its role or partition state.
        self.role_state: tuple[object, ...] = ()
        #: The partition state that the broker acts on.
        self.partition: PartitionState | None = None
        #: The partition state that the broker leads by.
        self.leader_partition: PartitionState | None = None
        #: The proposed ISR of the leader.
        self.pending_isr: tuple[NodeId, ...] | None = None
        #: The maximal ISR of the leader.
        self.maximal_isr: list[Replica] = []
        #: Shadow log of the present start.
        self.log = log
        #: Unanswered produce requests.
        self.calls: dict[CallId, ProduceRequest] = {}
        #: The unanswered produce requests whose batch was appended.
        self.written: dict[CallId, bool] = {}
        #: The produce request of the present step.
        self.current_produce: CallId | None = None
        #: The last request for the latest offset.
        self.latest_offset_call: CallId | None = None
        #: The log has changed and must be compared.
        self.log_changed = True
        #: The epoch index and the producer table must be computed from the whole log.
        self.recompute = True
        #: An append failed because the disk was full.
        self.disk_full = False

    def log_of_epoch(self, broker_epoch: BrokerEpoch) -> ShadowLog | None:
        """Return the log of the start registered as ``broker_epoch``; None if it is not known."""
        if broker_epoch == self.broker_epoch:
            return self.log
        return self.ended_logs.get(broker_epoch)
