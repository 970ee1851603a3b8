"""Three fake brokers with only the attributes that the invariants read.

A test builds a history step by step and sets the state of each broker after each step, so any
history is possible, also one that real brokers cannot produce. The stage starts with n1 as leader
of epoch 1, all three in the ISR, min ISR 2, flush=batch, and empty logs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

from tests.core.invariants_fakes import NODES, FakeBroker, FakeHost, FakeLeader, FakeLog, fold
from yak_core.batch import Batch, Builder, placed, seal
from yak_core.config import BrokerConfig, FlushMode, ProducerConfig
from yak_core.contract.client_calls import ClientResult, Poll, SendBatch
from yak_core.contract.effects import Answer, AppendLog, Effect, FlushLog, Send, TruncateLog
from yak_core.contract.events import (
    Called,
    DiskDone,
    DiskOk,
    Event,
    NoSpace,
    Received,
    Recovered,
    Started,
    TimerFired,
)
from yak_core.contract.host import Host
from yak_core.contract.messages import ProduceRequest, ReplicateAck, Response
from yak_core.fork import fork_of
from yak_core.ids import BrokerEpoch, CallId, Epoch, LogGeneration, NodeId, Offset, OpId
from yak_core.invariants import Invariants
from yak_core.log.epochs import EpochIndex
from yak_core.log.producers import ProducerTable
from yak_core.metadata.partition_state import PartitionState
from yak_core.metadata.transitions import Rejected, alter_isr, create, elect, register
from yak_core.model.disk import DiskImage

QUIET = TimerFired("heartbeat")


class Stage:
    """The brokers, the partition state, and the invariants."""

    def __init__(self, flush: FlushMode = "batch", min_isr: int = 2) -> None:
        self.invariants = Invariants(NODES)
        self.min_isr = min_isr
        self.flush_mode = flush
        self.config = BrokerConfig(replicas=NODES, flush=flush)
        self.hosts: dict[NodeId, FakeHost] = {}
        self.ops = 0
        self.tries = 0
        self.sequence = 0
        self.record: PartitionState | None = None
        for node in NODES:
            self.start(node)
            self.register(node)
        self.lead("n1")
        for node in ("n2", "n3"):
            self.follow(node, Epoch(1))
        self.acknowledge_all("n2", "n3")
        self.admit("n1", "n2", "n3")

    # -- the store ------------------------------------------------------------------------------

    @property
    def stored(self) -> PartitionState:
        assert self.record is not None
        return self.record

    def accept(self, record: PartitionState | Rejected) -> PartitionState:
        """Store this partition state."""
        assert isinstance(record, PartitionState)
        self.record = record
        self.invariants.on_state(record)
        return record

    def write(
        self, change: Callable[..., PartitionState | Rejected], **fields: object
    ) -> PartitionState:
        """Store the result of a transition of the present partition state."""
        if change is not register:
            fields["broker_epoch"] = self.stored.broker_epoch_of(cast(NodeId, fields["node"]))
        return self.accept(change(self.stored, attempt=self.attempt(), **fields))

    def grown(self) -> PartitionState:
        """Return the present partition state as the next version."""
        return replace(
            self.stored,
            partition_epoch=self.stored.partition_epoch + 1,
            attempt=self.attempt(),
            ancestors=(self.stored.stamp, *self.stored.ancestors),
        )

    def attempt(self) -> str:
        self.tries += 1
        return f"try-{self.tries}"

    def starts(self, *nodes: NodeId) -> tuple[tuple[NodeId, BrokerEpoch], ...]:
        return tuple((node, self.stored.broker_epoch_of(node)) for node in nodes)

    # -- steps ----------------------------------------------------------------------------------

    def step(self, node: NodeId, event: Event, *effects: Effect) -> None:
        """Report a step of the broker in its present state, with its effects."""
        host = cast(Host, self.hosts[node])
        self.invariants.after_step(host, 0, event, list(effects))

    def op(self) -> int:
        self.ops += 1
        return self.ops

    def node(self, node: NodeId) -> FakeBroker:
        return self.hosts[node].node

    def leading(self, node: NodeId) -> FakeLeader:
        leading = self.node(node).leading
        assert leading is not None
        return leading

    # -- starts and roles -----------------------------------------------------------------------

    def start(self, node: NodeId, *headers: Batch, intact: bool = True) -> None:
        """Start the node with ``headers`` on its disk."""
        start = self.hosts[node].start + 1 if node in self.hosts else 1
        self.hosts[node] = FakeHost(node, start)
        log = self.node(node).log
        for batch in headers:
            fold(log, batch)
        log.appended_end = log.durable_end = log.leo
        recovered = Recovered(leo=log.leo, intact=intact, headers=headers)
        self.step(node, Started(node, self.config, start, recovered))

    def register(self, node: NodeId, clean: bool = True) -> None:
        """Register the node; it acts on the partition state from now on."""
        if self.record is None:
            self.accept(
                create(
                    store_id="s",
                    attempt=self.attempt(),
                    node=node,
                    url="",
                    replicas=NODES,
                    min_isr=self.min_isr,
                )
            )
        else:
            self.write(register, node=node, clean=clean, url="")
        broker = self.node(node)
        broker.broker_epoch = self.stored.broker_epoch_of(node)
        broker.partition = self.stored
        broker.epoch = self.stored.leader_epoch
        self.step(node, QUIET)

    def lead(self, node: NodeId) -> NodeId:
        """Elect the node; it becomes leader."""
        self.write_election(node)
        self.become_leader(node)
        return node

    def write_election(self, node: NodeId) -> None:
        """Elect the node, which does not know it yet."""
        self.write(elect, node=node)

    def elect_uncleanly(self, node: NodeId, *others: NodeId, becomes_leader: bool = True) -> None:
        """Make the node leader regardless of its log; it and ``others`` are the ISR."""
        known = self.stored
        grown = replace(
            self.grown(),
            leader=node,
            leader_broker_epoch=known.broker_epoch_of(node),
            leader_epoch=Epoch(known.leader_epoch + 1),
            last_leader=known.leader,
            isr=tuple(sorted((node, *others))),
            elr=(),
        )
        self.accept(replace(grown, unclean_generation=known.unclean_generation + 1))
        if becomes_leader:
            self.become_leader(node)

    def become_leader(
        self, node: NodeId, view: PartitionState | None = None, notes_epoch: bool = True
    ) -> None:
        """Make the node leader by the present state, or by its own ``view`` of the state."""
        broker, record = self.node(node), self.stored
        broker.partition = record if view is None else view
        broker.epoch = record.leader_epoch
        broker.leading = FakeLeader(node, record.leader_epoch, broker.log.leo, record)
        if notes_epoch:
            broker.log.epochs.add(record.leader_epoch, broker.log.leo)
        self.step(node, QUIET)

    def follow(self, node: NodeId, epoch: Epoch) -> None:
        broker = self.node(node)
        broker.leading = None
        broker.epoch = epoch
        self.step(node, QUIET)

    def admit(self, leader: NodeId, *joining: NodeId) -> None:
        """Add nodes to the ISR; the leader has the new state."""
        isr = tuple(sorted({*self.stored.isr, *joining}))
        self.propose(leader, *isr)
        self.write(alter_isr, node=leader, isr=isr, added=self.starts(*joining))
        self.see(leader)

    def shrink(self, leader: NodeId, *leaving: NodeId) -> None:
        """Remove nodes from the ISR; the leader has the new state."""
        isr = tuple(node for node in self.stored.isr if node not in leaving)
        self.write(alter_isr, node=leader, isr=isr, added=())
        self.see(leader)

    def see(self, node: NodeId) -> None:
        """Give a leader the present state, which ends its proposal."""
        broker, leading = self.node(node), self.leading(node)
        broker.partition = self.stored
        leading.pending_isr = None
        leading.maximal_isr = self.stored.isr
        self.step(node, QUIET)

    def see_as_follower(self, node: NodeId) -> None:
        """Give a follower the present state."""
        self.node(node).partition = self.stored
        self.step(node, QUIET)

    def propose(self, node: NodeId, *isr: NodeId) -> None:
        broker, leading = self.node(node), self.leading(node)
        assert broker.partition is not None
        leading.pending_isr = isr
        leading.maximal_isr = tuple(sorted({*broker.partition.isr, *isr}))
        self.step(node, QUIET)

    def crash(self, node: NodeId, *kept: Batch) -> None:
        """Crash the node; its disk holds ``kept``."""
        image = DiskImage()
        image.append(kept)
        image.flush()
        self.invariants.on_crash(node, image)

    # -- logs -----------------------------------------------------------------------------------

    def batch(
        self,
        base: Offset,
        epoch: Epoch,
        producer: int = -1,
        sequence: int = -1,
        producer_epoch: int = 0,
    ) -> Batch:
        """Return a batch of one unique record."""
        self.sequence += 1
        builder = Builder()
        builder.append(b"%d" % self.sequence, timestamp_ms=0)
        fields = (producer_epoch, sequence) if producer >= 0 else (-1, -1)
        sealed = seal(
            builder.build(),
            producer_id=producer,
            producer_epoch=fields[0],
            base_sequence=fields[1],
        )
        return placed(sealed, base, epoch)

    def append(self, node: NodeId, *batches: Batch, event: Event = QUIET) -> None:
        """Append the batches to the node's log."""
        log = self.node(node).log
        for batch in batches:
            fold(log, batch)
        self.step(node, event, AppendLog(OpId(self.op()), LogGeneration(0), batches))

    def append_unindexed(self, node: NodeId, batch: Batch) -> None:
        """Append the batch to the node's log but not to its producer table."""
        log = self.node(node).log
        kept = log.producers
        log.producers = fork_of(kept)
        fold(log, batch)
        log.producers = kept
        self.step(node, QUIET, AppendLog(OpId(self.op()), LogGeneration(0), (batch,)))

    def truncate(
        self,
        node: NodeId,
        end: Offset,
        index: EpochIndex | None = None,
        producers: ProducerTable | None = None,
    ) -> None:
        """Truncate the node's log; set its tables from the log, or as given."""
        broker = self.node(node)
        kept = [batch for batch in broker.log.batches if batch.end <= end]
        hw = broker.log.hw
        broker.log = FakeLog()
        for batch in kept:
            fold(broker.log, batch)
        log = broker.log
        log.hw, log.durable_end, log.appended_end = hw, 0, log.leo
        if index is not None:
            log.epochs = index
        if producers is not None:
            log.producers = producers
        self.step(node, QUIET, TruncateLog(OpId(self.op()), LogGeneration(0), end))

    def flush(self, node: NodeId) -> None:
        """Flush the node's whole log."""
        log, op = self.node(node).log, self.op()
        self.step(node, QUIET, FlushLog(OpId(op), LogGeneration(0)))
        log.appended_end = log.durable_end = log.leo
        self.step(node, DiskDone(OpId(op), LogGeneration(0), DiskOk()))

    def no_space(self, node: NodeId, batch: Batch) -> None:
        """Append the batch in memory while the node's disk is full."""
        self.append(node, batch)
        self.step(node, DiskDone(OpId(self.ops), LogGeneration(0), NoSpace()))

    def have(self, node: NodeId, *batches: Batch) -> None:
        self.append(node, *batches)
        self.flush(node)

    def held(self, *nodes: NodeId) -> Batch:
        """Append one record of epoch 1 as the first in the nodes' logs."""
        batch = self.batch(0, Epoch(1))
        for node in nodes:
            self.have(node, batch)
        return batch

    def fall_out_of_isr(self, node: NodeId) -> None:
        """Remove the node from the ISR and append a record that it lacks."""
        self.shrink("n1", node)
        others = [other for other in NODES if other != node]
        self.held(*others)
        self.acknowledge_all(*others[1:])

    def ack(self, node: NodeId, leader: NodeId = "n1", match: Offset | None = None) -> ReplicateAck:
        """Return the node's ack of its log to the leader."""
        broker = self.node(node)
        end = broker.log.leo if match is None else match
        ack = ReplicateAck(broker.epoch, broker.broker_epoch, end, 1)
        self.step(node, QUIET, Send(leader, ack))
        return ack

    def receive_ack(self, leader: NodeId, node: NodeId, ack: ReplicateAck) -> None:
        """Give the leader an ack."""
        progress = self.leading(leader).progress[node]
        progress.match = max(progress.match, ack.match)
        self.step(leader, Received(node, ack))

    def acknowledge_all(self, *nodes: NodeId, leader: NodeId = "n1") -> None:
        """Acknowledge the nodes' logs to the leader."""
        for node in nodes:
            self.receive_ack(leader, node, self.ack(node, leader))

    def raise_hw(self, node: NodeId, hw: Offset) -> None:
        self.node(node).log.hw = hw
        self.step(node, QUIET)

    def commit(self, *batches: Batch) -> None:
        """Append the batches to all three logs and commit them at n1."""
        for node in NODES:
            self.have(node, *batches)
        self.acknowledge_all("n2", "n3")
        self.raise_hw("n1", batches[-1].end)

    # -- clients --------------------------------------------------------------------------------

    def ask(self, node: NodeId, call: int, batch: Batch, *effects: Effect) -> None:
        """Give the node a producer's request."""
        request = ProduceRequest(
            call, Epoch(0), -1, 1, replace(batch, base_offset=0, epoch=Epoch(-1))
        )
        self.step(node, Called(CallId(call), request, 0), *effects)

    def answer(self, node: NodeId, call: int, response: Response) -> None:
        self.step(node, QUIET, Answer(CallId(call), response))

    def client(self, client: NodeId, event: Event, *effects: Effect) -> None:
        if client not in self.hosts:
            self.hosts[client] = FakeHost(client, 1)
            config = ProducerConfig(brokers=NODES)
            self.step(client, Started(client, config, 0, Recovered()))
        self.step(client, event, *effects)

    def send(self, client: NodeId, call: int, batch: Batch) -> None:
        """Call a producer node to send a batch, which it sends."""
        request = ProduceRequest(call, Epoch(0), -1, 1, batch)
        plain = replace(batch, producer_id=-1, producer_epoch=-1, base_sequence=-1)
        self.client(client, Called(CallId(call), SendBatch(plain), 0), Send("n1", request))

    def give_result(self, client: NodeId, call: int, result: ClientResult) -> None:
        """Complete a call of a client node with a result."""
        self.client(client, QUIET, Answer(CallId(call), result))

    def poll(self, client: NodeId, call: int) -> None:
        self.client(client, Called(CallId(call), Poll(), 0))
