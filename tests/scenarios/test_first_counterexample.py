"""docs/first-counterexample.md: its programs run, and print what the page shows.

Method: the programs one after the other in one namespace, as a reader runs them.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "first-counterexample.md").read_text("utf-8")


def test_the_tutorial_is_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: each output and number of the page. Method: run the programs, read their output."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    programs = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert len(programs) == 3
    for program in programs:
        exec(program, names)
    result = names["result"]
    outputs = dict(re.findall(r"<!-- output: (\w+) -->\n```\n(.*?)```", PAGE, re.DOTALL))
    assert outputs["report"] in result.report()  # type: ignore[attr-defined]
    assert outputs["reason"].strip() == result.reason  # type: ignore[attr-defined]
    assert names["right"].valid is True  # type: ignore[attr-defined]
    difference = names["first_difference"](result, names["right"])  # type: ignore[operator]
    broken, right = difference.splitlines()[1:]
    assert '"n":"n3"' in broken
    assert '"prev_offset":30' in broken
    assert ("TruncateLog" in broken, "TruncateLog" in right) == (True, False)
    assert (tmp_path / "out/leader_failover/7/watermarks.svg").exists()
