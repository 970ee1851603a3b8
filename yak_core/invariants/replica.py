"""What the checkers remember of one broker, through all its starts; must never judge."""

from __future__ import annotations

from yak_core.broker.leader import Leader
from yak_core.config import BrokerConfig
from yak_core.contract.messages import ProduceRequest
from yak_core.ids import NO_BROKER_EPOCH, BrokerEpoch, CallId, Epoch, NodeId, Offset
from yak_core.invariants.shadow_log import ShadowLog
from yak_core.metadata.partition_state import PartitionState


class Replica:
    """One broker as the checkers know it.

    ``log`` is the shadow of the present start; ``ended_logs`` are the logs with which earlier
    registered starts ended; ``disk`` is what a crash left, until the next start. ``acked`` is how
    many batches this start has claimed to hold, in acks and by its own high watermark, and
    ``acked_ends`` the highest ack by (incarnation, epoch). ``tainted``: the last restart lost
    something claimed; ``damaged``: the disk lost what was flushed, and this start has not
    registered yet. ``turn`` is what a change of role shows in, ``seen`` the record that it acts
    on, ``partition`` the one by which it leads, with ``quorum`` as its maximal ISR. ``calls`` are
    the unanswered produce requests, ``written`` those of them whose batch was appended, ``asking``
    the one that this step takes in. ``moved`` and ``refold``: the log is to be compared, the folds
    from the first batch on. ``starved``: the disk was full.
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
        """A new incarnation starts with what the disk held."""
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
        """The log of a registered start: the present one's, or the one that it ended with."""
        if broker_epoch == self.broker_epoch:
            return self.log
        return self.ended_logs.get(broker_epoch)
