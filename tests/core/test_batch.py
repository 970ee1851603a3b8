"""Layout, builder and handle of a batch, against bytes written from the definition."""

from __future__ import annotations

import struct

import pytest

from yak_core.batch import (
    BATCH_BYTES_MAX,
    HEADER_BYTES,
    Batch,
    Builder,
    Record,
    RecordTooLarge,
    parse,
    placed,
    read_header,
    records,
    seal,
    stamped,
)
from yak_core.batch.header import RECORDS_MAX
from yak_core.ids import Epoch
from yak_core.log.producers import ProducerTable

T = 1_700_000_000_000

SAMPLE = bytes.fromhex(
    "0000000000000000"  # baseOffset 0
    "0000008e"  # batchLength 142: 154 bytes less the 12 up to here
    "ffffffff"  # partitionLeaderEpoch -1
    "02"  # magic
    "533c2ced"  # crc, see crc32c_by_bits
    "0000"  # attributes: uncompressed, create time
    "00000002"  # lastOffsetDelta
    "0000018bcfe56800"  # baseTimestamp T
    "0000018bcfe56803"  # maxTimestamp T + 3
    "0000000000000007"  # producerId 7
    "0001"  # producerEpoch 1
    "7fffffff"  # baseSequence 2147483647
    "00000003"  # recordsCount
    # Lengths, deltas and counts from here on are zigzag varints: n is 2n, -n is 2n - 1.
    "10 00 00 00 01 04 6869 00"  # 8 bytes, attributes, +0 ms, 0, null, 2 "hi", 0
    "14 00 03 02 02 6b 01"  # 10 bytes, attributes, -2 ms, 1, 1 "k", null value,
    "02 02 68 01"  # 1 header: 1 "h", null
    "8e01 00 06 04 01 8001" + "2e" * 64 + "00"  # 71 bytes, .., +3 ms, 2, null, 64 dots, 0
)


def crc32c_by_bits(data: bytes) -> int:
    """CRC-32C from its definition: reflected polynomial 0x82F63B78, inverted before and after."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def sample_builder() -> Builder:
    builder = Builder()
    assert builder.append(b"hi", timestamp_ms=T) == 0
    assert builder.append(None, key=b"k", headers=(("h", None),), timestamp_ms=T - 2) == 1
    assert builder.append(b"." * 64, timestamp_ms=T + 3) == 2
    return builder


def one(value: bytes = b"v") -> Batch:
    builder = Builder()
    builder.append(value, timestamp_ms=T)
    return builder.build()


def test_sealed_batch_is_the_sample_byte_for_byte() -> None:
    """Goal: the bytes follow the format's definition, without our decoder."""
    sealed = seal(
        sample_builder().build(), producer_id=7, producer_epoch=1, base_sequence=2**31 - 1
    )
    assert sealed.data.hex() == SAMPLE.hex()
    assert crc32c_by_bits(b"123456789") == 0xE3069283  # the published check value
    assert sealed.crc == crc32c_by_bits(SAMPLE[21:]) == 0x533C2CED


def test_parse_reads_every_field_of_the_sample() -> None:
    """Goal: each field is read from its position. Method: all values of the sample differ."""
    batch = parse(SAMPLE)
    assert batch == Batch(0, Epoch(-1), 3, 7, 1, 2**31 - 1, T + 3, 154, 0x533C2CED, SAMPLE)
    assert (batch.end, batch.last_sequence) == (3, 1)
    assert read_header(SAMPLE[:HEADER_BYTES]) == Batch(
        0, Epoch(-1), 3, 7, 1, 2**31 - 1, T + 3, 154, 0x533C2CED, b""
    )


def test_records_of_the_sample() -> None:
    """Goal: decoding uses the offsets of the handle, not those of the bytes."""
    assert list(records(placed(parse(SAMPLE), 1000, 4))) == [
        Record(1000, T, None, b"hi", ()),
        Record(1001, T - 2, b"k", None, (("h", None),)),
        Record(1002, T + 3, None, b"." * 64, ()),
    ]


def test_unsealed_batch_has_no_producer_no_crc_and_no_offset() -> None:
    """Goal: handle and bytes are as documented, and the batch can be decoded."""
    batch = sample_builder().build()
    assert batch == Batch(0, Epoch(-1), 3, -1, -1, -1, T + 3, 154, 0, batch.data)
    assert batch.last_sequence == -1
    assert batch.data[17:21] == bytes(4)
    assert struct.unpack_from(">qhi", batch.data, 43) == (-1, -1, -1)
    assert [record.value for record in records(batch)] == [b"hi", None, b"." * 64]


