"""Parts of the client commands without a broker: lines, formats, signals."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yak_net.client.cli_consume import ConsumeOptions, ConsumeRun
from yak_net.client.cli_format import formatter, json_line, value_line
from yak_net.client.cli_produce import offsets_text
from yak_net.client.consumer import ConsumerRecord
from yak_net.client.terminal import Interrupts, LineSplitter, LongLine, lines_of, parse_duration

RECORD = ConsumerRecord(5, 1234, b"k", "vé".encode(), (("h", b"\xff"), ("n", None)), 3)
NULLS = ConsumerRecord(6, -1, None, None, (), 3)


@given(st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"x", b"\n")), max_size=8))
def test_lines_do_not_depend_on_how_the_bytes_come(chunks: list[bytes]) -> None:
    """Goal: any chunks give the bytes between newlines. Method: compare with a plain split."""
    splitter = LineSplitter(1000)
    lines = [line for chunk in chunks for line in splitter.feed(chunk)] + splitter.finish()
    wanted = b"".join(chunks).split(b"\n")
    assert lines == (wanted if wanted[-1] else wanted[:-1])


def test_endless_line_is_not_kept() -> None:
    """Goal: of a line that is too long only its size is kept, which is the whole size."""
    splitter = LineSplitter(10)
    assert [splitter.feed(b"y" * 100) for _ in range(50)] == [[]] * 50
    assert splitter.feed(b"z\nnext\n" + b"x" * 10 + b"\n") == [LongLine(5001), b"next", b"x" * 10]
    assert splitter.feed(b"x" * 11) == []
    assert (splitter.finish(), splitter.finish()) == ([LongLine(11)], [])


async def test_lines_come_as_they_are_typed() -> None:
    """Goal: a line is available at its newline; the last one needs none."""

    source, sink = os.pipe()
    sizes: list[int] = []
    lines = lines_of(source, 100, sizes.append)
    os.write(sink, b"one\ntw")
    assert await anext(lines) == [b"one"]
    os.write(sink, b"o\n\nthree")
    assert await anext(lines) == [b"two", b""]
    os.close(sink)
    assert await anext(lines) == [b"three"]
    with pytest.raises(StopAsyncIteration):
        await anext(lines)
    os.close(source)
    assert sum(sizes) == 14


async def test_files_are_read_like_pipes(tmp_path: Path) -> None:
    """Method: a file, an empty file, and one that cannot be read."""
    content = b"".join(b"%d\n" % number for number in range(50_000))
    (tmp_path / "file").write_bytes(content)

    async def lines(path: str) -> list[bytes | LongLine]:
        fd = os.open(path, os.O_RDONLY)
        try:
            return [line async for some in lines_of(fd, 100) for line in some]
        finally:
            os.close(fd)

    assert await lines(str(tmp_path / "file")) == content.split(b"\n")[:-1]
    assert await lines(os.devnull) == []
    with pytest.raises(IsADirectoryError):
        await lines(str(tmp_path))


async def test_first_signal_is_a_request() -> None:
    """Goal: a signal cancels the coroutine, and ``number`` has the signal."""

    before = signal.getsignal(signal.SIGTERM)
    cancelled = asyncio.Event()

    async def work() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def failing() -> None:
        raise ValueError("of the work")

    with Interrupts() as interrupts:
        assert await interrupts.run_until_signal(asyncio.sleep(0))
        with pytest.raises(ValueError, match="of the work"):
            await interrupts.run_until_signal(failing())
        assert interrupts.number == 0
        assert not await interrupts.run_until_signal(work())
        assert cancelled.is_set()
        assert interrupts.number == signal.SIGTERM
        assert interrupts.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    ("word", "seconds"), [("5", 5), ("5s", 5), ("250ms", 0.25), ("1.5 m", 90), (".5h", 1800)]
)
def test_durations(word: str, seconds: float) -> None:
    """Goal: common spellings of a duration."""
    assert parse_duration(word) == pytest.approx(seconds)


@pytest.mark.parametrize("word", ["", "s", "-1", "0", "0s", "5 days", "1e3", "s5", "nan"])
def test_invalid_duration(word: str) -> None:
    """Goal: zero and unreadable durations are refused with an example."""
    with pytest.raises(ValueError, match="250ms"):
        parse_duration(word)


def test_records_as_lines() -> None:
    """Goal: the bytes unchanged, and JSON with all fields."""
    assert value_line(RECORD) == "vé\n".encode()
    assert value_line(NULLS) == b"\n"
    assert json_line(RECORD).endswith(b"}\n")
    assert json.loads(json_line(RECORD)) == {
        "offset": 5,
        "epoch": 3,
        "timestamp_ms": 1234,
        "key": "k",
        "value": "vé",
        "headers": [{"key": "h", "value_b64": "/w=="}, {"key": "n", "value": None}],
    }
    assert json.loads(json_line(NULLS)) == {
        "offset": 6,
        "epoch": 3,
        "timestamp_ms": -1,
        "key": None,
        "value": None,
    }
    assert json_line(RECORD._replace(key=b"a\nb")).count(b"\n") == 1


def test_formats() -> None:
    """Goal: kcat's format letters and escapes, and an error for unknown ones."""
    assert formatter(r"%o %k=%s %e %T 100%%\t\n\q\\")(RECORD) == (
        "5 k=vé 3 1234 100%\t\n\\q\\".encode()
    )
    assert formatter("%k%s")(NULLS) == b""
    assert formatter("é")(NULLS) == "é".encode()
    for form in ("%x", "50%"):
        with pytest.raises(ValueError, match="%o, %e"):
            formatter(form)


def test_places() -> None:
    """Goal: a range with gaps is reported differently from one without."""
    assert offsets_text(0, None) == ""
    assert re.findall(r"\d+", offsets_text(1, (7, 7))) == ["7"]
    whole, with_gaps = offsets_text(61, (0, 60)), offsets_text(51, (0, 60))
    assert re.findall(r"\d+", whole) == re.findall(r"\d+", with_gaps) == ["0", "60"]
    assert whole != with_gaps


async def test_gap_and_step_back_are_reported_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Goal: the first gap and the first step back are reported on standard error."""

    options = ConsumeOptions(("h:1",), "latest", None, False, value_line, None)
    reading = ConsumeRun(options, Interrupts())
    for offset in (3, 4, 7, 6, 6, 9, 20):
        reading.check_offset(offset)
    assert reading.offsets == (3, 20)
    captured = capsys.readouterr()
    assert captured.out == ""
    gap, step_back = captured.err.splitlines()
    assert re.search(r"\b4\b.*\b7\b", gap)
    assert re.search(r"\b7\b.*\b6\b", step_back)
