"""The commands with failures: blocked output, an empty log, an ended broker."""

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
"""The smallest size of a pipe: a command that writes more blocks."""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    """Yield a broker for one test, with an empty log."""
    with one_broker(tmp_path) as broker:
        yield broker


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """Yield a broker with many records, shared by tests that do not stop it."""
    with one_broker(tmp_path_factory.mktemp("broker")) as broker:
        send(broker.url, *[b"line"] * 20_000)
        yield broker


@pytest.fixture
def at(shared: BrokerProcess) -> str:
    """Return the address of the shared broker."""
    return shared.url


def waiting_in(pipe: int) -> int:
    """Return the number of unread bytes."""
    found = fcntl.ioctl(pipe, termios.FIONREAD, struct.pack("i", 0))
    return int(struct.unpack("i", found)[0])


def narrow(process: Forked) -> int:
    """Make the pipe of a command's output small; return its descriptor."""
    fcntl.fcntl(process.stdout.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return process.stdout.fileno()


def test_end_of_an_empty_log(broker: BrokerProcess) -> None:
    """Goal: -e stops at once in an empty log, from any start."""
    for words in (("-e",), ("-o", "-5", "-e")):
        done = yak("consume", "-b", broker.url, *words)
        assert (done.returncode, done.stdout, numbers(done.stderr)) == (0, b"", [0])


def test_closed_output_ends_the_consumer(at: str) -> None:
    """Goal: the command ends with exit code 0 when its output is closed, as by head."""
    with running("consume", "-b", at, "--from-beginning") as process:
        narrow(process)
        assert process.stdout.readline() == b"line\n"
        process.stdout.close()
        assert process.wait(30) == 0
        assert process.stderr.read() == b""


def test_closed_output_does_not_stop_the_producer(at: str) -> None:
    """Goal: yak produce --json sends all records after its output was closed."""
    with running("produce", "-b", at, "--json") as process:
        process.stdin.write(b"one\n")
        process.stdin.flush()
        first = json.loads(process.stdout.readline())["offset"]
        process.stdout.close()
        process.stdin.write(b"two\nthree\n")
        process.stdin.close()
        assert process.wait(30) == 0
        assert numbers(process.stderr.read()) == [3, first, first + 2]


def test_interrupt_with_a_full_pipe(at: str) -> None:
    """Goal: Ctrl-C ends a command that is blocked on its output."""
    with running("consume", "-b", at, "--from-beginning", "-e") as process:
        pipe = narrow(process)
        until(lambda: waiting_in(pipe) >= PIPE_BYTES, "the pipe is full")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        message = process.stderr.read()
        assert (len(message.splitlines()), len(numbers(message)) >= 1) == (1, True)


def test_output_to_a_full_disk(at: str) -> None:
    """Goal: exit code 1 with the reason."""
    with Path("/dev/full").open("wb") as full:
        with running("consume", "-b", at, "--from-beginning", "-e", stdout=full) as process:
            assert process.wait(30) == 1
            assert os.strerror(errno.ENOSPC).encode() in process.stderr.read()


def test_killed_broker(broker: BrokerProcess) -> None:
    """Goal: exit code 1 and one message with the count of each outcome.

    The record did not leave, unless the command had not yet seen the end of the connection.
    """
    with running("produce", "-b", broker.url, "--json", "--timeout", "1s") as process:
        process.stdin.write(b"one\ntwo\n")
        process.stdin.flush()
        for _ in range(2):
            assert json.loads(process.stdout.readline())["outcome"] == "written"
        broker.close()
        process.stdin.write(b"three\n")
        process.stdin.flush()
        # The input stays open: a failure is reported at once.
        row = json.loads(process.stdout.readline())
        assert row["error"] == "REQUEST_TIMED_OUT"
        assert row["outcome"] in ("not_written", "unknown")
        assert process.wait(30) == 1
        message = process.stderr.read()
        assert numbers(message)[:4] == [2, 0, 1, 1]
        counted = row["outcome"].replace("_", " ").encode()
        assert (len(message.splitlines()), b"1 " + counted in message) == (1, True)


@pytest.mark.parametrize("command", ["produce", "consume"])
def test_interrupt_with_a_stopped_broker(shared: BrokerProcess, command: str) -> None:
    """Goal: Ctrl-C does not wait for the broker. Method: SIGSTOP."""
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
            # One second for the records in flight, and one to close dead connections.
            assert process.wait(8) == (130 if command == "produce" else 0)
        finally:
            shared.signal(signal.SIGCONT)


def test_output_is_whole_when_it_is_slow(at: str) -> None:
    """Goal: a slow reader gets every byte. Method: a small pipe, read in small pieces."""
    lines = [b"%d %s" % (number, b"." * 100) for number in range(3000)]
    first = send(at, *lines)
    with running("consume", "-b", at, "-o", str(first), "-e") as process:
        pipe = narrow(process)
        got = bytearray()
        while piece := os.read(pipe, 1000):
            got += piece
        assert bytes(got) == b"\n".join(lines) + b"\n"
        assert process.wait(30) == 0
