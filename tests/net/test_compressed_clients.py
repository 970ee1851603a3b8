"""Compression on real brokers: a leader is killed, commands, and machines without a codec."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from tests.net.brokers import ROOT, BrokerProcess, get
from tests.net.client_commands import PATIENCE_S, one_broker, values, yak
from tests.net.client_tools import FOREVER_MS
from tests.net.log_folders import run
from tests.net.test_client_failover import cluster
from yak_cli import main
from yak_core.batch import Codec, codec_of, records, scan
from yak_net.client.consumer import Consumer
from yak_net.client.errors import UnsupportedCompressionTypeError
from yak_net.client.producer import Producer, Resolved, Sent
from yak_net.compression import LEVELS, plain

__all__ = ["cluster"]
LABELS = [codec.label for codec in LEVELS]
LOG = "00000000000000000000.log"
LINES = [b"line %d of a text that repeats itself, line after line" % n for n in range(2000)]


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment of a Python without the packages of lz4 and zstd."""
    folder = tmp_path_factory.mktemp("without")
    for name in ("lz4", "zstandard"):
        (folder / f"{name}.py").write_text("raise ImportError('not installed here')\n")
    return {"PYTHONPATH": os.pathsep.join((str(folder), str(ROOT)))}


@pytest.fixture(scope="module")
def broker(
    tmp_path_factory: pytest.TempPathFactory, without: dict[str, str]
) -> Iterator[BrokerProcess]:
    """Yield a broker without lz4 and zstd; its log begins with LINES of each codec in turn."""
    with one_broker(tmp_path_factory.mktemp("broker"), env=without, fresh=True) as found:
        asyncio.run(fill(found.url))
        yield found


async def fill(url: str) -> None:
    """Send LINES with each codec, in full batches."""
    for label in LABELS:
        async with Producer(url, compression_type=label, linger_ms=FOREVER_MS) as producer:
            for line in LINES:
                await producer.send(line)


def test_a_broker_without_the_codecs_passes_the_batches_on(broker: BrokerProcess) -> None:
    """Goal: clients that have the codecs read all records; the log has the batches as sent."""
    assert values(broker.url, 0, 3 * len(LINES)) == LINES * 3
    log = (broker.log.parent / "data" / LOG).read_bytes()
    batches = list(scan(log))
    assert sum(batch.size for batch in batches) < sum(map(len, LINES))
    first = [batch for batch in batches if batch.base_offset < 3 * len(LINES)]
    found: dict[str, list[bytes | None]] = {label: [] for label in LABELS}
    for batch in first:
        found[codec_of(batch).label] += [record.value for record in records(plain(batch))]
    assert found == dict.fromkeys(LABELS, LINES)


def test_an_answer_in_json_names_the_extra(broker: BrokerProcess) -> None:
    """Goal: gzip is read; lz4 and zstd are 422 with the extra and the next offset, and no crash."""
    status, body = get(f"{broker.url}/v1/records?offset=0")
    assert (status, body["records"][0]["value"]) == (200, LINES[0].decode())
    for at, label in ((len(LINES), "lz4"), (2 * len(LINES), "zstd")):
        status, body = get(f"{broker.url}/v1/records?offset={at}")
        assert (status, body["error_code"]) == (422, 76)
        assert f"yak-log[{label}]" in body["detail"]
        assert at < body["next_offset"] <= at + len(LINES)
    assert broker.health()["status"] == "ok"


