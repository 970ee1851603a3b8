"""Commands whose standard streams are closed, non-blocking, full, or lose their reader."""

from __future__ import annotations

import os
import pty
import shlex
import socket
import subprocess
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.net.brokers import CLEAN, ROOT, YAK
from tests.net.client_commands import (
    PATIENCE_S,
    first_offset,
    numbers,
    one_broker,
    running,
    send,
    values,
)

RECORDS = 30_000
LONG = pytest.mark.long


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a broker whose log does not fit into a pipe."""
    with one_broker(tmp_path_factory.mktemp("broker")) as broker:
        send(broker.url, *[b"%05d" % number for number in range(RECORDS)])
        yield broker.url


def shell(
    command: str, *words: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run ``command`` in a shell; ``yak`` in it is the program with ``words`` as last words."""
    text = f'set -o pipefail; yak() {{ {shlex.join(YAK)} "$@" {shlex.join(words)}; }}; {command}'
    return subprocess.run(
        ["bash", "-c", text], cwd=ROOT, env={**CLEAN, **(env or {})}, stdin=subprocess.DEVNULL,
        capture_output=True, timeout=2 * PATIENCE_S, check=False,
    )  # fmt: skip


READ = "yak consume --from-beginning -e"
LOST = (">&-", ">/dev/full", "| true", "| head -n 1", "2>/dev/full")


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (f"{READ} >&-", 1, b"closed"),
        pytest.param(f"{READ} >&- <&-", 1, b"closed", marks=LONG),
        (f"{READ} >/dev/full", 1, b"no space left"),
        pytest.param(f"{READ} >&- <&- 2>&-", 1, b"", marks=LONG),
        pytest.param("yak produce <&-", 1, b"no input", marks=LONG),
        ("yak produce --file - <&-", 1, b"no input"),
        ("yak produce -m x --json >/dev/full", 0, b"no space left"),
        pytest.param("yak produce -m x --json >&-", 0, b"closed", marks=LONG),
        ("yak produce -m x --acks 3 2>/dev/full", 2, b""),
    ],
)
def test_lost_output_or_input_is_named(command: str, code: int, said: bytes, at: str) -> None:
    """Goal: the exit code of the work, within seconds, and why a stream cannot be used."""
    done = shell(command, "-b", at)
    assert (done.returncode, done.stdout) == (code, b"")
    assert said in done.stderr.lower()
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    "closed",
    [
        "<&- >&- 2>&-",
        "2>/dev/full",
        *(pytest.param(each, marks=LONG) for each in ("2>&-", "<&- >&-")),
    ],
)
def test_records_reach_the_log_and_nothing_else(closed: str, at: str) -> None:
    """Goal: no connection or file gets the number of a closed stream, which gets records then."""
    end = send(at, b"before")
    done = shell(f"yak produce -m '{closed}' {closed}", "-b", at)
    assert (done.returncode, done.stdout) == (0, b"")
    assert values(at, end + 1, 1) == [closed.encode()]
    if "2" not in closed:
        assert first_offset(done) == end + 1


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (f"{READ} | head -n 1", b"00000\n"),
        pytest.param(f"{READ} 2>&1 | head -n 1", b"00000\n", marks=LONG),
        pytest.param("yak consume -o 0 -n 1 2>&-", b"00000\n", marks=LONG),
        pytest.param("yak produce -m x --json | true", b"", marks=LONG),
        ("yak produce -m x 2> >(true)", b""),
    ],
)
def test_reader_that_leaves_is_no_failure(command: str, shown: bytes, at: str) -> None:
    """Goal: exit code 0 although the reader of the output needs no more of it."""
    done = shell(command, "-b", at)
    assert (done.returncode, done.stdout) == (0, shown)


def test_command_that_waits_ends_when_its_reader_has_left(at: str, tmp_path: Path) -> None:
    """Goal: no process stays behind a closed pipe. Method: no more lines and records follow."""
    (tmp_path / "n1.log").write_text("one line\n")
    for words in (
        ("consume", "-b", at, "-o", "0"),
        ("cluster", "logs", "-f", "--data-dir", str(tmp_path)),
    ):
        with running(*words) as process:
            assert process.stdout.readline() in (b"00000\n", b"one line\n")
            process.stdout.close()
            assert process.wait() == 0


