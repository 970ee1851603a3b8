"""The option ``--rewrite`` of the test folders with golden files."""

from __future__ import annotations

from contextlib import suppress

import pytest


def add_rewrite_option(parser: pytest.Parser) -> None:
    """Add ``--rewrite`` to pytest; called by the conftest of each folder that uses it."""
    with suppress(ValueError):  # another folder of the same run has added it
        parser.addoption(
            "--rewrite",
            action="store_true",
            default=False,
            help="write the golden files instead of comparing; read the diff like code",
        )
