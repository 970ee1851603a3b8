"""``yak bench peers``: our cluster beside its peers; and own clusters of the other commands.

The numbers are not checked.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import yak_cli
from benchmarks import peers
from benchmarks.common import CannotMeasure
from benchmarks.nats_peer import NatsFailed
from benchmarks.net import Figures
from benchmarks.peer_rows import LARGE_LOG, LINES, NATS, RABBIT, REDIS, REDIS_CLI, rows_of
from tests.benchmarks.running import check, lines_of
from tests.benchmarks.test_net import mentioned_by_processes
from tests.net.brokers import until
from tests.require import executable, module
from tests.tidy.tree import ROOT

RECORDS = {
    "batch_produce_records_per_s": 1,
    "produce_records_per_s": 1,
    "batch_produce_mb_per_s": 2,
    "produce_mb_per_s": 1,
    "read_records_per_s": 1,
    "ack_p50_us": 1,
}
CLI = {"cli_produce_lines_per_s": 1, "cli_consume_lines_per_s": 1}
GAPS = {"failover_s": 1, "handover_s": 1}
BESIDE = {REDIS: RECORDS, NATS: {**RECORDS, **GAPS}, RABBIT: RECORDS, REDIS_CLI: CLI}
LARGE = {
    "large_log_produce_records_per_cpu_s": 1,
    "large_log_read_records_per_cpu_s": 1,
    "large_log_recovery_s": 1,
}
ALONE = {
    **GAPS,
    **LARGE,
    "ack_p50_at_100_per_s": 1,
    "ack_p50_at_100_per_s_ratio": 1,
    "flush_batch_over_os": 3,
    "broker_peak_mib": 1,
}
ABSENT = {REDIS: "a", NATS: "b", RABBIT: "c", LINES: "d", LARGE_LOG: "e"}


class Measured(Figures):
    """Figures that are all 2, with one failover."""

    def __init__(self) -> None:
        super().__init__({"os failover": [2.0]})

    def get(self, name: str) -> float | None:
        return 2.0

    def range(self, name: str) -> tuple[float, float] | None:
        return (1.5, 3.0)


def by_peer(lines: list[dict[str, Any]], peer: str) -> Counter[object]:
    return Counter(line["figure"] for line in lines if line["peer"] == peer)


def others(lines: list[dict[str, Any]]) -> Counter[object]:
    return Counter(line["figure"] for line in lines if line["peer"] not in BESIDE)


@pytest.mark.parametrize("absent", [{}, {RABBIT: "r"}, ABSENT])
def test_each_peer_has_its_rows(absent: dict[str, str]) -> None:
    """Goal: a missing peer is a line with a reason, and our figure stays; method: fixed figures."""
    lines = [json.loads(row.line()) for row in rows_of(Measured(), absent, 1000, 50_000_000)]
    for line in lines:
        check(line)
    for peer, rows in BESIDE.items():
        assert by_peer(lines, peer) == rows
        found = {line.get("skipped") for line in lines if line["peer"] == peer}
        assert found == {absent.get(LINES if peer == REDIS_CLI else peer)}
    ours = Counter(ALONE)
    if REDIS in absent:
        ours += Counter(RECORDS) + Counter(CLI)
    assert others(lines) == ours
    large = {line.get("skipped") for line in lines if line["figure"] in LARGE}
    assert large == {absent.get(LARGE_LOG)}
    measured = [line for line in lines if line["ours"] is not None]
    ranges = {tuple(line.get("ours_range", ())) for line in measured}
    assert ranges == {(1.5, 3.0), ()}, "a ratio of two medians has no range"
    assert all(line["ratio"] == 1 for line in measured if line["peer"] in BESIDE)


def test_each_row_names_how_durable_both_sides_are() -> None:
    """Goal: replicas, acknowledgement and flush are in the row, so that it can be quoted alone."""
    for row in rows_of(Measured(), {}, 1000, 50_000_000):
        if row.figure != "broker_peak_mib":
            assert "acks=all, 3 in the ISR, flush=" in row.size
        if row.peer in BESIDE:
            assert "fsync" in row.peer
            assert any(word in row.peer for word in ("R3", "2 replicas"))


def plan() -> peers.Plan:
    return peers.Plan(0.1, 2, 1, 1, 10, 1000)


def test_a_peer_that_fails_is_skipped_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: the other rows stay, and it is not tried again; method: parts that do nothing."""
    ran: list[str] = []

    def failing(*_: object) -> dict[str, peers.OnRound]:
        def fail() -> None:
            ran.append(NATS)
            raise NatsFailed("no leader")

        return {"flush=os": lambda: ran.append("flush=os"), NATS: fail}

    monkeypatch.setattr(peers, "subjects_of", failing)
    monkeypatch.setattr(peers, "missing", lambda _: {RABBIT: "not here"})
    steps: list[str] = []
    rows = peers.run(plan(), steps.append)
    assert ran == ["flush=os", NATS, "flush=os"]
    assert len(steps) == 3
    assert {row.skipped for row in rows if row.peer == NATS} == {"failed: no leader"}
    assert {row.skipped for row in rows if row.peer == RABBIT} == {"not here"}
    assert {row.skipped for row in rows if row.peer == REDIS} == {None}


