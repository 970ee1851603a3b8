"""``yak sim`` when something is wrong: one clear sentence, the documented exit code, what there is.

Exit codes: 1 not valid, 2 the command line or an input is wrong, 3 unknown, 130 interrupted.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.scenarios.stories import last_lines
from tests.tidy.tree import ROOT
from yak_cli import main

HEAD = """
import sys
from yak_sim import scenario, seconds

@scenario()
def story(world):
    yield from world.until_ready()
    world.producer(values=5)
    yield world.sleep(seconds=1)
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def yak(*words: str) -> Result:
    """The command, in this process."""
    return CliRunner().invoke(main, list(words))


def sentence(ran: Result) -> str:
    """The one sentence on stderr, after the usage if there is one."""
    assert not isinstance(ran.exception, Exception) or isinstance(ran.exception, SystemExit)
    said = [line for line in ran.stderr.splitlines() if line.startswith("Error: ")]
    assert len(said) == 1, ran.stderr
    assert "Traceback" not in ran.output
    return said[0].removeprefix("Error: ")


def story(body: str) -> str:
    """A file with a scenario that begins well and goes on with ``body``; its path."""
    Path("story.py").write_text(HEAD + body, encoding="utf-8")
    return "story.py"


def verdict() -> dict[str, object]:
    """What the run folder says of the story."""
    found: dict[str, object] = json.loads(
        Path("out/story/7/verdict.json").read_text(encoding="utf-8")
    )
    return found


WRONG_WORDS = {
    "sim run nonesuch": "there is no scenario 'nonesuch'; there are leader_failover,",
    "sim run ../scenarios/leader_failover": "there is no scenario",
    "sim run __init__": "there is no scenario '__init__'",
    "sim run none.py": "there is no file none.py",
    "sim run .": "there is no scenario '.'",
    "sim run leader_failover --seed x": "--seed",
    "sim run leader_failover --seed 1.5": "--seed",
    "sim run leader_failover --seed -1": "--seed",
    "sim run leader_failover --seed 9223372036854775808": "--seed",
    "sim run leader_failover --set brokers": "'brokers' is not of the form name=value",
    "sim run leader_failover --set =3": "'=3' is not of the form name=value",
    "sim run leader_failover --set colour=red": "leader_failover has no setting 'colour'; it has ",
    "sim run leader_failover --set brokers=three": "brokers is a whole number, not 'three'",
    "sim run leader_failover --set brokers=0": "a simulated cluster has 1 to 9 brokers, not 0",
    "sim run leader_failover --set brokers=10": "a simulated cluster has 1 to 9 brokers, not 10",
    "sim run leader_failover --set flush=never": "flush is one of batch, os, not 'never'",
    "sim run leader_failover --set min_isr=0": "min_isr is at least 1, not 0",
    "sim run leader_failover --set store=disk": "store must be one of model, lua, got 'disk'",
    "sim run leader_failover --set lease_us=1": "the heartbeat must be shorter than the beat",
    "sim run leader_failover --set peer_lost=1": "peer_lost",
    "sim run leader_failover --timeout 0": "0.0 is not in the range x>0",
    "sim run leader_failover --input none.txt": "the input none.txt cannot be read: No such file",
    "sim run leader_failover --colour": "No such option",
    "sim run": "Missing argument 'SCENARIO'",
    "sim digest": "Missing argument 'TRACE'",
    "sim digest none.jsonl": "the trace none.jsonl cannot be read: No such file or directory",
    "sim digest .": "the trace . cannot be read: No such file or directory",
    "sim nonesuch": "No such command 'nonesuch'",
    "nonesuch": "No such command 'nonesuch'",
}


@pytest.mark.parametrize("words", WRONG_WORDS)
def test_a_wrong_command_line_is_refused(words: str) -> None:
    """Goal: exit 2, one sentence, nothing run or written. Method: each of a list."""
    ran = yak(*words.split())
    assert ran.exit_code == 2, ran.output
    assert WRONG_WORDS[words] in sentence(ran)
    assert ran.stdout == ""
    assert [path.name for path in Path().rglob("*.jsonl")] == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"x = = 1", "wrong.py cannot be loaded: SyntaxError: "),
        (b"\x00\xff", "wrong.py cannot be loaded: SyntaxError: "),
        (b"import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        (b"raise KeyboardInterrupt", "interrupted"),
        (b"import sys\nsys.exit(0)", "wrong.py cannot be loaded: SystemExit: 0"),
        (b"", "wrong.py has no scenario 'wrong'; it has none: decorate a generator function"),
    ],
    ids=["syntax", "bytes", "import", "interrupt", "exit", "empty"],
)
def test_a_scenario_file_that_is_none_is_refused(content: bytes, words: str) -> None:
    """Goal: a broken file is an input that is wrong. Method: files that cannot be loaded."""
    Path("wrong.py").write_bytes(content)
    ran = yak("sim", "run", "wrong.py")
    assert ran.exit_code == (130 if words == "interrupted" else 2)
    assert words in sentence(ran)


