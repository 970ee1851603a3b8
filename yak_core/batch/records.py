"""The encoding of the records in a batch; ``decoding.py`` decodes them.

The layout of a record in Kafka's format v2 (KIP-98; "Message Format" in Kafka's documentation):

    length          varint      bytes that follow
    attributes      int8        unused, 0
    timestampDelta  varlong     milliseconds after the batch's base timestamp, may be negative
    offsetDelta     varint      index in the batch
    key             varint length (-1: null), bytes
    value           varint length (-1: null), bytes
    headers         varint count, then for each its key (varint length, UTF-8) and its value (varint
                    length, -1: null; bytes)

Varints are Protocol Buffers' zigzag varints: seven bits per byte, the lowest bits first; the top
bit is set if more bytes follow.
"""

from __future__ import annotations

from typing import TypeAlias

from yak_core.value import value

Headers: TypeAlias = tuple[tuple[str, bytes | None], ...]

RECORD_BYTES_MIN = 7
"""Size of the smallest record: length, attributes, two deltas, null key, null value, no headers."""

TIMESTAMP_MIN = -1
"""Kafka's NO_TIMESTAMP, the only negative timestamp that a record may have (KIP-32)."""

TIMESTAMP_END = 2**63


class BatchError(Exception):
    """The bytes do not hold one complete, intact, readable batch.

    ``at`` is the position of the first byte of the batch; in a scan all batches below it are
    intact. ``size`` is the size in bytes that the header declares, None if it is not known.
    """

    def __init__(self, reason: str, at: int = 0, size: int | None = None) -> None:
        super().__init__(reason)
        self.at = at
        self.size = size


class Torn(BatchError):
    """The bytes end within the batch; they may be the beginning of an intact batch."""


class Damaged(BatchError):
    """The bytes are not the beginning of any batch that YAK accepts."""


class UnsupportedCodec(BatchError):
    """The batch is intact, but its records are compressed, and YAK has no decompressor."""


class RecordTooLarge(ValueError):
    """A record does not fit into an empty batch; it was not added."""


@value
class Record:
    """One decoded record; ``offset`` is absolute, ``timestamp_ms`` is -1 if it is not set."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers


def varint(value: int) -> bytes:
    """Encode an int32 or int64 as the shortest zigzag varint."""
    raw = value << 1 if value >= 0 else (-value << 1) - 1
    out = bytearray()
    while raw > 0x7F:
        out.append(raw & 0x7F | 0x80)
        raw >>= 7
    out.append(raw)
    return bytes(out)


DELTAS = tuple(varint(index) for index in range(64 << 7))
"""The varints of 0 to 8191, of one or two bytes: the offset deltas of nearly every batch."""


def encode(
    offset_delta: int,
    timestamp_delta: int,
    key: bytes | None,
    value: bytes | None,
    headers: Headers,
) -> bytes:
    """Encode a record, including its length.

    Raises TypeError for a key or value that is not bytes or None, or a header key that is not str.
    """
    parts = [b"\0", varint(timestamp_delta), varint(offset_delta)]
    parts += _encode_nullable(key, "key")
    parts += _encode_nullable(value, "value")
    parts.append(varint(len(headers)))
    for name, content in headers:
        if not isinstance(name, str):
            raise TypeError(f"a header's key must be str, got {type(name).__name__}")
        coded = name.encode()
        parts += (varint(len(coded)), coded)
        parts += _encode_nullable(content, "header's value")
    body = b"".join(parts)
    return varint(len(body)) + body


def _encode_nullable(content: bytes | None, what: str) -> tuple[bytes, ...]:
    if content is None:
        return (b"\x01",)
    if not isinstance(content, bytes):
        raise TypeError(f"a record's {what} must be bytes or None, got {type(content).__name__}")
    return (varint(len(content)), content)


def ends_within(data: bytes | bytearray | memoryview, pos: int, count: int) -> bool:
    """Return whether ``count`` uncompressed records end within ``data``; only lengths are read.

    The caller has fewer bytes than the header declares. If the batch is torn, the bytes end within
    a record. If all records end before that, or a length is impossible, the header is wrong.
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
                return True  # A length has at most five bytes.
        if raw & 1 or raw >> 1 < RECORD_BYTES_MIN - 1:
            return True  # The length is negative or too small for a record.
        pos += raw >> 1
    return pos <= total
