"""The log of a process: every kind of broken output, repeated lines, and hostile values."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog

from tests.net.brokers import until
from yak_net.runtime.log_limit import KEYS_MAX, WARNINGS_MAX, RepeatLimit
from yak_net.runtime.log_sink import TEXTS_MAX, LogSink
from yak_net.runtime.logs import ProcessLog


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """Yield the two ends of a pipe; the test may close them."""
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            try:
                os.close(end)
            except OSError:
                assert True, "closed by the test"


def dropped(sink: LogSink, count: int) -> None:
    """Wait until the sink has dropped this many lines."""
    until(lambda: sink.dropped == count, f"{count} dropped lines, found {sink.dropped}")


def test_text_is_written_in_order(tmp_path: Path) -> None:
    """Goal: all that was queued is in the file after the end, also without line ends."""
    with (tmp_path / "log").open("wb") as file:
        sink = LogSink(file.fileno())
        for number in range(100):
            print(number, file=sink)
        print("no line end", end="", file=sink)
        sink.finish()
    text = (tmp_path / "log").read_text()
    assert text == "".join(f"{number}\n" for number in range(100)) + "no line end"
    assert sink.dropped == 0


def test_closed_pipe_drops_and_counts_lines() -> None:
    """Goal: no reader, no exception; each line is counted."""
    with pipe() as (reading, writing):
        os.close(reading)
        sink = LogSink(writing)
        for _ in range(7):
            print("a line without a reader", file=sink)
        dropped(sink, 7)
        sink.finish()


def test_full_device_drops_lines_and_its_return_is_reported(tmp_path: Path) -> None:
    """Method: /dev/full; then the same descriptor is a file with space."""
    with Path("/dev/full").open("wb") as full, (tmp_path / "log").open("wb") as file:
        sink = LogSink(full.fileno())
        print("a\nb", file=sink)
        dropped(sink, 2)
        os.dup2(file.fileno(), full.fileno())
        print("c", file=sink)
        sink.finish()
    assert (tmp_path / "log").read_text() == "log lines dropped count=2\nc\n"


@pytest.mark.parametrize("blocking", [True, False])
def test_paused_reader_blocks_no_writer(blocking: bool) -> None:
    """Goal: with a full pipe the queue is bounded; when the reader continues, so does the log."""
    with pipe() as (reading, writing):
        os.set_blocking(writing, blocking)
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
        sink = LogSink(writing)
        for _ in range(2 * TEXTS_MAX):
            sink.write("x" * 99 + "\n")
        assert TEXTS_MAX - 100 <= sink.dropped <= TEXTS_MAX
        read = b""
        while read.count(b"x\n") < 2 * TEXTS_MAX - sink.dropped:
            read += os.read(reading, 1 << 16)
        print("last", file=sink)
        while not read.endswith(b"last\n"):
            read += os.read(reading, 1 << 16)
        counts = re.findall(rb"log lines dropped count=(\d+)\n", read)
        assert sum(map(int, counts)) == sink.dropped
        assert set(read.splitlines()) <= {b"x" * 99, b"last", *(_report(each) for each in counts)}
        sink.finish()


def _report(count: bytes) -> bytes:
    return b"log lines dropped count=" + count


def test_the_end_does_not_wait_for_a_paused_reader() -> None:
    """Goal: a process ends although its log has no reader."""
    with pipe() as (_, writing):
        os.set_blocking(writing, False)
        sink = LogSink(writing)
        sink.write("x" * 10_000)
        for _ in range(100):
            sink.write("x" * 10_000 + "\n")
        sink.finish(within_s=0.1)
        before = sink.dropped
        sink.write("late\n")
        assert sink.dropped == before + 1


def test_no_descriptor_drops_all() -> None:
    """Goal: a process without standard error runs."""
    sink = LogSink(None)
    print("a", file=sink)
    dropped(sink, 1)
    sink.finish()
    assert not sink.isatty()
    with pytest.raises(OSError, match="descriptor"):
        sink.fileno()


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_repeated_lines_are_counted() -> None:
    """Goal: once in a second, then the number of repetitions, with or without a next line."""
    clock = Clock()
    limit = RepeatLimit(clock)
    line = {"event": "link failed", "level": "info", "peer": "n2"}
    assert limit.admit(dict(line)) == line
    assert [limit.admit(dict(line)) for _ in range(5)] == [None] * 5
    assert limit.admit({**line, "peer": "n3"}) == {**line, "peer": "n3"}
    clock.now = 1.0
    assert limit.admit(dict(line)) == {**line, "repeated": 5}
    assert limit.admit(dict(line)) is None
    assert limit.take_due() == []
    clock.now = 2.5
    assert limit.take_due() == [{**line, "repeated": 1}]
    assert limit.take_due() == []
    assert limit.admit(dict(line)) is None, "the line with the count was less than a second ago"
    clock.now = 4.5
    assert limit.take_due() == [{**line, "repeated": 1}]
    clock.now = 9.0
    assert limit.take_due() == []
    assert limit.admit(dict(line)) == line


def test_warnings_of_one_event_are_limited_whatever_their_fields_are() -> None:
    """Goal: a peer that varies its garbage cannot fill the disk; notes are not limited."""
    clock = Clock()
    limit = RepeatLimit(clock)

    def admitted(level: str) -> int:
        lines = ({"event": "frame", "level": level, "reason": str(n)} for n in range(3_000))
        return sum(limit.admit(line) is not None for line in lines)

    assert admitted("warning") == WARNINGS_MAX
    assert admitted("info") == 3_000
    clock.now = 1.5
    assert limit.take_due() == [
        {"event": "frame", "level": "warning", "more": 3_000 - WARNINGS_MAX}
    ]
    assert len(limit._lines) <= KEYS_MAX


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Log to a file; afterwards, the file has all lines."""
    before = (structlog.get_config(), logging.root.handlers[:], logging.root.level, sys.stderr)
    with path.open("wb") as file:
        output = ProcessLog(file.fileno())
        output.install()
        try:
            yield
        finally:
            output.sink.finish()
            config, logging.root.handlers[:], logging.root.level, sys.stderr = before
            structlog.configure(**config)


def test_values_cannot_forge_or_break_a_line(tmp_path: Path) -> None:
    """Goal: one line for each call: control characters, lone surrogates, long and broken values."""

    class Broken:
        def __str__(self) -> str:
            raise ValueError("no text")

        __repr__ = __str__

    with logging_to(tmp_path / "log"):
        log = structlog.get_logger("test").bind()
        forged = {"name": "n1\nforged", "escape": "\x1b[2J", "bidi": "\u202e", "half": "\ud800"}
        log.warning("refused", **forged)
        log.warning("long", name="x" * 100_000)
        log.warning("broken", name=Broken())
    refused, long, broken = (tmp_path / "log").read_text().splitlines()
    assert r"n1\nforged" in refused
    assert r"\x1b[2J" in refused
    assert r"\u202e" in refused
    assert r"\ud800" in refused
    assert len(long) < 1_000
    assert "broken" in broken


def test_other_output_goes_to_the_log(tmp_path: Path) -> None:
    """Goal: Python's logging and print() go to the sink; errors of the system have one line."""
    with logging_to(tmp_path / "log"):
        try:
            raise ConnectionResetError("gone")
        except ConnectionResetError:
            logging.getLogger("aiohttp.server").exception("Error handling request from %s", "n2")
        print("printed", file=sys.stderr)
    text = (tmp_path / "log").read_text()
    assert "Error handling request from n2" in text
    assert "ConnectionResetError: gone" in text
    assert "Traceback" not in text
    assert text.endswith("printed\n")
