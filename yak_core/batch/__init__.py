"""Record batches, the entries of a log, in Kafka's format v2.

`Builder` collects records into a `Batch`, and `records` decodes them again; both run in clients,
outside the nodes. Everywhere else a batch is a handle with header fields and opaque bytes:

- the producer `seal`s it: it writes the producer fields and the CRC;
- the receiver `parse`s its bytes and checks the CRC;
- the leader that appends it gives it a position (`placed`);
- the sender writes the position into the bytes (`stamped`);
- recovery `scan`s the batches of a log.

`header.py` describes the layout of the header, `records.py` the layout of a record.
"""

from yak_core.batch.builder import Builder, columns, records
from yak_core.batch.decoding import Columns
from yak_core.batch.header import (
    BATCH_BYTES_MAX,
    HEADER_BYTES,
    Batch,
    parse,
    placed,
    read_header,
    scan,
    seal,
    stamped,
    with_data,
    with_producer,
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
    "Columns",
    "Damaged",
    "Headers",
    "Record",
    "RecordTooLarge",
    "Torn",
    "UnsupportedCodec",
    "columns",
    "parse",
    "placed",
    "read_header",
    "records",
    "scan",
    "seal",
    "stamped",
    "with_data",
    "with_producer",
]