def test_a_consumer_without_the_codec_names_the_extra(
    broker: BrokerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: exit code 1 with the offsets and the extra."""
    monkeypatch.setitem(sys.modules, "lz4.frame", None)
    words = ["consume", "-b", broker.url, "-o", str(len(LINES)), "-e"]
    done = CliRunner().invoke(main, words)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "yak-log[lz4]" in done.stderr
    assert f"offsets {len(LINES)} to" in done.stderr


@pytest.mark.long
def test_a_command_as_a_program_without_the_codecs(
    broker: BrokerProcess, without: dict[str, str]
) -> None:
    """Goal: the records before the first batch that cannot be read, and no traceback."""
    words = ("consume", "-b", broker.url, "-o", str(len(LINES) - 1), "-e")
    done = yak(*words, env=without, fresh=True)
    assert (done.returncode, done.stdout) == (1, LINES[-1] + b"\n")
    assert b"yak-log[lz4]" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_producer_without_the_codec_sends_nothing(
    broker: BrokerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: exit code 1 and the extra, before anything is sent."""
    monkeypatch.setitem(sys.modules, "zstandard", None)
    end = get(f"{broker.url}/v1/offsets")[1]["latest"]
    done = CliRunner().invoke(main, ["produce", "-b", broker.url, "-z", "zstd", "x"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert "yak-log[zstd]" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert get(f"{broker.url}/v1/offsets")[1]["latest"] == end


@pytest.mark.parametrize("words", [("-z", "gzip"), ("-X", "compression.type=gzip")])
def test_the_command_compresses(broker: BrokerProcess, words: tuple[str, ...]) -> None:
    """Goal: lines go in compressed, and come out as they were."""
    log = broker.log.parent / "data" / LOG
    before = log.stat().st_size
    done = yak("produce", "-b", broker.url, *words, stdin=b"\n".join(LINES))
    assert done.returncode == 0, done.stderr
    added = list(scan(log.read_bytes()[before:]))
    packed = sum(batch.count for batch in added if codec_of(batch) is Codec.GZIP)
    assert packed > 0.9 * sum(batch.count for batch in added)  # a batch of one line may not shrink
    out = yak("consume", "-b", broker.url, "-o", str(-len(LINES)), "-e").stdout
    assert out == b"".join(line + b"\n" for line in LINES)


def test_log_commands_read_compressed_records(broker: BrokerProcess) -> None:
    """Goal: records of each codec, as of uncompressed batches; verify reads all of them."""
    code, lines = run("dump", "--records", broker.log.parent / "data")
    assert code == 0
    shown_codecs = {line["codec"] for line in lines if line["kind"] == "batch"}
    assert set(LABELS) <= shown_codecs <= {"none", *LABELS}
    shown = [line["value"] for line in lines if line["kind"] == "record"]
    assert shown[: 3 * len(LINES)] == [line.decode() for line in LINES] * 3
    code, (verdict,) = run("verify", broker.log.parent / "data")
    assert (code, verdict["valid"], verdict["records"]) == (0, True, len(shown))
    assert not [note for note in verdict["notes"] if "yak-log" in note]


def test_log_commands_without_the_codec_say_what_was_not_read(
    broker: BrokerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: a note with the extra, and no problem: header and CRC are right."""
    for module in ("lz4.frame", "zstandard"):
        monkeypatch.setitem(sys.modules, module, None)
    code, lines = run("dump", "--records", broker.log.parent / "data")
    notes = {line["note"] for line in lines if line["kind"] == "note"}
    assert (code, len(notes)) == (0, 2)
    code, (verdict,) = run("verify", broker.log.parent / "data")
    assert (code, verdict["valid"]) == (0, True)
    for extra in ("yak-log[lz4]", "yak-log[zstd]"):
        assert extra in " ".join(notes)
        assert extra in " ".join(verdict["notes"])


async def test_a_reader_goes_on_after_records_that_it_cannot_decompress(
    broker: BrokerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: one error for each batch, with its offsets; all other records are read."""
    monkeypatch.setitem(sys.modules, "zstandard", None)
    start = 2 * len(LINES)
    skipped = 0
    async with asyncio.timeout(PATIENCE_S), Consumer(broker.url, auto_offset_reset=start) as one:
        while await one.position() < 3 * len(LINES):
            with pytest.raises(UnsupportedCompressionTypeError, match="zstd") as caught:
                await one.getone()
            assert caught.value.offset == start + skipped
            skipped = caught.value.next_offset - start
    assert skipped == len(LINES)


@pytest.mark.parametrize("label", ["lz4", pytest.param("zstd", marks=pytest.mark.long),
                                   pytest.param("gzip", marks=pytest.mark.long)])  # fmt: skip
async def test_failover_with_compression(cluster: dict[str, BrokerProcess], label: str) -> None:
    """Goal: idempotent retries of compressed batches: each record once, in order.

    Method: SIGKILL of the leader during sends; the sent batches are many times the limit of
    requests in flight.
    """
    servers = [broker.url for broker in cluster.values()]
    resolved: list[Resolved] = []
    sent: list[Sent] = []
    async with Producer(
        servers, compression_type=label, max_batch_size=1000, on_batch=resolved.append
    ) as producer:
        stop = asyncio.Event()

        async def send() -> None:
            while not stop.is_set():
                for _ in range(20):
                    sent.append(await producer.send(b"number %8d " % len(sent) * 8))
                await asyncio.sleep(0.001)

        async def epoch_beyond(epoch: int) -> int:
            while not resolved or resolved[-1].leader_epoch <= epoch:
                await asyncio.sleep(0.01)
            return resolved[-1].leader_epoch

        sending = asyncio.create_task(send())
        first = await epoch_beyond(0)
        cluster["one"].signal(signal.SIGKILL)
        await epoch_beyond(first)
        stop.set()
        await sending
        await producer.flush()
        assert [(await record).offset for record in sent] == list(range(len(sent)))
    async with Consumer(servers, auto_offset_reset="earliest") as consumer:
        assert await consumer.end_offset() == len(sent)
        got = [await consumer.getone() for _ in range(len(sent))]
    assert [record.value for record in got] == [b"number %8d " % n * 8 for n in range(len(sent))]
    assert len({record.leader_epoch for record in got}) == 2
    data = cluster["two"].log.parent / "two" / LOG
    codecs = [codec_of(batch).label for batch in scan(data.read_bytes())]
    assert codecs.count(label) == len(codecs)
