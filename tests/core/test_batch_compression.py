"""Compressed batches in the core, with a codec of the standard library passed in."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace

import pytest
from crc32c import crc32c

from yak_core.batch import (
    BATCH_BYTES_MAX,
    Batch,
    Builder,
    Codec,
    Damaged,
    Torn,
    UnsupportedCodec,
    codec_of,
    compressed,
    decompressed,
    parse,
    placed,
    records,
    seal,
    stamped,
)

T = 1_700_000_000_000


def built(count: int = 50) -> Batch:
    builder = Builder(1 << 20)
    for index in range(count):
        builder.append(b"the same text %d" % index, key=b"k", timestamp_ms=T + index)
    return builder.build()


def inflate(codec: Codec, section: memoryview) -> bytes:
    """Decompress one stream of zlib, whatever the codec is called."""
    try:
        return zlib.decompress(section)
    except zlib.error as error:
        raise ValueError(f"bad {codec.label}") from error


@pytest.mark.parametrize("codec", [codec for codec in Codec if codec is not Codec.NONE])
def test_only_the_records_are_compressed(codec: Codec) -> None:
    """Goal: Kafka's layout: codec in the header, CRC over compressed bytes, all else the same."""
    plain = built()
    small = compressed(plain, codec, zlib.compress)
    assert small.size == len(small.data) < plain.size
    sealed = seal(small, producer_id=3, producer_epoch=1, base_sequence=9)
    data = stamped(placed(sealed, 1000, 7))
    length, attributes = struct.unpack_from(">i", data, 8)[0], struct.unpack_from(">h", data, 21)[0]
    assert (length + 12, attributes) == (len(data), codec.value)
    assert struct.unpack_from(">I", data, 17)[0] == crc32c(data[21:])
    same = replace(seal(plain, producer_id=3, producer_epoch=1, base_sequence=9), crc=0, data=b"")
    got = parse(data)
    assert (got.base_offset, got.epoch, codec_of(got)) == (1000, 7, codec)
    assert replace(got, base_offset=0, epoch=same.epoch, crc=0, data=b"", size=same.size) == same
    assert data[23:57] == seal(plain, producer_id=3, producer_epoch=1, base_sequence=9).data[23:57]
    assert zlib.decompress(data[61:]) == plain.data[61:]
    back = decompressed(got, inflate)
    assert (codec_of(back), back.size) == (Codec.NONE, plain.size)
    assert list(records(back)) == list(records(placed(plain, 1000, 7)))


def test_kafkas_numbers_and_names() -> None:
    """Goal: the numbers of the format and the names of compression.type."""
    assert [(codec.value, codec.label) for codec in Codec] == [
        (0, "none"),
        (1, "gzip"),
        (2, "snappy"),
        (3, "lz4"),
        (4, "zstd"),
    ]


def test_records_that_do_not_become_smaller_stay_as_they_are() -> None:
    """Goal: no batch grows. Method: codecs whose result has as many bytes, or more."""
    plain = built(1)
    assert compressed(plain, Codec.LZ4, lambda section: bytes(len(section))) is plain
    assert compressed(plain, Codec.LZ4, lambda section: bytes(len(section) + 1)) is plain
    assert decompressed(plain, inflate) is plain


def test_log_append_time_survives() -> None:
    """Goal: other bits of the attributes are kept, in both directions."""
    data = bytearray(built().data)
    data[22] |= 8
    batch = replace(built(), data=bytes(data))
    small = compressed(batch, Codec.GZIP, zlib.compress)
    assert small.data[22] == 9
    back = decompressed(small, inflate)
    assert back.data == batch.data
    assert {record.timestamp_ms for record in records(back)} == {batch.max_timestamp}


def test_what_cannot_be_decompressed_has_its_own_error() -> None:
    """Goal: damage names the batch; a missing codec stays one; neither reads records."""
    good = seal(compressed(built(), Codec.ZSTD, zlib.compress))
    bad = seal(replace(good, data=good.data[:61] + b"x" * (good.size - 61)))
    with pytest.raises(Damaged, match=r"\[0, 50\).*bad zstd") as caught:
        decompressed(bad, inflate)
    assert caught.value.size == bad.size

    def lacks(codec: Codec, section: memoryview) -> bytes:
        raise UnsupportedCodec("no such codec")

    with pytest.raises(UnsupportedCodec, match="no such codec"):
        decompressed(good, lacks)
    with pytest.raises(UnsupportedCodec, match="compressed with zstd"):
        records(good)
    short = compressed(built(), Codec.GZIP, lambda section: zlib.compress(section[:-9]))
    with pytest.raises(Damaged, match="record 49 of 50"):
        list(records(decompressed(short, inflate)))


def test_a_compressed_batch_is_torn_at_every_length() -> None:
    """Goal: recovery sees a torn compressed batch as torn, not as damage."""
    data = seal(compressed(built(), Codec.LZ4, zlib.compress)).data
    for have in range(len(data)):
        with pytest.raises(Torn):
            parse(data[:have])


def test_decompressed_records_may_exceed_the_limit_of_a_batch() -> None:
    """Goal: the limit of a batch is that of its bytes as sent; readers have their own."""
    plain = Builder(BATCH_BYTES_MAX)
    plain.append(bytes(BATCH_BYTES_MAX - 100), timestamp_ms=T)
    small = seal(compressed(plain.build(), Codec.GZIP, zlib.compress))
    twice = decompressed(parse(small.data), lambda codec, section: inflate(codec, section) * 2)
    assert twice.size > BATCH_BYTES_MAX
    with pytest.raises(Damaged, match="extra bytes"):
        list(records(twice))
