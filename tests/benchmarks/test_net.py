"""The benchmark of the real cluster runs to its end with all rows and leaves no process."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.levers import LEVERS
from benchmarks.net import PEER, Figures, rows_of
from tests.benchmarks.running import check, lines_of, text_of
from tests.require import executable

UNITS = ("records_per_s", "mb_per_s", "records_per_cpu_s")
BESIDE_PEER = {
    **{f"batch_produce_{unit}": 8 for unit in UNITS},
    **{f"produce_{unit}": 4 for unit in UNITS},
    **{f"read_{unit}": 2 for unit in UNITS},
    "ack_p50_us": 2,
    "ack_p99_us": 2,
}
ALONE = {"broker_idle_mib": 4, "broker_peak_mib": 4, "send_records_per_s": 1, "other_load_cores": 4}


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield a folder for all files of a run, with a short path because of its sockets."""
    with tempfile.TemporaryDirectory(prefix="yb") as name:
        yield Path(name)


def mentioned_by_processes(folder: Path) -> list[str]:
    """Return the command lines and environments that contain a folder's name."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                text = (process / name).read_bytes()
            except OSError:
                continue
            if str(folder).encode() in text:
                found.append(f"{process.name}: {text!r}")
    return found


@pytest.mark.long
def test_real_cluster_prints_all_rows_and_leaves_nothing(folder: Path) -> None:
    executable("redis-server")
    lines = lines_of("benchmarks.net", "--quick", "--seconds", "0.05", TMPDIR=str(folder))
    for line in lines:
        check(line)
    beside = Counter(line["figure"] for line in lines if line["peer"] == PEER)
    assert beside == BESIDE_PEER
    assert all("skipped" not in line and line["ratio"] for line in lines if line["peer"] == PEER)
    assert Counter(line["figure"] for line in lines if line["peer"] is None) == ALONE
    assert [line["figure"] for line in lines if line["peer"] == "flush=os"] == [
        "flush_batch_over_os"
    ] * 2
    assert mentioned_by_processes(folder) == []
    assert list(folder.iterdir()) == []


def test_without_the_peer_each_figure_has_no_ratio() -> None:
    class Measured(Figures):
        def get(self, name: str) -> float | None:
            return None if name.startswith("redis") else 2.0

    lines = [json.loads(row.line()) for row in rows_of(Measured())]
    for line in lines:
        check(line)
    skipped = Counter(line["figure"] for line in lines if "skipped" in line)
    assert skipped == BESIDE_PEER
    assert Counter(line["figure"] for line in lines if line["peer"] is None) == {
        **BESIDE_PEER,
        **ALONE,
        "other_load_cores": 3,
    }


@pytest.mark.long
def test_profile_shows_the_leader_a_follower_and_the_client(folder: Path) -> None:
    words = ("--load", "ack", "--seconds", "0.1", "--lines", "3")
    text = text_of("benchmarks.profile_net", *words, TMPDIR=str(folder))
    for who in ("leader", "follower", "client"):
        assert f"\n{who}\n" in text
    assert "yak_core/broker/leader.py" in text
    assert mentioned_by_processes(folder) == []


@pytest.mark.long
def test_levers_print_all_rows_and_leave_nothing(folder: Path) -> None:
    executable("redis-server")
    lines = lines_of("benchmarks.levers", "--quick", "--seconds", "0.1", TMPDIR=str(folder))
    for line in lines:
        check(line)
    for lever in LEVERS:
        peers = {f"without {lever}", f"with {lever}"}
        found = [line["figure"] for line in lines if line["peer"] in peers]
        assert Counter(found) >= Counter({"ack_p50_us": 2, "batch_produce_records_per_cpu_s": 2})
    assert not mentioned_by_processes(folder)
