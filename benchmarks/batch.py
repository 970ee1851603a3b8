"""Benchmark of the record batch format: encode, decode and parse, compared with kafka-python.

    python -m benchmarks.batch [--quick] [--rounds N] [--records N]

Batches have at most 64 KiB. Their records have no key and no headers, and equal timestamps, like
the batches of a producer. ``encode`` calls Builder.append for each record, build, and seal
(including the CRC). ``decode`` reads offset, timestamp and value of each record. ``parse`` is the
work of a broker for a received batch: it checks the header and the CRC and decodes no record. The
peer of encode and decode is kafka-python, an independent library in pure Python; the peer of parse
is the CRC alone.

``consume`` makes the records of a consumer from the columns of a decoded batch. Its peer is the
same code without the comparison of many records at once, and with a ``Record`` for each record in
between. It is measured with values of one length and with values of 60 to 140 bytes.
"""

from __future__ import annotations

import argparse
import random
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib.util import find_spec
from itertools import repeat
from typing import Final
from unittest.mock import patch

from crc32c import crc32c

import yak_core.batch.decoding as decoder
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
from yak_core.batch import Batch, Builder, columns, parse, placed, records, seal, stamped
from yak_net.client.consumer.records import ConsumerRecord, consumer_records

BATCH_BYTES: Final = 64 * 1024
RECORDS: Final = 300_000
QUICK_RECORDS: Final = 30_000
VALUE_BYTES: Final = (100, 1024)
WALL_MS: Final = 1_700_000_000_000
PEER: Final = "kafka-python"


def encoded(value: bytes, count: int) -> list[bytes]:
    """Return ``count`` records as sealed batches."""
    return encoded_values(repeat(value, count))


def encoded_values(values: Iterable[bytes]) -> list[bytes]:
    """Return records with these values as sealed batches."""
    batches: list[bytes] = []
    builder = Builder(bytes_max=BATCH_BYTES)
    sequence = 0
    for value in values:
        if builder.append(value, timestamp_ms=WALL_MS) is None:
            batches.append(_finished(builder, sequence))
            sequence += builder.count
            builder = Builder(bytes_max=BATCH_BYTES)
            builder.append(value, timestamp_ms=WALL_MS)
    batches.append(_finished(builder, sequence))
    return batches


def _finished(builder: Builder, sequence: int) -> bytes:
    sealed = seal(builder.build(), producer_id=1, producer_epoch=0, base_sequence=sequence)
    return stamped(placed(sealed, sequence, 1))


def encode(value: bytes, count: int) -> Measured:
    """Measure encoding, in records per CPU second."""

    def work() -> int:
        encoded(value, count)
        return count

    return timed(work)


def decode(batches: list[bytes]) -> Measured:
    """Measure decoding, in records per CPU second."""
    parsed = [parse(data) for data in batches]

    def work() -> int:
        decoded = 0
        for batch in parsed:
            for record in records(batch):
                assert record.value is not None
                decoded += 1
        return decoded

    return timed(work)


def consume(batches: list[Batch]) -> Measured:
    """Measure the work of a consumer, in records per CPU second."""

    def work() -> int:
        return sum(len(list(consumer_records(batch, columns(batch), 0))) for batch in batches)

    return timed(work)


def consume_one_by_one(batches: list[Batch]) -> Measured:
    """Measure the same without templates and with one more object for each record."""

    def work() -> int:
        count = 0
        for batch in batches:
            found = [
                ConsumerRecord(r.offset, r.timestamp_ms, r.key, r.value, r.headers, batch.epoch)
                for r in records(batch)
            ]
            count += len(found)
        return count

    with patch.object(decoder, "_RUN_MIN", decoder._RUN_MAX << 20):
        return timed(work)


