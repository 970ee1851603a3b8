"""Record batches, what a log is made of; must never be part of a decision about replication.

The front door: `Builder` collects records into a `Batch`, `records` takes them out again; both run
at the clients, outside any node. In between a batch is a handle next to opaque bytes: `seal`ed at
the edge by the producer, `parse`d (the CRC is checked) where bytes come in, `placed` by the leader
that appends it, `stamped` where bytes go out, `scan`ned when a log is recovered. The layout is
Kafka's format v2, byte for byte; `header.py` has the header's, `records.py` that of a record.
"""

from yak_core.batch.builder import Builder, records
from yak_core.batch.header import (
    BATCH_BYTES_MAX,
    HEADER_BYTES,
    Batch,
    carrying,
    of_producer,
    parse,
    placed,
    read_header,
    scan,
    seal,
    stamped,
)
from yak_core.batch.records import (
    BatchError,
    Damaged,
    Headers,
    Record,
    RecordTooLarge,
    Torn,
    UnsupportedCodec,
)

__all__ = [
    "BATCH_BYTES_MAX",
    "HEADER_BYTES",
    "Batch",
    "BatchError",
    "Builder",
    "Damaged",
    "Headers",
    "Record",
    "RecordTooLarge",
    "Torn",
    "UnsupportedCodec",
    "carrying",
    "of_producer",
    "parse",
    "placed",
    "read_header",
    "records",
    "scan",
    "seal",
    "stamped",
]
