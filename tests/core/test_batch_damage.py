"""Flipped bits, torn writes and random bytes never yield a different record."""

from __future__ import annotations

import struct

import pytest
from crc32c import crc32c
from hypothesis import strategies as st

from tests.core.budgets import examples
from yak_core.batch import (
    BATCH_BYTES_MAX,
    HEADER_BYTES,
    Batch,
    BatchError,
    Builder,
    Damaged,
    Torn,
    parse,
    placed,
    read_header,
    scan,
    seal,
    stamped,
)
from yak_core.batch.header import RECORDS_MAX
from yak_core.ids import Epoch

T = 1_700_000_000_000


def sealed(*values: bytes, offset: int = 0, epoch: int = 0, sequence: int = 0) -> Batch:
    builder = Builder(bytes_max=1 << 20)
    for value in values:
        builder.append(value, timestamp_ms=T)
    batch = placed(builder.build(), offset, epoch)
    return seal(batch, producer_id=1, producer_epoch=0, base_sequence=sequence)


SMALL = sealed(b"a", b"bc", offset=5, epoch=3)
LOG = b"".join(
    (
        sealed(b"a", b"b", offset=0).data,
        sealed(b"c", offset=2, sequence=2).data,
        sealed(b"d" * 500, b"e", b"f", offset=3, sequence=3).data,
    )
)


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("byte", range(8, 12))
def test_a_flip_in_the_length_is_damage(byte: int) -> None:
    """Goal: the CRC excludes the length, but a shorter one breaks the CRC, a longer the records."""
    for bit in range(8 * byte, 8 * byte + 8):
        with pytest.raises(Damaged):
            parse(flipped(SMALL.data, bit))


def test_every_flip_from_the_magic_on_is_damage() -> None:
    """Goal: the magic is checked by its value, all after it by the CRC."""
    for bit in range(8 * 16, 8 * SMALL.size):
        with pytest.raises(Damaged):
            parse(flipped(SMALL.data, bit))


@pytest.mark.parametrize("byte", [*range(8), *range(12, 16)])
def test_a_flip_in_the_position_changes_only_the_position(byte: int) -> None:
    """Goal: base offset and leader epoch are not covered by the CRC.

    A flip there is undetected here, except for negative values. The records are intact, but the
    position is wrong: a reader of a log compares the offset with the end of the previous batch,
    and the epoch with the epoch index.
    """
    for bit in range(8 * byte, 8 * byte + 8):
        data = flipped(SMALL.data, bit)
        if bit in (7, 8 * 12 + 7):  # the sign bits
            with pytest.raises(Damaged, match="position"):
                parse(data)
            continue
        moved = parse(data)
        assert (moved.base_offset, moved.epoch) != (5, 3)
        assert moved == placed(
            Batch(5, Epoch(3), 2, 1, 0, 0, T, SMALL.size, SMALL.crc, data),
            moved.base_offset,
            moved.epoch,
        )
        assert stamped(placed(moved, 5, 3)) == SMALL.data


def test_torn_at_every_length() -> None:
    """Goal: every prefix of an intact batch is Torn, with the known fields."""
    for have in range(SMALL.size):
        with pytest.raises(Torn) as torn:
            parse(SMALL.data[:have])
        assert torn.value.at == 0
        assert torn.value.size == (None if have < 12 else SMALL.size)
        assert str(have) in str(torn.value)


def test_compressed_batches_are_torn_at_every_length_too() -> None:
    """Goal: compressed bytes are not read as records in the check of lengths."""
    data = bytearray(sealed(b"x" * 50).data)
    data[22] = 4
    data[HEADER_BYTES:] = bytes(len(data) - HEADER_BYTES)
    for have in range(len(data)):
        with pytest.raises(Torn):
            parse(data[:have])


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_any_kind_of_buffer_reads_alike(make: type[bytes] | type[bytearray]) -> None:
    """Goal: any buffer is read without a copy; only the batch's own bytes are kept."""
    assert parse(make(SMALL.data)) == SMALL
    assert isinstance(parse(make(SMALL.data)).data, bytes)
    assert parse(make(b"junk" + SMALL.data + b"junk"), 4) == SMALL
    assert [batch.data for batch in scan(make(SMALL.data * 3))] == [SMALL.data] * 3
    assert read_header(make(b"junk" + SMALL.data[:HEADER_BYTES]), 4).crc == SMALL.crc


