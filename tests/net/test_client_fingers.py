"""Options and commands that people know from kcat, Kafka's tools and rpk.

Goal: each of them is there, or the error names the alternative. Method: command lines as people
type them, parsed or run against a real broker.
"""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from tests.net.brokers import ROOT
from tests.net.client_commands import first_offset, one_broker, read, running, send, values, yak
from yak_cli import COMMANDS, ELSEWHERE, main
from yak_net.client.cli import consume, produce
from yak_net.client.cli_absent import CONSUME, PRODUCE

PAGE = (ROOT / "docs" / "kafka-tools.md").read_text("utf-8")
ROW = re.compile(r"^\| .* \| `(yak [^`]*)` \|$", re.MULTILINE)
ABSENT: dict[click.Command, Mapping[str, str]] = {produce: PRODUCE, consume: CONSUME}
KNOWN = """
produce --bootstrap-server h:1 --topic t --sync --request-required-acks all
produce --request-timeout-ms 1000 --compression-codec none --batch-size 900 --timeout 10
produce --producer-property linger.ms=1 --property parse.key=true --property key.separator=:
produce --throughput 5 --acks -1 --broker-list h:1
produce -P -b h:1 -t t -p 0 -K : -k key -H a=1 -z none -X linger.ms=1 -q -u -Z
produce --delivery-timeout 10s --compression none --key k --header a=1 -p 0
consume --bootstrap-server h:1 --topic t --partition 0 --offset earliest --from-beginning
consume --max-messages 5 --timeout-ms 1000 --isolation-level read_uncommitted
consume --property print.offset=true --property print.key=true --property print.timestamp=true
consume --formatter-property print.headers=true --consumer-property fetch.max.bytes=900
consume -C -b h:1 -t t -p 0 -o beginning -e -c 5 -K : -D ; -X fetch.wait.max.ms=5 -q -u -Z
consume -J -o end
consume -o -5 -f '%o %k %s %T %t %p %h %K %S %e'
consume -o start -n 5 -f json
consume --num 5 -o :end --brokers h:1
""".strip().splitlines()
"""Command lines with the options of the tools."""


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a broker that the tests of this file share."""
    with one_broker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker.url


def parse(line: str) -> click.Context:
    """Parse a command line of ``yak``, without running it."""
    name, *words = shlex.split(line)
    group = click.Context(main, info_name="yak")
    command: click.Command | None = main
    while isinstance(command, click.Group):
        found = command.get_command(group, name)
        if isinstance(found, click.Group):
            name, *words = words
        command = found
    assert command is not None, line
    return command.make_context(name, words)


@pytest.mark.parametrize("line", KNOWN)
def test_the_options_are_there(line: str) -> None:
    """Goal: no option of the table is unknown, and an ignored topic is noted."""
    assert parse(line).params


def test_the_page_is_right() -> None:
    """Goal: each command in docs/kafka-tools.md can be typed. Method: parse it."""
    lines = ROW.findall(PAGE)
    assert len(lines) > 12
    for line in lines:
        parse(line.removeprefix("yak ").replace("HOST:PORT", "127.0.0.1:1"))


@pytest.mark.parametrize("command", ABSENT, ids=["produce", "consume"])
def test_an_absent_option_is_explained(command: click.Command) -> None:
    """Goal: exit code 2 and the sentence. Method: every entry of the table, with a value."""
    for option, sentence in ABSENT[command].items():
        done = CliRunner().invoke(command, [option, "value"])
        assert (done.exit_code, done.stdout) == (2, ""), option
        assert f"{option}: {sentence}" in " ".join(done.stderr.split()), option
    names = {name for parameter in command.params for name in parameter.opts}
    names |= {name for parameter in command.params for name in getattr(parameter, "aliases", ())}
    assert not names & set(ABSENT[command])


def test_an_unknown_option_stays_unknown() -> None:
    """Goal: a misspelt option gets click's suggestion, not an explanation."""
    done = CliRunner().invoke(main, ["consume", "--max-mesages", "1"])
    assert done.exit_code == 2
    assert "--max-messages" in done.stderr


def test_other_tools_commands_are_explained() -> None:
    """Goal: exit code 2 and the alternative, also in the spelling of Kafka's scripts."""
    assert not set(ELSEWHERE) & set(COMMANDS)
    for name, sentence in ELSEWHERE.items():
        kafka = [] if name.startswith("-") else [f"kafka-{name}", f"kafka-{name}.sh"]
        for word in (name, *kafka):
            done = CliRunner().invoke(main, [word, "--describe"])
            assert (done.exit_code, done.stdout) == (2, ""), word
            assert f"{word}: {sentence}" in " ".join(done.stderr.split()), word


