"""Messages survive encoding and decoding unchanged, and encoding copies no payload."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings

from tests.core.codec_values import (
    DESCRIPTION,
    LARGE,
    LOG,
    ONE,
    SAMPLES,
    TWO,
    as_received,
    made,
    messages,
)
from yak_core.batch import Batch, Builder, placed
from yak_core.batch.header import Buffer
from yak_core.contract.messages import (
    Fenced,
    FetchRequest,
    FetchResponse,
    Message,
    PeerMessage,
    ProduceRequest,
    ReplicaStatus,
    Replicate,
    ReplicateAck,
    Request,
    Response,
)
from yak_core.errors import ErrorCode
from yak_core.ids import BrokerEpoch, Epoch
from yak_core.wire.codec import FRAME_BYTES_MAX, CodecError, decode, encode
from yak_core.wire.layouts import LAYOUTS, Layout

HEADER = Replicate(Epoch(3), "n1", 6, 5, Epoch(2), (), 5, 1, 77)
ANSWER = FetchResponse(3, ErrorCode.NONE, (), 8, 0, "n1", Epoch(3))


def names(types: tuple[type, ...]) -> list[str]:
    return sorted(one.__name__ for one in types)


def test_every_message_has_a_frame() -> None:
    """Goal: no type is missing here or in the samples. Method: the unions of the core."""
    framed = names(tuple(layout.cls for layout in LAYOUTS))
    assert framed == names(get_args(Message))
    assert framed == names(get_args(PeerMessage) + get_args(Request) + get_args(Response))
    assert sorted({type(message).__name__ for message in SAMPLES}) == framed
    tags = [layout.tag for layout in LAYOUTS]
    assert len(set(tags)) == len(tags)
    assert all(0 <= tag < 256 for tag in tags)


@pytest.mark.parametrize("budget", [20, pytest.param(60, marks=pytest.mark.long)])
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.cls.__name__)
def test_every_message_comes_back_as_it_was(layout: Layout, budget: int) -> None:
    """Method: values of every field over its whole range."""

    @settings(max_examples=budget)
    @given(messages(layout))
    def there_and_back(message: Message) -> None:
        frame = encode(message)
        assert frame[0] == layout.tag
        back = decode(frame)
        assert type(back) is type(message)
        assert back == as_received(message)
        assert encode(back) == frame

    there_and_back()


@pytest.mark.parametrize(
    "make", [bytes, bytearray, memoryview, lambda frame: memoryview(b"..." + frame + b"...")[3:-3]]
)
@pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)
def test_any_kind_of_buffer_reads_alike(make: Callable[[bytes], Buffer], message: Message) -> None:
    """Goal: a frame is decoded without a copy. Method: the buffer types of a socket."""
    assert decode(make(encode(message))) == message


def test_batches_do_not_depend_on_the_receive_buffer() -> None:
    """Goal: the buffer can be used again. Method: overwrite it."""
    frame = bytearray(encode(replace(HEADER, batches=LOG)))
    message = decode(frame)
    frame[:] = bytes(len(frame))
    assert isinstance(message, Replicate)
    assert message.batches == LOG
    assert [type(batch.data) for batch in message.batches] == [bytes, bytes]


@pytest.mark.parametrize(
    "message",
    [
        ProduceRequest(8, Epoch(1), 1, 1, TWO),
        replace(HEADER, batches=LOG),
        replace(ANSWER, batches=LOG),
    ],
    ids=lambda message: type(message).__name__,
)
def test_the_crc_is_checked(message: Message) -> None:
    """Goal: a changed record is detected at the next hop. Method: flip the last bit."""
    frame = bytearray(encode(message))
    frame[-1] ^= 1
    with pytest.raises(CodecError, match=r"CRC-32C is [0-9a-f]{8}") as caught:
        decode(frame)
    assert caught.value.damaged
    assert caught.value.kind is type(message)
    assert caught.value.correlation == getattr(message, "correlation", None)


def unsealed() -> Batch:
    builder = Builder()
    builder.append(b"x", timestamp_ms=1)
    return builder.build()


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (Fenced(Epoch(2**31), "n1"), ("Fenced.epoch", "int32", "2147483648")),
        (
            ReplicateAck(Epoch(1), BrokerEpoch(2), -(2**63) - 1, 3),
            ("ReplicateAck.match", "int64", "-9223372036854775809"),
        ),
        (
            FetchRequest(1, 0, Epoch(-1), Epoch(0), 2**31, 0),
            ("FetchRequest.bytes_max", "int32", "2147483648"),
        ),
        (Fenced(Epoch(1), "n" * 255), ("node id", "254", "255")),
        (
            replace(ANSWER, detail="ä" * 32_768),
            ("FetchResponse.detail", "text", "65536"),
        ),
        (
            replace(DESCRIPTION, isr=("n",) * 256),
            ("DescribeResponse.isr", "nodes", "256"),
        ),
        (
            replace(DESCRIPTION, replicas=(ReplicaStatus("n", "", BrokerEpoch(2**63), 0),)),
            ("ReplicaStatus.broker_epoch", "int64", "9223372036854775808"),
        ),
        (replace(HEADER, batches=(replace(ONE, data=b""),)), ("data", "got 0")),
        (
            ProduceRequest(1, Epoch(1), -1, 1, replace(TWO, base_sequence=4)),
            ("seal",),
        ),
        (
            ProduceRequest(1, Epoch(1), -1, 1, unsealed()),
            ("not sealed", "byte 0"),
        ),
        (replace(HEADER, batches=(placed(ONE, -1, 0),)), ("position",)),
        (replace(HEADER, batches=(placed(ONE, 0, 2**31),)), ("position",)),
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(message: Message, words: tuple[str, ...]) -> None:
    """Goal: no frame is sent that the receiver must refuse."""
    with pytest.raises(ValueError, match=r".") as caught:
        encode(message)
    for word in words:
        assert word in str(caught.value)


def test_the_longest_values_that_fit() -> None:
    """Goal: the limits are as documented. Method: encode and decode each limit."""
    names_254 = ("é" * 127,) * 255
    rows = (ReplicaStatus("n" * 254, "u" * 65_535, BrokerEpoch(2**63 - 1), -1),) * 255
    for message in (
        Fenced(Epoch(2**31 - 1), "n" * 254),
        replace(ANSWER, detail="d" * 65_535),
        replace(DESCRIPTION, isr=names_254, elr=names_254, replicas=rows),
    ):
        assert decode(encode(message)) == message


def test_a_frame_has_a_length_limit() -> None:
    """Goal: sender and receiver agree on it. Method: as many batches as fit, and one more."""
    fitting = (FRAME_BYTES_MAX - len(encode(HEADER))) // LARGE.size
    assert encode(replace(HEADER, batches=(LARGE,) * fitting))
    with pytest.raises(ValueError, match=r"frame .*\b33554432\b"):
        encode(replace(HEADER, batches=(LARGE,) * (fitting + 1)))
    with pytest.raises(CodecError, match=r"frame .*\b33554433\b.*\b33554432\b"):
        decode(bytes(FRAME_BYTES_MAX + 1))


def test_a_detail_that_is_not_unicode_is_sent() -> None:
    """Goal: a file name with surrogates does not prevent the answer."""
    back = decode(encode(replace(ANSWER, detail="cannot read log-\udcff")))
    assert isinstance(back, FetchResponse)
    assert back.detail == "cannot read log-\\udcff"


def test_a_sealed_batch_whose_crc_is_zero_is_sent() -> None:
    """Goal: CRC 0 means unsealed only if it is wrong. Method: a batch made with that CRC."""
    batch = zero_crc()
    assert batch.crc == 0
    message = ProduceRequest(1, Epoch(1), -1, 1, batch)
    assert decode(encode(message)) == message


def zero_crc() -> Batch:
    """Return a sealed batch with CRC 0, solved for its last 32 bits: CRC-32C is linear."""
    front = b"12345678"
    base = made(front + bytes(4)).crc
    basis: dict[int, tuple[int, int]] = {}
    for bit in range(32):
        change, bits = made(front + (1 << bit).to_bytes(4, "big")).crc ^ base, 1 << bit
        while change and change.bit_length() in basis:
            other, others = basis[change.bit_length()]
            change ^= other
            bits ^= others
        if change:
            basis[change.bit_length()] = (change, bits)
    rest, solution = base, 0
    while rest:
        change, bits = basis[rest.bit_length()]
        rest ^= change
        solution ^= bits
    return made(front + solution.to_bytes(4, "big"))


ROOT = Path(__file__).parents[2]
# The sample, one hexadecimal frame on each line, never changes: brokers of two versions run
# together during an upgrade. A new version of a frame gets a new file.
LINES = (ROOT / "tests" / "golden_formats" / "frames_1.txt").read_text("ascii").splitlines()
PAGE = (ROOT / "docs" / "formats.md").read_text("utf-8")


def test_version_1_is_read() -> None:
    """Goal: frames of earlier brokers are read. Method: the messages of the sample."""
    frames = [bytes.fromhex(line.partition(" ")[2]) for line in LINES]
    assert [decode(frame) for frame in frames] == list(SAMPLES)
    assert {frame[1] for frame in frames} == {1}


def test_frames_are_still_version_1() -> None:
    """Goal: a change of a frame is detected. Method: encode the messages of the sample."""
    today = [f"{type(message).__name__} {encode(message).hex()}" for message in SAMPLES]
    assert today == LINES, "a frame has changed: is it still version 1?"


def test_the_page_has_every_frame() -> None:
    """Goal: docs/formats.md matches the code. Method: its rows against the layouts."""
    section = PAGE.partition("\n## Wire frames\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line[:3] != "| t" and " | `" in line]
    assert [row for row in rows if row[2].isdigit()] == [
        f"| {layout.tag} | `{layout.cls.__name__}` | "
        + ", ".join(
            f"`{name}` {kind.name}" for name, kind in zip(layout.names, layout.kinds, strict=True)
        )
        + " |"
        for layout in LAYOUTS
    ]