def test_parse_of_exactly_one_batch_copies_nothing() -> None:
    """Goal: the common case on the wire."""
    data = stamped(SMALL)
    assert parse(data).data is data


def test_a_position_outside_the_bytes_is_a_value_error() -> None:
    """Goal: a wrong argument is not reported as damage."""
    for at in (-1, 3):
        with pytest.raises(ValueError, match="2 bytes"):
            parse(b"ab", at)


def header(**changed: int) -> bytes:
    """Return SMALL with fields replaced by name and a valid CRC."""
    names = "offset length epoch magic crc attributes last base_time max_time pid pepoch seq count"
    layout = struct.Struct(">qiibIhiqqqhii")
    fields = dict(zip(names.split(), layout.unpack_from(SMALL.data), strict=True)) | changed
    if "crc" not in changed:
        fields["crc"] = crc32c(layout.pack(*fields.values())[21:] + SMALL.data[HEADER_BYTES:])
    return layout.pack(*fields.values()) + SMALL.data[HEADER_BYTES:]


@pytest.mark.parametrize(
    ("changed", "pattern"),
    [
        ({"length": 0}, "got 12"),
        ({"length": -1}, "got 11"),
        ({"length": -(2**31)}, "got -2147483636"),
        ({"length": 49}, "got 61"),
        ({"length": 2**31 - 1}, "got 2147483659"),
        ({"length": BATCH_BYTES_MAX - 11}, "got 16777217"),
        ({"length": BATCH_BYTES_MAX - 12}, "lengths"),
        ({"length": SMALL.size - 13}, "CRC-32C"),
        ({"length": SMALL.size - 11}, "lengths"),
        ({"magic": 1}, "magic must be 2, got 1"),
        ({"crc": 0}, "CRC-32C"),
        ({"count": 0, "last": -1}, "record count .*got 0"),
        ({"count": -1, "last": -2}, "record count .*got -1"),
        ({"count": RECORDS_MAX + 1, "last": RECORDS_MAX}, "record count .*got 1048577"),
        ({"count": 10**9, "last": 10**9 - 1, "attributes": 1}, "record count .*got 1000000000"),
        ({"count": 3, "last": 2}, "3 records"),
        ({"last": 2}, "last offset delta .*got 2"),
        ({"attributes": 5}, "codec 5 is unknown"),
        ({"attributes": 0x40}, "attributes 0x0040"),
        ({"attributes": -(2**15)}, "attributes 0x8000"),
        ({"attributes": 0x10}, "transactional"),
        ({"attributes": 0x20}, "transactional"),
        ({"offset": -1}, "position .*offset -1, epoch 3"),
        ({"offset": 2**63 - 2}, "position"),
        ({"epoch": -2}, "position .*offset 5, epoch -2"),
        ({"base_time": -2}, "timestamps"),
        ({"max_time": -2}, "timestamps"),
        ({"pid": -2}, "producer .*-2/0/0"),
        ({"pepoch": -1}, "producer .*1/-1/0"),
        ({"seq": -1}, "producer .*1/0/-1"),
    ],
)
def test_invalid_fields_with_a_valid_crc_are_damage(changed: dict[str, int], pattern: str) -> None:
    """Goal: each field of a hostile producer is refused before memory is allocated."""
    with pytest.raises(Damaged, match=pattern):
        parse(header(**changed))


def test_batches_of_other_clients_are_accepted() -> None:
    """Goal: without a producer id the other two fields have no meaning, as in Kafka."""
    for pepoch, seq in ((-1, -1), (0, 0), (-1, 0)):
        assert parse(header(pid=-1, pepoch=pepoch, seq=seq)).last_sequence == -1
    assert parse(header(base_time=-1, max_time=-1)).max_timestamp == -1
    assert parse(header(epoch=-1)).epoch == -1


def test_header_is_read_without_its_body_and_checked_without_its_crc() -> None:
    """Goal: 61 bytes are enough for a scanner, and invalid fields are refused there too."""
    assert read_header(SMALL.data[:HEADER_BYTES]).size == SMALL.size
    assert read_header(header(crc=0)).crc == 0
    with pytest.raises(Torn):
        read_header(SMALL.data[: HEADER_BYTES - 1])
    with pytest.raises(Damaged, match="got 0"):
        read_header(header(count=0, last=-1))


