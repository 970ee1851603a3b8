"""Simulated applications: each uses a producer or consumer node and records its results.

Retries, leader discovery and all messages to brokers belong to the node. Times are simulated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from yak_core.batch import Builder, records
from yak_core.contract.client_calls import ClientResult, Poll, PollResult, SendBatch, SendResult
from yak_core.contract.messages import Response
from yak_core.errors import ErrorCode, Outcome
from yak_core.ids import NO_EPOCH, Epoch, Micros, NodeId, Offset
from yak_sim.physics.machine import Machine
from yak_sim.world.history import History, Row

BATCH_BYTES_MAX = 1 << 20
"""Maximum size of a batch that an application builds, in bytes."""

POLL_RETRY_US: Micros = 20_000
"""Delay before the next poll, after a poll that failed or returned no records immediately."""


@dataclass(slots=True, eq=False)
class SentBatch:
    """One batch passed to a producer, and its result.

    ``at_us`` and ``resolved_us`` are the times of the call and of the result, so that their
    difference is the wait for the acknowledgement. ``outcome`` is None while the batch is pending.
    ``base_offset`` and ``epoch`` are -1 if unknown, and ``resolved_us`` is -1 while it is pending.
    """

    values: tuple[bytes, ...]
    at_us: Micros
    outcome: Outcome | None = None
    base_offset: Offset = -1
    epoch: Epoch = NO_EPOCH
    error: str = ""
    resolved_us: Micros = -1


class SimProducer:
    """An application that sends records until ``values`` is exhausted.

    With a rate it sends a batch at fixed intervals, independent of responses. Without a rate it
    keeps ``in_flight`` batches pending. ``sent`` holds its batches in send order.
    """

    def __init__(
        self,
        machine: Machine,
        history: History,
        values: Iterator[bytes],
        batch: int,
        interval_us: Micros | None,
        in_flight: int,
        hold: bool,
    ) -> None:
        assert batch >= 1
        assert in_flight >= 1
        self.node_id: NodeId = machine.node_id
        self.sent: list[SentBatch] = []
        self.exhausted = False
        self.outstanding = 0
        self._machine = machine
        self._clock = machine.shared.clock
        self._history = history
        self._values = values
        self._batch = batch
        self._interval_us = interval_us
        self._in_flight = in_flight
        self._allowed: int | None = 0 if hold else None

    def begin(self) -> None:
        """Start to send, unless the producer is held."""
        if self._allowed == 0:
            return
        if self._interval_us is None:
            self._fill_in_flight()
        else:
            self._send_at_rate()

    def send(self, batches: int) -> None:
        """Allow a held producer to send ``batches`` more batches."""
        assert self._allowed is not None, "send() needs a producer created with hold=True"
        was_held = self._allowed == 0
        self._allowed += batches
        if was_held and batches:
            self.begin()

    def release(self) -> None:
        """End the hold: the producer sends the rest of its values."""
        was_held = self._allowed == 0
        self._allowed = None
        if was_held:
            self.begin()

    def stop(self) -> None:
        """Send no more batches. Pending batches continue."""
        self.exhausted = True

    @property
    def held(self) -> bool:
        """Return whether the producer has sent all batches that ``send`` allowed."""
        return self._allowed == 0

    @property
    def finished(self) -> bool:
        """Return whether all batches are sent and resolved."""
        return self.exhausted and self.outstanding == 0

    @property
    def acked(self) -> list[SentBatch]:
        """Return the acknowledged batches."""
        return [sent for sent in self.sent if sent.outcome == Outcome.WRITTEN]

    @property
    def acked_count(self) -> int:
        """Return the number of acknowledged records."""
        return self._count(Outcome.WRITTEN)

    @property
    def not_written_count(self) -> int:
        """Return the number of records that were reported as not written."""
        return self._count(Outcome.NOT_WRITTEN)

    @property
    def unknown_count(self) -> int:
        """Return the number of records whose outcome was reported as unknown."""
        return self._count(Outcome.UNKNOWN)

    @property
    def sent_count(self) -> int:
        """Return the number of sent records, acknowledged or not."""
        return sum(len(sent.values) for sent in self.sent)

    def _count(self, outcome: Outcome) -> int:
        return sum(len(sent.values) for sent in self.sent if sent.outcome == outcome)

    def _send_at_rate(self) -> None:
        self._send_next()
        if not self.exhausted and self._allowed != 0:
            assert self._interval_us is not None
            self._clock.after(self._interval_us, self._send_at_rate)

    def _fill_in_flight(self) -> None:
        while not self.exhausted and self._allowed != 0 and self.outstanding < self._in_flight:
            self._send_next()

    def _send_next(self) -> None:
        if self.exhausted:
            return
        values: list[bytes] = []
        for value in self._values:
            values.append(value)
            if len(values) == self._batch:
                break
        else:
            self.exhausted = True
        if self._allowed is not None:
            self._allowed -= 1
        if values:
            self._send(tuple(values))

    def _send(self, values: tuple[bytes, ...]) -> None:
        builder = Builder(bytes_max=BATCH_BYTES_MAX)
        wall_ms = self._clock.wall_ms()
        for number, value in enumerate(values):
            if builder.append(value, timestamp_ms=wall_ms) is None:
                # The batch has reached its maximum size: the other values need another batch.
                self._send(values[:number])
                self._send(values[number:])
                return
        now = self._clock.now()
        sent = SentBatch(values, now)
        number = len(self.sent)
        self.sent.append(sent)
        self.outstanding += 1
        self._history.invoke(now, self.node_id, number, "send", values)
        self._machine.ask(SendBatch(builder.build()), partial(self._on_answer, number, sent))

    def _on_answer(
        self, number: int, sent: SentBatch, result: Response | ClientResult, _step: int
    ) -> None:
        assert isinstance(result, SendResult)
        assert sent.outcome is None, f"batch {number} was resolved twice"
        now = self._clock.now()
        sent.outcome = result.outcome
        sent.base_offset = result.base_offset
        sent.epoch = result.epoch
        sent.error = "" if result.error == ErrorCode.NONE else result.error.name
        sent.resolved_us = now
        self.outstanding -= 1
        self._history.rows.append(
            Row(
                now,
                self.node_id,
                number,
                _ROW_TYPES[result.outcome],
                "send",
                sent.values,
                result.base_offset,
                self._machine.last_src,
                result.epoch,
                -1,
                sent.error,
            )
        )
        if self._interval_us is None and not self.exhausted:
            # Not from here: the node is still in the step that returned this result.
            self._clock.after(0, self._fill_in_flight)


_ROW_TYPES = {Outcome.WRITTEN: "ok", Outcome.NOT_WRITTEN: "fail", Outcome.UNKNOWN: "info"}


class ReadRecord(NamedTuple):
    """One record, as received by a consumer."""

    offset: Offset
    value: bytes | None
    at_us: Micros


class SimConsumer:
    """An application that reads from its start offset and keeps the records.

    ``reads``: the records in the order of arrival. ``position``: the next offset to read. ``hw``:
    the highest high watermark received. ``errors``: the error codes of failed polls.
    """

    def __init__(self, machine: Machine, history: History) -> None:
        self.node_id: NodeId = machine.node_id
        self.reads: list[ReadRecord] = []
        self.hw: Offset = 0
        self.errors: list[str] = []
        self.position: Offset = 0
        self.stopped = False
        self._machine = machine
        self._clock = machine.shared.clock
        self._history = history
        self._polls = 0

    @property
    def values(self) -> list[bytes | None]:
        """Return the values read so far."""
        return [read.value for read in self.reads]

    def begin(self) -> None:
        """Start to poll."""
        self._poll()

    def stop(self) -> None:
        """Stop polling."""
        self.stopped = True

    def _poll(self) -> None:
        if self.stopped:
            return
        number = self._polls
        self._polls += 1
        now = self._clock.now()
        self._history.invoke(now, self.node_id, number, "fetch")
        self._machine.ask(Poll(), partial(self._on_answer, number, now))

    def _on_answer(
        self, number: int, called_us: Micros, result: Response | ClientResult, _step: int
    ) -> None:
        assert isinstance(result, PollResult)
        now = self._clock.now()
        values: list[bytes | None] = []
        for batch in result.batches:
            for record in records(batch):
                if record.offset >= result.position:
                    self.reads.append(ReadRecord(record.offset, record.value, now))
                    values.append(record.value)
        failed = result.error != ErrorCode.NONE
        if failed:
            self.errors.append(result.error.name)
        else:
            self.hw = max(self.hw, result.hw)
            self.position = result.next_offset
        self._history.rows.append(
            Row(
                now,
                self.node_id,
                number,
                "fail" if failed else "ok",
                "fetch",
                tuple(values),
                result.position,
                self._machine.last_src,
                result.epoch,
                result.hw,
                result.error.name if failed else "",
            )
        )
        immediately = now == called_us and not values
        self._clock.after(POLL_RETRY_US if failed or immediately else 0, self._poll)


def numbered(prefix: str, count: int | None) -> Iterator[bytes]:
    """Yield ``prefix-000000``, ``prefix-000001`` and so on, without end if ``count`` is None."""
    number = 0
    while count is None or number < count:
        yield b"%s-%06d" % (prefix.encode(), number)
        number += 1
