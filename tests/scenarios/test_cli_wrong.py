"""``yak sim`` with wrong input or failed runs: one message and the documented exit code.

Exit codes: 1 not valid, 2 the command line or an input is wrong, 3 unknown, 130 interrupted.
"""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.scenarios.scenario_runs import NAMES, last_lines
from tests.tidy.tree import ROOT
from yak_cli import main

HEAD = """
import sys
from yak_sim import scenario, seconds

@scenario()
def script(world):
    yield world.until_ready()
    world.producer(values=5)
    yield world.sleep(seconds(1))
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def yak(*words: str) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(main, list(words))


def sentence(ran: Result) -> str:
    """Return the one error message on stderr, without the usage."""
    assert not isinstance(ran.exception, Exception) or isinstance(ran.exception, SystemExit)
    message = [line for line in ran.stderr.splitlines() if line.startswith("Error: ")]
    assert len(message) == 1, ran.stderr
    assert "Traceback" not in ran.output
    return message[0].removeprefix("Error: ")


def script(body: str) -> str:
    """Write a scenario with ``body`` after a valid start; return its path."""
    Path("script.py").write_text(HEAD + body, encoding="utf-8")
    return "script.py"


def verdict() -> dict[str, object]:
    """Return the verdict in the run folder."""
    found: dict[str, object] = json.loads(
        Path("out/script/7/verdict.json").read_text(encoding="utf-8")
    )
    return found


RUN = "sim run leader_failover"
NO_FILE = os.strerror(errno.ENOENT)
WRONG = {
    "sim run nonesuch": ("nonesuch", ", ".join(NAMES)),
    "sim run ../scenarios/leader_failover": ("../scenarios/leader_failover",),
    "sim run none.py": ("none.py",),
    f"{RUN} --seed x": ("--seed", "'x'"),
    f"{RUN} --seed -1": ("--seed", "-1"),
    f"{RUN} --seed 9223372036854775808": ("--seed", "9223372036854775807"),
    f"{RUN} --set brokers": ("'brokers'", "name=value"),
    f"{RUN} --set =3": ("'=3'", "name=value"),
    f"{RUN} --set colour=red": ("'colour'", "brokers", "lease_us"),
    f"{RUN} --set brokers=three": ("brokers", "'three'"),
    f"{RUN} --set brokers=10": ("brokers", "9", "10"),
    f"{RUN} --set flush=never": ("flush", "batch", "os", "'never'"),
    f"{RUN} --set min_isr=0": ("min_isr", "0"),
    f"{RUN} --set store=disk": ("store", "model", "lua", "'disk'"),
    f"{RUN} --set lease_us=1": ("lease",),
    f"{RUN} --set peer_lost=1": ("peer_lost", "'1'"),
    f"{RUN} --timeout 0": ("--timeout", "0"),
    f"{RUN} --input none.txt": ("none.txt", NO_FILE),
    "sim run": ("SCENARIO",),
    "sim digest none.jsonl": ("none.jsonl", NO_FILE),
    "sim digest .": ("trace .", NO_FILE),
    "nonesuch": ("nonesuch",),
}
"""Command line -> nouns and values in the error message."""


@pytest.mark.parametrize("words", WRONG)
def test_a_wrong_command_line_is_refused(words: str) -> None:
    """Goal: exit code 2, one message, nothing run or written."""
    ran = yak(*words.split())
    assert ran.exit_code == 2, ran.output
    message = sentence(ran)
    assert [noun for noun in WRONG[words] if noun not in message] == [], message
    assert ran.stdout == ""
    assert [path.name for path in Path().rglob("*.jsonl")] == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"x = = 1", "SyntaxError"),
        (b"\x00\xff", "SyntaxError"),
        (b"import no_such_module", "no_such_module"),
        (b"raise KeyboardInterrupt", "interrupted"),
        (b"import sys\nsys.exit(0)", "SystemExit"),
        (b"", "@scenario"),
    ],
    ids=["syntax", "bytes", "import", "interrupt", "exit", "empty"],
)
def test_an_invalid_scenario_file_is_refused(content: bytes, words: str) -> None:
    """Method: files that cannot be loaded."""
    Path("wrong.py").write_bytes(content)
    ran = yak("sim", "run", "wrong.py")
    assert ran.exit_code == (130 if words == "interrupted" else 2)
    message = sentence(ran)
    assert words in message
    assert words == "interrupted" or "wrong.py" in message


def test_an_unknown_scenario_name_is_refused() -> None:
    """Goal: the error has the names. Method: a wrong name, and no name for two scenarios."""
    path = script("\n@scenario()\ndef other(world):\n    yield world.sleep(seconds(1))\n")
    for word, name in ((f"{path}:third", "third"), (f"{path}:Story", "Story")):
        ran = yak("sim", "run", word)
        assert ran.exit_code == 2
        assert repr(name) in sentence(ran)
        assert "script, other" in sentence(ran)
    Path(path).rename("two.py")
    assert "'two'" in sentence(yak("sim", "run", "two.py"))


@pytest.mark.parametrize("place", ["taken", "taken/below", "over/leader_failover"])
def test_an_unusable_output_folder_is_refused_at_once(place: str) -> None:
    """Goal: the error comes before the run. Method: a file in place of the folder."""
    Path("taken").write_bytes(b"")
    Path("over").mkdir()
    Path("over/leader_failover").write_bytes(b"")
    out = place.removesuffix("/leader_failover")
    ran = yak("sim", "run", "leader_failover", "--out", out)
    assert ran.exit_code == 2
    where = Path(out, "leader_failover", "7")
    assert str(where) in sentence(ran)
    assert os.strerror(errno.ENOTDIR) in sentence(ran)
    assert ran.stdout == ""


def test_the_verdict_is_printed_though_a_file_cannot_be_written() -> None:
    """Method: a folder in place of the trace."""
    Path("out/leader_failover/7/trace.jsonl").mkdir(parents=True)
    ran = yak("sim", "run", "leader_failover")
    assert ran.exit_code == 2
    assert "out/leader_failover/7" in sentence(ran)
    assert os.strerror(errno.EISDIR) in sentence(ran)
    assert last_lines(ran.stdout)[1] == "valid: true"


def test_other_files_are_refused_as_traces() -> None:
    """Goal: exit code 1 and the reason."""
    Path("trace.jsonl").write_bytes(b"hello\n")
    ran = yak("sim", "digest", "trace.jsonl")
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert "line 1" in sentence(ran)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise RuntimeError('a hole')", r"RuntimeError at script\.py:\d+: a hole"),
        ("sys.exit(0)", r"SystemExit at script\.py:\d+: 0"),
        ("world.fill_disk(world.leader); world.producer(values=1); yield world.sleep(seconds(1))",
         "NoHalt .*n1"),
    ],
    ids=["raises", "exits", "halts a broker"],
)  # fmt: skip
def test_a_failed_scenario_is_reported_and_written(body: str, words: str) -> None:
    """Goal: exit code 1, the reason, all files. Method: scenarios that fail after a second."""
    ran = yak("sim", "run", script(f"    {body}\n"))
    assert ran.exit_code == 1, ran.output
    assert "Traceback" not in ran.output
    [message] = ran.stderr.splitlines()
    assert message.startswith("failed: ")
    assert re.search(words, message)
    digest, valid = last_lines(ran.stdout)
    assert valid == "valid: false"
    assert verdict()["valid"] is False
    assert str(verdict()["reason"]) in message
    assert yak("sim", "digest", "out/script/7").stdout == f"digest: {digest}\n"
    assert Path("out/script/7/watermarks.png").stat().st_size > 10_000
    assert Path("out/script/7/history.jsonl").read_bytes().count(b"\n") >= 10


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("while True: pass", "script.py:"),
        pytest.param(
            "while True: yield world.sleep(seconds(0))",
            "0.5 s ",
            marks=pytest.mark.long,
        ),
    ],
    ids=["computes", "no time passes"],
)
def test_an_endless_scenario_reaches_its_timeout(body: str, words: str) -> None:
    """Goal: exit code 3, unknown, all files. Method: with and without a yield, 0.5 s each."""
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGALRM)]
    ran = yak("sim", "run", script(f"    {body}\n"), "--timeout", "0.5")
    assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGALRM)]
    assert ran.exit_code == 3, ran.output
    [message] = ran.stderr.splitlines()
    assert message.startswith("unknown: ")
    assert words in message
    digest, valid = last_lines(ran.stdout)
    assert valid == "valid: unknown"
    assert verdict()["valid"] == "unknown"
    assert yak("sim", "digest", "out/script/7").stdout == f"digest: {digest}\n"


def started(*words: str) -> subprocess.Popen[str]:
    """Start a command in a separate process, with pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", "yak_cli", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_an_interrupted_run_is_written() -> None:
    """Goal: Ctrl-C exits with 130 and keeps the run so far. Method: SIGINT after a line."""
    with started("sim", "run", script("    yield world.until(lambda: False)\n")) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("t=")
        process.send_signal(signal.SIGINT)
        printed, message = process.communicate(timeout=60)
    assert process.returncode == 130
    assert message.startswith("unknown: ")
    assert len(message.splitlines()) == 1
    digest, valid = last_lines(printed)
    assert valid == "valid: unknown"
    assert str(verdict()["reason"]) in message
    assert yak("sim", "digest", "out/script/7").stdout == f"digest: {digest}\n"


@pytest.mark.long
def test_closed_output_does_not_change_the_verdict() -> None:
    """Goal: `yak sim run ... | head -1` works. Method: close the pipe after one line."""
    body = "    for _ in range(500): world.tell('x' * 1000)\n    yield world.sleep(seconds(1))\n"
    with started("sim", "run", script(body)) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("t=")
        process.stdout.close()
        process.wait(timeout=60)
    assert verdict()["valid"] is True
