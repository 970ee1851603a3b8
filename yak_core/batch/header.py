"""The header of a record batch, and the handle of a batch.

A log entry is a Kafka record batch of format v2 (magic 2: KIP-98, "Record Batch" in Kafka's
documentation), byte for byte, so Kafka's tools can read YAK's segments:

     0  baseOffset            int64     offset of the first record; written by the leader
     8  batchLength           int32     bytes after this field
    12  partitionLeaderEpoch  int32     written by the leader
    16  magic                 int8      2
    17  crc                   uint32    CRC-32C (Castagnoli) of all bytes from 21 to the end
    21  attributes            int16     0-2 codec, 3 log append time, 4 transactional, 5 control
    23  lastOffsetDelta       int32     count - 1
    27  baseTimestamp         int64     ms, of the first record
    35  maxTimestamp          int64     ms
    43  producerId            int64     -1: none
    51  producerEpoch         int16
    53  baseSequence          int32
    57  recordsCount          int32
    61  records

The CRC does not cover the position (base offset and leader epoch). So a leader that appends a batch
only makes a new handle with the position. The position is written into the bytes when they are
sent or stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from enum import IntEnum
from operator import attrgetter
from struct import Struct
from typing import TypeAlias

from crc32c import crc32c

from yak_core.batch.records import RECORD_BYTES_MIN, TIMESTAMP_MIN, Damaged, Torn, ends_within
from yak_core.ids import Epoch
from yak_core.value import value

Buffer: TypeAlias = bytes | bytearray | memoryview
Fields: TypeAlias = tuple[int, int, int, int, int, int, int, int, int, int, int, int, int]

HEADER_BYTES = 61
MAGIC = 2
SEQUENCE_END = 2**31
"""Sequences wrap around: 2147483647 is followed by 0 (KIP-98)."""

BATCH_BYTES_MAX = 16 * 1024 * 1024
"""Maximum size of a batch in bytes; a larger length field is refused as damage."""
RECORDS_MAX = 1 << 20
"""Maximum number of records in a batch; a larger count is refused as damage."""

HEADER = Struct(">qiibIhiqqqhii")
_FRAME = Struct(">qii")  # base offset, length, leader epoch
_LENGTH = Struct(">i")
_FRONT = Struct(">qiibI")  # the fields before the CRC, which it does not cover, and the CRC
_PRODUCER = Struct(">qhi")
_LENGTH_AT, _MAGIC_AT, _COVERED_AT, _PRODUCER_AT, _COUNT_AT = 8, 16, 21, 43, 57
LENGTH_EXCLUDES = 12


class Codec(IntEnum):
    """Compression of the records of a batch, with Kafka's numbers."""

    NONE = 0
    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ZSTD = 4

    @property
    def label(self) -> str:
        """Kafka's name of the codec (compression.type)."""
        return self.name.lower()


_CODECS = len(Codec)
CODEC_BITS, APPEND_TIME_BIT, _TRANSACTIONAL_BIT, _CONTROL_BIT = 7, 8, 16, 32


@value
class Batch:
    """A handle of a batch: header fields and the opaque bytes of the whole batch.

    ``base_offset`` and ``epoch`` are the position of the batch; the position in ``data`` may be
    stale until :func:`stamped` writes it. ``max_timestamp`` is in ms. ``size`` is in bytes and
    includes the header. ``producer_id``, ``producer_epoch`` and ``base_sequence`` are -1 without
    idempotence. ``crc`` is 0 before :func:`seal`. ``data`` is empty after :func:`read_header`.
    """

    base_offset: int
    epoch: Epoch
    count: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    max_timestamp: int
    size: int
    crc: int
    data: bytes

    @property
    def end(self) -> int:
        """The offset after the last record of the batch."""
        return self.base_offset + self.count

    @property
    def last_sequence(self) -> int:
        """The sequence of the last record; -1 without a producer id."""
        if self.producer_id < 0:
            return -1
        return (self.base_sequence + self.count - 1) % SEQUENCE_END

    def __repr__(self) -> str:
        producer = f", producer {self.producer_id}/{self.producer_epoch}/{self.base_sequence}"
        return (
            f"Batch([{self.base_offset}, {self.end}) epoch {self.epoch}"
            f"{producer if self.producer_id >= 0 else ''}, {self.size} bytes, crc {self.crc:08x})"
        )


_NAMES = [field.name for field in fields(Batch)]
_AFTER_POSITION = attrgetter(*_NAMES[2:])
_BEFORE_DATA = attrgetter(*_NAMES[:-1])


