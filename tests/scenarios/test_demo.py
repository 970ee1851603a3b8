"""The simulated half of ``yak demo``: any input is read once and in order, or the demo fails."""

from __future__ import annotations

import base64
import errno
import json
import os
import random
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from tests.scenarios.scenario_runs import last_lines
from yak_cli import main
from yak_sim import run_scenario
from yak_sim.cli import LINE_BYTES_MAX
from yak_sim.demo import TAMPERINGS, _with_difference, first_difference, lines_of, tampered
from yak_sim.run.catalog import Catalog
from yak_sim.run.run_folder import read_history

FOLDER = Path("out/leader_failover/7")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def demo(content: bytes | None, *words: str) -> Result:
    """Run the demo in this process with these bytes as input."""
    if content is not None:
        Path("input").write_bytes(content)
        words = ("--input", "input", *words)
    return CliRunner().invoke(main, ["demo", "--only", "simulated", *words])


def read_back(rows: Iterable[dict[str, Any]]) -> list[bytes]:
    """Return the values that the consumer read, from the history."""
    found: list[bytes] = []
    for row in rows:
        if row["f"] == "fetch" and row["type"] == "ok":
            for value in row["value"]:
                is_text = isinstance(value, str)
                found.append(value.encode() if is_text else base64.b64decode(value["b64"]))
    return found


def assert_all_read(ran: Result, lines: list[bytes]) -> None:
    """Check that the output and the history have all lines."""
    assert ran.exit_code == 0, ran.output
    assert ran.stderr == ""
    assert re.search(rf"equal: {len(lines)} ", ran.stdout)
    assert re.search(rf"proved: c1 .*\b{len(lines)} records", ran.stdout)
    assert last_lines(ran.stdout)[1] == "valid: true"
    assert read_back(read_history(FOLDER)) == lines


RANDOM = random.Random(4).randbytes(20_000)

INPUTS = {
    "one line": b"a\n",
    "one line without its newline": b"a",
    "one empty line": b"\n",
    "two lines": b"a\nb\n",
    "three lines": b"a\nb\nc",
    "empty lines": b"\n\na\n\n\nb\n\n",
    "equal lines": b"same\n" * 40,
    "no last newline": b"a\nb\nc\nd\ne",
    "carriage returns": b"a\r\n\r\nb\rc\r\n",
    "NUL": b"\x00\n\x00\x00\na\x00b\n\x00",
    "random bytes": RANDOM,
    "random bytes without lines": RANDOM.replace(b"\n", b""),
    "UTF-8": "\u00e9\n\u4f60\u597d\n\U0001f600\n".encode(),
    "UTF-16": "\u00e9\n\u4f60\u597d\nabc\n".encode("utf-16"),
    "Latin-1": "\u00e9\n\u00e8\n".encode("latin-1"),
    "a long line": b"short\n" + b"x" * LINE_BYTES_MAX + b"\nshort\n",
    "500 lines": b"".join(b"%d\n" % number for number in range(500)),
}


@pytest.mark.parametrize("name", INPUTS)
def test_the_bytes_between_newlines_are_the_records(name: str) -> None:
    """Method: compare with a plain split."""
    content = INPUTS[name]
    lines = content.split(b"\n")
    wanted = lines[:-1] if content.endswith(b"\n") else lines
    Path("input").write_bytes(content)
    result = run_scenario(
        Catalog().load("leader_failover"),
        values=lines_of(Catalog(), "input", None),
    )
    assert result.valid is True, result.reason
    assert result.world.consumers[0].values == wanted
    assert read_back(map(json.loads, map(json.dumps, result.history.objects()))) == wanted


def test_random_bytes_are_read_unchanged() -> None:
    """Method: the history file of a run on random bytes."""
    lines = RANDOM.split(b"\n")
    assert_all_read(demo(RANDOM), lines[:-1] if RANDOM.endswith(b"\n") else lines)


def test_the_default_input_is_read() -> None:
    """Goal: `yak demo` without a file, with `--seed` and `--out`. Method: another seed."""
    folder = Path("elsewhere/leader_failover/8")
    done = demo(None, "--seed", "8", "--out", "elsewhere")
    assert (done.exit_code, done.stderr) == (0, "")
    lines = list(lines_of(Catalog(), None, None))
    assert len(lines) > 30
    assert b"" in lines
    assert read_back(read_history(folder)) == lines
    assert re.search(rf"equal: {len(lines)} .*\b{len(lines)} ", done.stdout)
    for noun in ("committed", "unflushed", "truncated"):
        assert re.search(f"proved: .*{noun}", done.stdout)
    assert (folder / "replay.txt").read_text(encoding="utf-8").startswith("yak demo --seed 8\n")
    verdict = json.loads((folder / "verdict.json").read_text(encoding="utf-8"))
    assert verdict["valid"] is True
    figures = verdict["figures"]
    assert figures["committed_at_crash"] == len(lines) // 2
    assert figures["unreplicated_at_crash"] == figures["unflushed_at_crash"] == 2


