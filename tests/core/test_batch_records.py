"""Encoding and decoding of records: every shape of Kafka's, and malformed ones."""

from __future__ import annotations

import struct

import pytest
from crc32c import crc32c
from hypothesis import strategies as st

from tests.core.budgets import examples
from yak_core.batch import (
    Batch,
    Builder,
    Damaged,
    Headers,
    Record,
    UnsupportedCodec,
    parse,
    placed,
    records,
    seal,
)
from yak_core.batch.records import varint

T = 1_700_000_000_000
Given = tuple[bytes | None, bytes | None, Headers, int]

content = st.none() | st.binary(max_size=300)
headers = st.lists(st.tuples(st.text(max_size=5), content), max_size=3).map(tuple)
near = st.integers(T - 20_000, T + 20_000)
times = near | st.integers(-1, 2**63 - 1) | st.just(T)
plain = st.tuples(st.binary(max_size=200), st.none(), st.just(()), times)
given_record = plain | st.tuples(content, content, headers, times)


def build(given_records: list[Given]) -> Batch:
    builder = Builder(bytes_max=1 << 20)
    for index, (value, key, extra, time) in enumerate(given_records):
        assert builder.append(value, key=key, headers=extra, timestamp_ms=time) == index
    return builder.build()


@examples(30, 100, st.lists(given_record, min_size=1, max_size=150), st.integers(0, 2**62))
def test_records_come_back_as_they_were_given(given_records: list[Given], offset: int) -> None:
    """Goal: an exact round trip. Method: any records through build, seal, parse and decode."""
    sealed = seal(build(given_records), producer_id=3, producer_epoch=0, base_sequence=9)
    batch = parse(sealed.data)
    assert batch == sealed
    assert batch.max_timestamp == max(time for *_, time in given_records)
    assert list(records(placed(batch, offset, 1))) == [
        Record(offset + index, time, key, value, extra)
        for index, (value, key, extra, time) in enumerate(given_records)
    ]


@examples(100, 500, st.integers(-(2**63), 2**63 - 1))
def test_varint_is_the_published_zigzag(value: int) -> None:
    """Method: compare with the formula of Protocol Buffers."""
    coded = varint(value)
    raw = sum((byte & 0x7F) << 7 * place for place, byte in enumerate(coded))
    assert raw == (value << 1) ^ (value >> 63)
    assert all(byte & 0x80 for byte in coded[:-1])
    assert not coded[-1] & 0x80
    assert len(coded) == 1 or coded[-1] != 0


@pytest.mark.parametrize("count", [1, 63, 64, 65, 8191, 8192, 8193, 10_000])
def test_batches_of_one_to_many_records(count: int) -> None:
    """Goal: offset deltas of one, two and three bytes, and the changes between them."""
    builder = Builder(bytes_max=1 << 20)
    values = [b"%d" % index for index in range(count)]
    for value in values:
        assert builder.append(value, timestamp_ms=T) is not None
    batch = parse(seal(builder.build()).data)
    assert (batch.count, batch.size) == (count, builder.size)
    decoded = list(records(batch))
    assert [record.value for record in decoded] == values
    assert [record.offset for record in decoded] == list(range(count))


@pytest.mark.parametrize("length", [0, 1, 55, 56, 57, 63, 64, 65, 8176, 8184, 8191, 8192, 1 << 20])
def test_lengths_around_each_width_of_a_varint(length: int) -> None:
    """Goal: the size is exact where the length of a value or record changes its width."""
    builder = Builder(bytes_max=1 << 22)
    for time in (T, T, T - 64, T + 64):
        builder.append(b"x" * length, timestamp_ms=time)
        builder.append(b"x" * length, key=b"", timestamp_ms=time)
    batch = parse(seal(builder.build()).data)
    assert batch.size == builder.size == len(batch.data)
    assert {record.value for record in records(batch)} == {b"x" * length}


def test_null_and_empty_stay_different() -> None:
    """Goal: a null key, value or header differs from an empty one."""
    given_records: list[Given] = [
        (None, None, (), T),
        (b"", b"", (("", b""),), T),
        (None, b"", (("", None), ("", None)), T),
        (b"", None, (), T),
    ]
    decoded = [(r.value, r.key, r.headers, r.timestamp_ms) for r in records(build(given_records))]
    assert decoded == given_records


def test_timestamps_may_go_back_and_reach_both_ends() -> None:
    """Goal: deltas from the first timestamp over the whole range of int64."""
    times = [2**63 - 1, -1, T, 2**63 - 1]
    batch = build([(b"v", None, (), time) for time in times])
    assert struct.unpack_from(">qq", batch.data, 27) == (2**63 - 1, 2**63 - 1)
    assert [record.timestamp_ms for record in records(batch)] == times


def resealed(batch: Batch, at: int, new: bytes) -> bytes:
    """Return the bytes of ``batch`` with some replaced and a valid CRC."""
    data = bytearray(batch.data)
    data[at : at + len(new)] = new
    data[17:21] = struct.pack(">I", crc32c(data[21:]))
    return bytes(data)


