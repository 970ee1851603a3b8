"""A client node with its last requests and results, for the tests of producers and consumers."""

from __future__ import annotations

from dataclasses import replace

from yak_core.batch import Batch, Builder
from yak_core.clients.consumer import Consumer
from yak_core.clients.producer import Producer
from yak_core.config import ConsumerConfig, ProducerConfig
from yak_core.contract.client_calls import Poll, Seek, SendBatch, SendResult
from yak_core.contract.effects import Answer, CancelTimer, Effect, Observe, Send, SetTimer
from yak_core.contract.events import (
    Called,
    Event,
    NotSent,
    Received,
    Recovered,
    Started,
    TimerFired,
)
from yak_core.contract.messages import (
    DescribeResponse,
    FetchRequest,
    FetchResponse,
    ProduceRequest,
    ProduceResponse,
)
from yak_core.contract.notes import ProducerReset
from yak_core.errors import ErrorCode, Outcome
from yak_core.ids import CallId, Epoch, Micros

BROKERS = ("n1", "n2", "n3")
CONSUMER = ConsumerConfig(BROKERS)
PRODUCER = ProducerConfig(BROKERS)
MOVED = ErrorCode.NOT_LEADER_OR_FOLLOWER
LATE = ErrorCode.REQUEST_TIMED_OUT
GAP = ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
OTHER = DescribeResponse(0, "n1", "follower", None, Epoch(0), 0, (), (), 0, 0, 0, ())


def batch(base: int = 0, epoch: int = 0, count: int = 1) -> Batch:
    """Return a batch of ``count`` records."""
    builder = Builder()
    for _ in range(count):
        builder.append(b"v", timestamp_ms=0)
    return replace(builder.build(), base_offset=base, epoch=Epoch(epoch))


class Driver:
    """A client node with its last requests and its results."""

    def __init__(
        self,
        config: ConsumerConfig | ProducerConfig,
        now: Micros = 0,
        *,
        requests_once: bool = False,
    ) -> None:
        started = Started("c1", config, 1 << 127, Recovered())
        self.now = now
        self.node: Consumer | Producer = (
            Consumer(now, started)
            if isinstance(config, ConsumerConfig)
            else Producer(now, started, requests_once=requests_once)
        )
        self.sent: list[Send] = []
        self.results: list[tuple[int, object]] = []
        #: Latest time of each timer that is set.
        self.timers: dict[str, Micros] = {}
        self.resets: list[ProducerReset] = []

    def step(self, event: Event, after: Micros = 0) -> list[Effect]:
        """Step the node with an event, ``after`` microseconds later."""
        self.now += after
        effects = self.node.step(self.now, event)
        for effect in effects:
            if isinstance(effect, Send):
                self.sent.append(effect)
            elif isinstance(effect, Answer):
                self.results.append((effect.call, effect.result))
            elif isinstance(effect, SetTimer):
                self.timers[effect.key] = self.now + effect.hi_us
            elif isinstance(effect, CancelTimer):
                self.timers.pop(effect.key, None)
            elif isinstance(effect, Observe) and isinstance(effect.note, ProducerReset):
                self.resets.append(effect.note)
        return effects

    def call(self, number: int, request: Poll | Seek | SendBatch) -> None:
        self.step(Called(CallId(number), request, 0))

    def fire(self, key: str) -> None:
        self.step(TimerFired(key), max(0, self.timers.pop(key) - self.now))

    def not_sent(self, at: int) -> None:
        """Report that request ``at`` never left."""
        self.step(NotSent(self.request(at).correlation))

    def request(self, at: int) -> ProduceRequest:
        """Return produce request ``at``."""
        request = self.sent[at].message
        assert isinstance(request, ProduceRequest)
        return request

    def detail(self, call: int) -> str:
        """Return the detail of the result of a call."""
        (result,) = [r for number, r in self.results if number == call]
        assert isinstance(result, SendResult)
        return result.detail

    @property
    def last(self) -> tuple[str, FetchRequest]:
        """Return the broker and the request of the newest fetch."""
        request = self.sent[-1].message
        assert isinstance(request, FetchRequest)
        return self.sent[-1].dst, request

    def fetched(self, *batches: Batch, error: ErrorCode = ErrorCode.NONE, end: int = -1) -> None:
        """Answer the newest fetch."""
        dst, request = self.last
        leader = "n3" if error is MOVED else dst
        response = FetchResponse(
            request.correlation, error, batches, 9, 0, leader, Epoch(2), end, "why"
        )
        self.step(Received(dst, response))

    def produced(self, at: int, error: ErrorCode, outcome: Outcome, epoch: int = 0) -> None:
        """Answer request ``at``; the leader in the answer is n3 if it is another broker."""
        dst, request = self.sent[at].dst, self.request(at)
        base = 40 + at if outcome is Outcome.WRITTEN else -1
        leader = "n3" if error is MOVED else dst
        response = ProduceResponse(
            request.correlation, error, outcome, base, Epoch(epoch), 0, leader, Epoch(epoch), "why"
        )
        self.step(Received(dst, response))

    def requests(self) -> list[tuple[str, int, int]]:
        """Return (broker, producer epoch, sequence) of each request."""
        return [
            (send.dst, send.message.batch.producer_epoch, send.message.batch.base_sequence)
            for send in self.sent
            if isinstance(send.message, ProduceRequest)
        ]

    def outcomes(self) -> list[tuple[int, ErrorCode, Outcome, int]]:
        """Return (call, error, outcome, base offset) of each result."""
        return [
            (call, result.error, result.outcome, result.base_offset)
            for call, result in self.results
            if isinstance(result, SendResult)
        ]


def polling(config: ConsumerConfig = CONSUMER) -> Driver:
    """Return a consumer with a poll in flight."""
    made = Driver(config)
    made.call(1, Poll())
    return made


def sending(
    count: int = 1, config: ProducerConfig = PRODUCER, *, requests_once: bool = False
) -> Driver:
    """Return a producer with ``count`` batches of one record in flight."""
    made = Driver(config, requests_once=requests_once)
    for number in range(count):
        made.call(number, SendBatch(batch()))
    return made
