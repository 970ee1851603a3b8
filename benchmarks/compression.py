"""Benchmark of compression: the CPU time of clients, and the size of records as sent, by codec.

    python -m benchmarks.compression [--quick] [--rounds N] [--records N]

The values are lines of JSON of about 100 bytes, like those of a web server: repeated names, random
numbers. A batch is filled as a producer fills it, up to 64 KiB as sent. ``encode`` is the work of a
producer for its batches: append, build, compress, and seal. ``decode`` is that of a consumer: check
the CRC, decompress, and make its records. Megabytes are those of the values. ``sent_bytes`` is the
size of a record on the wire and on disk. The peer of each row is the same work without a codec.
"""

from __future__ import annotations

import argparse
import json
import random
from functools import partial
from importlib.util import find_spec
from typing import Final

from benchmarks.common import (
    Measured,
    Measurement,
    Row,
    interleaved,
    parse_options,
    rate,
    show,
    timed,
)
from yak_core.batch import Builder, columns, parse, seal
from yak_net.client.compressing import COMPRESSION_TYPES, Compression
from yak_net.client.consumer.records import consumer_records
from yak_net.compression import plain

BATCH_BYTES: Final = 64 * 1024
REQUEST_BYTES: Final = 1024 * 1024
RECORDS: Final = 100_000
QUICK_RECORDS: Final = 10_000
WALL_MS: Final = 1_700_000_000_000
NONE: Final = "none"
PACKAGES: Final = {"lz4": "lz4", "zstd": "zstandard"}


def text_values(count: int) -> list[bytes]:
    """Return lines of JSON; the same in each run."""
    draw = random.Random(1)
    return [
        json.dumps(
            {
                "time": WALL_MS + number,
                "user": draw.randrange(1_000_000),
                "event": draw.choice(("view", "click", "search", "buy")),
                "path": f"/shop/items/{draw.randrange(5_000)}",
                "took_ms": draw.randrange(1, 400),
            }
        ).encode()
        for number in range(count)
    ]


def encoded(values: list[bytes], name: str) -> list[bytes]:
    """Return the values as the sealed batches of a producer."""
    compression = Compression(name)
    found: list[bytes] = []
    builder = Builder(BATCH_BYTES)
    for value in values:
        if builder.append(value, timestamp_ms=WALL_MS) is None:
            found.append(seal(compression.apply(builder.build())).data)
            builder = Builder(compression.room(BATCH_BYTES, REQUEST_BYTES))
            builder.append(value, timestamp_ms=WALL_MS)
    found.append(seal(compression.apply(builder.build())).data)
    return found


def encode(values: list[bytes], name: str) -> Measured:
    """Measure the work of a producer, in records per CPU second."""

    def work() -> int:
        encoded(values, name)
        return len(values)

    return timed(work)


def decode(batches: list[bytes]) -> Measured:
    """Measure the work of a consumer, in records per CPU second."""

    def work() -> int:
        count = 0
        for data in batches:
            batch = parse(data)
            count += len(list(consumer_records(batch, columns(plain(batch)), 0)))
        return count

    return timed(work)


def measure(count: int, rounds: int) -> list[Row]:
    """Measure all rows."""
    values = text_values(count)
    value_bytes = sum(map(len, values)) / count
    names = [name for name in COMPRESSION_TYPES if find_spec(PACKAGES.get(name, "zlib"))]
    sent = {name: encoded(values, name) for name in names}
    subjects: dict[str, Measurement] = {}
    for name in names:
        subjects[f"encode {name}"] = partial(encode, values, name)
        subjects[f"decode {name}"] = partial(decode, sent[name])
    rates = {name: rate(each) for name, each in interleaved(subjects, rounds).items()}
    rows: list[Row] = []
    for name in COMPRESSION_TYPES:
        setting = f"{name}, text of {value_bytes:.0f} B"
        if name not in names:
            reason = f"{PACKAGES[name]} is not installed; pip install 'yak-log[{name}]'"
            rows.append(Row("encode_records_per_cpu_s", NONE, setting, skipped=reason))
            continue
        figures: dict[str, tuple[float, float]] = {}
        for what in ("encode", "decode"):
            ours, theirs = rates[f"{what} {name}"], rates[f"{what} {NONE}"]
            mb = value_bytes / 1e6
            figures[f"{what}_records_per_cpu_s"] = (ours, theirs)
            figures[f"{what}_mb_per_cpu_s"] = (ours * mb, theirs * mb)
        ours, theirs = (sum(map(len, sent[each])) / count for each in (name, NONE))
        figures["sent_bytes_per_record"] = (ours, theirs)
        for figure, (ours, theirs) in figures.items():
            if name == NONE:
                rows.append(Row(figure, None, setting, ours))
            else:
                rows.append(Row(figure, NONE, setting, ours, theirs))
    return rows


def main() -> None:
    """Measure and print all rows."""
    parser = argparse.ArgumentParser(description="Benchmark of compression.")
    unit = "records of text per round"
    options = parse_options(parser, "records", RECORDS, QUICK_RECORDS, unit)
    show("Compression", measure(options.records, options.rounds))


if __name__ == "__main__":
    main()