@pytest.mark.parametrize(
    ("line", "noun"),
    [
        ("consume events", "there is one log"),
        ("consume -o e@1700000000", "by time"),
        ("consume -o s@noon", "invalid time"),
        ("consume -o stored", "no consumer groups"),
        ("consume -X group.id=g", "no consumer groups"),
        ("consume -X no.such=1", "fetch.max.bytes"),
        ("consume -X fetch.max.bytes=many", "number"),
        ("consume -X fetch.max.bytes", "NAME=VALUE"),
        ("consume --property print.no=true", "print.key"),
        ("consume --property print.key=yes", "true or false"),
        ("consume -f %x", "%h"),
        ("consume -J -f %s", "excludes"),
        ("produce -X acks=all x", "--acks"),
        ("produce -X linger.ms=-1 x", "linger_ms"),
        ("produce -z gzip x", "compress"),
        ("produce -H a x", "NAME=VALUE"),
        ("produce --property parse.headers=true x", "-H"),
        ("produce --property parse.key=1 x", "true or false"),
        ("produce --property no.such=1 x", "parse.key"),
        ("produce -K '' x", "--key-separator"),
    ],
)
def test_a_wrong_value_is_explained(line: str, noun: str) -> None:
    """Goal: exit code 2 before anything is sent, with the reason."""
    done = CliRunner().invoke(main, shlex.split(line))
    assert (done.exit_code, done.stdout) == (2, "")
    assert noun in " ".join(done.stderr.split())


def test_keys_headers_and_nulls_go_there_and_back(at: str) -> None:
    """Goal: all parts of a record can be sent and shown from the command line."""
    words = ("-b", at, "-Z", "-K", ":", "-k", "key", "-H", "a=1", "-H", "b=x=y")
    done = yak("produce", *words, stdin=b"own:v\nplain\n:\n\n")
    first = first_offset(done)
    found = [(record.key, record.value) for record in read(at, first, 4)]
    assert found == [(b"own", b"v"), (b"key", b"plain"), (None, None), (b"key", None)]
    form = "%o %t %p %k %s %K %S %h %%\\n"
    done = yak("consume", "-b", at, "-o", str(first), "-e", "-f", form, "-Z")
    assert done.stdout.decode().splitlines() == [
        f"{first} log 0 own v 3 1 a=1,b=x=y %",
        f"{first + 1} log 0 key plain 3 5 a=1,b=x=y %",
        f"{first + 2} log 0 NULL NULL -1 -1 a=1,b=x=y %",
        f"{first + 3} log 0 key NULL 3 -1 a=1,b=x=y %",
    ]
    done = yak("consume", "-b", at, "-o", str(first), "-e", "-K", "\\t", "-D", ";", "--null", "-")
    assert done.stdout == b"own\tv;key\tplain;-\t-;key\t-;"
    done = yak("consume", "-b", at, "-o", str(first), "-n", "1", "-f", "json")
    assert json.loads(done.stdout)["headers"][0] == {"key": "a", "value": "1"}


def test_a_marked_value_is_null(at: str) -> None:
    """Goal: --null TEXT, and Kafka's property of the same meaning; other values stay."""
    for words in (("--null", "nil"), ("--property", "null.marker=nil")):
        done = yak("produce", "-b", at, *words, "nil", "", "nils")
        assert values(at, first_offset(done), 3) == [None, b"", b"nils"]


def test_the_format_of_the_console_consumer(at: str) -> None:
    """Goal: the same text as Kafka's formatter; the order of the fields is Kafka's."""
    words = ("--property", "parse.key=true", "--property", "key.separator=|")
    first = first_offset(yak("produce", "-b", at, *words, "-H", "h=1", stdin=b"k|v\n"))
    shown = ("offset", "partition", "key", "headers", "epoch", "timestamp")
    given = [word for name in shown for word in ("--property", f"print.{name}=true")]
    done = yak("consume", "-b", at, "-o", str(first), "-n", "1", *given)
    assert re.fullmatch(
        rf"CreateTime:\d+\tPartition:0\tOffset:{first}\tEpoch:1\th:1\tk\tv\n", done.stdout.decode()
    )
    words = ("--property", "print.value=false", "--property", "print.key=true")
    done = yak("consume", "-b", at, "-o", str(first), "-n", "1", *words)
    assert done.stdout == b"k\n"


