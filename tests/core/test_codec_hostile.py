"""Any frame decodes to a message or raises CodecError, with bounded memory.

The property of most tests: a decoded message encodes to the same bytes. So no byte of a frame is
ignored, and no two frames have the same meaning.
"""

from __future__ import annotations

import struct
import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import strategies as st

from tests.core.budgets import examples
from tests.core.codec_values import ANY_MESSAGE, DESCRIPTION, LOG, ONE, SAMPLES
from yak_core.contract.messages import (
    DescribeRequest,
    DescribeResponse,
    Fenced,
    FetchResponse,
    Message,
    ProduceRequest,
    ProduceResponse,
    ReplicaStatus,
    Replicate,
    ReplicateAck,
)
from yak_core.errors import ErrorCode
from yak_core.ids import BrokerEpoch, Epoch
from yak_core.wire.codec import CodecError, decode, encode
from yak_core.wire.layouts import LAYOUTS, VERSION

FRAMES = [encode(message) for message in SAMPLES]
ids = [type(message).__name__ for message in SAMPLES]
HEADER = Replicate(Epoch(3), "n1", 6, 5, Epoch(2), (), 5, 1, 77)
MEMORY_MAX = 64 * 1024
each_sample = pytest.mark.parametrize("frame", FRAMES, ids=ids)


def understood(frame: bytes) -> Message | None:
    """Decode a frame, or check its refusal and return None."""
    try:
        message = decode(frame)
    except CodecError as error:
        assert str(error)
        if error.correlation is not None:
            assert error.kind is not None
        return None
    assert encode(message) == frame
    return message


@examples(200, 1000, st.sampled_from(LAYOUTS), st.binary(max_size=250))
def test_random_bytes_after_a_valid_start(layout: object, noise: bytes) -> None:
    """Method: the version and each type, then random bytes."""
    tag = getattr(layout, "tag", -1)
    message = understood(bytes((tag, VERSION)) + noise)
    assert message is None or type(message) is getattr(layout, "cls", None)


@examples(150, 1000, st.data(), ANY_MESSAGE)
def test_a_frame_with_a_part_replaced(data: st.DataObject, message: Message) -> None:
    """Method: any message with some bytes replaced."""
    frame = encode(message)
    start = data.draw(st.integers(0, min(len(frame), 400)))
    end = data.draw(st.integers(start, min(len(frame), start + 20)))
    changed = frame[:start] + data.draw(st.binary(max_size=20)) + frame[end:]
    back = understood(changed)
    assert back is None or (encode(back) == frame) == (changed == frame)


@each_sample
def test_every_truncation_is_refused(frame: bytes) -> None:
    """Goal: a truncated frame is refused, also between two batches."""
    for end in range(len(frame)):
        with pytest.raises(CodecError):
            decode(frame[:end])


@each_sample
def test_bytes_after_the_end_are_refused(frame: bytes) -> None:
    """Goal: one message for each frame. Method: append a byte, a batch, another frame."""
    for more in (b"\0", ONE.data, frame):
        with pytest.raises(CodecError, match=r"declares \d+ bytes, got \d+"):
            decode(frame + more)