def test_a_name_that_the_file_does_not_have_is_refused() -> None:
    """Goal: say what there is. Method: a wrong name, and no name where there are two."""
    path = story("\n@scenario()\ndef other(world):\n    yield world.sleep(seconds=1)\n")
    for word, name in ((f"{path}:third", "third"), (f"{path}:Story", "Story")):
        ran = yak("sim", "run", word)
        assert ran.exit_code == 2
        assert sentence(ran) == f"story.py has no scenario {name!r}; it has story, other"
    Path(path).rename("two.py")
    ran = yak("sim", "run", "two.py")
    assert sentence(ran) == "two.py has no scenario 'two'; it has story, other"


@pytest.mark.parametrize("place", ["taken", "taken/below", "over/leader_failover"])
def test_an_output_folder_that_cannot_be_is_refused_at_once(place: str) -> None:
    """Goal: nobody waits for a run that cannot be kept. Method: a file where a folder must be."""
    Path("taken").write_bytes(b"")
    Path("over").mkdir()
    Path("over/leader_failover").write_bytes(b"")
    out = place.removesuffix("/leader_failover")
    ran = yak("sim", "run", "leader_failover", "--out", out)
    assert ran.exit_code == 2
    where = Path(out, "leader_failover", "7")
    assert sentence(ran) == f"the output folder {where} cannot be written: Not a directory"
    assert ran.stdout == ""


def test_a_file_that_cannot_be_written_costs_only_itself() -> None:
    """Goal: the verdict is told all the same. Method: a folder in the place of the trace."""
    Path("out/leader_failover/7/trace.jsonl").mkdir(parents=True)
    ran = yak("sim", "run", "leader_failover")
    assert ran.exit_code == 2
    assert "out/leader_failover/7 cannot be written: Is a directory" in sentence(ran)
    assert last_lines(ran.stdout)[1] == "valid: true"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "This is not a trace: it is empty."),
        (b"hello\n", "Line 1 is not a JSON object, so this is not a trace."),
        (b"{}\n", "Line 1 is not the header of a trace"),
        (b"\xff\xfe\n", "Line 1 is not UTF-8, so this is not a trace."),
        (b'{"schema":9,"kind":"yak-trace"}\n', "this version reads 1 and 2."),
    ],
)
def test_what_is_no_trace_is_refused(content: bytes, words: str) -> None:
    """Goal: exit 1 and say why. Method: files that never were a trace."""
    Path("trace.jsonl").write_bytes(content)
    ran = yak("sim", "digest", "trace.jsonl")
    assert ran.exit_code == 1
    assert words in sentence(ran)
    assert ran.stdout == ""


def test_a_trace_that_was_cut_short_is_refused() -> None:
    """Goal: a killed writer is noticed. Method: cut a trace at a line's end, and within a line."""
    assert yak("sim", "run", "zombie_leader").exit_code == 0
    path = Path("out/zombie_leader/7/trace.jsonl")
    content = path.read_bytes()
    lines = content.count(b"\n")
    for cut, words in (
        (content.rindex(b"\n", 0, -1) + 1, f"Line {lines - 1} "),
        (content.rindex(b"\n", 0, -1) - 5, f"Line {lines - 1} "),
        (len(content) - 1, f"Line {lines} "),
    ):
        path.write_bytes(content[:cut])
        ran = yak("sim", "digest", str(path))
        assert ran.exit_code == 1
        assert words in sentence(ran)
        assert "cut short" in sentence(ran)