def consume_rows(count: int, rounds: int) -> Iterator[Row]:
    """Measure the rows of ``consume``."""
    draw = random.Random(1)
    settings = {
        "100 B values": [b"x" * 100] * count,
        "60 to 140 B values": [b"x" * draw.randrange(60, 141) for _ in range(count)],
    }
    for setting, values in settings.items():
        batches = [parse(data) for data in encoded_values(values)]
        measured = interleaved(
            {"ours": partial(consume, batches), "peer": partial(consume_one_by_one, batches)},
            rounds,
        )
        ours, peer = rate(measured["ours"]), rate(measured["peer"])
        yield Row("consume_records_per_cpu_s", "record by record", setting, ours, peer)


def check_batches(check: Callable[[bytes], object], batches: list[bytes], times: int) -> Measured:
    """Measure ``check`` on all batches, repeated ``times`` times, in bytes per CPU second."""
    size = sum(len(data) for data in batches)

    def work() -> int:
        for _ in range(times):
            for data in batches:
                check(data)
        return size * times

    return timed(work)


def peer_measurements(value: bytes, count: int, batches: list[bytes]) -> dict[str, Measurement]:
    """Return the same work with kafka-python, or an empty dict if it is not installed."""
    if find_spec("kafka") is None:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

    def new_builder(sequence: int) -> DefaultRecordBatchBuilder:
        return DefaultRecordBatchBuilder(
            magic=2,
            compression_type=0,
            is_transactional=False,
            producer_id=1,
            producer_epoch=0,
            base_sequence=sequence,
            batch_size=BATCH_BYTES,
        )

    def encode_work() -> int:
        builder = new_builder(0)
        index = 0
        for sequence in range(count):
            if builder.append(index, WALL_MS, None, value, []) is None:
                builder.build()
                builder = new_builder(sequence)
                index = 0
                builder.append(index, WALL_MS, None, value, [])
            index += 1
        builder.build()
        return count

    def decode_work() -> int:
        decoded = 0
        for data in batches:
            for record in DefaultRecordBatch(data):
                assert record.value is not None
                decoded += 1
        return decoded

    return {"peer_encode": partial(timed, encode_work), "peer_decode": partial(timed, decode_work)}


def measure(count: int, rounds: int) -> list[Row]:
    """Measure all rows."""
    rows: list[Row] = []
    for size in VALUE_BYTES:
        value = b"x" * size
        number = max(1, count * VALUE_BYTES[0] // size)
        batches = encoded(value, number)
        encode(value, min(number, 1000))  # warm up
        few = batches[: max(1, len(batches) // 10)]
        peers = peer_measurements(value, max(1, number // 10), few)
        measured = interleaved(
            {
                "encode": partial(encode, value, number),
                "decode": partial(decode, batches),
                "parse": partial(check_batches, parse, batches, 10),
                "crc": partial(check_batches, crc32c, batches, 10),
                **peers,
            },
            rounds,
        )
        rates = {name: rate(each) for name, each in measured.items()}
        setting = f"{size} B values, batches of {len(batches[0]) / 1024:.0f} KiB"
        for name in ("encode", "decode"):
            figure = f"{name}_records_per_cpu_s"
            peer_rate = rates.get(f"peer_{name}")
            rows.append(Row(figure, None, setting, rates[name]))
            if peer_rate is None:
                rows.append(Row(figure, PEER, setting, skipped=f"{PEER} is not installed"))
            else:
                rows.append(Row(figure, PEER, setting, rates[name], peer_rate))
        rows.append(
            Row(
                "parse_mb_per_cpu_s",
                "CRC-32C alone",
                setting,
                rates["parse"] / 1e6,
                rates["crc"] / 1e6,
            )
        )
    rows += consume_rows(count, rounds)
    return rows


def main() -> None:
    """Measure and print all rows."""
    parser = argparse.ArgumentParser(description="Benchmark of the record batch format.")
    unit = "records of 100 bytes per round"
    options = parse_options(parser, "records", RECORDS, QUICK_RECORDS, unit)
    show("Record batches", measure(options.records, options.rounds))


if __name__ == "__main__":
    main()
