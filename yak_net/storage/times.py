"""Search of the log by time: the first record with a timestamp (Kafka's ListOffsets).

Timestamps come from producers and need not rise with the offsets. The index has the largest
timestamp before each of its entries, so a search reads the headers of about 32 KiB of the log, and
decodes the batch that has the record.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from yak_core.batch import HEADER_BYTES, Damaged, UnsupportedCodec, parse, read_header, records
from yak_core.ids import Epoch, Offset
from yak_net.storage.log import SegmentLog

SEARCHED_MAX: Final = 1 << 16
"""Batches whose headers one search reads; more are needed only if headers do not match records."""


class TimePosition(NamedTuple):
    """A record by time; ``timestamp_ms`` is None if its batch is compressed: it may be later."""

    offset: Offset
    timestamp_ms: int | None
    epoch: Epoch


def first_since(log: SegmentLog, timestamp_ms: int, end: Offset) -> TimePosition | None:
    """Return the first record below ``end`` whose timestamp is at least ``timestamp_ms``.

    None if there is none. For a compressed batch, it is the first record of the batch. A thread may
    call it while another one appends; the log below ``end`` must not change. Raises BatchError if
    the file is damaged, or its headers do not match its records; OSError.
    """
    base, at = log.index.before_time(timestamp_ms)
    for _ in range(SEARCHED_MAX):
        if base >= end:
            return None
        header = read_header(log.read_bytes(HEADER_BYTES, at), 0, at)
        if header.max_timestamp >= timestamp_ms:
            found = _within(log, at, header.size, timestamp_ms, end)
            if found is not None:
                return found
        base, at = header.end, at + header.size
    raise Damaged(f"timestamps of headers before byte {at} do not match the records", at, 0)


def _within(
    log: SegmentLog, at: int, size: int, timestamp_ms: int, end: Offset
) -> TimePosition | None:
    """Return the first such record of one batch."""
    batch = parse(log.read_bytes(size, at), 0, at)
    try:
        for record in records(batch):
            if record.timestamp_ms >= timestamp_ms and record.offset < end:
                return TimePosition(record.offset, record.timestamp_ms, batch.epoch)
    except UnsupportedCodec:
        return TimePosition(batch.base_offset, None, batch.epoch)
    return None
