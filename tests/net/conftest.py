"""What holds for every test of the real world."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.net.forked import FORKER


@pytest.fixture(scope="session", autouse=True)
def _no_command_left_behind() -> Iterator[None]:
    """Fails the last test if a command that was forked still runs."""
    yield
    FORKER.close()