@pytest.mark.long
def test_cluster_works_without_any_stream(tmp_path: Path) -> None:
    """Goal: brokers and their supervisor start, serve and stop with all streams closed."""
    env = {"YAK_CLUSTER_FILE": str(tmp_path / "state.json")}
    up = f"yak cluster up --nodes 1 --detach --data-dir {tmp_path / 'data'}"
    try:
        assert shell(f"{up} <&- >&- 2>&-", env=env).returncode == 0
        assert shell("yak produce -m all-closed <&- >&- 2>&-", env=env).returncode == 0
        assert shell(READ, env=env).stdout == b"all-closed\n"
        assert shell("yak cluster status >&- 2>&-", env=env).returncode == 0
        assert shell("yak cluster status | true", env=env).returncode == 0
    finally:
        down = shell("yak cluster down <&- >&- 2>&-", env=env)
    assert down.returncode == 0
    assert not (tmp_path / "state.json").exists()


@pytest.mark.parametrize(
    ("stream", "code"), [(">/dev/full", 1), (">&-", 1), ("| true", 0), ("2>&- | grep -q .", 0)]
)
@pytest.mark.parametrize("words", [pytest.param("sim list", marks=LONG), "--help"])
def test_command_that_only_prints_fails_without_output(words: str, stream: str, code: int) -> None:
    """Goal: exit code 1 for a full disk and a closed stream, 0 for a reader that leaves."""
    done = shell(f"yak {words} {stream}")
    assert (done.returncode, done.stdout, done.stderr == b"") == (code, b"", code == 0)


def test_listing_fails_without_output() -> None:
    """Goal: the same for commands whose work is to print."""
    done = shell("yak sim list >/dev/full")
    assert (done.returncode, b"no space left" in done.stderr.lower()) == (1, True)


@pytest.mark.long
@pytest.mark.parametrize("stream", [">&- 2>&- <&-", *LOST])
def test_verdict_of_a_run_does_not_depend_on_its_reader(stream: str, tmp_path: Path) -> None:
    """Goal: the exit code of the work, and all its files."""
    done = shell(f"yak sim run zombie_leader --out {tmp_path} {stream}")
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert list(tmp_path.glob("zombie_leader/*/verdict.json"))


def non_blocking_pipe() -> tuple[int, int]:
    """Return the reading and the writing end of a pipe."""
    return os.pipe()


def non_blocking_socket() -> tuple[int, int]:
    """Return both ends of a connection."""
    ours, theirs = socket.socketpair()
    return theirs.detach(), ours.detach()


def shared_terminal() -> tuple[int, int]:
    """Return a terminal, which another process has made non-blocking, and its keyboard."""
    keyboard, screen = pty.openpty()
    tty.setraw(screen)
    return screen, keyboard


@pytest.mark.parametrize("ends", [non_blocking_pipe, non_blocking_socket, shared_terminal])
def test_non_blocking_input_is_awaited(ends: Callable[[], tuple[int, int]], at: str) -> None:
    """Goal: input that is not there yet is no error. Method: write the second
    line when the first one is in the log."""
    reading, writing = ends()
    try:
        os.set_blocking(reading, False)
        with running("produce", "-b", at, "--json", stdin=reading) as process:
            for line in (b"late line\n", b"later\n"):
                os.write(writing, line)
                assert b'"written"' in process.stdout.readline()
            os.close(reading)
            os.close(writing)
            reading = writing = -1
            code, message = process.wait(), process.stderr.read()
        if ends is shared_terminal:  # a terminal that hangs up is an error of the input
            assert numbers(message)[0] == 2
        else:
            assert (code, numbers(message)[0]) == (0, 2)
    finally:
        for fd in {reading, writing} - {-1}:
            os.close(fd)


def test_non_blocking_output_is_written_in_full(at: str) -> None:
    """Goal: no record is lost when the pipe is full. Method: read only when the pipe is full."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with os.fdopen(reading, "rb") as pipe:
        with running("consume", "-b", at, "-o", "0", "-n", str(RECORDS), stdout=writing) as process:
            os.close(writing)
            lines = pipe.read().split()
            assert process.wait() == 0
    assert lines == [b"%05d" % number for number in range(RECORDS)]


def test_non_blocking_output_of_a_command_that_prints() -> None:
    """Goal: help arrives in full through a tiny non-blocking socket."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        theirs.setblocking(False)
        with running("cluster", "up", "--help", stdout=theirs.fileno()) as process:
            theirs.close()
            text = b"".join(iter(lambda: ours.recv(4096), b""))
            assert process.wait() == 0
    assert text.rstrip().endswith(b"exit.")
