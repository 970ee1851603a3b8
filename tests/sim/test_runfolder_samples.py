"""Old files of run folders stay readable, and docs/formats.md describes new ones."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from yak_sim.plot.captions import FAULT_CAPTIONS
from yak_sim.run.run_folder import FormatError, read_history, read_verdict
from yak_sim.world.plan import _ACTIONS

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "tests" / "golden_formats"
PAGE = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """Return a section of the page."""
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def documented(text: str) -> list[str]:
    """Return the names in the first column of the tables, in order."""
    cells = re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]


def test_version_1_of_the_history_is_read() -> None:
    """Method: the sample of version 1."""
    rows = read_history(SAMPLES / "history_1.jsonl")
    assert [row["type"] for row in rows] == ["invoke", "invoke", "ok", "ok", "invoke", "info"]
    assert rows[3]["value"] == ["line 0", "", "ünï", {"b64": "/w=="}]
    assert rows[5]["error"] == "REQUEST_TIMED_OUT"
    assert documented(section("History")) == list(rows[0])


@pytest.mark.parametrize("schema", [1, 2])
def test_every_schema_of_the_verdict_is_read(schema: int) -> None:
    """Method: the sample of each schema."""
    verdict = read_verdict(SAMPLES / f"verdict_{schema}.json")
    assert (verdict["scenario"], verdict["seed"], verdict["valid"]) == ("leader_failover", 7, False)
    fields = documented(section("Verdict"))
    fields.remove("settings")  # Only a run with other settings has it.
    assert fields == list(verdict)


def test_the_page_has_the_fields_of_a_trace() -> None:
    """Method: compare the tables of the page with the sample."""
    lines = [json.loads(line) for line in (SAMPLES / "trace_2.jsonl").read_bytes().splitlines()]
    text = section("Trace")
    fields = documented(text)
    fields.remove("done")  # Only an incomplete step has it.
    header, step = list(lines[0]), list(lines[1])
    assert fields[: len(header) + len(step)] == header + step
    fault = next(line["fault"] for line in lines if "fault" in line)
    assert documented(section("Faults"))[:4] == list(fault)[:4]
    for name in lines[-1]["end"]:
        assert f'"{name}"' in text


def test_every_kind_of_fault_has_a_row_and_a_caption() -> None:
    """Method: compare with the kinds of a plan."""
    rows = documented(section("Faults").partition("| kind | target |")[2])
    kinds = [name for name in rows if name in _ACTIONS]
    assert sorted(kinds) == sorted(_ACTIONS)
    ends = {"restart", "resume", "heal", "store_back"}
    assert sorted({*FAULT_CAPTIONS, *ends}) == sorted(_ACTIONS)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "JSON"),
        (b"\xff", "JSON"),
        (b"[]", "JSON object"),
        (b"{}", "schema None"),
        (b'{"schema":3}', "schema 3"),
        (b'{"schema":1}', "'scenario'"),
    ],
)
def test_an_invalid_verdict_is_refused(tmp_path: Path, text: bytes, reason: str) -> None:
    """Check the cause in each error."""
    path = tmp_path / "verdict.json"
    path.write_bytes(text)
    with pytest.raises(FormatError) as caught:
        read_verdict(path)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ((b'"i":1', b'"i":2'), "line 2 .*2.*1"),
        ((b'"hw":4,', b""), "line 4 .*'hw'"),
        ((b'{"i":4', b'"i":4'), "line 5 .*JSON"),
    ],
)
def test_a_damaged_history_is_refused(
    tmp_path: Path, change: tuple[bytes, bytes], reason: str
) -> None:
    """Check the line and the cause in each error."""
    text = (SAMPLES / "history_1.jsonl").read_bytes()
    assert change[0] in text
    (tmp_path / "history.jsonl").write_bytes(text.replace(*change, 1))
    with pytest.raises(FormatError, match=reason):
        read_history(tmp_path)
