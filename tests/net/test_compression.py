"""The codecs: round trips, other clients' batches, damaged and huge streams, missing packages."""

from __future__ import annotations

import re
import sys
import tomllib
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import lz4.frame
import pytest
import zstandard
from hypothesis import strategies as st

from tests.core.budgets import examples
from tests.net.brokers import ROOT
from yak_core.batch import (
    Batch,
    Builder,
    Codec,
    Damaged,
    Record,
    UnsupportedCodec,
    codec_of,
    compressed,
    parse,
    placed,
    records,
    seal,
    stamped,
)
from yak_net import compression
from yak_net.client.cli import CODECS
from yak_net.client.compressing import COMPRESSION_TYPES, Compression
from yak_net.compression import (
    BROKER_SECTION_BYTES_MAX,
    LEVELS,
    SECTION_BYTES_MAX,
    MissingExtra,
    compressor,
    decompress,
    plain,
    plain_in_broker,
)

with warnings.catch_warnings():  # the peer uses an API deprecated in 3.11 and 3.12
    warnings.simplefilter("ignore", DeprecationWarning)
    from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

T = 1_700_000_000_000
SAMPLES = Path(__file__).with_name("samples") / "compressed"
OURS = tuple(LEVELS)
MIB = 1 << 20

each_codec = pytest.mark.parametrize("codec", OURS, ids=[codec.label for codec in OURS])
content = st.none() | st.binary(max_size=100) | st.just(b"again and again " * 20)
headers = st.lists(st.tuples(st.text(max_size=5), content), max_size=2).map(tuple)
given_records = st.lists(
    st.tuples(content, content, headers, st.integers(T, T + 9)), min_size=1, max_size=60
)
levels = st.one_of(
    st.tuples(st.just(Codec.GZIP), st.none() | st.integers(*LEVELS[Codec.GZIP])),
    st.tuples(st.just(Codec.LZ4), st.none() | st.integers(*LEVELS[Codec.LZ4])),
    st.tuples(st.just(Codec.ZSTD), st.none() | st.integers(-7, 12)),
)


def built(given: list[tuple[bytes | None, bytes | None, object, int]]) -> Batch:
    builder = Builder(MIB)
    for value, key, extra, time in given:
        builder.append(value, key=key, headers=extra, timestamp_ms=time)  # type: ignore[arg-type]
    return builder.build()


def text_batch(count: int = 200) -> Batch:
    return built([(b"line %d of a text" % n, None, (), T + n) for n in range(count)])


def packed(codec: Codec, section: bytes) -> memoryview:
    return memoryview(compressor(codec)(memoryview(section)))


@examples(20, 400, given_records, levels)
def test_any_records_come_back(given: list[object], choice: tuple[Codec, int | None]) -> None:
    """Goal: an exact round trip for each codec and level. Method: seal, parse, decompress."""
    codec, level = choice
    batch = built(given)  # type: ignore[arg-type]
    sent = parse(seal(compressed(batch, codec, compressor(codec, level))).data)
    assert sent.size <= batch.size
    assert (codec_of(sent) is codec) == (sent.size < batch.size)
    assert list(records(plain(sent))) == list(records(batch))


@each_codec
def test_lowest_and_highest_level(codec: Codec) -> None:
    """Goal: the levels at both ends work, and those beyond are refused with the range."""
    lowest, highest = LEVELS[codec]
    section = text_batch().data[61:]
    for level in (lowest, highest):
        small = compressor(codec, level)(memoryview(section))
        assert decompress(codec, memoryview(small)) == section
    for level in (lowest - 1, highest + 1):
        with pytest.raises(ValueError, match=f"{codec.label} .*{lowest} and {highest}.* {level}$"):
            compressor(codec, level)


@each_codec
def test_a_level_has_an_effect(codec: Codec) -> None:
    """Goal: a level reaches the library: the sizes differ."""
    section = memoryview(text_batch(5000).data[61:])
    sizes = {len(compressor(codec, level)(section)) for level in (1, 9)}
    assert len(sizes) == 2


# -- other clients -------------------------------------------------------------------------------


def sample(index: int) -> Record:
    """Return a record of the samples, by their README."""
    value = None if index == 50 else b"record %d of a sample that repeats itself" % index
    key = None if index % 2 else b"user-%d" % (index % 7)
    extra = (("trace", b"%d" % index),) if index % 10 == 0 else ()
    return Record(index, T + index, key, value, extra)


