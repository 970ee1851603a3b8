"""What the checkers remember of one broker, through all its starts; must never judge.

Also what they read from it: :class:`LiveBroker` names the live attributes of a broker, which are
read after each step and never written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sized
from typing import Protocol

from yak_core.config import BrokerConfig
from yak_core.contract.messages import ProduceRequest
from yak_core.ids import NO_BROKER_EPOCH, BrokerEpoch, CallId, Epoch, NodeId, Offset
from yak_core.invariants.shadow_log import ShadowLog
from yak_core.log.epochs import EpochIndex
from yak_core.log.producers import ProducerTable
from yak_core.metadata.partition_state import PartitionState


class LiveLog(Protocol):
    """A broker's log, as it sees it itself."""

    leo: Offset
    appended_end: Offset
    durable_end: Offset
    log_start: Offset
    hw: Offset
    pending_bytes: int
    epochs: EpochIndex
    producers: ProducerTable


class LiveProgress(Protocol):
    """What a leader knows of one follower; ``match`` is -1 while it knows nothing."""

    broker_epoch: BrokerEpoch
    match: Offset
    next: Offset

    @property
    def inflight(self) -> Sized:
        """The messages on their way."""
        ...


class LiveLeader(Protocol):
    """A broker's leadership."""

    epoch: Epoch
    start: Offset
    maximal_isr: tuple[NodeId, ...]
    pending_isr: tuple[NodeId, ...] | None

    @property
    def progress(self) -> Mapping[NodeId, LiveProgress]:
        """The followers."""
        ...


class LiveContext(Protocol):
    """What the parts of a broker share."""

    @property
    def hint(self) -> object:
        """The epoch and its leader as one value, another one once they change."""
        ...


class LiveBroker(Protocol):
    """A broker, as far as the checkers look at it."""

    node_id: NodeId
    broker_epoch: BrokerEpoch
    phase: str
    epoch: Epoch
    leader: NodeId | None
    partition: PartitionState | None

    def check(self) -> None:
        """Assert what must hold within this broker between two steps."""
        ...

    @property
    def hw(self) -> Offset:
        """High watermark."""
        ...

    @property
    def log(self) -> LiveLog:
        """The log."""
        ...

    @property
    def context(self) -> LiveContext:
        """What its parts share."""
        ...

    @property
    def leading(self) -> LiveLeader | None:
        """None for a follower."""
        ...


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

    __slots__ = (
        "node_id",
        "start",
        "up",
        "flush_each",
        "window_messages",
        "append_bytes_max",
        "waiting_max",
        "producers_max",
        "broker_epoch",
        "epoch",
        "registered_epoch",
        "leading",
        "hw",
        "turn",
        "seen",
        "partition",
        "pending",
        "quorum",
        "log",
        "ended_logs",
        "disk",
        "damaged",
        "acked",
        "acked_ends",
        "tainted",
        "calls",
        "written",
        "asking",
        "asked_latest",
        "moved",
        "refold",
        "starved",
    )

    def __init__(self, node_id: NodeId) -> None:
        self.node_id = node_id
        self.start = 0
        self.up = False
        self.flush_each = True
        self.window_messages = 0
        self.append_bytes_max = 0
        self.waiting_max = 0
        self.producers_max = 0
        self.broker_epoch: BrokerEpoch = BrokerEpoch(0)
        self.epoch: Epoch = Epoch(0)
        self.registered_epoch: Epoch = Epoch(0)
        self.leading: LiveLeader | None = None
        self.hw: Offset = 0
        self.turn: tuple[object, ...] = ()
        self.seen: PartitionState | None = None
        self.partition: PartitionState | None = None
        self.pending: tuple[NodeId, ...] | None = None
        self.quorum: list[Replica] = []
        self.log = ShadowLog()
        self.ended_logs: dict[BrokerEpoch, ShadowLog] = {}
        self.disk: ShadowLog | None = None
        self.damaged = False
        self.acked = 0
        self.acked_ends: dict[tuple[BrokerEpoch, Epoch], Offset] = {}
        self.tainted = False
        self.calls: dict[CallId, ProduceRequest] = {}
        self.written: dict[CallId, bool] = {}
        self.asking: CallId | None = None
        self.asked_latest: CallId | None = None
        self.moved = False
        self.refold = False
        self.starved = False

    def begin(self, start: int, config: BrokerConfig, log: ShadowLog) -> None:
        """A new incarnation starts with what the disk held."""
        if self.broker_epoch != NO_BROKER_EPOCH:
            self.ended_logs[self.broker_epoch] = self.log
        claimed = self.log.link_at(self.acked)
        if not log.holds(self.acked, claimed):
            self.tainted = True
            self.acked = 0
        self.start = start
        self.up = True
        self.flush_each = config.flush == "batch"
        self.window_messages = config.window_messages
        self.append_bytes_max = config.append_bytes_max
        self.waiting_max = config.waiting_max
        self.producers_max = config.producers_max
        self.broker_epoch = BrokerEpoch(0)
        self.epoch = Epoch(0)
        self.leading = None
        self.hw = 0
        self.turn = ()
        self.seen = None
        self.partition = None
        self.pending = None
        self.quorum = []
        self.log = log
        self.disk = None
        self.calls = {}
        self.written = {}
        self.asking = None
        self.asked_latest = None
        self.moved = True
        self.refold = True
        self.starved = False

    def log_of_epoch(self, broker_epoch: BrokerEpoch) -> ShadowLog | None:
        """The log of a registered start: the present one's, or the one that it ended with."""
        if broker_epoch == self.broker_epoch:
            return self.log
        return self.ended_logs.get(broker_epoch)