@each_sample
def test_no_flipped_bit_is_ignored(frame: bytes) -> None:
    """Goal: a flip is refused or changes the message. Method: every bit of every sample."""
    refused = 0
    for bit in range(8 * len(frame)):
        changed = bytearray(frame)
        changed[bit // 8] ^= 1 << bit % 8
        refused += understood(bytes(changed)) is None
    assert refused >= 8, "the version at least"


def with_payload(data: bytes) -> bytes:
    """Return the frame of HEADER with these bytes in place of batches."""
    sized = encode(replace(HEADER, batches=(ONE,)))[: -ONE.size]
    return sized.replace(struct.pack(">I", ONE.size), struct.pack(">I", len(data)), 1) + data


def cost(frame: bytes) -> int:
    """Return the peak of allocated bytes while ``frame`` is refused."""
    tracemalloc.start()
    try:
        with pytest.raises(CodecError):
            decode(frame)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("length", [1, 2**31 - 1, 2**31, 2**32 - 1])
@pytest.mark.parametrize("sample", [1, 6, 11], ids=["Replicate", "ProduceRequest", "FetchResponse"])
def test_a_length_of_batches_is_checked_first(sample: int, length: int) -> None:
    """Goal: no memory for a false length. Method: hostile lengths before the batches."""
    layout = next(one for one in LAYOUTS if one.cls is type(SAMPLES[sample]))
    front = struct.Struct(f">BB{''.join(kind.code for kind in layout.kinds[: layout.payload])}")
    frame = bytearray(FRAMES[sample])
    frame[front.size : front.size + 4] = struct.pack(">I", length)
    with pytest.raises(CodecError, match=r"declares \d+ bytes, got \d+"):
        decode(frame)
    assert cost(bytes(frame)) < MEMORY_MAX


@pytest.mark.parametrize(
    ("at", "number", "reason"),
    [
        (8, 2**31 - 1, "2147483659"),
        (8, 16 * 1024 * 1024 - 12, "69 of 16777216"),
        (8, -1, "got 11"),
        (8, -(2**31), "got -2147483636"),
        (57, 2**31 - 1, "CRC-32C"),
    ],
)
def test_the_sizes_in_a_batch_are_checked_first(at: int, number: int, reason: str) -> None:
    """Goal: no memory for false lengths inside a batch."""
    data = bytearray(ONE.data)
    data[at : at + 4] = struct.pack(">i", number)
    frame = with_payload(bytes(data))
    with pytest.raises(CodecError) as caught:
        decode(frame)
    assert caught.value.damaged
    assert reason in str(caught.value) or "lengths" in str(caught.value)
    assert cost(frame) < MEMORY_MAX


@pytest.mark.parametrize("count", [0, 2])
def test_a_produce_request_has_one_batch(count: int) -> None:
    """Goal: an ack covers exactly one batch. Method: a request with none, and with two."""
    frame = bytearray(encode(ProduceRequest(9, Epoch(1), -1, 1, ONE)))
    del frame[-ONE.size :]
    frame[-4:] = struct.pack(">I", count * ONE.size)
    frame += ONE.data * count
    with pytest.raises(CodecError, match=f"batch.*{count}") as caught:
        decode(frame)
    assert (caught.value.kind, caught.value.correlation) == (ProduceRequest, 9)
    assert not caught.value.damaged


DESCRIBED = replace(
    DESCRIPTION, isr=("n1",), elr=(), replicas=(ReplicaStatus("n1", "url", BrokerEpoch(1), 2),)
)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (b"", ("0 bytes",)),
        (b"\x02", ("1 bytes",)),
        (b"\xff\x01", ("type 255",)),
        (b"\x00\x01", ("type 0",)),
        (b"\x02\x02", ("ReplicateAck", "version 2")),
        (
            encode(ReplicateAck(Epoch(1), BrokerEpoch(2), 3, 4))[:-1],
            ("ReplicateAck", "30 bytes", "29"),
        ),
        (
            encode(Fenced(Epoch(1), "n1"))[:-1],
            ("Fenced", "2 bytes", "byte 7"),
        ),
        (
            encode(Fenced(Epoch(1), "n1"))[:-1] + b"\xff",
            ("Fenced", "byte 7", "UTF-8", "invalid start byte"),
        ),
        (
            encode(replace(HEADER, leader="")).replace(struct.pack(">iB", 3, 0), b"\0\0\0\3\xff"),
            ("Replicate", "node id"),
        ),
        (
            encode(ProduceResponse(1, ErrorCode.NONE, 7, 0, 0, 0, None, 0)),  # type: ignore[arg-type]
            ("ProduceResponse", "Outcome 7"),
        ),
        (
            encode(FetchResponse(1, 3, (), 0, 0, None, 0)),  # type: ignore[arg-type]
            ("FetchResponse", "ErrorCode 3"),
        ),
        (
            encode(DESCRIBED)[:-10],
            ("DescribeResponse", "19 bytes", "14"),
        ),
        (
            encode(Fenced(Epoch(1), None)) + b"\0",
            ("Fenced", "7 bytes", "8"),
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_refusal_names_message_and_values(frame: bytes, words: tuple[str, ...]) -> None:
    """Each reason of a refusal names the type of the message and the values that are wrong."""
    with pytest.raises(CodecError) as caught:
        decode(frame)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("count", [0, 2, 255])
def test_a_count_of_items_is_checked(count: int) -> None:
    """Goal: neither more nor fewer items. Method: the counts of nodes and replicas."""
    frame = encode(DESCRIBED)
    layout = next(one for one in LAYOUTS if one.cls is DescribeResponse)
    for index in (6, 7, 11):
        at = struct.calcsize(f">BB{''.join(kind.code for kind in layout.kinds[:index])}")
        if frame[at] == count:
            continue
        changed = bytearray(frame)
        changed[at] = count
        assert cost(bytes(changed)) < MEMORY_MAX


def test_a_request_can_be_refused_by_an_answer() -> None:
    """Goal: a broken request gets an error answer where possible, not a closed connection."""
    with pytest.raises(CodecError) as caught:
        decode(encode(DescribeRequest(-7)) + b"more")
    assert (caught.value.kind, caught.value.correlation) == (DescribeRequest, -7)
    with pytest.raises(CodecError) as caught:
        decode(encode(DescribeRequest(-7))[:-1])
    assert (caught.value.kind, caught.value.correlation) == (DescribeRequest, None)
    with pytest.raises(CodecError) as caught:
        decode(encode(replace(HEADER, batches=LOG))[:-1])
    assert (caught.value.kind, caught.value.correlation) == (Replicate, None)
    with pytest.raises(CodecError) as caught:
        decode(b"\xff\x01")
    assert (caught.value.kind, caught.value.correlation) == (None, None)
