"""Settings and checks for all tests."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.net.forked import FORKER
from tests.tidy.habits import LINES_WARN, is_long
from tests.tidy.tree import sources

# Set before anything imports matplotlib: no display, and no font cache in the home folder.
os.environ["MPLBACKEND"] = "Agg"
os.environ.setdefault("MPLCONFIGDIR", str(Path(sys.prefix, "matplotlib")))

# A shell starts a background process with SIGINT ignored, and its children would inherit that: the
# tests that interrupt a command would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Modules and collected tests stay in memory: collecting garbage among them costs a fifth.
gc.set_threshold(50_000, 20, 20)

# The same examples in each run: searches for new ones belong to `./yak test --all`.
settings.register_profile(
    "yak",
    derandomize=True,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("yak")

# multiprocessing keeps these two until the end of its process.
KEPT_BY_MULTIPROCESSING = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")


def children() -> list[str]:
    """Return the command lines of our child processes, where the system has /proc."""
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
    """Fail the last test if a process of the tests still runs."""
    before = children()
    yield
    FORKER.close()  # it waits for its commands
    left = [child for child in children() if child not in before]
    assert not left, f"still running: {left}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the files that should be split."""
    for source in filter(is_long, sources()):
        terminalreporter.write_line(f"warning: {source.name} has over {LINES_WARN} lines")
