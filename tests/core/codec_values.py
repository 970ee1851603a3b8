"""Messages for frames: fixed samples of each type, and generated ones."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from hypothesis import strategies as st

from yak_core.batch import Batch, Builder, placed, seal, stamped
from yak_core.contract.messages import (
    DescribeRequest,
    DescribeResponse,
    Fenced,
    FetchRequest,
    FetchResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    Message,
    ProduceRequest,
    ProduceResponse,
    ReplicaStatus,
    Replicate,
    ReplicateAck,
    ReplicateReject,
)
from yak_core.errors import ErrorCode, Outcome
from yak_core.ids import BrokerEpoch, Epoch
from yak_core.wire.layouts import LAYOUTS, Layout

T = 1_700_000_000_000


def made(*values: bytes, producer: tuple[int, int, int] = (-1, -1, -1)) -> Batch:
    """Return a sealed batch at offset 0, as a producer sends it."""
    builder = Builder(bytes_max=1 << 20)
    for value in values:
        assert builder.append(value, timestamp_ms=T) is not None
    pid, epoch, sequence = producer
    return seal(builder.build(), producer_id=pid, producer_epoch=epoch, base_sequence=sequence)


def stored(batch: Batch, base: int, epoch: int) -> Batch:
    """Return the batch as in a log: with base offset and epoch."""
    there = placed(batch, base, epoch)
    return replace(there, data=stamped(there))


def as_received(message: Message) -> Message:
    """Return ``message`` with its batches stamped, as after decoding."""
    if isinstance(message, ProduceRequest):
        return replace(message, batch=replace(message.batch, data=stamped(message.batch)))
    if isinstance(message, Replicate | FetchResponse):
        batches = tuple(replace(batch, data=stamped(batch)) for batch in message.batches)
        return replace(message, batches=batches)
    return message


ONE = made(b"a")
TWO = made(b"", b"two", producer=(7, 1, 3))
LARGE = made(*[bytes((number % 256,)) * 999 for number in range(64)], producer=(2**63 - 1, 0, 9))
LOG = (stored(ONE, 5, 2), stored(TWO, 6, 3))

ROWS = (
    ReplicaStatus("n1", "http://127.0.0.1:8080", BrokerEpoch(7), 8),
    ReplicaStatus("n3", "", BrokerEpoch(4), -1),
)
PAIR = ("n1", "n2")
DESCRIPTION = DescribeResponse(6, "n1", "leader", "n1", Epoch(3), 9, PAIR, ("n3",), 8, 8, 0, ROWS)

SAMPLES: tuple[Message, ...] = (
    Replicate(Epoch(3), "n1", 6, 5, Epoch(2), LOG, 5, 1, 77),
    Replicate(Epoch(3), "n1", 6, 8, Epoch(3), (), 8, 0, 78),
    ReplicateAck(Epoch(3), BrokerEpoch(12), 8, 77),
    ReplicateReject(Epoch(3), BrokerEpoch(12), 8, 5, Epoch(-1)),
    Fenced(Epoch(4), "n2"),
    Fenced(Epoch(4), None),
    ProduceRequest(1, Epoch(3), -1, 30_000_000, TWO),
    ProduceResponse(1, ErrorCode.NONE, Outcome.WRITTEN, 6, Epoch(3), 8, "n1", Epoch(3)),
    ProduceResponse(
        2,
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        Outcome.NOT_WRITTEN,
        -1,
        Epoch(-1),
        8,
        None,
        Epoch(3),
        "nöt here",
    ),
    FetchRequest(3, 5, Epoch(2), Epoch(3), 1_048_576, 500_000),
    FetchResponse(3, ErrorCode.NONE, LOG, 8, 0, "n1", Epoch(3)),
    FetchResponse(
        4, ErrorCode.OFFSET_OUT_OF_RANGE, (), 8, 1, None, Epoch(3), -1, "the log holds [1, 8)"
    ),
    ListOffsetsRequest(5, -2),
    ListOffsetsResponse(5, ErrorCode.NONE, 8, Epoch(3), "n1", Epoch(3)),
    DescribeRequest(6),
    DESCRIPTION,
)
"""Each type of message and each form of its fields, as in tests/golden_formats/frames_1.txt."""

_epochs = st.integers(-1, 2**31 - 1)
_nodes = st.text(max_size=8)
_details = st.text(max_size=40)
_batches = st.builds(
    lambda batch, base, epoch, stamp: (stored if stamp else placed)(batch, base, epoch),
    st.sampled_from((ONE, TWO, LARGE)),
    st.integers(0, 2**63 - 1 - 64),
    _epochs,
    st.booleans(),
)
_replicas = st.builds(
    ReplicaStatus, _nodes, _details, st.integers(0, 2**63 - 1), st.integers(-1, 2**63 - 1)
)
FIELDS: dict[str, st.SearchStrategy[object]] = {
    "int16": st.integers(-(2**15), 2**15 - 1),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "error": st.sampled_from(ErrorCode),
    "outcome": st.sampled_from(Outcome),
    "text": _details,
    "node": _nodes,
    "node or none": st.none() | _nodes,
    "nodes": st.lists(_nodes, max_size=5).map(tuple),
    "replicas": st.lists(_replicas, max_size=4).map(tuple),
    "batch": _batches,
    "batches": st.lists(_batches, max_size=4).map(tuple),
}
"""Strategies by the name of the field type."""


def messages(layout: Layout) -> st.SearchStrategy[Message]:
    """Return any message of one type, with any number that the frame can hold."""
    return st.tuples(*(FIELDS[kind.name] for kind in layout.kinds)).map(
        lambda values: cast(Message, layout.make(*values))
    )


ANY_MESSAGE = st.one_of(*map(messages, LAYOUTS))
