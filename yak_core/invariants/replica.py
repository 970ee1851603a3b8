"""The state that the checkers keep about one broker, across all its starts."""

from __future__ import annotations

from yak_core.broker.leader import Leader
from yak_core.config import BrokerConfig
from yak_core.contract.messages import ProduceRequest
from yak_core.ids import NO_BROKER_EPOCH, BrokerEpoch, CallId, Epoch, NodeId, Offset
from yak_core.invariants.shadow_log import ShadowLog
from yak_core.metadata.partition_state import PartitionState


class Replica:
    """One broker as the checkers know it.

    ``log``
        Shadow log of the present start.
    ``ended_logs``
        Final shadow logs of earlier registered starts, by broker epoch.
    ``disk``
        The log that a crash left on the disk; None while the broker runs.
    ``acked``
        Number of batches that the broker has acknowledged, or counted below its high watermark.
    ``acked_ends``
        Highest acknowledged end by (broker epoch, leader epoch).
    ``tainted``
        The last restart lost acknowledged batches.
    ``damaged``
        The disk lost flushed batches, and the broker has not registered since.
    ``turn``
        The fields that change with the role of the broker.
    ``seen``
        The metadata record that the broker acts on.
    ``partition``, ``pending``, ``quorum``
        The metadata record, the proposed ISR and the maximal ISR of the leader.
    ``calls``, ``written``, ``asking``
        The unanswered produce requests, those whose batch was appended, and the request of the
        present step.
    ``moved``, ``refold``
        The log must be compared; the epoch index and the producer table must be recomputed.
    ``starved``
        The disk was full.
    """

    config: BrokerConfig

    def __init__(self, node_id: NodeId) -> None:
        self.node_id = node_id
        self.flush_each = True
        self.registered_epoch: Epoch = Epoch(0)
        self.ended_logs: dict[BrokerEpoch, ShadowLog] = {}
        self.disk: ShadowLog | None = None
        self.damaged = False
        self.acked = 0
        self.acked_ends: dict[tuple[BrokerEpoch, Epoch], Offset] = {}
        self.tainted = False
        self.up = False
        self._begin(0, ShadowLog())

    def begin(self, start: int, config: BrokerConfig, log: ShadowLog) -> None:
        """Begin start number ``start`` of the broker, with the log found on its disk."""
        if self.broker_epoch != NO_BROKER_EPOCH:
            self.ended_logs[self.broker_epoch] = self.log
        claimed = self.log.link_at(self.acked)
        if not log.holds(self.acked, claimed):
            self.tainted = True
            self.acked = 0
        self.config = config
        self.flush_each = config.flush == "batch"
        self.disk = None
        self.up = True
        self._begin(start, log)

    def _begin(self, start: int, log: ShadowLog) -> None:
        self.start = start
        self.broker_epoch: BrokerEpoch = NO_BROKER_EPOCH
        self.epoch: Epoch = Epoch(0)
        self.leading: Leader | None = None
        self.hw: Offset = 0
        self.turn: tuple[object, ...] = ()
        self.seen: PartitionState | None = None
        self.partition: PartitionState | None = None
        self.pending: tuple[NodeId, ...] | None = None
        self.quorum: list[Replica] = []
        self.log = log
        self.calls: dict[CallId, ProduceRequest] = {}
        self.written: dict[CallId, bool] = {}
        self.asking: CallId | None = None
        self.asked_latest: CallId | None = None
        self.moved = True
        self.refold = True
        self.starved = False

    def log_of_epoch(self, broker_epoch: BrokerEpoch) -> ShadowLog | None:
        """Return the log of the start registered as ``broker_epoch``; None if it is not known."""
        if broker_epoch == self.broker_epoch:
            return self.log
        return self.ended_logs.get(broker_epoch)
