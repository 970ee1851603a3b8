"""The header of a record batch and the handle that carries it; must never decode a record.

A log entry is a Kafka record batch of format v2 (magic 2: KIP-98, "Record Batch" in Kafka's
documentation), byte for byte, so that Kafka's tools read our segments:

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

Position (the first 16 bytes) lies outside the CRC: a leader places a batch by making a new handle
and leaves the payload alone; the edge writes the position into the bytes when it ships them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from operator import attrgetter
from struct import Struct
from typing import TypeAlias

from crc32c import crc32c

from yak_core.batch.records import (
    RECORD_BYTES_MIN,
    TIMESTAMP_MIN,
    Damaged,
    Torn,
    ends_early,
)
from yak_core.ids import Epoch
from yak_core.value import value

Buffer: TypeAlias = bytes | bytearray | memoryview
Fields: TypeAlias = tuple[int, int, int, int, int, int, int, int, int, int, int, int, int]

HEADER_BYTES = 61
MAGIC = 2
SEQUENCE_END = 2**31
"""Sequences go round: 2147483647 is followed by 0 (KIP-98)."""

BATCH_BYTES_MAX = 16 * 1024 * 1024
"""No batch is larger, whatever its length field says."""
RECORDS_MAX = 1 << 20
"""No batch has more records, whatever its count says: each one takes an offset."""

HEADER = Struct(">qiibIhiqqqhii")
_FRAME = Struct(">qii")  # base offset, length, leader epoch
_LENGTH = Struct(">i")
_FRONT = Struct(">qiibI")  # what the CRC does not cover, and the CRC
_PRODUCER = Struct(">qhi")
_LENGTH_AT, _MAGIC_AT, _COVERED_AT, _PRODUCER_AT, _COUNT_AT = 8, 16, 21, 43, 57
LENGTH_EXCLUDES = 12

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
CODEC_BITS, APPEND_TIME_BIT, _TRANSACTIONAL_BIT, _CONTROL_BIT = 7, 8, 16, 32


@value
class Batch:
    """A handle: the header's fields next to the opaque bytes of the whole batch.

    ``base_offset`` and ``epoch`` are the authority for the position; the bytes follow when they are
    ``stamped``. ``max_timestamp`` is in ms, ``size`` in bytes with the header. ``producer_id``,
    ``producer_epoch`` and ``base_sequence`` are -1 without idempotence. ``crc`` is 0 until sealed.
    ``data`` is empty in a handle that ``read_header`` made.
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
        """The offset after the last record."""
        return self.base_offset + self.count

    @property
    def last_sequence(self) -> int:
        """Sequence of the last record, or -1 without a producer id."""
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
    """The same batch at a place in the log; no byte is copied."""
    return Batch(base_offset, Epoch(epoch), *_AFTER_POSITION(batch))


def carrying(batch: Batch, data: bytes) -> Batch:
    """The same handle with these bytes of the batch."""
    return Batch(*[*_BEFORE_DATA(batch), data])


def of_producer(batch: Batch, producer_id: int, producer_epoch: int, base_sequence: int) -> Batch:
    """The same handle with this producer; the bytes get it when they are sealed."""
    producer = (producer_id, producer_epoch, base_sequence)
    place = (batch.base_offset, batch.epoch, batch.count)
    return Batch(*place, *producer, batch.max_timestamp, batch.size, batch.crc, batch.data)


def stamped(batch: Batch) -> bytes:
    """The bytes for disk and wire, with the handle's position; the same object if it is there."""
    data = whole(batch)
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
    """The batch with this producer and its CRC in the bytes; done anew for each attempt (KIP-98).

    What is not given is the handle's. Raises ValueError unless the three are all -1 or all within
    int64, int16 and int32 from 0 up.
    """
    producer_id = batch.producer_id if producer_id is None else producer_id
    producer_epoch = batch.producer_epoch if producer_epoch is None else producer_epoch
    base_sequence = batch.base_sequence if base_sequence is None else base_sequence
    none = producer_id == producer_epoch == base_sequence == -1
    valid = 0 <= producer_id < 2**63 and 0 <= producer_epoch < 2**15
    if not none and not (valid and 0 <= base_sequence < SEQUENCE_END):
        raise ValueError(f"no such producer: {producer_id}/{producer_epoch}/{base_sequence}")
    rest = memoryview(whole(batch))
    producer = (producer_id, producer_epoch, base_sequence)
    middle = bytes(rest[_COVERED_AT:_PRODUCER_AT]) + _PRODUCER.pack(*producer)
    rest = rest[_COUNT_AT:]
    crc = crc32c(rest, crc32c(middle))
    front = _FRONT.pack(batch.base_offset, batch.size - LENGTH_EXCLUDES, batch.epoch, MAGIC, crc)
    place = (batch.base_offset, batch.epoch, batch.count)
    data = b"".join((front, middle, rest))
    return Batch(*place, *producer, batch.max_timestamp, batch.size, crc, data)


def whole(batch: Batch) -> bytes:
    """The bytes of the batch as they are; ValueError for a handle that has only the header."""
    if len(batch.data) != batch.size:
        raise ValueError(f"{batch!r} is a header without its bytes")
    return batch.data