def test_log_append_time_replaces_every_timestamp() -> None:
    """Goal: with attribute bit 3 (KIP-32) every record has the batch's maximum timestamp."""
    batch = build([(b"a", None, (), T), (b"b", b"k", (("h", None),), T + 5)])
    assert list(records(parse(resealed(batch, 21, b"\0\x08")))) == [
        Record(0, T + 5, None, b"a", ()),
        Record(1, T + 5, b"k", b"b", (("h", None),)),
    ]


@pytest.mark.parametrize(("bits", "name"), [(1, "gzip"), (2, "snappy"), (3, "lz4"), (4, "zstd")])
def test_compressed_batches_pass_but_do_not_decode(bits: int, name: str) -> None:
    """Goal: a broker stores them unchanged; a client raises with the name of the codec."""
    batch = parse(resealed(build([(b"v", None, (), T)]), 21, bytes((0, bits))))
    with pytest.raises(UnsupportedCodec, match=f"compressed with {name}$"):
        records(batch)


def with_body(body: bytes, count: int = 1) -> Batch:
    """Return a batch with a valid CRC and the records section ``body``."""
    front = struct.pack(">hiqqqhii", 0, count - 1, T, T, -1, -1, -1, count)
    return parse(
        struct.pack(">qiibI", 0, 49 + len(body), -1, 2, crc32c(front + body)) + front + body
    )


@pytest.mark.parametrize(
    ("body", "pattern"),
    [
        ("10 000000 01 02 76 00", "its length"),
        ("0d 000000 01 02 76 00", "its length"),
        ("0e 000002 01 02 76 00", "offset delta"),
        ("10 00008000 01 02 76 00", "offset delta"),
        ("0e 000000 03 02 76 00", "its key"),
        ("0e 000000 20 02 76 00", "its key"),
        ("0e 000000 01 03 76 00", "its value"),
        ("0e 000000 01 04 76 00", "the batch ends"),
        ("0e 000000 01 00 00 00", "its length"),
        ("0c 000000 01 02 76 00", "its length"),
        ("0e 000000 01 02 76 01", "header count"),
        ("0e 000000 01 02 76 02", "header count"),
        ("14 000000 01 02 76 03 02 68 01", "header count"),
        ("12 000000 01 02 76 02 01 01", "key of a header"),
        ("14 000000 01 02 76 02 02 ff 01", "utf-8"),
        ("14 000000 01 02 76 02 08 68 01", "exceeds"),
        ("14 000000 01 02 76 02 02 68 03", "of a header is negative"),
        ("20 00" + "ff" * 10 + "01 00 01 00 00", "10 bytes"),
        ("1e 00" + "ff" * 8 + "7f 00 01 01 00 00", "timestamp -[0-9]+"),
        ("20 00" + "fe" + "ff" * 8 + "01 00 01 02 76 00", "timestamp [0-9]+"),
        ("0e 000000 01 02 76 00 00", "1 extra bytes"),
    ],
)
def test_a_malformed_record_is_damage(body: str, pattern: str) -> None:
    """Goal: a malformed record with a valid CRC raises Damaged."""
    batch = with_body(bytes.fromhex(body))
    with pytest.raises(Damaged, match=pattern):
        list(records(batch))


def test_varints_may_be_longer_than_needed() -> None:
    """Goal: padded lengths are accepted, as by Kafka."""
    batch = with_body(bytes.fromhex("988000 00 8000 00 8100 828000 76 8000"))
    assert list(records(batch)) == [Record(0, T, None, b"v", ())]


def test_records_before_a_malformed_one_are_yielded() -> None:
    """Goal: decoding is lazy. Method: a good record, then a bad one."""
    batch = with_body(bytes.fromhex("0e 000000 01 02 76 00 " * 2), 2)
    decoding = records(batch)
    assert next(decoding).value == b"v"
    with pytest.raises(Damaged, match="record 1 of 2"):
        next(decoding)


@examples(60, 200, st.binary(min_size=7, max_size=200), st.integers(1, 30))
def test_any_records_section_decodes_or_is_damaged(body: bytes, count: int) -> None:
    """Goal: no other exception. Method: random bytes with a valid CRC."""
    count = min(count, len(body) // 7)
    try:
        decoded = list(records(with_body(body, count)))
    except Damaged:
        return
    assert len(decoded) == count


@examples(40, 100, st.data(), st.lists(plain, min_size=1, max_size=5))
def test_changed_records_decode_or_are_damaged(
    data: st.DataObject, given_records: list[Given]
) -> None:
    """Goal: the same for one changed byte of a good section."""
    batch = build(given_records)
    at = data.draw(st.integers(61, batch.size - 1))
    changed = parse(resealed(batch, at, data.draw(st.binary(min_size=1, max_size=1))))
    try:
        decoded = list(records(changed))
    except Damaged:
        return
    assert [record.offset for record in decoded] == list(range(batch.count))
