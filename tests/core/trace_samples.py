"""Made-up traces for the tests of traces, plots and run folders."""

from __future__ import annotations

from dataclasses import replace

from yak_core.batch import Batch
from yak_core.config import BrokerConfig, ProducerConfig
from yak_core.contract.client_calls import SendBatch, SendResult
from yak_core.contract.effects import (
    Answer,
    AppendLog,
    CallMeta,
    Effect,
    FlushLog,
    Observe,
    SaveState,
    Send,
    SendLog,
    SetTimer,
    TruncateLog,
)
from yak_core.contract.events import (
    Called,
    DiskDone,
    DiskOk,
    Event,
    MetaReply,
    Received,
    Recovered,
    Shipped,
    Started,
    TimerFired,
)
from yak_core.contract.messages import ProduceRequest, Replicate, ReplicateAck, with_batches
from yak_core.contract.notes import BecameLeader, HighWatermarkAdvanced
from yak_core.errors import ErrorCode, Outcome
from yak_core.ids import BrokerEpoch, CallId, Epoch, LogGeneration, OpId
from yak_core.metadata.partition_state import NodeEntry, PartitionState
from yak_core.metadata.store_calls import Cas, MetaValue, StoreOk
from yak_core.metadata.transitions import create
from yak_core.trace.recorder import Fault, Header, Trace

BROKERS = ("n1", "n2", "n3")


def batch(base: int, epoch: int = 1, count: int = 1, data: bytes = b"payload") -> Batch:
    """Return a placed batch of ``count`` records with made-up contents."""
    return Batch(base, Epoch(epoch), count, 7, 0, base, 1_000, 61 + len(data), 0xDEADBEEF, data)


def record(version: int, leader: str | None, epoch: int, isr: tuple[str, ...]) -> PartitionState:
    """Return the partition state of three brokers."""
    state = create(
        store_id="s1", attempt=f"a{version}", node="n1", url="", replicas=BROKERS, min_isr=2
    )
    entry = NodeEntry(BrokerEpoch(1), True, False, "", Epoch(-1), -1)
    return replace(
        state,
        partition_epoch=version,
        leader_epoch=Epoch(epoch),
        leader=leader,
        leader_broker_epoch=BrokerEpoch(0 if leader is None else 1),
        isr=isr,
        nodes=tuple((name, entry) for name in BROKERS),
    )


def started(node: str, recovered: Recovered | None = None) -> Started:
    """Return the first event of a broker."""
    return Started(node, BrokerConfig(BROKERS), 1 << 127, recovered or Recovered())


def short_trace() -> Trace:
    """Return a trace of one record from producer to follower, with every kind of value."""
    trace = Trace(Header("sim", "made_up", 7, "0.1.0"))
    saved = Recovered(saved=(("clean", b"\x00\xff\n"),))
    meta = record(1, "n1", 1, ("n1", "n2"))
    handle = batch(0)
    request = ProduceRequest(1, Epoch(1), -1, 1_000_000, handle)
    header = Replicate(Epoch(1), "n1", 0, 0, Epoch(-1), (), 0, 0, 1)
    steps: list[tuple[int, str, Event, list[Effect], int]] = [
        (0, "n1", started("n1", saved), [SaveState(OpId(1), "clean", None)], -1),
        (0, "n2", started("n2"), [SetTimer("lease-renewal", 300, 400)], -1),
        (5, "p1", Started("p1", ProducerConfig(("n1",)), 3, Recovered()), [], -1),
        (
            9,
            "n1",
            DiskDone(OpId(1), LogGeneration(0), DiskOk()),
            [CallMeta(CallId(1), Cas(None, meta, None))],
            0,
        ),
        (
            20,
            "n1",
            MetaReply(CallId(1), StoreOk(MetaValue(meta, False, (("n1", BrokerEpoch(1), 1),)))),
            [Observe(BecameLeader(Epoch(1), 0)), Observe(HighWatermarkAdvanced(0))],
            3,
        ),
        (30, "p1", Called(CallId(1), SendBatch(handle), 1_000), [Send("n1", request)], -1),
        (
            40,
            "n1",
            Called(CallId(1), request, 1_000),
            [
                AppendLog(OpId(2), LogGeneration(0), (handle,)),
                FlushLog(OpId(3), LogGeneration(0)),
                SendLog(OpId(4), LogGeneration(0), "n2", header, 0, 1, 1024),
            ],
            5,
        ),
        (40, "n1", DiskDone(OpId(4), LogGeneration(0), Shipped(1, handle.size)), [], 6),
        (
            55,
            "n2",
            Received("n1", with_batches(header, (handle,))),
            [
                AppendLog(OpId(1), LogGeneration(0), (handle,)),
                Send("n1", ReplicateAck(Epoch(1), BrokerEpoch(2), 1, 1)),
            ],
            6,
        ),
        (
            70,
            "n1",
            Received("n2", ReplicateAck(Epoch(1), BrokerEpoch(2), 1, 1)),
            [Observe(HighWatermarkAdvanced(1))],
            8,
        ),
        (80, "n2", TimerFired("lease-renewal"), [TruncateLog(OpId(2), LogGeneration(0), 1)], 1),
        (
            90,
            "p1",
            TimerFired("é\u2028"),
            [Answer(CallId(1), SendResult(ErrorCode.NONE, Outcome.WRITTEN, 0, Epoch(1)))],
            9,
        ),
    ]
    return _recorded(trace, steps)


def _recorded(trace: Trace, steps: list[tuple[int, str, Event, list[Effect], int]]) -> Trace:
    """Return a trace of these steps, with a fault in the middle and at the end."""
    for at, (t_us, node, event, effects, cause) in enumerate(steps):
        if at == 7:
            trace.fault(Fault(41, "slow_link", "n1>n3", 1_000, (("delay_us", 5_000), ("why", "x"))))
        trace.record(t_us, node, 1, event, effects, cause)
    trace.fault(Fault(95, "crash", "n1", None))
    return trace


def long_trace(steps: int) -> Trace:
    """Return a trace of ``steps`` timer steps of three brokers."""
    trace = Trace(Header("sim", "long", 1, ""))
    for at in range(steps):
        effects: list[Effect] = [SetTimer("lease-renewal", 10, 20)]
        trace.record(
            at * 10,
            BROKERS[at % 3],
            1,
            TimerFired("lease-renewal"),
            effects,
            at - 3 if at > 2 else -1,
        )
    return trace