def test_our_cluster_that_fails_ends_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: exit code 1, the reason, and no rows; method: a part that fails."""

    def failing(*_: object) -> dict[str, peers.OnRound]:
        def fail() -> None:
            raise CannotMeasure("the state changed")

        return {"flush=os": fail}

    monkeypatch.setattr(peers, "subjects_of", failing)
    done = CliRunner().invoke(yak_cli.main, ["bench", "peers", "--quick", "--json"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert "the state changed" in done.stderr


def test_an_installation_without_benchmarks_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: exit code 1 and a sentence; method: the command is in a folder without them."""
    monkeypatch.setattr(yak_cli, "__file__", str(tmp_path / "yak_cli.py"))
    for words in (["bench"], ["bench", "peers", "--quick"]):
        done = CliRunner().invoke(yak_cli.main, words)
        assert (done.exit_code, done.stdout) == (1, "")
        assert "source" in done.stderr


def require_all() -> None:
    for name in ("redis-server", "redis-cli", "nats-server", "rabbitmq-server"):
        executable(name)
    module("nats-server", "nats")
    module("rabbitmq-server", "rstream")


@pytest.mark.long
@pytest.mark.timeout(300)
def test_all_peers_are_measured_in_one_run_and_leave_nothing() -> None:
    """Goal: real servers, each row measured; method: a run as short as possible."""
    require_all()
    with tempfile.TemporaryDirectory(prefix="yb") as name:
        words = ("yak_cli", "bench", "peers", "--quick", "--json", "--seconds", "0.05")
        lines = lines_of(*words, within_s=280, TMPDIR=name)
        for line in lines:
            check(line)
        for peer, rows in BESIDE.items():
            assert by_peer(lines, peer) == rows
        assert others(lines) == Counter(ALONE)
        assert all(line["ratio"] for line in lines if line["peer"])
        assert mentioned_by_processes(Path(name)) == []
        assert list(Path(name).iterdir()) == []


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("folder", ["yak-bench-nats-*/n2", "yak-bench-rabbit-*/r2"])
def test_an_interrupt_while_peers_run_leaves_nothing(folder: str) -> None:
    """Goal: Ctrl-C ends all servers; method: SIGINT when the last one of a peer has its folder."""
    require_all()
    with tempfile.TemporaryDirectory(prefix="yb") as name:
        process = subprocess.Popen(
            [sys.executable, "-m", "yak_cli", "bench", "peers", "--quick", "--seconds", "0.05"],
            cwd=ROOT, env={**os.environ, "TMPDIR": name}, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            until(lambda: list(Path(name).glob(folder)), folder, within_s=120)
            os.killpg(process.pid, signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
        assert (process.returncode, out) == (130, ""), err
        assert "Traceback" not in err
        assert mentioned_by_processes(Path(name)) == []
        assert list(Path(name).iterdir()) == []


@pytest.mark.long
def test_own_clusters_are_measured_and_leave_nothing() -> None:
    """Goal: produce, consume and e2e start and end their brokers; method: short runs."""
    with tempfile.TemporaryDirectory(prefix="yb") as name:
        for command in ("produce", "consume", "e2e"):
            words = ("yak_cli", "bench", command, "--json", "--seconds", "0.05")
            for line in lines_of(*words, TMPDIR=name):
                check(line)
        assert mentioned_by_processes(Path(name)) == []
        assert list(Path(name).iterdir()) == []