ENDINGS = {
    "raise RuntimeError('a hole')": "The scenario raised RuntimeError: a hole.",
    "world.crash('n7')": "The scenario raised KeyError: 'n7'.",
    "sys.exit(0)": "The scenario raised SystemExit: 0.",
    "yield 5": "The scenario raised TypeError: it yielded 5, which is nothing to wait for",
    "yield world.until_ready()": "nothing to wait for (what is a generator itself needs 'yield fr",
    "world.expect.leader_is('n9')": "n9 leads: expected n9 to lead; but n",
    "yield world.until(lambda: False, within=seconds(2), what='a miracle')": (
        "Within 2 s: a miracle: expected it within 2 s; but it did not come."
    ),
    "world.crash('n3'); yield world.until_converged(within=seconds(2))": (
        "The cluster converges: expected all brokers to agree within 2 s; but n3 is not running."
    ),
    "world.fill_disk(world.leader); world.producer(values=1); yield world.sleep(seconds=1)": (
        "NoHalt was broken by n1: expected no broker to halt; but it halted: "
    ),
}


@pytest.mark.parametrize("body", ENDINGS)
def test_a_scenario_that_fails_is_told_and_kept(body: str) -> None:
    """Goal: exit 1, the reason, all files. Method: scenarios that end badly after a second."""
    ran = yak("sim", "run", story(f"    {body}\n"))
    assert ran.exit_code == 1, ran.output
    assert "Traceback" not in ran.output
    [said] = ran.stderr.splitlines()
    assert said.startswith("failed: ")
    assert ENDINGS[body] in said
    digest, valid = last_lines(ran.stdout)
    assert valid == "valid: false"
    assert verdict()["valid"] is False
    assert str(verdict()["reason"]) in said
    assert yak("sim", "digest", "out/story/7").stdout == f"digest: {digest}\n"
    assert Path("out/story/7/watermarks.png").stat().st_size > 10_000
    assert Path("out/story/7/history.jsonl").read_bytes().count(b"\n") >= 10


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("while True: pass", "no yield at story.py:"),
        ("while True: yield world.sleep(seconds=1)", "after 0.5 s of real time"),
        ("while True: yield world.sleep(seconds=0)", "after 0.5 s of real time"),
        ("yield world.until(lambda: False)", "after 0.5 s of real time"),
    ],
    ids=["computes", "sleeps", "stands still", "waits"],
)
def test_a_scenario_that_never_ends_is_given_up(body: str, words: str) -> None:
    """Goal: exit 3, unknown, all files. Method: four ways never to end, half a second each."""
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGALRM)]
    ran = yak("sim", "run", story(f"    {body}\n"), "--timeout", "0.5")
    assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGALRM)]
    assert ran.exit_code == 3, ran.output
    [said] = ran.stderr.splitlines()
    assert said.startswith("unknown: Given up: ")
    assert words in said
    digest, valid = last_lines(ran.stdout)
    assert valid == "valid: unknown"
    assert verdict()["valid"] == "unknown"
    assert yak("sim", "digest", "out/story/7").stdout == f"digest: {digest}\n"


def test_a_scenario_without_end_in_simulated_time_is_given_up_too() -> None:
    """Goal: no limit needs a clock on the wall. Method: the limits of the library."""
    from yak_sim import Limits, Script, World, run_scenario, scenario, seconds

    @scenario()
    def endless(world: World) -> Script:
        while True:
            yield world.sleep(seconds=1)

    result = run_scenario(endless, limits=Limits(simulated_us=seconds(20)))
    assert result.valid == "unknown"
    assert result.reason == "Given up: the scenario was not over after 20 simulated seconds."


def started(*words: str) -> subprocess.Popen[str]:
    """The command in a process of its own, with pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", "yak_cli", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_an_interrupt_keeps_what_there_is() -> None:
    """Goal: Ctrl-C is 130, and the run so far is kept. Method: SIGINT after a line of the story."""
    with started("sim", "run", story("    yield world.until(lambda: False)\n")) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("t=")
        process.send_signal(signal.SIGINT)
        printed, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said == "unknown: Interrupted.\n"
    digest, valid = last_lines(printed)
    assert valid == "valid: unknown"
    assert verdict()["reason"] == "Interrupted."
    assert yak("sim", "digest", "out/story/7").stdout == f"digest: {digest}\n"


def test_a_reader_who_leaves_changes_no_verdict() -> None:
    """Goal: `yak sim run ... | head -1` is harmless. Method: close the pipe after one line."""
    with started("sim", "run", "slow_follower") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("t=")
        process.stdout.close()
        process.wait(timeout=60)
    kept = json.loads(Path("out/slow_follower/7/verdict.json").read_text(encoding="utf-8"))
    assert kept["valid"] is True
