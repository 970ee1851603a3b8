"""Building a record batch from records, and decoding the records of a batch."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from itertools import count as counter

from yak_core.batch.decoding import Columns, decode
from yak_core.batch.header import (
    APPEND_TIME_BIT,
    BATCH_BYTES_MAX,
    CODEC_BITS,
    CODECS,
    HEADER,
    HEADER_BYTES,
    LENGTH_EXCLUDES,
    MAGIC,
    RECORDS_MAX,
    Batch,
    full_data,
)
from yak_core.batch.records import (
    DELTAS,
    RECORD_BYTES_MIN,
    TIMESTAMP_END,
    TIMESTAMP_MIN,
    Damaged,
    Headers,
    Record,
    RecordTooLarge,
    UnsupportedCodec,
    encode,
    varint,
)
from yak_core.ids import NO_EPOCH

_ATTRIBUTES = b"\0"
_NO_HEADERS = b"\0"
_NO_KEY = b"\x01"


class Builder:
    """Collects records for one batch of at most ``bytes_max`` bytes and ``records_max`` records.

    A record with a value, no key and no headers is the fast path: one lookup and one list
    extension. Records with equal timestamps, value lengths and widths of the offset delta differ
    only in value and offset delta. The other bytes are cached in ``_shapes`` by the value length.
    """

    __slots__ = (
        "_base_timestamp", "_body_overhead", "_front", "_full", "_parts", "_shapes", "_timestamp",
        "_widens_at", "bytes_max", "count", "max_timestamp", "records_max", "size",
    )  # fmt: skip

    def __init__(self, bytes_max: int = 64 * 1024, records_max: int = 1 << 16) -> None:
        """Raise ValueError if a limit is out of range."""
        if not HEADER_BYTES + RECORD_BYTES_MIN <= bytes_max <= BATCH_BYTES_MAX:
            raise ValueError(
                f"bytes_max must be between {HEADER_BYTES + RECORD_BYTES_MIN} and "
                f"{BATCH_BYTES_MAX}, got {bytes_max}"
            )
        if not 1 <= records_max <= RECORDS_MAX:
            raise ValueError(f"records_max must be between 1 and {RECORDS_MAX}, got {records_max}")
        self.bytes_max = bytes_max
        self.records_max = records_max
        self.count = 0
        self.size = HEADER_BYTES
        self.max_timestamp = TIMESTAMP_MIN
        self._base_timestamp = 0
        self._timestamp = TIMESTAMP_MIN - 1  # the timestamp of _shapes; an invalid one at first
        self._front = b""
        self._body_overhead = 0
        self._widens_at = 0
        self._shapes: dict[int, tuple[int, bytes, bytes]] = {}
        self._parts: list[bytes] = [b""]  # The first part is replaced by the header.
        self._full = False

    def append(
        self,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        timestamp_ms: int,
    ) -> int | None:
        """Add a record and return its index; return None if it does not fit.

        After that, every later record is refused too, so no record overtakes the refused one.
        Raises RecordTooLarge if the batch is empty and the record does not fit into it; ValueError
        or TypeError for a record that Kafka's format cannot hold.
        """
        if self._full:
            return None
        index = self.count
        if timestamp_ms != self._timestamp or index == self._widens_at:
            self._reshape(timestamp_ms)
        if key is None and not headers and type(value) is bytes:
            length = len(value)
            shape = self._shapes.get(length)
            if shape is None:
                shape = self._shape(length)
            needed, front, middle = shape
            size = self.size + needed
            if size > self.bytes_max:
                self._refuse(needed)
                return None
            delta = DELTAS[index] if index < len(DELTAS) else varint(index)
            self._parts += (front, delta, middle, value, _NO_HEADERS)
        else:
            record = encode(index, timestamp_ms - self._base_timestamp, key, value, headers)
            size = self.size + len(record)
            if size > self.bytes_max:
                self._refuse(len(record))
                return None
            self._parts.append(record)
        self.size = size
        self.count = index + 1
        if timestamp_ms > self.max_timestamp:
            self.max_timestamp = timestamp_ms
        if self.count == self.records_max:
            self._full = True
        return index

    def _reshape(self, timestamp_ms: int) -> None:
        """Clear the cached shapes, because the timestamp or the width of offset deltas changed."""
        if not TIMESTAMP_MIN <= timestamp_ms < TIMESTAMP_END:
            raise ValueError(
                f"timestamp_ms must be between {TIMESTAMP_MIN} and {TIMESTAMP_END - 1}, "
                f"got {timestamp_ms}"
            )
        if not self.count:
            self._base_timestamp = timestamp_ms
        self._front = _ATTRIBUTES + varint(timestamp_ms - self._base_timestamp)
        width = len(varint(self.count))
        self._body_overhead = len(self._front) + width + len(_NO_HEADERS)
        self._widens_at = 1 << 7 * width - 1
        self._timestamp = timestamp_ms
        self._shapes.clear()

    def _shape(self, length: int) -> tuple[int, bytes, bytes]:
        """Return the size of a record whose value has ``length`` bytes, and its constant bytes.

        The constant bytes are those before and after the offset delta.
        """
        middle = _NO_KEY + (DELTAS[length] if length < len(DELTAS) else varint(length))
        body = self._body_overhead + len(middle) + length
        prefix = DELTAS[body] if body < len(DELTAS) else varint(body)
        shape = (len(prefix) + body, prefix + self._front, middle)
        self._shapes[length] = shape
        return shape

    def _refuse(self, needed: int) -> None:
        """Close the batch, or raise RecordTooLarge if it is empty."""
        if not self.count:
            raise RecordTooLarge(
                f"record too large: {needed} bytes; a batch of {self.bytes_max} bytes holds at "
                f"most {self.bytes_max - HEADER_BYTES}"
            )
        self._full = True

    def should_close(self, age_us: int, linger_us: int) -> bool:
        """Return whether to send the batch now: it is full, or ``linger_us`` has passed.

        ``age_us`` is the time since the first record was added. ``linger_us`` is the longest time
        to wait for more records (Kafka's linger.ms). Both are in microseconds. The result is False
        for an empty batch.
        """
        if not self.count:
            return False
        if self._full or self.size + RECORD_BYTES_MIN > self.bytes_max:
            return True
        return age_us >= linger_us

    def build(self) -> Batch:
        """Return the batch, not sealed: no producer, no CRC, offset 0, epoch -1.

        Raises ValueError if it is empty.
        """
        if not self.count:
            raise ValueError("a batch must have at least 1 record, got 0")
        self._parts[0] = HEADER.pack(
            0,
            self.size - LENGTH_EXCLUDES,
            -1,
            MAGIC,
            0,
            0,
            self.count - 1,
            self._base_timestamp,
            self.max_timestamp,
            -1,
            -1,
            -1,
            self.count,
        )
        data = b"".join(self._parts)
        assert len(data) == self.size, f"size {self.size} was counted, got {len(data)} bytes"
        return Batch(0, NO_EPOCH, self.count, -1, -1, -1, self.max_timestamp, self.size, 0, data)


def columns(batch: Batch) -> Columns:
    """Decode the records, field by field.

    Raises UnsupportedCodec. A malformed record sets the error of the result; the CRC was checked
    before, so the producer wrote the record in this form.
    """
    data = full_data(batch)
    fields = HEADER.unpack_from(data)
    attributes, base_time, max_time = fields[5], fields[7], fields[8]
    if attributes & CODEC_BITS:
        codec = CODECS[attributes & CODEC_BITS]
        raise UnsupportedCodec(
            f"cannot decompress the records of {batch!r}: {codec} is not supported; produce with "
            "compression.type=none",
            size=batch.size,
        )
    found = decode(data, HEADER_BYTES, batch.count, base_time)
    # With log append time, max_timestamp replaces the timestamps of the records (KIP-32).
    if attributes & APPEND_TIME_BIT:
        return found._replace(timestamps=[max_time] * len(found.timestamps))
    return found


def records(batch: Batch) -> Iterator[Record]:
    """Return an iterator over the records; their offsets follow from the handle.

    Raises UnsupportedCodec before the first record. The iterator raises Damaged at a malformed
    record.
    """
    found = columns(batch)
    return chain(
        map(Record, counter(batch.base_offset), *found[:4]),
        _raised(found.error),
    )


def _raised(error: Damaged | None) -> Iterator[Record]:
    """Raise the error, if there is one, when the first record is asked for."""
    if error is not None:
        raise error
    yield from ()
