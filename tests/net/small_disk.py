"""A file system of one MiB, for tests of a full disk."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.require import executable, missing


@contextmanager
def small_disk(path: Path) -> Iterator[Path]:
    """Mount a file system of one MiB at a new folder, where this user may mount one."""
    mount, unmount = executable("mount"), executable("mount", "umount")
    path.mkdir()
    command = [mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode != 0:
        missing("mount", f"this user may not mount a tmpfs: {found.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run([unmount, str(path)], check=True)