@pytest.mark.long
def test_a_hundred_thousand_lines_are_read() -> None:
    """Method: compare 100,000 lines with the history file."""
    lines = [b"%d" % number for number in range(100_000)]
    assert_all_read(demo(b"\n".join(lines)), lines)


def test_a_tampered_record_fails_the_demo() -> None:
    """Goal: the comparison can fail. Method: change the read records before it."""
    ran = demo(b"a\nb\n", "--tamper", "swapped")
    assert ran.exit_code == 1
    assert re.match(r"failed: .*\b2 lines", ran.stderr)
    assert ran.stderr.count("\n") == 1
    assert "FAILED: " in ran.stdout
    assert "equal: " not in ran.stdout
    assert last_lines(ran.stdout)[1] == "valid: false"
    verdict = json.loads((FOLDER / "verdict.json").read_text(encoding="utf-8"))
    assert verdict["valid"] is False
    assert verdict["expectations"][-1]["happened"] in verdict["reason"]


def test_the_comparison_does_not_change_the_world() -> None:
    """Method: compare the result before and after."""
    result = run_scenario(Catalog().load("leader_failover"), values=[b"a", b"b"])
    kept = result.expectations
    compared = _with_difference(result, 2, "record b'b' instead of line 1, b'a'")
    assert (result.valid, compared.valid) == (True, False)
    assert result.expectations == result.world.expectations == kept
    assert [each.held for each in compared.expectations[len(kept) :]] == [False]


def test_equal_lines_cannot_be_swapped() -> None:
    """Goal: a change without an effect is refused. Method: one line, equal lines."""
    for content in (b"a", b"a\na\na\n"):
        ran = demo(content, "--tamper", "swapped")
        assert ran.exit_code == 2
        assert ran.stdout == ""
        assert "equal" in ran.stderr


@pytest.mark.parametrize(
    ("words", "noun"),
    [
        (("--input", "empty"), "is empty"),
        (("--input", "none"), "none"),
        (("--input", "."), os.strerror(errno.EISDIR)),
        (("--input", "big"), "1000001"),
        (("--seed", "x"), "--seed"),
        (("--tamper", "stolen"), "stolen"),
        (("--out", "empty"), "empty/leader_failover/7"),
        (("--out", "none", "surplus"), "surplus"),
    ],
)
def test_a_wrong_input_is_refused(words: tuple[str, ...], noun: str) -> None:
    """Goal: exit code 2, one message, nothing run."""
    Path("empty").write_bytes(b"")
    Path("big").write_bytes(b"a\n" + b"x" * (LINE_BYTES_MAX + 1))
    ran = demo(None, *words)
    assert ran.exit_code == 2
    assert ran.stdout == ""
    [message] = [line for line in ran.stderr.splitlines() if line.startswith("Error: ")]
    assert noun in message
    assert not Path("out").exists() or not list(Path("out").rglob("*.jsonl"))


VALUES = st.lists(st.binary(max_size=2), max_size=6)


@given(VALUES, VALUES)
def test_a_difference_is_found_if_there_is_one(sent: list[bytes], read: list[bytes]) -> None:
    """Goal: a difference exactly for unequal lists. Method: any two lists, and equal ones."""
    assert (first_difference(sent, read) == "") == (sent == read)
    assert first_difference(sent, list(sent)) == ""


@given(st.lists(st.binary(max_size=2), min_size=1, max_size=6), st.sampled_from(TAMPERINGS))
def test_tampering_always_changes_the_list(sent: list[bytes], how: str) -> None:
    """Method: any list and each kind of change."""
    if how == "swapped" and len(set(sent)) == 1:
        with pytest.raises(AssertionError, match="equal"):
            tampered(sent, how)
        return
    damaged = tampered(sent, how)
    assert damaged != sent
    assert first_difference(sent, damaged) != ""
    assert len(damaged) - len(sent) == {"lost": -1, "doubled": 1}.get(how, 0)


def test_a_difference_has_a_short_message() -> None:
    """Method: long values, a missing record, and an extra one."""
    long = b"x" * 5_000
    assert len(first_difference([long], [b"y" * 5_000])) < 250
    missing = first_difference([b"a", b"b"], [b"a"])
    assert re.search(r"\b2\b.*b'b'.*\b1\b.*\b2\b", missing)
    extra = first_difference([b"a"], [b"a", b"b"])
    assert re.search(r"\b2\b.*\b1\b.*b'b'", extra)
    assert re.search(r"None.*\b1\b.*b'a'", first_difference([b"a"], [None]))