def read_header(data: Buffer, at: int = 0) -> Batch:
    """The handle, with empty ``data``, of the batch at ``at``; only its 61 header bytes are needed.

    For scanners: fields are checked, the CRC is not. The next batch begins at ``at + size``.
    Raises Torn or Damaged.
    """
    size = _size(data, at)
    fields = HEADER.unpack_from(data, at)
    _check(fields, at, size)
    return _handle(fields, size, b"")


def parse(data: Buffer, at: int = 0) -> Batch:
    """The whole batch at ``at``, its CRC checked; bytes after it are ignored, records not decoded.

    Copies the batch unless ``data`` is exactly its bytes. Raises Torn when bytes at the end are
    missing, Damaged when no more bytes would help.
    """
    size = _size(data, at)
    fields: Fields = HEADER.unpack_from(data, at)
    have = len(data) - at
    if have < size:
        _check(fields, at, size)
        compressed = fields[5] & CODEC_BITS
        if not compressed and ends_early(data, at + HEADER_BYTES, fields[12]):
            raise Damaged(
                f"batch at byte {at} is damaged: it claims {size} bytes, but its {fields[12]} "
                "records take fewer or have impossible lengths",
                at,
                size,
            )
        raise Torn(f"batch at byte {at} is torn: {have} of its {size} bytes are there", at, size)
    sealed = data if isinstance(data, bytes) and len(data) == size else bytes(data[at : at + size])
    crc = crc32c(memoryview(sealed)[_COVERED_AT:])
    if crc != fields[4]:
        raise Damaged(
            f"batch at byte {at} is damaged: its CRC-32C is {crc:08x}, sealed was {fields[4]:08x}",
            at,
            size,
        )
    _check(fields, at, size)
    return _handle(fields, size, sealed)


def scan(data: Buffer, at: int = 0) -> Iterator[Batch]:
    """The batches that follow each other from ``at`` to the end of ``data``.

    Raises Torn or Damaged, whose ``at`` is the end of the intact ones. Torn: what follows ``at`` is
    one incomplete batch, which a crash in the middle of a write explains. Damaged: something else
    happened, and whole batches may lie behind it; ``size`` says where to look for them.
    """
    while at < len(data):
        batch = parse(data, at)
        yield batch
        at += batch.size


def _size(data: Buffer, at: int) -> int:
    """Bytes of the batch at ``at`` by its length field, with its header there and of format v2."""
    have = len(data) - at
    if at < 0 or have < 0:
        raise ValueError(f"byte {at} is not within {len(data)} bytes")
    if have < _LENGTH_AT + _LENGTH.size:
        raise Torn(f"batch at byte {at} is torn: {have} bytes are there, its length is not", at)
    (length,) = _LENGTH.unpack_from(data, at + _LENGTH_AT)
    size = int(length) + LENGTH_EXCLUDES
    if not HEADER_BYTES < size <= BATCH_BYTES_MAX:
        raise Damaged(
            f"batch at byte {at} is damaged: no batch is {size} bytes long "
            f"(more than {HEADER_BYTES}, at most {BATCH_BYTES_MAX})",
            at,
        )
    if have > _MAGIC_AT and data[at + _MAGIC_AT] != MAGIC:
        raise Damaged(
            f"batch at byte {at} is damaged or too old: its magic is {data[at + _MAGIC_AT]}, not 2",
            at,
            size,
        )
    if have < HEADER_BYTES:
        raise Torn(f"batch at byte {at} is torn: {have} of its {size} bytes are there", at, size)
    return size


def _check(fields: Fields, at: int, size: int) -> None:
    """Raise Damaged unless the header's fields make sense to YAK, each and together."""
    offset, _, epoch, _, _, attributes, last, base_time, max_time, pid, pepoch, seq, count = fields
    codec = attributes & CODEC_BITS
    if not 1 <= count <= RECORDS_MAX:
        said = f"it says that it has {count} records (1 to {RECORDS_MAX})"
    elif last != count - 1:
        said = f"its last offset delta {last} does not fit {count} records"
    elif attributes & (_TRANSACTIONAL_BIT | _CONTROL_BIT):
        said = "it is transactional or a control batch, which YAK does not have"
    elif attributes & ~(CODEC_BITS | APPEND_TIME_BIT) or codec >= len(CODECS):
        said = f"its attributes {attributes & 0xFFFF:#06x} mean nothing"
    elif not codec and count * RECORD_BYTES_MIN > size - HEADER_BYTES:
        said = f"{count} records do not fit into its {size} bytes"
    elif offset < 0 or offset + count >= 2**63 or epoch < -1:
        said = f"offset {offset} at epoch {epoch} is no position"
    elif base_time < TIMESTAMP_MIN or max_time < TIMESTAMP_MIN:
        said = f"its timestamps are negative: {base_time}, {max_time}"
    elif pid < -1 or (pid >= 0 and (pepoch < 0 or seq < 0)):
        said = f"there is no producer {pid}/{pepoch}/{seq}"
    else:
        return
    raise Damaged(f"batch at byte {at} is damaged: {said}", at, size)


def _handle(fields: Fields, size: int, data: bytes) -> Batch:
    offset, _, epoch, _, crc, _, _, _, max_time, pid, pepoch, seq, count = fields
    return Batch(offset, Epoch(epoch), count, pid, pepoch, seq, max_time, size, crc, data)
