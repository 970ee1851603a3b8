"""Fake brokers for the tests of the invariants, and the context managers of their tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from yak_core.batch import Batch
from yak_core.contract.messages import Replicate
from yak_core.ids import BrokerEpoch, Epoch, NodeId, Offset
from yak_core.invariants import RULES, InvariantViolated
from yak_core.log.epochs import EpochIndex
from yak_core.log.producers import ProducerTable
from yak_core.metadata.partition_state import PartitionState

NODES: tuple[NodeId, ...] = ("n1", "n2", "n3")


def stale(epoch: int) -> Replicate:
    """Return an empty Replicate of n1 in this epoch."""
    return Replicate(Epoch(epoch), "n1", 0, 0, Epoch(-1), (), 0, 0, 1)


class FakeLog:
    """A broker's own view of its log."""

    def __init__(self) -> None:
        self.leo: Offset = 0
        self.appended_end: Offset = 0
        self.durable_end: Offset = 0
        self.log_start: Offset = 0
        self.hw: Offset = 0
        self.pending_bytes = 0
        self.epochs = EpochIndex()
        self.producers = ProducerTable()
        self.batches: list[Batch] = []


class FakeProgress:
    """A leader's progress of a follower."""

    def __init__(self, broker_epoch: BrokerEpoch) -> None:
        self.broker_epoch = broker_epoch
        self.match: Offset = -1
        self.next: Offset = 0
        self.inflight: list[Offset] = []


class FakeLeader:
    """The state of a leader."""

    def __init__(self, me: NodeId, epoch: Epoch, start: Offset, partition: PartitionState) -> None:
        self.epoch = epoch
        self.start = start
        self.maximal_isr = partition.isr
        self.pending_isr: tuple[NodeId, ...] | None = None
        self.progress = {n: FakeProgress(partition.broker_epoch_of(n)) for n in NODES if n != me}


class FakeBroker:
    """A broker with attributes that tests set."""

    def __init__(self, node_id: NodeId) -> None:
        self.node_id = node_id
        self.broker_epoch: BrokerEpoch = BrokerEpoch(0)
        self.phase = "running"
        self.epoch: Epoch = Epoch(0)
        self.leader: NodeId | None = None
        self.partition: PartitionState | None = None
        self.leading: FakeLeader | None = None
        self.log = FakeLog()
        self.context = self

    @property
    def hint(self) -> tuple[Epoch, NodeId | None]:
        return (self.epoch, self.leader)

    def check(self) -> None:
        """Check nothing."""

    @property
    def hw(self) -> Offset:
        return self.log.hw


class FakeHost:
    """The host of a step."""

    def __init__(self, node_id: NodeId, start: int) -> None:
        self.node_id = node_id
        self.start = start
        self.node = FakeBroker(node_id)
        self.step_number = 7
        self.alive = True


def fold(log: FakeLog, batch: Batch) -> None:
    log.batches.append(batch)
    log.leo = batch.end
    log.epochs.add(batch.epoch, batch.base_offset)
    log.producers.apply(
        batch.producer_id, batch.producer_epoch, batch.base_sequence, batch.base_offset, batch.end
    )


@contextmanager
def broken(invariant: str) -> Iterator[None]:
    """Check that the block breaks this invariant, with a message."""
    with pytest.raises(InvariantViolated) as caught:
        yield
    violation = caught.value
    assert violation.invariant == invariant, str(violation)
    assert violation.rule == RULES[invariant]
    assert violation.node in (*NODES, "store", "p1", "c1")
    assert violation.expected
    assert violation.happened
    assert violation.fields()["event"] == violation.event == 7


@contextmanager
def near_miss(invariant: str) -> Iterator[None]:
    """Mark a block that almost breaks this invariant and must break none."""
    assert invariant in RULES
    yield
