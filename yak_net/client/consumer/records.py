"""The records that a consumer returns, made from the decoded columns of a batch."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice, repeat
from typing import Final, NamedTuple, cast

from yak_core.batch import Batch, Columns, Headers
from yak_core.ids import Offset


class ConsumerRecord(NamedTuple):
    """One record. ``timestamp`` is in ms, -1 if the producer set none."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    leader_epoch: int


_new: Final = tuple.__new__


def consumer_records(batch: Batch, found: Columns, position: Offset) -> Iterator[ConsumerRecord]:
    """Return the records of a batch with an offset of at least ``position``."""
    offsets = count(batch.base_offset)
    columns = (found.timestamps, found.keys, found.values, found.headers)
    skipped = max(0, position - batch.base_offset)
    fields = islice(zip(offsets, *columns, repeat(batch.epoch), strict=False), skipped, None)
    # A call of ConsumerRecord runs bytecode; tuple.__new__ does not, so this takes a third.
    records = map(_new, repeat(ConsumerRecord), fields)
    return cast("Iterator[ConsumerRecord]", records)
