"""kill -9 at any time, repeatedly: flushed records survive, and no others appear."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.net.storage_tools import is_genuine, recovered_from
from yak_core.batch import scan

CHILD = "tests.net.storage_child"


def killed_after(path: Path, seed: int, lines: int) -> int:
    """Kill the child after ``lines`` lines of output; return the end that must survive."""
    command = [sys.executable, "-m", CHILD, str(path), str(seed)]
    floor = count = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            word, _, number = line.partition(" ")
            assert word in ("floor", "cut"), line
            floor = int(number) if word == "floor" else min(floor, int(number))
            count += 1
            if count == lines:
                child.kill()
    assert count >= lines, "the child ended early"
    return floor


def rounds(path: Path, count: int, seed: int) -> int:
    """Start and kill ``count`` times on one directory; return the number of records."""
    draw = random.Random(seed)
    leo = 0
    for start in range(count):
        floor = killed_after(path, draw.randrange(1 << 30), draw.randrange(1, 120))
        storage = recovered_from(path)
        assert storage.recovered.intact, storage.warnings
        leo = storage.recovered.leo
        assert leo >= floor, f"start {start}: {floor} records were flushed, {leo} are there"
        kept = list(scan(storage.log.path.read_bytes()))
        assert all(is_genuine(part) for part in kept)
        assert (kept[-1].end if kept else 0) == leo
        assert not list(path.glob("*.damaged"))
    return leo


def test_flushed_records_survive_kill_9(tmp_path: Path) -> None:
    """Goal: the log survives its process. Method: a few starts, killed at random times."""
    assert rounds(tmp_path / "data", 3, seed=1) > 0


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(2, 6))
def test_flushed_records_survive_many_kills(tmp_path: Path, seed: int) -> None:
    """Goal: the same with many starts."""
    assert rounds(tmp_path / "data", 40, seed) > 0
