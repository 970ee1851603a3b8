"""The golden runner: errors with their lines, rewriting, and diffs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.golden.golden_script import ScriptError, difference, parse, rewritten, run
from tests.golden.golden_words import WORDS, Play
from yak_core.rules import Rules

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(__file__).parent / "scripts"
TITLE = "# R5: A title.\n"

SMALL = """\
# R5: A cluster of one is its own ISR.

(cluster 1 min_isr=1)
produce n1 a
settle
----
{output}

# A remark.
log n1
----
n1 log 0: [a/1]
"""

OUTPUT = """\
n1 is asked: Produce acks=all a
  n1 append 0 [a/1]
  n1 flush
n1 flush: done
  n1 note HighWatermarkAdvanced hw=1
  n1 answers a: written base=0 e1"""


def played(text: str) -> list[list[str]]:
    return run(parse(text), Play(Rules()).execute)


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("", 1, "rules"),
        ("status\n----\nok\n", 1, "rules"),
        ("# rule 5: something\n", 1, "rules"),
        (TITLE, 1, "no command"),
        (TITLE + "status\n", 2, "----"),
        (TITLE + "\n----\nok\n", 3, "command"),
        (TITLE + "status\n----\nok\nlog\n----\nok\n", 6, "empty line"),
        (TITLE + "(status\n----\n", 2, "parenthes"),
        (TITLE + "()\n----\n", 2, "parentheses"),
        (TITLE + "status\n----\n" + "x\n" * 130, 121, "120"),
    ],
)
def test_malformed_script_is_refused_with_its_line(text: str, line: int, reason: str) -> None:
    """Parse texts with one error each: ScriptError has the line and the reason."""
    with pytest.raises(ScriptError, match=rf"^line {line}: .*{reason}") as caught:
        parse(text)
    assert caught.value.line == line


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("dance", "'dance'.* cluster, start"),
        ("start", "node"),
        ("start n1", "n1 .*running"),
        ("crash n1 keep=some", "keep=some .*number"),
        ("produce n1 a acks=2", "acks=2 .*all, 1, 0"),
        ("deliver n1->n2", " 0 .*messages"),
        ("redeliver ghost", "ghost"),
        ("run until moon=full", "moon=full"),
        ("run until leader=n7", ""),
        ("fire n1 alarm", "n1 .*timer 'alarm'"),
        ("store n1 happen", "n1 .* 0 .*calls"),
        ("rollback by=99", "store"),
    ],
)
def test_impossible_command_is_refused_with_its_line(command: str, reason: str) -> None:
    """Run a script whose second command is impossible: the error has its line."""
    with pytest.raises(ScriptError, match=rf"^line 3: .*{reason}"):
        played(f"{TITLE}(cluster 1 min_isr=1)\n{command}\n----\n")


def test_rewriting_replaces_outputs_and_nothing_else() -> None:
    """Rewrite a script with other output: comments, commands and empty lines stay."""
    for wrong in ("nonsense", "two\nlines", OUTPUT):
        script = parse(SMALL.format(output=wrong))
        assert rewritten(script, played(SMALL.format(output=wrong))) == SMALL.format(output=OUTPUT)


def test_mismatch_is_shown_as_a_diff() -> None:
    """Compare with one wrong line: the diff has both lines; it is empty for a match."""
    wrong = OUTPUT.replace("base=0", "base=7")
    script = parse(SMALL.format(output=wrong))
    diff = difference(Path("small.golden"), script, played(SMALL.format(output=wrong)))
    assert "-  n1 answers a: written base=7 e1\n+  n1 answers a: written base=0 e1" in diff
    right = parse(SMALL.format(output=OUTPUT))
    assert difference(Path("small.golden"), right, played(SMALL.format(output=OUTPUT))) == ""


def test_a_step_that_raises_is_shown_and_halts_the_node() -> None:
    """Run under a rule that raises: the exception is a line, and the node is down."""

    def burst(waiting: int, epoch: int, end: int, hw: int) -> bool:
        raise AssertionError("too much")

    text = f"{TITLE}(cluster 1 min_isr=1)\nproduce n1 a\nsettle\nstatus\n----\n"
    (output,) = run(parse(text), Play(Rules(confirm=burst)).execute)
    assert "a step raised AssertionError: too much" in output
    assert output[-1] == "n1 down (halted) disk=0..1"


def test_pytest_reports_a_mismatch_and_rewrites_on_demand(tmp_path: Path) -> None:
    """Run pytest on a wrong script: it fails with a diff, and --rewrite corrects the script."""
    path = tmp_path / "small.golden"
    path.write_text(SMALL.format(output="nonsense"), encoding="utf-8")

    def pytest_on_it(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pytest", "-p", "tests.golden.conftest", "-q"]
        command += ["-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(tmp_path)]
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }
        return subprocess.run(
            [*command, *options, str(path)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    failed = pytest_on_it()
    assert failed.returncode == 1
    assert "-nonsense" in failed.stdout
    assert "+n1 is asked: Produce acks=all a" in failed.stdout
    assert pytest_on_it("--rewrite").returncode == 0
    assert path.read_text(encoding="utf-8") == SMALL.format(output=OUTPUT)


def test_every_script_parses_and_every_word_is_used() -> None:
    """All scripts together use every command but those for debugging."""
    used: dict[str, None] = {}
    for path in sorted(SCRIPTS.glob("*.golden")):
        for block in parse(path.read_text(encoding="utf-8")).blocks:
            used.update(dict.fromkeys(command.words[0] for command in block.commands))
    assert set(WORDS) - set(used) == {"wire", "duplicate", "seek"}


def test_words_are_described() -> None:
    """README.md has a line for every command."""
    text = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")
    assert [word for word in WORDS if f"| `{word}" not in text] == []