@each_codec
def test_we_read_batches_of_aiokafka(codec: Codec) -> None:
    """Goal: streams of another implementation of each codec are read (samples/compressed)."""
    batch = parse((SAMPLES / f"{codec.label}.batch").read_bytes())
    assert (codec_of(batch), batch.producer_id, batch.base_sequence) == (codec, 4, 8)
    assert list(records(plain(batch))) == [sample(index) for index in range(100)]


def test_snappy_passes_through_but_is_not_read() -> None:
    """Goal: a batch with Kafka's fourth codec is intact for a broker; readers name the codec."""
    data = (SAMPLES / "snappy.batch").read_bytes()
    batch = parse(data)
    assert (codec_of(batch), stamped(batch)) == (Codec.SNAPPY, data)
    for reader in (plain, plain_in_broker):
        with pytest.raises(UnsupportedCodec, match="snappy"):
            reader(batch)


@each_codec
def test_kafka_python_reads_our_batches(codec: Codec) -> None:
    """Goal: Kafka's clients can read our compressed batches."""
    batch = text_batch()
    small = seal(compressed(batch, codec, compressor(codec)), producer_id=9, producer_epoch=2,
                 base_sequence=5)  # fmt: skip
    assert small.size < batch.size / 2
    peer = DefaultRecordBatch(stamped(placed(small, 1000, 7)))
    assert peer.validate_crc()
    assert (peer.compression_type, peer.base_offset, peer.records_count) == (codec, 1000, 200)
    read = [(record.offset, record.timestamp, record.value) for record in peer]
    assert read == [(r.offset, r.timestamp_ms, r.value) for r in records(placed(batch, 1000, 7))]


@each_codec
def test_we_read_batches_of_kafka_python(codec: Codec) -> None:
    """Goal: we can read compressed batches of Kafka's clients."""
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=int(codec), is_transactional=False, producer_id=-1,
        producer_epoch=-1, base_sequence=-1, batch_size=MIB,
    )  # fmt: skip
    for index in range(100):
        assert builder.append(index, T, b"k", b"value %d" % index, []) is not None
    batch = parse(bytes(builder.build()))
    assert codec_of(batch) is codec
    assert [r.value for r in records(plain(batch))] == [b"value %d" % n for n in range(100)]


def test_lz4_frames_are_such_that_kafka_reads_them() -> None:
    """Goal: blocks are independent, which Kafka requires, also in a batch of several blocks."""
    info = lz4.frame.get_frame_info(bytes(packed(Codec.LZ4, b"text " * 100_000)))
    assert info["block_linked"] is False
    assert info["block_size"] == 64 * 1024


def test_linked_blocks_and_checksums_are_read() -> None:
    """Goal: frames with other options of the format are read, too."""
    section = b"some text " * 30_000
    linked = lz4.frame.compress(section, block_linked=True, content_checksum=True)
    assert decompress(Codec.LZ4, memoryview(linked)) == section
    streamed = zstandard.ZstdCompressor(write_checksum=True, write_content_size=False)
    assert decompress(Codec.ZSTD, memoryview(streamed.compress(section))) == section


# -- damage and size -----------------------------------------------------------------------------


@each_codec
def test_a_damaged_stream_is_an_error_at_every_length(codec: Codec) -> None:
    """Goal: never a hang, never a part. Method: each prefix, extra bytes, no stream."""
    section = text_batch().data[61:]
    whole = packed(codec, section)
    for have in range(len(whole)):
        with pytest.raises(ValueError, match="too early"):
            decompress(codec, whole[:have])
    for extra in (b"x", whole, bytes(100_000)):
        with pytest.raises(ValueError, match="extra bytes"):
            decompress(codec, memoryview(bytes(whole) + bytes(extra)))
    with pytest.raises(ValueError, match=f"the {codec.label} stream is damaged"):
        decompress(codec, memoryview(b"\xff" * 100))


@examples(60, 600, st.sampled_from(OURS), st.data())
def test_a_changed_stream_is_read_or_an_error(codec: Codec, data: st.DataObject) -> None:
    """Goal: no other exception, and no more bytes than the limit."""
    whole = bytearray(packed(codec, text_batch(30).data[61:]))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    try:
        found = decompress(codec, memoryview(bytes(whole)), bytes_max=10_000)
    except ValueError:
        return
    assert len(found) <= 10_000


BOMBS: dict[Codec, Callable[[int], bytes]] = {
    Codec.GZIP: lambda size: zlib.compress(bytes(size), 9, 31),
    Codec.LZ4: lambda size: lz4.frame.compress(bytes(size), block_size=7),
    Codec.ZSTD: lambda size: zstandard.ZstdCompressor(19).compress(bytes(size)),
}


