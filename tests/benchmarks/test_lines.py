"""Each benchmark prints its lines at a tiny size; the numbers are not checked."""

from __future__ import annotations

import json

import pytest

from benchmarks.common import Measured, Row, interleaved, rate
from tests.benchmarks.running import check, lines_of


@pytest.mark.long
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
        "consume_records_per_cpu_s",
    }
    assert len(lines) == 12


@pytest.mark.long
def test_codecs_print_all_rows() -> None:
    lines = lines_of("benchmarks.compression", "--quick", "--records", "1000")
    for line in lines:
        check(line)
    assert {line["figure"] for line in lines} == {
        "encode_records_per_cpu_s",
        "encode_mb_per_cpu_s",
        "decode_records_per_cpu_s",
        "decode_mb_per_cpu_s",
        "sent_bytes_per_record",
    }
    codecs = {line["size"].partition(",")[0] for line in lines}
    assert (len(lines), codecs) == (20, {"none", "gzip", "lz4", "zstd"})


def test_waiting_calls_print_their_row() -> None:
    (line,) = lines_of("benchmarks.waiting", "--quick")
    check(line)
    assert line["figure"] == "flat_waiting_calls_per_cpu_s"


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


def test_missing_peer_is_reported() -> None:
    line = json.loads(Row("read", "peer", "1 KiB", skipped="peer is not installed").line())
    check(line)
    assert line["skipped"] == "peer is not installed"