def test_seal_writes_producer_and_crc_anew_on_each_attempt() -> None:
    """Goal: sealing can be repeated, and omitted fields come from the handle."""
    built = sample_builder().build()
    first = seal(built, producer_id=7, producer_epoch=0, base_sequence=5)
    second = seal(first, producer_id=9, producer_epoch=3, base_sequence=0)
    assert parse(first.data) == first
    assert parse(second.data) == second
    assert second == seal(built, producer_id=9, producer_epoch=3, base_sequence=0)
    assert seal(second) == second
    assert seal(built).producer_id == -1
    assert parse(seal(built).data).crc != 0


@pytest.mark.parametrize(
    "producer", [(-2, 0, 0), (1, -1, 0), (1, 0, -1), (2**63, 0, 0), (1, 2**15, 0), (1, 0, 2**31)]
)
def test_seal_refuses_a_producer_out_of_range(
    producer: tuple[int, int, int],
) -> None:
    """Goal: a wrong argument raises at once."""
    with pytest.raises(ValueError, match="producer id"):
        seal(one(), producer_id=producer[0], producer_epoch=producer[1], base_sequence=producer[2])


def test_placing_copies_nothing_and_stamping_writes_only_the_position() -> None:
    """Goal: placing and stamping need no copy, and the CRC stays valid."""
    sealed = seal(one(), producer_id=1, producer_epoch=0, base_sequence=0)
    there = placed(sealed, 2**40, 12)
    assert there.data is sealed.data
    assert (there.base_offset, there.end, there.epoch) == (2**40, 2**40 + 1, 12)
    wire = stamped(there)
    assert wire[:16] == struct.pack(">qii", 2**40, len(wire) - 12, 12)
    assert wire[16:] == sealed.data[16:]
    back = parse(wire)
    assert (back.base_offset, back.epoch, back.crc) == (2**40, 12, sealed.crc)
    assert stamped(back) is wire


def test_a_header_without_bytes_cannot_be_read_sealed_or_shipped() -> None:
    """Goal: a handle from read_header never yields an empty payload."""
    header = read_header(SAMPLE)
    for use in (records, seal, stamped):
        with pytest.raises(ValueError, match="bytes of data"):
            use(header)


@pytest.mark.parametrize(
    ("base", "count", "last"),
    [(0, 1, 0), (5, 3, 7), (2**31 - 1, 1, 2**31 - 1), (2**31 - 1, 2, 0), (2**31 - 2, 5, 2)],
)
def test_sequences_wrap_at_two_to_the_31(base: int, count: int, last: int) -> None:
    """Goal: 2147483647 is followed by 0 (KIP-98)."""
    builder = Builder()
    for _ in range(count):
        builder.append(b"", timestamp_ms=0)
    sealed = seal(builder.build(), producer_id=1, producer_epoch=0, base_sequence=base)
    assert parse(sealed.data).last_sequence == last


def test_repr_shows_the_header_and_not_the_payload() -> None:
    """Goal: a batch in a test failure or log line is readable."""
    assert repr(placed(parse(SAMPLE), 5, 2)) == (
        "Batch([5, 8) epoch 2, producer 7/1/2147483647, 154 bytes, crc 533c2ced)"
    )
    assert "producer" not in repr(one())


def test_builder_fills_to_the_last_byte_and_then_stays_closed() -> None:
    """Goal: bytes_max is exact, and no small record overtakes a refused one."""
    exact = one(b"x" * 100).size
    builder = Builder(bytes_max=2 * exact - HEADER_BYTES)
    assert builder.append(b"x" * 100, timestamp_ms=T) == 0
    assert not builder.should_close(0, 1)
    assert builder.append(b"x" * 101, timestamp_ms=T) is None
    assert builder.append(b"", timestamp_ms=T) is None
    assert builder.should_close(0, 1)

    builder = Builder(bytes_max=2 * exact - HEADER_BYTES)
    assert builder.append(b"x" * 100, timestamp_ms=T) == 0
    assert builder.append(b"x" * 100, timestamp_ms=T) == 1
    assert builder.size == builder.bytes_max == builder.build().size
    assert builder.should_close(0, 1)
    assert builder.append(b"", timestamp_ms=T) is None


