"""What holds for every test; must never know what one of them is about."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.tidy.habits import LINES_WARN, is_long
from tests.tidy.tree import sources

# Set before anything imports matplotlib: no display, and no font cache in the home folder.
os.environ["MPLBACKEND"] = "Agg"
os.environ.setdefault("MPLCONFIGDIR", str(Path(sys.prefix, "matplotlib")))

# The modules and the collected tests stay: looking for garbage among them so often costs a fifth.
gc.set_threshold(50_000, 20, 20)

# The same examples in each run: a search for new ones is a matter for `yak`, not for a commit.
settings.register_profile(
    "yak",
    derandomize=True,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("yak")

# multiprocessing keeps these two for the rest of its process' life, by design.
KEPT_BY_MULTIPROCESSING = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")


def children() -> list[str]:
    """The command lines of our child processes, where the system tells them."""
    found = []
    for listing in Path("/proc/self/task").glob("*/children"):
        for pid in listing.read_text().split():
            try:
                command = Path("/proc", pid, "cmdline").read_text().replace("\0", " ")
            except (FileNotFoundError, ProcessLookupError):
                continue  # It ended just now.
            if not any(kept in command for kept in KEPT_BY_MULTIPROCESSING):
                found.append(f"{pid} {command}")
    return found


@pytest.fixture(scope="session", autouse=True)
def _no_process_left_behind() -> Iterator[None]:
    """Fails the last test if anything that the tests started still runs."""
    before = children()
    yield
    left = [child for child in children() if child not in before]
    assert not left, f"still running: {left}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the files that have grown to where they should be split."""
    for source in filter(is_long, sources()):
        terminalreporter.write_line(f"warning: {source.name} has over {LINES_WARN} lines")
