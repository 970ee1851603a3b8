"""Fixtures of several tests of the core."""

from __future__ import annotations

import pytest

from tests.core.invariants_stage import Stage


@pytest.fixture
def stage() -> Stage:
    """Return three fake brokers with invariants: n1 leads epoch 1, all in the ISR."""
    return Stage()