def test_builder_counts_keys_and_headers_too() -> None:
    """Goal: the general path has the same limit as the fast path."""
    builder = Builder(bytes_max=200)
    assert builder.append(b"v", key=b"k" * 50, headers=(("h", b"x"),), timestamp_ms=T) == 0
    assert builder.size == builder.build().size
    assert builder.append(b"v", key=b"k" * 100, timestamp_ms=T) is None


@pytest.mark.parametrize("key", [None, b"k"])
def test_a_first_record_that_is_too_large_is_an_error_and_leaves_the_builder_usable(
    key: bytes | None,
) -> None:
    """Goal: such a record can never be sent, so None would cause endless retries."""
    builder = Builder(bytes_max=100)
    with pytest.raises(RecordTooLarge, match=r"4\d bytes.* 100 bytes"):
        builder.append(b"x" * 40, key=key, timestamp_ms=T)
    assert builder.append(b"x" * 10, key=key, timestamp_ms=T - 1) == 0
    batch = builder.build()
    assert struct.unpack_from(">qq", batch.data, 27) == (T - 1, T - 1)
    assert [record.timestamp_ms for record in records(batch)] == [T - 1]


def test_builder_closes_by_count_and_by_linger() -> None:
    """Goal: the other two reasons to send; an empty batch is not sent."""
    builder = Builder(records_max=2)
    assert not builder.should_close(1_000_000, 5000)
    builder.append(b"a", timestamp_ms=T)
    assert not builder.should_close(4999, 5000)
    assert builder.should_close(5000, 5000)
    assert builder.should_close(0, 0)
    builder.append(b"b", timestamp_ms=T)
    assert builder.should_close(0, 5000)
    assert builder.append(b"c", timestamp_ms=T) is None
    assert builder.build().count == 2


def test_wrong_arguments_of_the_builder_raise() -> None:
    """Goal: wrong types, timestamps and limits are refused without a change."""
    with pytest.raises(ValueError, match="at least 1"):
        Builder().build()
    for limits in ((67, 1), (BATCH_BYTES_MAX + 1, 1), (68, 0), (68, RECORDS_MAX + 1)):
        with pytest.raises(ValueError, match="between"):
            Builder(*limits)
    builder = Builder()
    for time in (-2, 2**63):
        for _ in range(2):
            with pytest.raises(ValueError, match="timestamp"):
                builder.append(b"v", timestamp_ms=time)
    with pytest.raises(TypeError, match=r"value .*str"):
        builder.append("text", timestamp_ms=T)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"value .*bytearray"):
        builder.append(bytearray(b"changes later"), timestamp_ms=T)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"key .*str"):
        builder.append(b"v", key="k", timestamp_ms=T)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"header's key .*bytes"):
        builder.append(b"v", headers=((b"h", b""),), timestamp_ms=T)  # type: ignore[arg-type]
    assert (builder.count, builder.size) == (0, HEADER_BYTES)
    assert builder.append(b"v", timestamp_ms=T) == 0


def test_build_can_be_repeated() -> None:
    """Goal: build does not change the builder."""
    builder = Builder()
    builder.append(b"a", timestamp_ms=T)
    first = builder.build()
    assert builder.build() == first
    builder.append(b"b", timestamp_ms=T)
    assert [record.value for record in records(builder.build())] == [b"a", b"b"]
    assert first.count == 1


def test_the_least_recent_producer_is_dropped() -> None:
    """Goal: the table is bounded, equally on all replicas. Method: three producers, limit two."""
    table = ProducerTable(limit=2)
    for at, producer in enumerate((1, 2, 1, 3, -1)):
        table.apply(producer, 0, 0, at, at + 1)
    assert [producer for producer, _ in table.snapshot()] == [1, 3]


def test_table_read_back_under_a_smaller_limit_is_bounded() -> None:
    """Goal: the limit of the present configuration holds. Method: 0 to 3 of three producers."""
    table = ProducerTable()
    for at, producer in enumerate((9, 2, 5)):
        table.apply(producer, 0, 0, at, at + 1)
    for limit, kept in ((3, [2, 5, 9]), (2, [2, 5]), (1, [5]), (0, [])):
        again = ProducerTable(table.snapshot(), limit)
        assert [producer for producer, _ in again.snapshot()] == kept
