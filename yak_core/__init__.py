"""The replication protocol as pure state machines, without I/O, clocks or random numbers.

A node is a broker, a producer or a consumer. It receives events and returns effects, and a host
carries out the effects. The manual world runs nodes in one process, and the program chooses each
event. The example elects a leader, replicates one record, crashes the leader and elects another::

    from yak_core import (
        BrokerConfig, Builder, Manual, ProducerConfig, SendBatch, SendResult, Trace, advance,
        build_broker, build_producer, encode_trace, replay_lines,
    )

    trace = Trace()
    world = Manual(recorder=trace)
    for node in ("n1", "n2", "n3"):
        world.add(node, BrokerConfig(replicas=("n1", "n2", "n3")), build_broker())
        world.start(node)
    world.add("p1", ProducerConfig(brokers=("n1", "n2", "n3")), build_producer)
    world.start("p1")
    advance(world, 5_000_000)  # microseconds

    batch = Builder()
    batch.append(b"hello", timestamp_ms=0)
    call = world.call("p1", SendBatch(batch.build()))
    advance(world, 1_000_000)
    result = world.transit.answers[call]
    assert isinstance(result, SendResult)
    print(result.outcome.name)  # WRITTEN

    world.crash("n1")
    advance(world, 10_000_000)
    state = world.host("n2").node.snapshot()
    print(state.get("role"), state.get("epoch"), state.get("leo"))  # leader 2 1
    print(replay_lines(encode_trace(trace)).identical)  # True

``__all__`` is the public API, listed in docs/api.md. Each name is imported at its first use, so
``import yak_core`` alone is fast. The two worlds and the tests import the modules directly.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

__all__ = [
    "DISK", "STORE", "Backend", "Batch", "BatchError", "BrokerConfig", "Build", "Builder",
    "ConsumerConfig", "DescribeRequest", "DescribeResponse", "Difference", "Effect", "Epoch",
    "ErrorCode", "Event", "Fault", "FetchRequest", "FetchResponse", "Host", "InvariantViolated",
    "Invariants", "ListOffsetsRequest", "ListOffsetsResponse", "Manual", "ManualBackend",
    "ManualError", "Message", "Micros", "Node", "NodeId", "Note", "Observer", "Offset",
    "Outcome", "PartitionState", "Poll", "PollResult", "ProduceRequest", "ProduceResponse",
    "ProducerConfig", "Record", "Recorder", "Replayed", "ReplicateDecision", "Role", "Rules",
    "Seek", "SendBatch", "SendResult", "SequenceCheck", "SequenceResult", "Snapshot", "Started",
    "Step", "Trace", "TraceError", "TraceReplay", "advance", "advance_high_watermark",
    "build_broker", "build_consumer", "build_producer", "decode_trace", "digest_of",
    "encode_trace", "records", "replay_lines", "settle",
]  # fmt: skip

_HOMES: Final = {
    "yak_core.batch": ("Batch", "BatchError", "Builder", "Record", "records"),
    "yak_core.broker.node": ("build_broker",),
    "yak_core.broker.phases": ("Role",),
    "yak_core.clients.consumer": ("build_consumer",),
    "yak_core.clients.producer": ("build_producer",),
    "yak_core.config": ("BrokerConfig", "ConsumerConfig", "ProducerConfig"),
    "yak_core.contract.client_calls": ("Poll", "PollResult", "Seek", "SendBatch", "SendResult"),
    "yak_core.contract.effects": ("Effect",),
    "yak_core.contract.events": ("Event", "Started"),
    "yak_core.contract.host": ("Host", "Observer", "Recorder"),
    "yak_core.contract.messages": (
        "DescribeRequest", "DescribeResponse", "FetchRequest", "FetchResponse",
        "ListOffsetsRequest", "ListOffsetsResponse", "Message", "ProduceRequest",
        "ProduceResponse",
    ),
    "yak_core.contract.node": ("Backend", "Build", "Node", "Snapshot"),
    "yak_core.contract.notes": ("Note",),
    "yak_core.errors": ("ErrorCode", "Outcome"),
    "yak_core.ids": ("Epoch", "Micros", "NodeId", "Offset"),
    "yak_core.invariants": ("InvariantViolated", "Invariants"),
    "yak_core.manual.backend": ("ManualBackend", "ManualError"),
    "yak_core.manual.run": ("advance", "settle"),
    "yak_core.manual.world": ("DISK", "STORE", "Manual"),
    "yak_core.metadata.partition_state": ("PartitionState",),
    "yak_core.rules": (
        "ReplicateDecision", "Rules", "SequenceCheck", "SequenceResult", "advance_high_watermark",
    ),
    "yak_core.trace.reader": ("TraceError", "decode_trace", "digest_of", "encode_trace"),
    "yak_core.trace.recorder": ("Fault", "Step", "Trace"),
    "yak_core.trace.replay": ("Difference", "Replayed", "TraceReplay", "replay_lines"),
}  # fmt: skip
"""The modules that define the public names."""

if TYPE_CHECKING:
    from yak_core.batch import Batch, BatchError, Builder, Record, records
    from yak_core.broker.node import build_broker
    from yak_core.broker.phases import Role
    from yak_core.clients.consumer import build_consumer
    from yak_core.clients.producer import build_producer
    from yak_core.config import BrokerConfig, ConsumerConfig, ProducerConfig
    from yak_core.contract.client_calls import Poll, PollResult, Seek, SendBatch, SendResult
    from yak_core.contract.effects import Effect
    from yak_core.contract.events import Event, Started
    from yak_core.contract.host import Host, Observer, Recorder
    from yak_core.contract.messages import (
        DescribeRequest,
        DescribeResponse,
        FetchRequest,
        FetchResponse,
        ListOffsetsRequest,
        ListOffsetsResponse,
        Message,
        ProduceRequest,
        ProduceResponse,
    )
    from yak_core.contract.node import Backend, Build, Node, Snapshot
    from yak_core.contract.notes import Note
    from yak_core.errors import ErrorCode, Outcome
    from yak_core.ids import Epoch, Micros, NodeId, Offset
    from yak_core.invariants import Invariants, InvariantViolated
    from yak_core.manual.backend import ManualBackend, ManualError
    from yak_core.manual.run import advance, settle
    from yak_core.manual.world import DISK, STORE, Manual
    from yak_core.metadata.partition_state import PartitionState
    from yak_core.rules import (
        ReplicateDecision,
        Rules,
        SequenceCheck,
        SequenceResult,
        advance_high_watermark,
    )
    from yak_core.trace.reader import TraceError, decode_trace, digest_of, encode_trace
    from yak_core.trace.recorder import Fault, Step, Trace
    from yak_core.trace.replay import Difference, Replayed, TraceReplay, replay_lines
else:

    def __getattr__(name: str) -> object:
        for home, names in _HOMES.items():
            if name in names:
                return getattr(import_module(home), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return __all__
