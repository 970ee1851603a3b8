"""The records inside a batch, to bytes and back; must never know of batches, nodes or disks.

A record of Kafka's format v2 (KIP-98; "Message Format" in Kafka's documentation) is

    length          varint      bytes that follow
    attributes      int8        unused, 0
    timestampDelta  varlong     milliseconds after the batch's base timestamp, may be negative
    offsetDelta     varint      index in the batch
    key             varint length (-1: null), bytes
    value           varint length (-1: null), bytes
    headers         varint count, then for each its key (varint length, UTF-8) and its value (varint
                    length, -1: null; bytes)

Varints are Protocol Buffers' zigzag varints: seven bits a byte, lowest first, the top bit says that
more follow. Decoding is written out flat, because it runs once a record.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from itertools import count as counter
from typing import TypeAlias

from yak_core.value import value

Headers: TypeAlias = tuple[tuple[str, bytes | None], ...]

RECORD_BYTES_MIN = 7
"""The smallest record: length, attributes, two deltas, null key, null value, no headers."""

TIMESTAMP_MIN = -1
"""Kafka's NO_TIMESTAMP; the only negative one that a record may have (KIP-32)."""

TIMESTAMP_END = 2**63


class BatchError(Exception):
    """Bytes that are not one whole, intact, readable batch.

    ``at`` is where the batch begins in the bytes that were read: in a scan everything below it is
    whole and intact. ``size`` is how many bytes the batch says it has, None if that is not known.
    """

    def __init__(self, reason: str, at: int = 0, size: int | None = None) -> None:
        super().__init__(reason)
        self.at = at
        self.size = size


class Torn(BatchError):
    """The bytes end within the batch; what is there could be the beginning of an intact one."""


class Damaged(BatchError):
    """No bytes added at the end could make this an intact batch that YAK accepts."""


class UnsupportedCodec(BatchError):
    """The batch is intact, but its records are compressed and nobody here can decompress them."""


class RecordTooLarge(ValueError):
    """A record that does not fit even into an empty batch; it was not added."""


