"""The expectations of a scenario: claims about the world, checked and kept as sentences.

Each claim is checked when it is made. A false claim raises ExpectationFailed, which ends the
scenario unless the script catches it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NoReturn, Protocol

from yak_core.batch import Batch, records
from yak_core.errors import Outcome
from yak_core.ids import NodeId, Offset
from yak_core.metadata.partition_state import PartitionState
from yak_sim.world.clients import SentBatch, SimConsumer, SimProducer
from yak_sim.world.probes import BrokerView


@dataclass(frozen=True, slots=True)
class Expectation:
    """One claim about a run; ``expected`` and ``happened`` are empty if the claim held."""

    sentence: str
    held: bool
    expected: str = ""
    happened: str = ""


class ExpectationFailed(Exception):
    """A claim did not hold."""

    def __init__(self, sentence: str, expected: str, happened: str) -> None:
        self.sentence = sentence
        self.expected = expected
        self.happened = happened
        super().__init__(f"{sentence}: expected {expected}, found {happened}")


class CheckedWorld(Protocol):
    """The parts of a world that expectations read."""

    brokers: tuple[NodeId, ...]
    producers: list[SimProducer]
    consumers: list[SimConsumer]

    @property
    def leader(self) -> NodeId | None: ...
    @property
    def running(self) -> tuple[NodeId, ...]: ...
    @property
    def partition_state(self) -> PartitionState | None: ...
    def broker(self, node: NodeId) -> BrokerView: ...
    def log_of(self, node: NodeId) -> tuple[Batch, ...]: ...


class Expect:
    """Claims about one world. ``expectations`` holds them in the order of the checks."""

    def __init__(self, world: CheckedWorld) -> None:
        self.expectations: list[Expectation] = []
        self._world = world

    def that(self, sentence: str, held: bool, *, expected: str, happened: str) -> None:
        """Record the claim ``sentence``. Raise ExpectationFailed if ``held`` is false."""
        if not held:
            self._fail(sentence, expected, happened)
        self._pass(sentence)

    def nothing_acked_is_lost(self, *producers: SimProducer) -> None:
        """Check that every acknowledged record is in the leader's committed log.

        If the acknowledgement has an offset, the record is at that offset. Without ``producers``,
        the records of all producers are checked.
        """
        log = _by_offset(self._committed())
        all_values = None
        count = 0
        for producer in producers or self._world.producers:
            for sent in producer.sent:
                if sent.outcome != Outcome.WRITTEN:
                    continue
                count += len(sent.values)
                base = sent.base_offset
                if base < 0:
                    all_values = set(log.values()) if all_values is None else all_values
                    missing = next((v for v in sent.values if v not in all_values), None)
                    if missing is not None:
                        self._fail(
                            "Nothing acknowledged is lost",
                            f"{missing!r} in the log",
                            f"its acknowledgement at {producer.node_id}, no such record in the log",
                        )
                for index, value in enumerate(sent.values if base >= 0 else ()):
                    if log.get(base + index, _ABSENT) != value:
                        actual = _short(log.get(base + index, _ABSENT))
                        self._fail(
                            "Nothing acknowledged is lost",
                            f"{value!r} at offset {base + index}, acknowledged to "
                            f"{producer.node_id}",
                            f"{actual} at that offset",
                        )
        self._pass(f"Nothing acknowledged is lost: {count} records")

    def no_duplicates(self) -> None:
        """Check that no idempotent batch is twice in the leader's committed log."""
        seen: dict[tuple[int, int, int], Offset] = {}
        for batch in self._committed():
            if batch.producer_id < 0:
                continue
            key = (batch.producer_id, batch.producer_epoch, batch.base_sequence)
            if key in seen:
                self._fail(
                    "No batch is in the log twice",
                    f"sequence {batch.base_sequence} of producer {batch.producer_id} once",
                    f"it at offsets {seen[key]} and {batch.base_offset}",
                )
            seen[key] = batch.base_offset
        self._pass(f"No batch is in the log twice: {len(seen)} batches")

    def outcomes_are_true(self) -> None:
        """Check the outcome of each record by the content of the logs; values must be unique.

        A record that was reported as not written is in no log of any broker. A record that was
        reported as written is in the leader's committed log. No record is there twice, and the
        records of a producer are there in send order. The producers must be idempotent.
        """
        claim = "Each outcome is true"
        places: dict[bytes | None, list[Offset]] = {}
        for batch in self._committed():
            for record in records(batch):
                places.setdefault(record.value, []).append(record.offset)
        anywhere = {
            record.value: node
            for node in self._world.brokers
            for batch in self._world.log_of(node)
            for record in records(batch)
        }
        count = 0
        for producer in self._world.producers:
            last = -1
            for sent, value in _records_of(producer):
                count += 1
                found = places.get(value, [])
                if sent.outcome == Outcome.NOT_WRITTEN and value in anywhere:
                    expected = f"{value!r} of {producer.node_id} in no log: it was not written"
                    self._fail(claim, expected, f"it in the log of {anywhere[value]}")
                if len(found) > 1 or (sent.outcome == Outcome.WRITTEN and not found):
                    self._fail(claim, f"{value!r} of {producer.node_id} once", f"it at {found}")
                if found and found[0] < last:
                    expected = f"{value!r} of {producer.node_id} after offset {last}"
                    self._fail(claim, expected, f"it at offset {found[0]}")
                last = found[0] if found else last
        self._pass(f"{claim}: {count} records")

    def order_kept(self) -> None:
        """Check the order of the records of each producer and of each consumer.

        The log holds the records of a producer in send order. A consumer reads in log order.
        """
        last: dict[int, tuple[int, int]] = {}
        for batch in self._committed():
            if batch.producer_id < 0:
                continue
            at = (batch.producer_epoch, batch.base_sequence)
            if at < last.get(batch.producer_id, (-1, -1)):
                self._fail(
                    "Order is kept",
                    f"increasing (epoch, sequence) of producer {batch.producer_id} in the log",
                    f"{at} at offset {batch.base_offset}, after {last[batch.producer_id]}",
                )
            last[batch.producer_id] = at
        for consumer in self._world.consumers:
            offsets = [read.offset for read in consumer.reads]
            for before, after in pairwise(offsets):
                if after <= before:
                    self._fail(
                        "Order is kept",
                        f"increasing offsets at {consumer.node_id}",
                        f"offset {after} read after {before}",
                    )
        self._pass("Order is kept")

    def consumer_read_exactly(
        self, values: Sequence[bytes], consumer: SimConsumer | None = None
    ) -> None:
        """Check that a consumer (default: the first) read these values once, in this order."""
        reader = consumer if consumer is not None else self._world.consumers[0]
        read = reader.values
        for number, (expected, actual) in enumerate(zip(values, read, strict=False)):
            if expected != actual:
                self._fail(
                    f"{reader.node_id} read exactly what was sent",
                    f"{_short(expected)} as record {number + 1}",
                    f"{_short(actual)}",
                )
        if len(read) != len(values):
            self._fail(
                f"{reader.node_id} read exactly what was sent",
                f"{len(values)} records",
                f"{len(read)} records",
            )
        self._pass(f"{reader.node_id} read exactly what was sent: {len(values)} records in order")

    def logs_converge(self) -> None:
        """Check that all running brokers have equal logs and high watermarks."""
        world = self._world
        first: tuple[NodeId, tuple[Batch, ...], Offset] | None = None
        for node in world.running:
            broker = world.broker(node)
            batches = world.log_of(node)
            if first is None:
                first = (node, batches, broker.hw)
                continue
            difference = _difference(first[1], batches)
            if difference is not None:
                self._fail(
                    "The logs converge",
                    f"equal logs on {first[0]} and {node}",
                    f"the first difference at offset {difference}",
                )
            if broker.hw != first[2]:
                self._fail(
                    "The logs converge",
                    "equal high watermarks",
                    f"high watermark {first[2]} on {first[0]} and {broker.hw} on {node}",
                )
        self._pass(f"The logs converge: {', '.join(world.running)}")

    def leader_is(self, node: NodeId) -> None:
        """Check that this broker is the leader."""
        happened = self._world.leader
        self.that(
            f"{node} is the leader",
            happened == node,
            expected=f"leader {node}",
            happened=f"leader {happened}" if happened else "no leader",
        )

    def isr_is(self, nodes: Iterable[NodeId]) -> None:
        """Check that the ISR in the partition state has exactly these brokers."""
        expected = tuple(sorted(nodes))
        state = self._world.partition_state
        isr = () if state is None else state.isr
        self.that(
            f"The ISR is {', '.join(expected)}",
            isr == expected,
            expected=", ".join(expected) or "an empty ISR",
            happened=", ".join(isr) or "an empty ISR",
        )

    def hw_at_least(self, offset: Offset) -> None:
        """Check that the high watermark of the leader is at least this offset."""
        leader = self._world.leader
        hw = -1 if leader is None else self._world.broker(leader).hw
        self.that(
            f"The high watermark is at least {offset}",
            hw >= offset,
            expected=f"at least {offset}",
            happened="no leader" if leader is None else f"{hw} on {leader}",
        )

    def _committed(self) -> list[Batch]:
        """Return the batches of the leader's log below its high watermark."""
        leader = self._world.leader
        if leader is None:
            self._fail("The committed log can be read", "a leader", "no leader")
        hw = self._world.broker(leader).hw
        return [batch for batch in self._world.log_of(leader) if batch.end <= hw]

    def _pass(self, sentence: str) -> None:
        self.expectations.append(Expectation(sentence, True))

    def _fail(self, sentence: str, expected: str, happened: str) -> NoReturn:
        self.expectations.append(Expectation(sentence, False, expected, happened))
        raise ExpectationFailed(sentence, expected, happened)


class _Absent:
    def __repr__(self) -> str:
        return "no record"


_ABSENT = _Absent()


def _records_of(producer: SimProducer) -> Iterator[tuple[SentBatch, bytes]]:
    """Yield each record of a producer with its batch, in send order."""
    for sent in producer.sent:
        for value in sent.values:
            yield sent, value


def _by_offset(batches: list[Batch]) -> dict[Offset, object]:
    return {record.offset: record.value for batch in batches for record in records(batch)}


def _difference(one: Sequence[Batch], other: Sequence[Batch]) -> Offset | None:
    """Return the first offset at which two logs differ, None if they are equal."""
    for mine, theirs in zip(one, other, strict=False):
        if mine is not theirs and mine != theirs:
            return min(mine.base_offset, theirs.base_offset)
    if len(one) == len(other):
        return None
    longer = one if len(one) > len(other) else other
    return longer[min(len(one), len(other))].base_offset


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
