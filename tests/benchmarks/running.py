"""Runs benchmarks as a user does and checks the form of their lines, not the speed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.tidy.tree import ROOT

KEYS = ["figure", "peer", "size", "ours", "theirs", "ratio"]
OPTIONAL = {"skipped", "ours_range", "theirs_range"}
MAY_BE_ZERO = "other_load_cores"


def text_of(*words: str, within_s: float = 100, **env: str) -> str:
    """Run ``python -m WORDS``, which must succeed without warnings; return its output."""
    command = [sys.executable, "-m", *words]
    done = subprocess.run(
        command,
        check=False,
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=within_s,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def lines_of(*words: str, within_s: float = 100, **env: str) -> list[dict[str, Any]]:
    """Return the same as parsed lines."""
    return [json.loads(line) for line in text_of(*words, within_s=within_s, **env).splitlines()]


def check(line: dict[str, Any]) -> None:
    """Check the keys of a line, that its ratio is ours / theirs, and that ranges have medians."""
    assert [key for key in line if key not in OPTIONAL] == KEYS
    for name in ("ours", "theirs"):
        if f"{name}_range" in line:
            least, largest = line[f"{name}_range"]
            assert least <= line[name] <= largest
    if "skipped" in line:
        assert line["skipped"]
        assert line["ours"] is None
        return
    assert line["ours"] > 0 or line["figure"] == MAY_BE_ZERO
    if line["theirs"] is None:
        assert line["ratio"] is None
    else:
        assert line["ratio"] == pytest.approx(line["ours"] / line["theirs"], rel=0.01, abs=1e-4)
