"""Adds ``pytest tests/scenarios --rewrite``, which writes new golden digests."""

from __future__ import annotations

import pytest

from tests.rewriting import add_rewrite_option


def pytest_addoption(parser: pytest.Parser) -> None:
    add_rewrite_option(parser)