@value
class Record:
    """One decoded record; ``offset`` is absolute, ``timestamp_ms`` -1 if the producer gave none."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers


def varint(value: int) -> bytes:
    """``value`` as a zigzag varint, the shortest form; for int32 and int64 alike."""
    raw = value << 1 if value >= 0 else (-value << 1) - 1
    out = bytearray()
    while raw > 0x7F:
        out.append(raw & 0x7F | 0x80)
        raw >>= 7
    out.append(raw)
    return bytes(out)


DELTAS = tuple(varint(index) for index in range(64 << 7))
"""The varints of one and two bytes from 0 up: the offset deltas of nearly every batch."""


def encode(
    offset_delta: int,
    timestamp_delta: int,
    key: bytes | None,
    value: bytes | None,
    headers: Headers,
) -> bytes:
    """One record of any shape, its length included. Raises TypeError for what is not bytes."""
    parts = [b"\0", varint(timestamp_delta), varint(offset_delta)]
    parts += _nullable(key, "key")
    parts += _nullable(value, "value")
    parts.append(varint(len(headers)))
    for name, content in headers:
        if not isinstance(name, str):
            raise TypeError(f"a header's key is str, not {type(name).__name__}")
        coded = name.encode()
        parts += (varint(len(coded)), coded)
        parts += _nullable(content, "header's value")
    body = b"".join(parts)
    return varint(len(body)) + body


def _nullable(content: bytes | None, what: str) -> tuple[bytes, ...]:
    if content is None:
        return (b"\x01",)
    if not isinstance(content, bytes):
        raise TypeError(f"a record's {what} is bytes or None, not {type(content).__name__}")
    return (varint(len(content)), content)


def _wide(data: bytes, pos: int, first: int) -> tuple[int, int]:
    """The varint, still zigzag, of ``first`` and the bytes from ``pos``; the position after it."""
    raw = first & 0x7F
    for shift in range(7, 70, 7):
        byte = data[pos]
        pos += 1
        raw |= (byte & 0x7F) << shift
        if byte < 0x80:
            return raw, pos
    raise ValueError("a varint is longer than ten bytes")


def decode(data: bytes, pos: int, count: int, base_offset: int, base_time: int) -> Iterator[Record]:
    """The ``count`` records that fill ``data`` from ``pos`` to its end, one at a time.

    Raises Damaged at the first malformed record; the ones before it have been yielded by then.
    """
    total = len(data)
    deltas = chain(DELTAS, map(varint, counter(len(DELTAS))))
    for index, delta in zip(range(count), deltas, strict=False):
        try:
            raw = data[pos]
            pos += 1
            if raw > 0x7F:
                if (high := data[pos]) < 0x80:
                    raw += (high << 7) - 0x80
                    pos += 1
                else:
                    raw, pos = _wide(data, pos, raw)
            end = pos + (raw >> 1)
            if raw & 1 or end > total:
                raise ValueError("its length is negative or passes the end of the batch")
            raw = data[pos + 1]  # after the attributes, which have no meaning yet
            pos += 2
            if raw > 0x7F:
                if (high := data[pos]) < 0x80:
                    raw += (high << 7) - 0x80
                    pos += 1
                else:
                    raw, pos = _wide(data, pos, raw)
            timestamp = base_time + (-(raw + 1 >> 1) if raw & 1 else raw >> 1)
            if not TIMESTAMP_MIN <= timestamp < TIMESTAMP_END:
                raise ValueError(f"its timestamp {timestamp} is out of range")
            start = pos
            pos += len(delta)
            if data[start:pos] != delta:
                raise ValueError("its offset delta is not its index")
            raw = data[pos]
            pos += 1
            key: bytes | None = None
            if raw != 1:
                key, pos = _bytes(data, pos, raw, end)
            raw = data[pos]
            pos += 1
            if raw > 0x7F:
                if (high := data[pos]) < 0x80:
                    raw += (high << 7) - 0x80
                    pos += 1
                else:
                    raw, pos = _wide(data, pos, raw)
            value: bytes | None = None
            if not raw & 1:
                start = pos
                pos += raw >> 1
                value = data[start:pos]
            elif raw != 1:
                raise ValueError("the length of its value is negative")
            headers: Headers = ()
            raw = data[pos]
            pos += 1
            if raw:
                headers, pos = _headers(data, pos, raw, end)
            if pos != end:
                raise ValueError("its parts do not add up to its length")
        except (IndexError, ValueError) as error:
            raise _malformed(index, count, error) from error
        yield Record(base_offset + index, timestamp, key, value, headers)
    if pos != total:
        raise Damaged(f"{total - pos} bytes follow the last of {count} records")


def _malformed(index: int, count: int, error: IndexError | ValueError) -> Damaged:
    said = "the batch ends within it" if isinstance(error, IndexError) else error
    return Damaged(f"record {index} of {count} is malformed: {said}")


def _bytes(data: bytes, pos: int, raw: int, end: int) -> tuple[bytes | None, int]:
    """Bytes whose length begins with the byte ``raw``, or None, and the position after them."""
    if raw > 0x7F:
        raw, pos = _wide(data, pos, raw)
    if raw & 1:
        if raw != 1:
            raise ValueError("the length of its key, or of a header, is negative")
        return None, pos
    stop = pos + (raw >> 1)
    if stop > end:
        raise ValueError("its key, or a header, passes its end")
    return data[pos:stop], stop


def _headers(data: bytes, pos: int, raw: int, end: int) -> tuple[Headers, int]:
    """The headers whose count begins with the byte ``raw``, and the position after them."""
    if raw > 0x7F:
        raw, pos = _wide(data, pos, raw)
    if raw & 1 or raw > end - pos:  # a header has two bytes at least, and raw is twice the count
        raise ValueError("it cannot hold as many headers as it says")
    found: list[tuple[str, bytes | None]] = []
    for _ in range(raw >> 1):
        name, pos = _bytes(data, pos + 1, data[pos], end)
        if name is None:
            raise ValueError("a header has no key")
        content, pos = _bytes(data, pos + 1, data[pos], end)
        found.append((name.decode(), content))
    return tuple(found), pos


def ends_early(data: bytes | bytearray | memoryview, pos: int, count: int) -> bool:
    """Whether ``count`` uncompressed records end within ``data``, going by their lengths alone.

    Tells a torn batch, which must run out of bytes first, from one whose header claims too many.
    """
    total = len(data)
    for _ in range(count):
        raw = shift = 0
        while True:
            if pos >= total:
                return False
            byte = data[pos]
            pos += 1
            raw |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift > 28:
                return True  # no length has more than five bytes
        if raw & 1 or raw >> 1 < RECORD_BYTES_MIN - 1:
            return True  # nor is any that short
        pos += raw >> 1
    return pos <= total
