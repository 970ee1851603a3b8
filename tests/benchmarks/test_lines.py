"""Each benchmark prints bench lines when run at a tiny size; what they say proves nothing here."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from benchmarks.common import Measured, Row, interleaved, rate
from tests.tidy.tree import ROOT

KEYS = ["figure", "peer", "size", "ours", "theirs", "ratio"]


def lines_of(*words: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", *words]
    done = subprocess.run(
        command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(line: dict[str, Any]) -> None:
    """A bench line has the agreed keys, and its ratio is ours / theirs."""
    assert [key for key in line if key != "skipped"] == KEYS
    if "skipped" in line:
        assert line["skipped"]
        assert line["ours"] is None
        return
    assert line["ours"] > 0
    if line["theirs"] is None:
        assert line["ratio"] is None
    else:
        assert line["ratio"] == pytest.approx(line["ours"] / line["theirs"], rel=0.01, abs=1e-4)


def test_simulator_prints_all_rows() -> None:
    lines = lines_of("benchmarks.sim", "--quick", "--seconds", "1")
    for line in lines:
        check(line)
    assert [(line["figure"], line["peer"]) for line in lines] == [
        ("messages_per_cpu_s", "SimPy, bare events"),
        ("messages_per_cpu_s", "naive simulator"),
        ("messages_per_cpu_s", "naive simulator with a disk"),
        ("messages_per_cpu_s_no_invariants", "invariants and trace on"),
        ("messages_per_cpu_s_no_trace", "invariants and trace on"),
        ("messages_per_cpu_s_bare", "invariants and trace on"),
        ("runs_per_cpu_s", None),
        ("trace_steps_encoded_per_cpu_s", "steps simulated"),
        ("flat_10x_rate", "1x"),
        ("flat_9_brokers", "1x"),
        ("flat_10x_duration", "1x"),
    ]


def test_batches_print_all_rows() -> None:
    lines = lines_of("benchmarks.batch", "--quick", "--records", "1000")
    for line in lines:
        check(line)
    assert {line["figure"] for line in lines} == {
        "encode_records_per_cpu_s",
        "decode_records_per_cpu_s",
        "parse_mb_per_cpu_s",
    }
    assert len(lines) == 10


def test_rounds_are_interleaved_and_their_median_counts() -> None:
    order: list[str] = []

    def subject(name: str, units: list[int]) -> Measured:
        order.append(name)
        return Measured(units.pop(0), 2.0)

    first, second = [2, 200, 4], [10, 10, 10]
    found = interleaved({"a": lambda: subject("a", first), "b": lambda: subject("b", second)}, 3)
    assert order == ["a", "b"] * 3
    assert rate(found["a"]) == 2.0
    assert rate(found["b"]) == 5.0


def test_missing_peer_is_a_line_that_says_so() -> None:
    line = json.loads(Row("read", "peer", "1 KiB", skipped="peer is not installed").line())
    check(line)
    assert line["skipped"] == "peer is not installed"