def test_arguments_are_records_and_a_topic_is_noted_once(at: str) -> None:
    """Goal: `produce hello` sends it; topic and partition get one note, and no error."""
    done = yak("produce", "-b", at, "-t", "events", "-p", "0", "hello", "-m", "first", "--sync")
    assert done.returncode == 0
    assert done.stderr.count(b"one log") == 1
    assert values(at, first_offset(done), 2) == [b"first", b"hello"]
    quiet = yak("produce", "-b", at, "-q", "-X", "linger.ms=0", "hello")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, b"", b"")


def test_a_start_after_the_end_is_an_error(at: str) -> None:
    """Goal: exit code 1 and the valid range, with and without -e; the end itself is valid."""
    end = send(at, b"x") + 1
    for words in (("-e",), ("-n", "1"), ()):
        done = yak("consume", "-b", at, "-o", str(end + 7), *words)
        assert (done.returncode, done.stdout) == (1, b"")
        assert f"[0, {end}".encode() in done.stderr
    done = yak("consume", "-b", at, "-o", str(end), "-e")
    assert (done.returncode, done.stdout) == (0, b"")


def test_the_wait_for_a_record_is_limited(at: str) -> None:
    """Goal: --timeout-ms ends the command with success after the last record."""
    first = send(at, b"last")
    done = yak("consume", "-b", at, "-o", str(first), "--timeout-ms", "300")
    assert (done.returncode, done.stdout) == (0, b"last\n")
    everything = yak("consume", "-b", at, "-o", ":end")
    assert (everything.returncode, everything.stdout.count(b"\n")) == (0, first + 1)


@pytest.mark.parametrize("words", [("produce",), ("consume",)])
def test_a_terminal_gets_one_hint(at: str, words: tuple[str, ...]) -> None:
    """Goal: a command that waits says for what."""
    keyboard, screen = pty.openpty()
    try:
        given: dict[str, Any] = {"stdin": screen, "stderr": screen, "stdout": screen}
        with running(*words, "-b", at, **given) as process:
            shown = b""
            wanted = b"Ctrl-D" if words[0] == "produce" else b"--from-beginning"
            while wanted not in shown:
                shown += os.read(keyboard, 4096)
            assert shown.count(b"\n") <= 1
            assert process.poll() is None
    finally:
        os.close(keyboard)
        os.close(screen)


def test_a_quiet_command_gives_no_hint(at: str) -> None:
    """Goal: with --quiet a terminal shows only the records."""
    keyboard, screen = pty.openpty()
    try:
        given: dict[str, Any] = {"stdin": screen, "stderr": screen, "stdout": screen}
        with running("consume", "-q", "-n", "1", "-b", at, **given) as process:
            while not select.select([keyboard], [], [], 0.1)[0]:
                send(at, b"until this is shown")
            assert os.read(keyboard, 4096) == b"until this is shown\r\n"
            assert process.wait(30) == 0
    finally:
        os.close(keyboard)
        os.close(screen)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, tmp_path: Path) -> None:
    """Goal: a script for each shell, and bash completes a command and an option with it."""
    done = CliRunner().invoke(main, ["completion", shell])
    assert done.exit_code == 0
    assert "_YAK_COMPLETE" in done.stdout
    if shell == "bash":
        checked = subprocess.run(["bash", "-n"], input=done.stdout, text=True, check=False)
        assert checked.returncode == 0
        assert complete("yak prod") == ["produce"]
        assert "--from-beginning" in complete("yak consume --f")


def complete(line: str) -> list[str]:
    """Return what bash offers for the last word of a line."""
    env = {"_YAK_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": "99"}
    env["COMP_CWORD"] = str(len(line.split()) - 1)
    done = CliRunner().invoke(main, [], env=env, prog_name="yak")
    return [row.partition(",")[2] for row in done.stdout.splitlines()]


def test_no_help_line_is_cut_off() -> None:
    """Goal: the list of commands shows whole sentences. Method: each group at 80 columns."""
    for words in ([], ["cluster"], ["sim"]):
        done = CliRunner().invoke(main, [*words, "--help"], terminal_width=80)
        rows = done.stdout.partition("Commands:")[2].splitlines()[1:]
        assert rows
        assert [row for row in rows if not row.endswith(".")] == []