@each_codec
def test_a_bomb_is_refused_in_bounded_memory(codec: Codec) -> None:
    """Goal: a small batch cannot fill the memory. Method: 64 MiB of zeros, memory is traced.

    Up to 18 MiB of one piece, twice while it is made, come on top of the limit.
    """
    bomb = memoryview(BOMBS[codec](64 * MIB))
    assert len(bomb) < 1.1 * MIB
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=f"more than {8 * MIB} bytes"):
            decompress(codec, bomb, bytes_max=8 * MIB)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 * MIB


@each_codec
def test_the_limit_is_exact(codec: Codec) -> None:
    """Goal: as many bytes as the limit pass, one more does not."""
    whole = packed(codec, b"ab" * 50_000)
    assert len(decompress(codec, whole, bytes_max=100_000)) == 100_000
    with pytest.raises(ValueError, match="more than 99999 bytes"):
        decompress(codec, whole, bytes_max=99_999)


@each_codec
def test_clients_accept_more_than_brokers(codec: Codec) -> None:
    """Goal: the limits of both sides, and the error names the batch."""
    assert BROKER_SECTION_BYTES_MAX < SECTION_BYTES_MAX
    bomb = BOMBS[codec](BROKER_SECTION_BYTES_MAX + 1)
    one = Builder(MIB)
    one.append(bytes(MIB - 100), timestamp_ms=T)
    batch = seal(compressed(one.build(), codec, lambda _: bomb))
    with pytest.raises(Damaged, match=rf"\[0, 1\).*more than {BROKER_SECTION_BYTES_MAX} bytes"):
        plain_in_broker(batch)
    assert plain(batch).size > BROKER_SECTION_BYTES_MAX


# -- missing packages ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codec", "module", "extra"),
    [(Codec.LZ4, "lz4.frame", "lz4"), (Codec.ZSTD, "zstandard", "zstd")],
)
def test_a_missing_package_is_one_sentence_with_its_extra(
    codec: Codec, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: producer and readers name the extra; gzip works all the same."""
    small = seal(compressed(text_batch(), codec, compressor(codec)))
    monkeypatch.setitem(sys.modules, module, None)
    package = module.partition(".")[0]
    sentence = rf"{codec.label} needs the package {package}.*'yak-log\[{extra}\]'$"
    with pytest.raises(MissingExtra, match=sentence):
        Compression(codec.label)
    with pytest.raises(UnsupportedCodec, match=sentence) as caught:
        plain(small)
    assert "; " not in str(caught.value)  # the part before "; " is what clients print
    batch = compressed(text_batch(), Codec.GZIP, compressor(Codec.GZIP))
    assert len(list(records(plain(batch)))) == 200


def test_each_package_is_in_its_extra_and_in_both() -> None:
    """Goal: pip install of the named extra brings the package; `compression` brings all."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    for module, extra in compression._PACKAGES.values():
        assert re.split(r"[<>=]", extras[extra][0])[0] == module.partition(".")[0]
        assert extra in re.findall(r"\w+", extras["compression"][0])
    required = {re.split(r"[\[<>=]", each)[0] for each in project["dependencies"]}
    assert not required & {"lz4", "zstandard"}


def test_the_command_line_has_the_codecs_of_the_producer() -> None:
    """Goal: both lists are equal; the command line does not import the codecs."""
    assert CODECS == COMPRESSION_TYPES


# -- the size of batches -------------------------------------------------------------------------


def test_batches_grow_until_they_have_their_size_as_sent() -> None:
    """Goal: room follows the ratio, at most up to the limit, and shrinks at once."""
    one = Compression("gzip")
    assert one.room(1000, 5000) == 1000
    for _ in range(40):
        one.apply(text_batch())
    assert 0.1 < one.ratio < 0.5
    assert one.room(1000, 100_000) == round(1000 / one.ratio)
    assert one.room(1000, 1500) == 1500
    assert one.room(1000, 900) == 1000
    tiny = built([(b"x", None, (), T)])
    assert one.apply(tiny) is tiny
    assert one.ratio == 1


def test_without_a_codec_nothing_changes() -> None:
    """Goal: the batch itself is sent, and has its size."""
    for name in (None, "none"):
        one = Compression(name)
        batch = text_batch()
        assert one.apply(batch) is batch
        assert one.room(1000, 5000) == 1000