def boundaries() -> list[int]:
    ends = [0]
    while ends[-1] < len(LOG):
        ends.append(ends[-1] + read_header(LOG, ends[-1]).size)
    return ends


def intact(data: bytes) -> tuple[list[Batch], BatchError | None]:
    found: list[Batch] = []
    try:
        for batch in scan(data):
            found.append(batch)
    except BatchError as error:
        return found, error
    return found, None


def test_scan_walks_a_log() -> None:
    """Goal: all batches in order with their positions; none in an empty file."""
    found, error = intact(LOG)
    assert error is None
    assert [(batch.base_offset, batch.end) for batch in found] == [(0, 2), (2, 3), (3, 6)]
    assert b"".join(stamped(batch) for batch in found) == LOG
    assert intact(b"") == ([], None)
    assert next(scan(LOG, boundaries()[1])).base_offset == 2


def test_scan_of_a_torn_log_ends_at_the_last_whole_batch() -> None:
    """Goal: recovery keeps exactly the whole batches. Method: truncate at every byte."""
    ends = boundaries()
    for cut in range(len(LOG)):
        found, error = intact(LOG[:cut])
        whole = max(end for end in ends if end <= cut)
        assert len(found) == ends.index(whole)
        if cut == whole:
            assert error is None
        else:
            assert isinstance(error, Torn)
            assert error.at == whole


def test_damage_in_the_middle_is_no_torn_tail() -> None:
    """Goal: F13: whole batches after a damaged one are not truncated as a torn write.

    Method: flip each bit of the first two batches except the positions; a length beyond the end
    of the file could look like a torn write.
    """
    ends = boundaries()
    for index, start in enumerate(ends[:2]):
        for bit in range(8 * start, 8 * ends[index + 1]):
            if bit // 8 - start in (*range(8), *range(12, 16)):
                continue
            found, error = intact(flipped(LOG, bit))
            assert isinstance(error, Damaged)
            assert (len(found), error.at) == (index, start)


def test_a_tail_of_zeros_is_damage() -> None:
    """Goal: zeros at the end are no torn batch; recovery uses the flush checkpoint."""
    for zeros in (12, 17, 100):
        found, error = intact(LOG + bytes(zeros))
        assert isinstance(error, Damaged)
        assert (len(found), error.at) == (3, len(LOG))
    assert isinstance(intact(LOG[:-200] + bytes(200))[1], Damaged)
    for last_records in (8, 16):
        assert isinstance(intact(LOG[:-last_records])[1], Torn)
        assert isinstance(intact(LOG[:-last_records] + bytes(1))[1], Damaged)


@examples(60, 200, st.binary(max_size=300))
def test_garbage_is_torn_or_damaged(data: bytes) -> None:
    """Goal: no other exception, no batch. Method: random bytes."""
    for read in (parse, read_header):
        with pytest.raises(BatchError) as error:
            read(data)
        assert isinstance(error.value, Torn | Damaged)


@examples(50, 100, st.data())
def test_mutated_batches_are_intact_torn_or_damaged(data: st.DataObject) -> None:
    """Goal: the same for changed batches. Method: overwrite, shorten and lengthen a batch."""
    changed = bytearray(SMALL.data)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(changed)))
        changed[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    try:
        batch = parse(changed)
    except (Torn, Damaged):
        return
    assert batch.data[16:] == SMALL.data[16:]


@examples(60, 100, st.binary(min_size=HEADER_BYTES + 7, max_size=200))
def test_garbage_with_a_right_crc_is_a_batch_or_damaged(data: bytes) -> None:
    """Goal: field checks are complete. Method: random header and body; valid length and CRC."""
    changed = bytearray(data)
    changed[8:12] = struct.pack(">i", len(data) - 12)
    changed[16] = 2
    changed[17:21] = struct.pack(">I", crc32c(changed[21:]))
    try:
        batch = parse(changed)
    except Damaged:
        return
    assert batch.count == struct.unpack_from(">i", changed, 57)[0] >= 1
