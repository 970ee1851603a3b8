"""``yak bench peers``: our cluster beside its peers; and own clusters of the other commands.

The numbers are not checked.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

import yak_cli
from benchmarks.net import Figures
from benchmarks.peers import NATS, RABBIT, REDIS, missing, rows_of
from tests.benchmarks.running import check, lines_of
from tests.benchmarks.test_net import mentioned_by_processes
from tests.require import executable, module

BESIDE = {
    REDIS: {
        "batch_produce_records_per_s": 1,
        "produce_records_per_s": 1,
        "batch_produce_mb_per_s": 2,
        "produce_mb_per_s": 1,
        "read_records_per_s": 1,
        "ack_p50_us": 1,
    }
}
BESIDE[NATS] = BESIDE[REDIS]
BESIDE[RABBIT] = {"batch_produce_records_per_s": 1, "produce_records_per_s": 1}
ALONE = {
    "ack_p50_at_100_per_s": 1,
    "flush_batch_over_os": 2,
    "broker_peak_mib": 1,
    "failover_s": 1,
}


class Measured(Figures):
    """Figures that are all 2, with one failover."""

    def __init__(self) -> None:
        super().__init__({"os failover": [2.0]})

    def get(self, name: str) -> float | None:
        return 2.0


def by_peer(lines: list[dict[str, object]], peer: str) -> Counter[object]:
    return Counter(line["figure"] for line in lines if line["peer"] == peer)


@pytest.mark.parametrize("absent", [{RABBIT: "r"}, {REDIS: "a", NATS: "b", RABBIT: "c"}])
def test_each_peer_has_its_rows(absent: dict[str, str]) -> None:
    """Goal: a missing peer is a line with a reason, and our figure stays; method: fixed figures."""
    lines = [json.loads(row.line()) for row in rows_of(Measured(), absent)]
    for line in lines:
        check(line)
    for peer, rows in BESIDE.items():
        assert by_peer(lines, peer) == rows
        found = {line.get("skipped") for line in lines if line["peer"] == peer}
        assert found == {absent.get(peer)}
    others = Counter(line["figure"] for line in lines if line["peer"] not in BESIDE)
    ours = Counter(ALONE) if REDIS not in absent else Counter(ALONE) + Counter(BESIDE[REDIS])
    assert others == ours
    assert all(line["ratio"] == 1 for line in lines if line["peer"] in BESIDE and line["ours"])


def test_an_installation_without_benchmarks_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: exit code 1 and a sentence; method: the command is in a folder without them."""
    monkeypatch.setattr(yak_cli, "__file__", str(tmp_path / "yak_cli.py"))
    for words in (["bench"], ["bench", "peers", "--quick"]):
        done = CliRunner().invoke(yak_cli.main, words)
        assert (done.exit_code, done.stdout) == (1, "")
        assert "source" in done.stderr


@pytest.mark.long
def test_all_peers_are_measured_in_one_run_and_leave_nothing() -> None:
    """Goal: real servers, each row measured; method: a run as short as possible."""
    executable("redis-server")
    executable("nats-server")
    module("nats-server", "nats")
    assert set(missing()) == {RABBIT}
    with tempfile.TemporaryDirectory(prefix="yb") as name:
        words = ("yak_cli", "bench", "peers", "--quick", "--json", "--seconds", "0.05")
        lines = lines_of(*words, TMPDIR=name)
        for line in lines:
            check(line)
        assert by_peer(lines, NATS) == BESIDE[NATS]
        assert by_peer(lines, REDIS) == BESIDE[REDIS]
        assert all(line["ratio"] for line in lines if line["peer"] in (NATS, REDIS))
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
