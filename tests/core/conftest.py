"""What several tests of the core begin with."""

from __future__ import annotations

import pytest

from tests.core.invariants_stage import Stage


@pytest.fixture
def stage() -> Stage:
    """Three brokers that the invariants watch: n1 leads epoch 1, all are in sync."""
    return Stage()
