"""The commands when something is amiss: nobody reads, the log is empty, the broker is gone."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import struct
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.net.brokers import BrokerProcess, until
from tests.net.client_commands import numbers, one_broker, running, send, yak
from tests.net.forked import Forked

PIPE_BYTES = 4096
"""The smallest that a pipe can be made; it is full as soon as a command writes more."""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    """A broker of this test's own, with an empty log."""
    with one_broker(tmp_path) as broker:
        yield broker


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """A broker that tests share which do not harm it; its log has many lines."""
    with one_broker(tmp_path_factory.mktemp("broker")) as broker:
        send(broker.url, *[b"line"] * 20_000)
        yield broker


@pytest.fixture
def at(shared: BrokerProcess) -> str:
    """The address of the shared broker."""
    return shared.url


def waiting_in(pipe: int) -> int:
    """How many bytes nobody has read yet."""
    found = fcntl.ioctl(pipe, termios.FIONREAD, struct.pack("i", 0))
    return int(struct.unpack("i", found)[0])


def narrow(process: Forked) -> int:
    """Make the pipe behind a command's output small; its descriptor."""
    fcntl.fcntl(process.stdout.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return process.stdout.fileno()


def test_end_of_an_empty_log(broker: BrokerProcess) -> None:
    """Goal: -e stops where there is nothing, wherever it begins."""
    for words in (("-e",), ("-o", "-5", "-e")):
        done = yak("consume", "-b", broker.url, *words)
        assert (done.returncode, done.stdout, numbers(done.stderr)) == (0, b"", [0])


def test_nobody_reads_any_more(at: str) -> None:
    """Goal: a reader that goes away ends the command quietly, as head does."""
    with running("consume", "-b", at, "--from-beginning") as process:
        narrow(process)
        assert process.stdout.readline() == b"line\n"
        process.stdout.close()
        assert process.wait(30) == 0
        assert process.stderr.read() == b""


def test_rows_that_nobody_reads_stop_no_records(at: str) -> None:
    """Goal: yak produce --json goes on without its reader; the records matter more."""
    with running("produce", "-b", at, "--json") as process:
        process.stdin.write(b"one\n")
        process.stdin.flush()
        first = json.loads(process.stdout.readline())["offset"]
        process.stdout.close()
        process.stdin.write(b"two\nthree\n")
        process.stdin.close()
        assert process.wait(30) == 0
        assert numbers(process.stderr.read()) == [3, first, first + 2]


def test_interrupt_while_nobody_reads(at: str) -> None:
    """Goal: Ctrl-C ends a command whose output is stuck; method: a full pipe."""
    with running("consume", "-b", at, "--from-beginning", "-e") as process:
        pipe = narrow(process)
        until(lambda: waiting_in(pipe) >= PIPE_BYTES, "the pipe is full")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        message = process.stderr.read()
        assert (len(message.splitlines()), len(numbers(message)) >= 1) == (1, True)


def test_disk_that_is_full(at: str) -> None:
    """Goal: output that cannot be written is exit code 1 with the reason."""
    with Path("/dev/full").open("wb") as full:
        with running("consume", "-b", at, "--from-beginning", "-e", stdout=full) as process:
            assert process.wait(30) == 1
            assert os.strerror(errno.ENOSPC).encode() in process.stderr.read()


def test_broker_that_is_gone(broker: BrokerProcess) -> None:
    """Goal: exit code 1 and one sentence that counts; what is unknown is called so."""
    with running("produce", "-b", broker.url, "--json", "--timeout", "1s") as process:
        process.stdin.write(b"one\ntwo\n")
        process.stdin.flush()
        for _ in range(2):
            assert json.loads(process.stdout.readline())["outcome"] == "written"
        broker.close()
        process.stdin.write(b"three\n")
        process.stdin.flush()
        # The input stays open: that it failed is said as soon as it is known.
        row = json.loads(process.stdout.readline())
        assert row["error"] == "REQUEST_TIMED_OUT"
        assert row["outcome"] == "unknown"
        assert process.wait(30) == 1
        message = process.stderr.read()
        assert numbers(message)[:4] == [2, 0, 1, 1]
        assert (len(message.splitlines()), b"unknown" in message) == (1, True)


@pytest.mark.parametrize("command", ["produce", "consume"])
def test_interrupt_while_the_broker_stands_still(shared: BrokerProcess, command: str) -> None:
    """Goal: Ctrl-C does not wait for a broker; method: one that is stopped with SIGSTOP."""
    words = {"produce": ("--json",), "consume": ("--from-beginning",)}[command]
    with running(command, "-b", shared.url, *words) as process:
        process.stdin.write(b"one\n")
        process.stdin.flush()
        assert process.stdout.readline()
        shared.signal(signal.SIGSTOP)
        try:
            process.stdin.write(b"two\n")
            process.stdin.flush()
            process.send_signal(signal.SIGINT)
            # A second for what was sent, and one to close connections that nobody answers.
            assert process.wait(8) == (130 if command == "produce" else 0)
        finally:
            shared.signal(signal.SIGCONT)


def test_output_is_whole_when_it_is_slow(at: str) -> None:
    """Goal: a reader that lags gets every byte; method: a small pipe, read in small pieces."""
    lines = [b"%d %s" % (number, b"." * 100) for number in range(3000)]
    first = send(at, *lines)
    with running("consume", "-b", at, "-o", str(first), "-e") as process:
        pipe = narrow(process)
        got = bytearray()
        while piece := os.read(pipe, 1000):
            got += piece
        assert bytes(got) == b"\n".join(lines) + b"\n"
        assert process.wait(30) == 0
