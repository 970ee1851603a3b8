"""Data folders for the tests of ``yak log``, and the commands run in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from tests.net.storage_tools import NOT_SYNCED, batch, content, recovered_from, write_log
from yak_core.batch import Batch
from yak_net.log_files.cli import log
from yak_net.storage.checkpoints import save_value

LOG = (
    batch(0, 1, 2),
    batch(2, 1, 1, 60),
    batch(3, 3, 3, 10, producer=7),
    batch(6, 5, 1, 90, producer=7, sequence=3),
)
NAME = "00000000000000000000.log"
SIZE = len(content(LOG))
Change = Callable[[Path], object]


def folder_of(path: Path, *parts: Batch, hw: int | None = None) -> Path:
    """Write a data folder whose log is flushed, and return it."""
    write_log(path, parts, system=NOT_SYNCED)
    recovered_from(path, system=NOT_SYNCED)
    if hw is not None:
        save_value(NOT_SYNCED, path / "saved", "hw", str(hw).encode())
    return path


def run(*words: str | Path) -> tuple[int, list[dict[str, Any]]]:
    """Run ``yak log ... --json``; return the exit code and the objects."""
    done = CliRunner().invoke(log, [*map(str, words), "--json"])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, [json.loads(line) for line in done.stdout.splitlines()]


def flip(at: int) -> Change:
    """Return a change of one byte of the log."""

    def change(data: Path) -> None:
        found = bytearray((data / NAME).read_bytes())
        found[at] ^= 0x55
        (data / NAME).write_bytes(found)

    return change
