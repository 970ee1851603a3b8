"""Builds record batches, takes records out of them again; must never decide anything."""

from __future__ import annotations

from collections.abc import Iterator

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
    whole,
)
from yak_core.batch.records import (
    DELTAS,
    RECORD_BYTES_MIN,
    TIMESTAMP_END,
    TIMESTAMP_MIN,
    Headers,
    Record,
    RecordTooLarge,
    UnsupportedCodec,
    decode,
    encode,
    varint,
)
from yak_core.ids import NO_EPOCH

_ATTRIBUTES = b"\0"
_NO_HEADERS = b"\0"
_NO_KEY = b"\x01"


class Builder:
    """Collects records for one batch of at most ``bytes_max`` bytes and ``records_max`` records.

    The usual record (a value, no key, no headers) costs a look-up and a list extension: everything
    in it but the value and the offset delta is the same for all values of one length at one
    timestamp, as long as offset deltas are equally wide, and is kept for the next.
    """

    __slots__ = (
        "_base_timestamp",
        "_body_overhead",
        "_front",
        "_full",
        "_parts",
        "_shapes",
        "_timestamp",
        "_widens_at",
        "bytes_max",
        "count",
        "max_timestamp",
        "records_max",
        "size",
    )

    def __init__(self, bytes_max: int = 64 * 1024, records_max: int = 1 << 16) -> None:
        """Raises ValueError for limits that no batch, or an unreadable one, would keep."""
        if not HEADER_BYTES + RECORD_BYTES_MIN <= bytes_max <= BATCH_BYTES_MAX:
            raise ValueError(f"a batch has no {bytes_max} bytes at most")
        if not 1 <= records_max <= RECORDS_MAX:
            raise ValueError(f"a batch has no {records_max} records at most")
        self.bytes_max = bytes_max
        self.records_max = records_max
        self.count = 0
        self.size = HEADER_BYTES
        self.max_timestamp = TIMESTAMP_MIN
        self._base_timestamp = 0
        self._timestamp = TIMESTAMP_MIN - 1  # of _shapes; here none yet
        self._front = b""
        self._body_overhead = 0
        self._widens_at = 0
        self._shapes: dict[int, tuple[int, bytes, bytes]] = {}
        self._parts: list[bytes] = [b""]  # the first is the header's place
        self._full = False

    def append(
        self,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        timestamp_ms: int,
    ) -> int | None:
        """Add a record and return its index, or None when it does not fit.

        After a None nothing fits any more, so that no later record overtakes the refused one.
        Raises RecordTooLarge when it would not fit into an empty batch either and this one is
        empty, ValueError or TypeError for a record that Kafka could not hold.
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
        """Forget the shapes, because the timestamp or the width of offset deltas changes."""
        if not TIMESTAMP_MIN <= timestamp_ms < TIMESTAMP_END:
            raise ValueError(f"no record has the timestamp {timestamp_ms} ms")
        if not self.count:
            self._base_timestamp = timestamp_ms
        self._front = _ATTRIBUTES + varint(timestamp_ms - self._base_timestamp)
        width = len(varint(self.count))
        self._body_overhead = len(self._front) + width + len(_NO_HEADERS)
        self._widens_at = 1 << 7 * width - 1
        self._timestamp = timestamp_ms
        self._shapes.clear()

    def _shape(self, length: int) -> tuple[int, bytes, bytes]:
        """Bytes of a record whose value has ``length``, and what stands around its offset delta."""
        middle = _NO_KEY + (DELTAS[length] if length < len(DELTAS) else varint(length))
        body = self._body_overhead + len(middle) + length
        prefix = DELTAS[body] if body < len(DELTAS) else varint(body)
        shape = (len(prefix) + body, prefix + self._front, middle)
        self._shapes[length] = shape
        return shape

    def _refuse(self, needed: int) -> None:
        """Close for a record of ``needed`` bytes, or raise if it cannot go anywhere."""
        if not self.count:
            raise RecordTooLarge(
                f"the record takes {needed} bytes; a batch of {self.bytes_max} bytes has room for "
                f"{self.bytes_max - HEADER_BYTES}"
            )
        self._full = True

    def should_close(self, age_us: int, linger_us: int) -> bool:
        """Whether to send it now: nothing more fits, or its first record has waited long enough.

        ``age_us`` is the time since the first record was appended, ``linger_us`` the longest that
        it may wait for company (Kafka's linger.ms). An empty batch never closes.
        """
        if not self.count:
            return False
        if self._full or self.size + RECORD_BYTES_MIN > self.bytes_max:
            return True
        return age_us >= linger_us

    def build(self) -> Batch:
        """The batch so far, unsealed: no producer, no CRC, offset 0, epoch -1.

        Raises ValueError when it is empty.
        """
        if not self.count:
            raise ValueError("a batch has at least one record")
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
        assert len(data) == self.size, "every record was counted with its true size"
        return Batch(0, NO_EPOCH, self.count, -1, -1, -1, self.max_timestamp, self.size, 0, data)


def records(batch: Batch) -> Iterator[Record]:
    """The records, decoded one by one as they are asked for; offsets are the handle's.

    Raises UnsupportedCodec at once, and Damaged when a record turns out malformed (its producer
    wrote it so: the CRC is right).
    """
    data = whole(batch)
    fields = HEADER.unpack_from(data)
    attributes, base_time, max_time = fields[5], fields[7], fields[8]
    if attributes & CODEC_BITS:
        codec = CODECS[attributes & CODEC_BITS]
        raise UnsupportedCodec(
            f"the records of {batch!r} are compressed with {codec}, which brokers pass on as they "
            "are and this client cannot read yet: produce with compression.type=none",
            size=batch.size,
        )
    found = decode(data, HEADER_BYTES, batch.count, batch.base_offset, base_time)
    if attributes & APPEND_TIME_BIT:  # then a record's own timestamp does not count (KIP-32)
        return (Record(r.offset, max_time, r.key, r.value, r.headers) for r in found)
    return found
