"""Compression of the records of a batch, with a codec that the caller passes in.

As in Kafka, only the records after the header are compressed, all of a batch as one stream. The
header names the codec, and the CRC covers the compressed bytes. So brokers check, append and send a
compressed batch like any other; only readers of records decompress it, each for itself.

The codecs are libraries, so they are outside of the core.
"""

from __future__ import annotations

from struct import Struct
from typing import Protocol

from yak_core.batch.header import (
    CODEC_BITS,
    HEADER_BYTES,
    LENGTH_EXCLUDES,
    Batch,
    Codec,
    full_data,
)
from yak_core.batch.records import Damaged

_ATTRIBUTES = Struct(">h")
_LENGTH = Struct(">i")
_LENGTH_AT, _ATTRIBUTES_AT = 8, 21


class Compress(Protocol):
    """Returns the records section of a batch as one compressed stream."""

    def __call__(self, section: memoryview, /) -> bytes: ...


class Decompress(Protocol):
    """Returns the records section of a batch from a stream of ``codec``, of a bounded size.

    Raises UnsupportedCodec without that codec. Raises ValueError if the stream is damaged or not
    complete, or if the section is larger than the bound.
    """

    def __call__(self, codec: Codec, section: memoryview, /) -> bytes: ...


def codec_of(batch: Batch) -> Codec:
    """Return the codec of a batch that has its bytes."""
    (attributes,) = _ATTRIBUTES.unpack_from(full_data(batch), _ATTRIBUTES_AT)
    return Codec(attributes & CODEC_BITS)


def compressed(batch: Batch, codec: Codec, compress: Compress) -> Batch:
    """Return an uncompressed batch with compressed records, not sealed.

    Return ``batch`` itself if its records do not become smaller.
    """
    assert codec is not Codec.NONE, "compression needs a codec"
    assert codec_of(batch) is Codec.NONE, "the batch is already compressed"
    section = memoryview(batch.data)[HEADER_BYTES:]
    smaller = compress(section)
    return batch if len(smaller) >= len(section) else _with_section(batch, codec, smaller)


def decompressed(batch: Batch, decompress: Decompress) -> Batch:
    """Return the batch with uncompressed records, for a reader; the result is not sealed.

    Return ``batch`` itself if it is not compressed. Raises UnsupportedCodec, and Damaged if the
    compressed bytes are damaged or too large: the CRC was checked before, so the producer wrote
    them in this form.
    """
    codec = codec_of(batch)
    if codec is Codec.NONE:
        return batch
    try:
        section = decompress(codec, memoryview(batch.data)[HEADER_BYTES:])
    except ValueError as error:
        raise Damaged(
            f"cannot decompress the {codec.label} records of {batch!r}: {error}", size=batch.size
        ) from error
    return _with_section(batch, Codec.NONE, section)


def _with_section(batch: Batch, codec: Codec, section: bytes) -> Batch:
    """Return the batch with another records section. Its CRC is wrong until it is sealed."""
    header = bytearray(batch.data[:HEADER_BYTES])
    size = HEADER_BYTES + len(section)
    (attributes,) = _ATTRIBUTES.unpack_from(header, _ATTRIBUTES_AT)
    _ATTRIBUTES.pack_into(header, _ATTRIBUTES_AT, attributes & ~CODEC_BITS | codec)
    _LENGTH.pack_into(header, _LENGTH_AT, size - LENGTH_EXCLUDES)
    position = (batch.base_offset, batch.epoch, batch.count)
    producer = (batch.producer_id, batch.producer_epoch, batch.base_sequence)
    data = b"".join((header, section))
    return Batch(*position, *producer, batch.max_timestamp, size, 0, data)