def placed(batch: Batch, base_offset: int, epoch: int) -> Batch:
    """Return the batch with this position; no byte is copied."""
    return Batch(base_offset, Epoch(epoch), *_AFTER_POSITION(batch))


def with_data(batch: Batch, data: bytes) -> Batch:
    """Return the handle with ``data`` as the bytes of the batch."""
    return Batch(*[*_BEFORE_DATA(batch), data])


def with_producer(batch: Batch, producer_id: int, producer_epoch: int, base_sequence: int) -> Batch:
    """The same handle with this producer; the bytes get it when they are sealed."""
    producer = (producer_id, producer_epoch, base_sequence)
    position = (batch.base_offset, batch.epoch, batch.count)
    return Batch(*position, *producer, batch.max_timestamp, batch.size, batch.crc, batch.data)


def stamped(batch: Batch) -> bytes:
    """Return the bytes of the batch with the handle's position, for a disk or a message.

    Returns ``batch.data`` itself if it already has this position.
    """
    data = full_data(batch)
    offset, length, epoch = _FRAME.unpack_from(data)
    if offset == batch.base_offset and epoch == batch.epoch:
        return data
    return _FRAME.pack(batch.base_offset, length, batch.epoch) + memoryview(data)[_MAGIC_AT:]


def seal(
    batch: Batch,
    *,
    producer_id: int | None = None,
    producer_epoch: int | None = None,
    base_sequence: int | None = None,
) -> Batch:
    """Return the batch with these producer fields and the CRC in its bytes (KIP-98).

    A field that is None keeps the value of the handle. A producer seals a batch for each attempt.
    Raises ValueError unless the three fields are all -1 or all valid: not negative and within
    int64, int16 and int32.
    """
    producer_id = batch.producer_id if producer_id is None else producer_id
    producer_epoch = batch.producer_epoch if producer_epoch is None else producer_epoch
    base_sequence = batch.base_sequence if base_sequence is None else base_sequence
    none = producer_id == producer_epoch == base_sequence == -1
    valid = 0 <= producer_id < 2**63 and 0 <= producer_epoch < 2**15
    if not none and not (valid and 0 <= base_sequence < SEQUENCE_END):
        raise ValueError(
            "producer id, epoch and sequence must be all -1 or all in range, got "
            f"{producer_id}/{producer_epoch}/{base_sequence}"
        )
    rest = memoryview(full_data(batch))
    producer = (producer_id, producer_epoch, base_sequence)
    middle = bytes(rest[_COVERED_AT:_PRODUCER_AT]) + _PRODUCER.pack(*producer)
    rest = rest[_COUNT_AT:]
    crc = crc32c(rest, crc32c(middle))
    front = _FRONT.pack(batch.base_offset, batch.size - LENGTH_EXCLUDES, batch.epoch, MAGIC, crc)
    position = (batch.base_offset, batch.epoch, batch.count)
    data = b"".join((front, middle, rest))
    return Batch(*position, *producer, batch.max_timestamp, batch.size, crc, data)


def full_data(batch: Batch) -> bytes:
    """Return ``batch.data``. Raises ValueError if the handle has only the header fields."""
    if len(batch.data) != batch.size:
        raise ValueError(f"{batch!r} must have {batch.size} bytes of data, got {len(batch.data)}")
    return batch.data


def read_header(data: Buffer, at: int = 0, base: int = 0) -> Batch:
    """Read the header of the batch at position ``at``; ``data`` is empty in the returned handle.

    Only the 61 bytes of the header are needed. The fields are checked, the CRC is not. The next
    batch begins at ``at + size``. ``base`` is the position of ``data`` in its file, from which
    errors count. Raises Torn or Damaged.
    """
    size = _read_size(data, at, base)
    fields = HEADER.unpack_from(data, at)
    _check(fields, base + at, size)
    return _handle(fields, size, b"")


def parse(data: Buffer, at: int = 0, base: int = 0) -> Batch:
    """Read the batch at position ``at``, and check its fields and its CRC.

    Records are not decoded, and bytes after the batch are ignored. The bytes of the batch are
    copied unless ``data`` is a bytes object that holds nothing else. ``base`` is the position of
    ``data`` in its file, from which errors count. Raises Torn if bytes at the end are missing,
    Damaged if more bytes would not help.
    """
    size = _read_size(data, at, base)
    fields: Fields = HEADER.unpack_from(data, at)
    have = len(data) - at
    place = base + at
    if have < size:
        _check(fields, place, size)
        compressed = fields[5] & CODEC_BITS
        if not compressed and ends_within(data, at + HEADER_BYTES, fields[12]):
            raise Damaged(
                f"batch at byte {place} is damaged: its header declares {size} bytes, but its "
                f"{fields[12]} records need fewer bytes or have invalid lengths",
                place,
                size,
            )
        raise Torn(f"batch at byte {place} is torn: found {have} of {size} bytes", place, size)
    sealed = data if isinstance(data, bytes) and len(data) == size else bytes(data[at : at + size])
    crc = crc32c(memoryview(sealed)[_COVERED_AT:])
    if crc != fields[4]:
        raise Damaged(
            f"batch at byte {place} is damaged: its CRC-32C is {crc:08x}, its header has "
            f"{fields[4]:08x}",
            place,
            size,
        )
    _check(fields, place, size)
    return _handle(fields, size, sealed)


