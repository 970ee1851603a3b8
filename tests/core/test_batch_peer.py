"""Batches exchanged with an independent library, the record classes of kafka-python."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import strategies as st

from tests.core.budgets import examples
from yak_core.batch import Builder, Headers, Record, parse, placed, records, seal, stamped

with warnings.catch_warnings():  # the peer uses an API deprecated in 3.11 and 3.12
    warnings.simplefilter("ignore", DeprecationWarning)
    from kafka.record._crc32c import crc as crc32c_in_python
    from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
    from kafka.record.memory_records import MemoryRecords

T = 1_700_000_000_000
Given = tuple[bytes | None, bytes | None, Headers, int]

content = st.none() | st.binary(max_size=100)
headers = st.lists(st.tuples(st.text(max_size=5), content), max_size=3).map(tuple)
given_records = st.lists(
    st.tuples(content, content, headers, st.integers(T - 10**6, T + 10**6) | st.integers(0, 2**62)),
    min_size=1,
    max_size=80,
)
MANY: list[Given] = [(b"%d" % i, None, (), T + i % 7) for i in range(10_000)]


def ours(given: Sequence[Given], sequence: int = 0) -> bytes:
    builder = Builder(bytes_max=1 << 20)
    for value, key, extra, time in given:
        builder.append(value, key=key, headers=extra, timestamp_ms=time)
    sealed = seal(builder.build(), producer_id=9, producer_epoch=2, base_sequence=sequence)
    return stamped(placed(sealed, 1000, 7))


def theirs(given: Sequence[Given], producer: tuple[int, int, int] = (-1, -1, -1)) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=False,
        producer_id=producer[0],
        producer_epoch=producer[1],
        base_sequence=producer[2],
        batch_size=1 << 20,
    )
    for index, (value, key, extra, time) in enumerate(given):
        assert builder.append(index, time, key, value, list(extra)) is not None
    return bytes(builder.build())


def seen(record: Any) -> Record:
    extra = tuple((name, value) for name, value in record.headers)
    return Record(record.offset, record.timestamp, record.key, record.value, extra)


def expected(given: Sequence[Given], base: int) -> list[Record]:
    return [
        Record(base + index, time, key, value, extra)
        for index, (value, key, extra, time) in enumerate(given)
    ]


def check_theirs_reads_ours(given: Sequence[Given]) -> None:
    peer = DefaultRecordBatch(ours(given, sequence=2**31 - 1))
    assert peer.validate_crc()
    assert (peer.magic, peer.base_offset, peer.leader_epoch) == (2, 1000, 7)
    assert (peer.producer_id, peer.producer_epoch, peer.base_sequence) == (9, 2, 2**31 - 1)
    assert (peer.records_count, peer.next_offset) == (len(given), 1000 + len(given))
    assert (peer.timestamp_type, peer.compression_type) == (0, 0)
    assert not peer.is_transactional
    assert not peer.is_control_batch
    assert peer.first_timestamp == given[0][3]
    assert peer.max_timestamp == max(time for *_, time in given)
    assert peer.last_sequence == parse(ours(given, sequence=2**31 - 1)).last_sequence
    assert [seen(record) for record in peer] == expected(given, 1000)


def check_ours_reads_theirs(given: Sequence[Given]) -> None:
    batch = parse(theirs(given, (4, 1, 8)))
    assert (batch.base_offset, batch.count) == (0, len(given))
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (4, 1, 8)
    assert batch.max_timestamp == max(time for *_, time in given)
    assert list(records(placed(batch, 50, 1))) == expected(given, 50)


@examples(25, 100, given_records)
def test_the_peer_reads_our_batches(given: Sequence[Given]) -> None:
    """Goal: Kafka's tools can read our batches. Method: any records, every field compared."""
    check_theirs_reads_ours(given)


@examples(25, 100, given_records)
def test_we_read_the_peers_batches(given: Sequence[Given]) -> None:
    """Goal: we can read batches of Kafka's clients."""
    check_ours_reads_theirs(given)


def test_ten_thousand_records_cross_both_ways() -> None:
    """Goal: the same with three-byte offset deltas."""
    check_theirs_reads_ours(MANY)
    check_ours_reads_theirs(MANY)


@pytest.mark.parametrize(
    "given",
    [
        [(b"hi", None, (), T)],
        [(None, None, (), T)],
        [(b"", b"", (("", b""), ("h", None)), T), (b"x" * 300, b"k" * 70, (), T - 100)],
    ],
)
def test_both_write_the_same_bytes(given: Sequence[Given]) -> None:
    """Goal: equal bytes, except for the leader epoch, which a producer leaves empty."""
    batch = parse(theirs(given, (9, 2, 0)))
    assert ours(given) == stamped(placed(batch, 1000, 7))


def test_the_crc_is_right_by_an_implementation_in_python() -> None:
    """Goal: the CRC agrees with an implementation that does not share our library."""
    data = ours([(b"hi", b"k", (("h", b"v"),), T)] * 20)
    assert parse(data).crc == crc32c_in_python(data[21:])


def test_the_peer_splits_a_segment_of_ours_into_its_batches() -> None:
    """Goal: consecutive batches are a segment for the peer."""
    first, second = [(b"a", None, (), T)] * 3, [(b"b", None, (), T)]
    log = MemoryRecords(ours(first) + ours(second))
    counts = []
    while log.has_next():
        counts.append(len(list(log.next_batch())))
    assert counts == [3, 1]
