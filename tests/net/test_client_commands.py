"""``yak produce`` and ``yak consume`` against a real broker, as processes with pipes."""

from __future__ import annotations

import json
import os
import pty
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.net.brokers import ROOT, until
from tests.net.client_commands import CLEAN, first_offset, one_broker, running, yak
from yak_cli import main

NOBODY = "127.0.0.1:1"
"""An address that nobody listens at, and that needs rights to."""

ODD = [b"", b"\0", b"\xff\xfe", b"tab\there", b"cr\r", b" ", "žluťoučký".encode(), b"a" * 70_000]


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a broker that the tests of this file share: they look at their own records."""
    with one_broker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker.url


def test_message_goes_in_and_comes_out(at: str) -> None:
    """Goal: nothing on standard output but data; the sums are on standard error."""
    done = yak("produce", "-b", at, "--message", "Hello YAK", "-m", "again")
    assert (done.returncode, done.stdout) == (0, b"")
    first = first_offset(done)
    assert done.stderr.decode() == f"2 records confirmed, offsets {first} to {first + 1}\n"
    read = yak("consume", "-b", at, "-o", str(first), "-n", "2")
    assert (read.returncode, read.stdout) == (0, b"Hello YAK\nagain\n")
    assert read.stderr.decode() == f"2 records read, offsets {first} to {first + 1}\n"


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_lines_come_back_byte_by_byte(at: str, end: bytes) -> None:
    """Goal: a line is the bytes between newlines, whatever they are; the last may lack its own."""
    lines = [*ODD, *(random.Random(7).randbytes(n).replace(b"\n", b"") for n in range(60)), b"end"]
    done = yak("produce", "-b", at, stdin=b"\n".join(lines) + end)
    assert done.returncode == 0, done.stderr
    read = yak("consume", "-b", at, "-o", str(first_offset(done)), "-n", str(len(lines)))
    assert read.stdout == b"\n".join(lines) + b"\n"


def test_many_lines(at: str, tmp_path: Path) -> None:
    """Goal: twenty thousand lines of a file, and the same down a pipe, keep their order."""
    content = b"".join(b"line %06d\n" % number for number in range(20_000))
    (tmp_path / "lines").write_bytes(content)
    for done in (
        yak("produce", "-b", at, "--file", str(tmp_path / "lines")),
        yak("produce", "-b", at, "--file", "-", stdin=content),
    ):
        first = first_offset(done)
        assert f"20000 records confirmed, offsets {first} to {first + 19_999}" in (
            done.stderr.decode()
        )
        read = yak("consume", "-b", at, "-o", str(first), "-n", "20000")
        assert read.stdout == content


def test_each_consumer_gets_everything(at: str) -> None:
    """Goal: two followers that began before the first line each see all lines, in order."""
    lines = [b"fan-%d" % number for number in range(500)]
    with (
        running("consume", "-b", at, "-n", "600") as one,
        running("consume", "-b", at, "-n", "600") as two,
    ):
        # They begin at the end: a first record, repeated until each has seen it, says so.
        begun: list[bytes] = []
        for consumer in (one, two):
            assert consumer.stdout is not None
            os.set_blocking(consumer.stdout.fileno(), False)

            def got(consumer: subprocess.Popen[bytes] = consumer) -> bool:
                yak("produce", "-b", at, "-m", "begin")
                assert consumer.stdout is not None
                begun.append(consumer.stdout.read() or b"")
                return bool(begun[-1])

            until(got, "it follows")
            os.set_blocking(consumer.stdout.fileno(), True)
        assert yak("produce", "-b", at, stdin=b"\n".join(lines)).returncode == 0
        # What is missing in 600 is filled up, so that both end.
        yak("produce", "-b", at, stdin=b"fill\n" * 600)
        for consumer in (one, two):
            rest = consumer.communicate(timeout=30)[0].split(b"\n")
            assert [line for line in rest if line.startswith(b"fan-")] == lines
            assert consumer.returncode == 0


def test_records_as_json_and_as_a_format(at: str) -> None:
    """Goal: keys are cut off at the separator, and every field is to be had."""
    done = yak("produce", "-b", at, "--key-separator", "::", "--json", stdin=b"k::v::w\nno\n::e\n")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    first = rows[0]["offset"]
    assert [list(row) for row in rows] == [["offset", "epoch", "outcome", "error"]] * 3
    assert [row["offset"] - first for row in rows] == [0, 1, 2]
    assert {(row["outcome"], row["error"], row["epoch"]) for row in rows} == {("written", None, 1)}
    read = yak("consume", "-b", at, "-o", str(first), "-n", "3", "--json")
    shown = [json.loads(line) for line in read.stdout.splitlines()]
    assert [(row["key"], row["value"]) for row in shown] == [
        ("k", "v::w"),
        (None, "no"),
        ("", "e"),
    ]
    words = ("-o", str(first), "-n", "3", "-f", r"%o %e %k %s\n")
    assert yak("consume", "-b", at, *words).stdout.decode() == (
        f"{first} 1 k v::w\n{first + 1} 1  no\n{first + 2} 1  e\n"
    )


def test_where_to_begin_and_to_end(at: str) -> None:
    """Goal: an offset, the last N, the beginning, the end; -e and -n each stop."""
    first = first_offset(yak("produce", "-b", at, stdin=b"x\ny\nz\n"))
    for words, wanted in (
        (("-o", str(first + 1), "-e"), b"y\nz\n"),
        (("-o", "-2", "-e"), b"y\nz\n"),
        (("-o", "-2", "-n", "1"), b"y\n"),
        (("-e",), b""),
    ):
        done = yak("consume", "-b", at, *words)
        assert (done.returncode, done.stdout) == (0, wanted)
    everything = yak("consume", "-b", at, "--from-beginning", "-e").stdout
    assert everything.endswith(b"x\ny\nz\n")
    assert yak("consume", "-b", at, "-o", "-999999999", "-e").stdout == everything
    assert yak("consume", "-b", at, "-o", "earliest", "-n", "1").stdout == (
        everything[: everything.index(b"\n") + 1]
    )


def test_offset_that_is_not_there(at: str) -> None:
    """Goal: exit code 1, and the sentence says which offsets there are."""
    done = yak("consume", "-b", at, "-o", "123456789")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"the log holds [0, " in done.stderr
    assert b"the earliest or the latest" in done.stderr


def test_time_that_is_over(at: str) -> None:
    """Goal: exit code 124 when the records asked for did not come."""
    done = yak("consume", "-b", at, "-n", "1", "--timeout", "300ms")
    assert (done.returncode, done.stdout) == (124, b"")
    assert done.stderr.startswith(b"Error: the time of 0.3 s is over: 0 records read")


@pytest.mark.parametrize(
    "words", [("produce", "-m", "x"), ("produce", "-m", "x", "--json"), ("consume", "-e")]
)
def test_nobody_answers(words: tuple[str, ...]) -> None:
    """Goal: exit code 1 and one sentence with the next step."""
    done = yak(*words, "-b", NOBODY, "--timeout", "500ms")
    assert (done.returncode, done.stdout) == (1, b"")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(b"Error: no broker answers at http://127.0.0.1:1: start")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("produce", "-m", "x", "--file", "pyproject.toml"), "either --message or --file"),
        (("produce", "--file", "no such file"), "does not exist"),
        (("produce", "--key-separator", ""), "at least one character"),
        (("produce", "--acks", "2"), "'2' is not one of"),
        (("produce", "--timeout", "soon"), "no time; one is 5s"),
        (("produce", "--rate", "0"), "0 is not in the range"),
        (("consume", "--from-beginning", "-o", "3"), "either --from-beginning or --offset"),
        (("consume", "--json", "-f", "%s"), "either --json or --format"),
        (("consume", "-o", "middle"), "not earliest, latest, a number N, or -N"),
        (("consume", "-b", "http://a/b"), "no address of a broker"),
    ],
)
def test_wrong_command_line(words: tuple[str, ...], sentence: str) -> None:
    """Goal: exit code 2, before anything is asked of anybody."""
    done = CliRunner().invoke(main, words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert sentence in done.stderr


def test_line_that_no_record_can_hold(at: str) -> None:
    """Goal: it fails the command and is counted, and its neighbours are sent."""
    lines = [b"before", b"x" * 1_100_000, b"after"]
    done = yak("produce", "-b", at, "--json", stdin=b"\n".join(lines))
    assert done.returncode == 1
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["outcome"], row["error"]) for row in rows] == [
        ("written", None),
        ("not_written", "MESSAGE_TOO_LARGE"),
        ("written", None),
    ]
    first = rows[0]["offset"]
    assert rows[2]["offset"] == first + 1
    assert done.stderr.decode().startswith(
        f"Error: 2 records confirmed (offsets {first} to {first + 1}), 1 not written: "
    )


def test_acks_zero_and_one(at: str) -> None:
    """Goal: what nobody confirms is not called confirmed, and is no failure."""
    done = yak("produce", "-b", at, "--acks", "0", "-m", "unwatched", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout) == {
        "offset": None,
        "epoch": None,
        "outcome": "unknown",
        "error": None,
    }
    assert done.stderr == b"1 record sent, and with acks=0 nobody confirms that\n"
    assert b"1 record confirmed" in yak("produce", "-b", at, "--acks", "1", "-m", "x").stderr


def test_rate_is_kept(at: str) -> None:
    """Goal: not faster than told; method: the timestamps of the records."""
    done = yak("produce", "-b", at, "--rate", "50", stdin=b"r\n" * 11)
    words = ("-o", str(first_offset(done)), "-n", "11", "-f", r"%T\n")
    stamps = [int(line) for line in yak("consume", "-b", at, *words).stdout.splitlines()]
    assert stamps[-1] - stamps[0] >= 195


def test_servers_are_found(at: str, tmp_path: Path) -> None:
    """Goal: without an option, the environment says where; a damaged state file is exit code 2."""
    env = {"YAK_CLUSTER_FILE": str(tmp_path / "none.json"), "YAK_BOOTSTRAP_SERVERS": at}
    assert yak("produce", "-m", "found", env=env).returncode == 0
    assert yak("consume", "-o", "-1", "-e", env=env).stdout == b"found\n"
    (tmp_path / "none.json").write_text("{")
    for command in ("produce", "consume"):
        done = yak(command, env=env)
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"none.json" in done.stderr
        assert b"Traceback" not in done.stderr


def test_empty_input(at: str) -> None:
    """Goal: nothing to send is no failure."""
    done = yak("produce", "-b", at)
    assert (done.returncode, done.stderr) == (0, b"0 records confirmed\n")


def test_modules_are_the_same_commands(at: str) -> None:
    """Goal: the seed's way of starting them works."""
    said: list[bytes] = []
    for module, words in (
        ("producer", ("--message", "as a module")),
        ("consumer", ("-o", "-1", "-e")),
    ):
        done = subprocess.run(
            [sys.executable, "-m", f"yak_net.client.{module}", "-b", at, *words],
            cwd=ROOT,
            env=CLEAN,
            capture_output=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert said == [b"", b"as a module\n"]


def test_line_is_sent_when_it_is_typed(at: str) -> None:
    """Goal: at a terminal each line goes at once, and Ctrl-D ends the input."""
    keyboard, screen = pty.openpty()
    try:
        with running("produce", "-b", at, "--json", stdin=screen) as process:
            assert process.stdout is not None
            for line in (b"typed\n", b"and more\n"):
                os.write(keyboard, line)
                assert json.loads(process.stdout.readline())["outcome"] == "written"
            os.write(keyboard, b"\x04")
            assert process.wait(30) == 0
    finally:
        os.close(keyboard)
        os.close(screen)


def test_progress_is_shown_where_somebody_looks(at: str) -> None:
    """Goal: a line that counts, on a terminal only, and gone before the sum."""
    keyboard, screen = pty.openpty()
    try:
        env = {**CLEAN, "TERM": "xterm"}
        with running("produce", "-b", at, stderr=screen, env=env) as process:
            assert process.stdin is not None
            process.stdin.write(b"one\ntwo\n")
            process.stdin.flush()
            shown = b""
            while b"2 confirmed, 0 under way" not in shown:
                shown += os.read(keyboard, 4096)
            process.stdin.close()
            while b"2 records confirmed, offsets" not in shown:
                shown += os.read(keyboard, 4096)
            assert process.wait(30) == 0
            assert process.stdout is not None
            assert process.stdout.read() == b""
    finally:
        os.close(keyboard)
        os.close(screen)


def test_interrupted_follower_has_done_its_job(at: str) -> None:
    """Goal: Ctrl-C ends following with 0 and a sum; with -n still to come it ends with 130."""
    first = first_offset(yak("produce", "-b", at, "-m", "seen"))
    for words, code, said in (
        ((), 0, f"1 record read, offset {first}\n"),
        (("-n", "2"), 130, f"Interrupted: 1 record read, offset {first}.\n"),
    ):
        with running("consume", "-b", at, "-o", str(first), *words) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"seen\n"
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=30) == (b"", said.encode())
            assert process.returncode == code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_producer_says_what_became_of_the_records(
    at: str, number: signal.Signals
) -> None:
    """Goal: Ctrl-C while it waits for input: what was sent is confirmed, and summed up."""
    with running("produce", "-b", at, "--json") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"one\ntwo\nno newline yet")
        process.stdin.flush()
        first = json.loads(process.stdout.readline())["offset"]
        assert json.loads(process.stdout.readline())["offset"] == first + 1
        process.send_signal(number)
        assert process.wait(30) == 128 + number
        assert process.stderr is not None
        said = process.stderr.read().decode()
        assert said == f"Interrupted: 2 records confirmed (offsets {first} to {first + 1}).\n"


@pytest.mark.parametrize("command", [("produce", "-m", "x"), ("consume",)])
def test_interrupt_before_anybody_answers(command: tuple[str, ...]) -> None:
    """Goal: Ctrl-C while brokers are looked for; method: a listener that answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        with running(*command, "-b", f"127.0.0.1:{silent.getsockname()[1]}") as process:
            silent.accept()[0].close()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
            assert (process.returncode, out) == (130, b"")
            assert err.startswith(b"Interrupted: ")
            assert len(err.splitlines()) == 1