def scan(data: Buffer, at: int = 0) -> Iterator[Batch]:
    """Yield the consecutive batches from position ``at`` to the end of ``data``.

    Raises Torn or Damaged; ``at`` of the error is the end of the intact batches. Torn: the rest is
    one incomplete batch, as a crash during a write leaves it. Damaged: a crash does not explain
    this, and intact batches may follow at ``at + size``.
    """
    while at < len(data):
        batch = parse(data, at)
        yield batch
        at += batch.size


def _read_size(data: Buffer, at: int, base: int) -> int:
    """Return the size of the batch at ``at`` by its length field; errors count from ``base``.

    Raises Torn or Damaged unless a complete header of format v2 is there.
    """
    have = len(data) - at
    place = base + at
    if at < 0 or have < 0:
        raise ValueError(f"position {at} is outside of {len(data)} bytes")
    if have < _LENGTH_AT + _LENGTH.size:
        raise Torn(
            f"batch at byte {place} is torn: found {have} bytes, its length field needs "
            f"{_LENGTH_AT + _LENGTH.size}",
            place,
        )
    (length,) = _LENGTH.unpack_from(data, at + _LENGTH_AT)
    size = int(length) + LENGTH_EXCLUDES
    if not HEADER_BYTES < size <= BATCH_BYTES_MAX:
        raise Damaged(
            f"batch at byte {place} is damaged: its size must be {HEADER_BYTES + 1} to "
            f"{BATCH_BYTES_MAX} bytes, got {size}",
            place,
        )
    if have > _MAGIC_AT and data[at + _MAGIC_AT] != MAGIC:
        raise Damaged(
            f"batch at byte {place} is damaged or of an old format: its magic must be {MAGIC}, "
            f"got {data[at + _MAGIC_AT]}",
            place,
            size,
        )
    if have < HEADER_BYTES:
        raise Torn(f"batch at byte {place} is torn: found {have} of {size} bytes", place, size)
    return size


def _check(fields: Fields, at: int, size: int) -> None:
    """Raise Damaged unless YAK supports the fields of the header and they agree."""
    offset, _, epoch, _, _, attributes, last, base_time, max_time, pid, pepoch, seq, count = fields
    codec = attributes & CODEC_BITS
    if not 1 <= count <= RECORDS_MAX:
        reason = f"its record count must be 1 to {RECORDS_MAX}, got {count}"
    elif last != count - 1:
        reason = f"its last offset delta must be {count - 1} for {count} records, got {last}"
    elif attributes & (_TRANSACTIONAL_BIT | _CONTROL_BIT):
        reason = "it is transactional or a control batch, which YAK does not support"
    elif codec >= _CODECS:
        reason = f"its codec {codec} is unknown; known are 0 to {_CODECS - 1}"
    elif attributes & ~(CODEC_BITS | APPEND_TIME_BIT):
        reason = f"its attributes {attributes & 0xFFFF:#06x} are not supported"
    elif not codec and count * RECORD_BYTES_MIN > size - HEADER_BYTES:
        reason = f"{count} records do not fit into its {size} bytes"
    elif offset < 0 or offset + count >= 2**63 or epoch < -1:
        reason = f"its position is out of range: offset {offset}, epoch {epoch}"
    elif base_time < TIMESTAMP_MIN or max_time < TIMESTAMP_MIN:
        reason = f"its timestamps are negative: {base_time}, {max_time}"
    elif pid < -1 or (pid >= 0 and (pepoch < 0 or seq < 0)):
        reason = f"its producer id, epoch and sequence are out of range: {pid}/{pepoch}/{seq}"
    else:
        return
    raise Damaged(f"batch at byte {at} is damaged: {reason}", at, size)


def _handle(fields: Fields, size: int, data: bytes) -> Batch:
    offset, _, epoch, _, crc, _, _, _, max_time, pid, pepoch, seq, count = fields
    return Batch(offset, Epoch(epoch), count, pid, pepoch, seq, max_time, size, crc, data)
