"""``yak produce`` and ``yak consume`` against a real broker, as processes with pipes."""

from __future__ import annotations

import json
import os
import pty
import random
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.net.brokers import CLEAN, ROOT, until
from tests.net.client_commands import (
    first_offset,
    numbers,
    one_broker,
    read,
    running,
    send,
    values,
    yak,
)
from yak_cli import main

NO_BROKER = "127.0.0.1:1"
"""An address without a listener; to listen there needs privileges."""

ODD = [b"", b"\0", b"\xff\xfe", b"tab\there", b"cr\r", b" ", "žluťoučký".encode(), b"a" * 70_000]


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a broker that the tests of this file share."""
    with one_broker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker.url


def test_message_is_produced_and_consumed(at: str) -> None:
    """Goal: only data on standard output, the summary on standard error."""
    done = yak("produce", "-b", at, "--message", "Hello YAK", "-m", "again", fresh=True)
    assert (done.returncode, done.stdout) == (0, b"")
    first = first_offset(done)
    assert (numbers(done.stderr), b"confirmed" in done.stderr) == ([2, first, first + 1], True)
    read = yak("consume", "-b", at, "-o", str(first), "-n", "2", fresh=True)
    assert (read.returncode, read.stdout) == (0, b"Hello YAK\nagain\n")
    assert (numbers(read.stderr), b"read" in read.stderr) == ([2, first, first + 1], True)


def test_lines_come_back_byte_by_byte(at: str) -> None:
    """Goal: a line is the bytes between newlines; the last one needs no newline."""
    lines = [*ODD, *(random.Random(7).randbytes(n).replace(b"\n", b"") for n in range(60)), b"end"]
    done = yak("produce", "-b", at, stdin=b"\n".join(lines))
    assert done.returncode == 0, done.stderr
    assert values(at, first_offset(done), len(lines)) == lines


def test_many_lines(at: str, tmp_path: Path) -> None:
    """Goal: twenty thousand lines of a file keep their order."""
    lines = [b"line %06d" % number for number in range(20_000)]
    (tmp_path / "lines").write_bytes(b"\n".join(lines))
    done = yak("produce", "-b", at, "--file", str(tmp_path / "lines"))
    first = first_offset(done)
    assert numbers(done.stderr) == [20_000, first, first + 19_999]
    assert values(at, first, len(lines)) == lines


def test_each_consumer_gets_everything(at: str) -> None:
    """Goal: two consumers that started before the first line each read all lines in order."""
    lines = [b"fan-%d" % number for number in range(500)]
    with (
        running("consume", "-b", at, "-n", "600") as one,
        running("consume", "-b", at, "-n", "600") as two,
    ):
        # They start at the end of the log: send records until each has read one.
        for consumer in (one, two):
            pipe = consumer.stdout.fileno()

            def follows(pipe: int = pipe) -> bool:
                send(at, b"begin")
                return bool(select.select([pipe], [], [], 0.1)[0])

            until(follows, "the consumer reads")
        send(at, *lines, *[b"fill"] * 600)  # enough to reach 600
        for consumer in (one, two):
            seen = consumer.communicate(timeout=30)[0].split(b"\n")
            assert [line for line in seen if line.startswith(b"fan-")] == lines
            assert consumer.returncode == 0


def test_records_as_json(at: str) -> None:
    """Goal: keys are split at the separator, and every field is printed."""
    done = yak("produce", "-b", at, "--key-separator", "::", "--json", stdin=b"k::v::w\nno\n::e\n")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    first = rows[0]["offset"]
    assert rows == [
        {"offset": first + number, "epoch": 1, "outcome": "written", "error": None}
        for number in range(3)
    ]
    done = yak("consume", "-b", at, "-o", str(first), "-n", "3", "--json")
    shown = [json.loads(line) for line in done.stdout.splitlines()]
    pairs = [("k", "v::w"), (None, "no"), ("", "e")]
    assert [(row["key"], row["value"]) for row in shown] == pairs


def test_where_to_begin_and_to_end(at: str) -> None:
    """Goal: start at an offset, the last N or the beginning; stop by -e or -n."""
    first = send(at, b"x", b"y", b"z")
    everything = b"".join(b"%s\n" % value for value in values(at, 0, first + 3))
    for words, wanted in (
        (("-o", str(first + 1), "-e"), b"y\nz\n"),
        (("-o", "-2", "-n", "1"), b"y\n"),
        (("-o", "-999999999", "-e"), everything),
        (("--from-beginning", "-n", "1"), everything[: everything.index(b"\n") + 1]),
    ):
        done = yak("consume", "-b", at, *words)
        assert (done.returncode, done.stdout) == (0, wanted)


def test_offset_out_of_range(at: str) -> None:
    """Goal: exit code 1, and the message contains the valid offsets."""
    done = yak("consume", "-b", at, "-o", "123456789")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"[0, " in done.stderr
    assert b"offset 123456789" in done.stderr


def test_timeout(at: str) -> None:
    """Goal: exit code 124 when the requested records did not arrive."""
    done = yak("consume", "-b", at, "-n", "1", "--timeout", "300ms")
    assert (done.returncode, done.stdout) == (124, b"")
    assert b"0.3 s" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("words", [("produce", "-m", "x", "--json"), ("consume", "-e")])
def test_no_broker_answers(words: tuple[str, ...]) -> None:
    """Goal: exit code 1 and one line with the address and the next step."""
    done = yak(*words, "-b", NO_BROKER, "--timeout", "500ms")
    assert (done.returncode, done.stdout) == (1, b"")
    assert len(done.stderr.splitlines()) == 1
    assert b"http://127.0.0.1:1" in done.stderr
    assert b"yak cluster up" in done.stderr


@pytest.mark.parametrize(
    ("words", "noun"),
    [
        ("produce -m x --file pyproject.toml", "--message"),
        ("produce --file missing", "missing"),
        ("produce --key-separator=", "--key-separator"),
        ("produce --acks 2", "--acks"),
        ("produce --timeout soon", "--timeout"),
        ("produce --rate 0", "--rate"),
        ("consume --from-beginning -o 3", "--from-beginning"),
        ("consume --json -f %s", "--format"),
        ("consume -o middle", "--offset"),
        ("consume -b http://a/b", "--bootstrap-server"),
    ],
)
def test_wrong_command_line(words: str, noun: str) -> None:
    """Goal: exit code 2 before any request."""
    done = CliRunner().invoke(main, words.split())
    assert (done.exit_code, done.stdout, noun in done.stderr) == (2, "", True)


@pytest.mark.parametrize("size", [1_048_570, 5_000_000])
def test_line_too_long_for_a_record(at: str, size: int) -> None:
    """Goal: the command fails with number, size and limit of the line; its neighbours are sent."""
    lines = [b"before", b"x" * size, b"after"]
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
    assert numbers(done.stderr) == [2, first, first + 1, 1, 2, size, 1_048_576]
    assert b"line 2" in done.stderr


def test_message_too_long_for_a_record(at: str, tmp_path: Path) -> None:
    """Goal: the same for each line of a file, and the first one is named. Method: no newline."""
    (tmp_path / "lines").write_bytes(b"a\n\n" + b"y" * 2_000_000)
    done = yak("produce", "-b", at, "--file", str(tmp_path / "lines"))
    assert done.returncode == 1
    assert numbers(done.stderr)[-3:] == [3, 2_000_000, 1_048_576]


def test_acks_zero(at: str) -> None:
    """Goal: records with acks=0 are not reported as confirmed, and are no failure."""
    done = yak("produce", "-b", at, "--acks", "0", "-m", "unwatched", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout) == {
        "offset": None,
        "epoch": None,
        "outcome": "unknown",
        "error": None,
    }
    assert (numbers(done.stderr), b"acks=0" in done.stderr) == ([1, 0], True)


def test_rate_is_kept(at: str) -> None:
    """Goal: not faster than --rate. Method: the timestamps of the records."""
    done = yak("produce", "-b", at, "--rate", "10", "--json", stdin=b"r\n" * 11)
    first = json.loads(done.stdout.splitlines()[0])["offset"]
    stamps = [record.timestamp for record in read(at, first, 11)]
    assert stamps[-1] - stamps[0] >= 400


def test_servers_are_found(at: str, tmp_path: Path) -> None:
    """Goal: the environment gives the default servers; a damaged state file is exit code 2."""
    path = tmp_path / "none.json"
    env = {"YAK_CLUSTER_FILE": str(path), "YAK_BOOTSTRAP_SERVERS": at}
    done = yak("produce", "-m", "found", env=env)
    assert values(at, first_offset(done), 1) == [b"found"]
    path.write_text("{")
    for command in ("produce", "consume"):
        refused = CliRunner().invoke(main, [command], env=env)
        assert (refused.exit_code, refused.stdout, "none.json" in refused.stderr) == (2, "", True)


def test_empty_input(at: str) -> None:
    """Goal: nothing to send is no failure."""
    done = yak("produce", "-b", at)
    assert (done.returncode, numbers(done.stderr)) == (0, [0])


@pytest.mark.parametrize("module", ["producer", "consumer"])
def test_modules_are_the_same_commands(module: str) -> None:
    """Goal: ``python -m yak_net.client.producer`` works."""
    words = [sys.executable, "-m", f"yak_net.client.{module}", "--help"]
    done = subprocess.run(words, cwd=ROOT, env=CLEAN, capture_output=True, timeout=30, check=True)
    assert b"--bootstrap-server" in done.stdout


def test_line_is_sent_when_it_is_typed(at: str) -> None:
    """Goal: at a terminal each line is sent at once, and Ctrl-D ends the input."""
    keyboard, screen = pty.openpty()
    try:
        with running("produce", "-b", at, "--json", stdin=screen) as process:
            for line in (b"typed\n", b"and more\n"):
                os.write(keyboard, line)
                assert json.loads(process.stdout.readline())["outcome"] == "written"
            os.write(keyboard, b"\x04")
            assert process.wait(30) == 0
    finally:
        os.close(keyboard)
        os.close(screen)


def test_progress_is_shown_on_a_terminal(at: str) -> None:
    """Goal: a progress line on a terminal only, removed before the summary."""
    keyboard, screen = pty.openpty()
    try:
        env = {**CLEAN, "TERM": "xterm"}
        with running("produce", "-b", at, stderr=screen, env=env) as process:
            process.stdin.write(b"one\ntwo\n")
            process.stdin.flush()
            shown = b""
            while not re.search(rb"2 .*0 in flight", shown):
                shown += os.read(keyboard, 4096)
            process.stdin.close()
            while not re.search(rb"2 .*offset", shown):
                shown += os.read(keyboard, 4096)
            assert process.wait(30) == 0
            assert process.stdout.read() == b""
    finally:
        os.close(keyboard)
        os.close(screen)


def test_interrupted_consumer(at: str) -> None:
    """Goal: Ctrl-C exits with 0 and a summary, or with 130 before -n records."""
    first = send(at, b"seen")
    for words, code in (((), 0), (("-n", "2"), 130)):
        with running("consume", "-b", at, "-o", str(first), *words) as process:
            assert process.stdout.readline() == b"seen\n"
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
            assert (process.returncode, out, numbers(err)) == (code, b"", [1, first])
            assert (b"Interrupted" in err) == (code != 0)


def test_interrupted_producer_reports_its_records(at: str) -> None:
    """Goal: on SIGTERM during input, sent records are confirmed and in the summary."""
    with running("produce", "-b", at, "--json") as process:
        process.stdin.write(b"one\ntwo\nno newline yet")
        process.stdin.flush()
        first = json.loads(process.stdout.readline())["offset"]
        assert json.loads(process.stdout.readline())["offset"] == first + 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
        message = process.stderr.read()
        assert (numbers(message), b"Interrupted" in message) == ([2, first, first + 1], True)


@pytest.mark.parametrize("command", [("produce", "-m", "x"), ("consume",)])
def test_interrupt_during_bootstrap(command: tuple[str, ...]) -> None:
    """Goal: Ctrl-C ends bootstrap. Method: a listener that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        with running(*command, "-b", f"127.0.0.1:{silent.getsockname()[1]}") as process:
            silent.accept()[0].close()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
            assert (process.returncode, out) == (130, b"")
            assert b"Interrupted" in err
            assert len(err.splitlines()) == 1
