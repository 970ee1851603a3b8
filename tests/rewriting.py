"""The option ``--rewrite`` of the folders of tests that keep what came out; may be added twice."""

from __future__ import annotations

from contextlib import suppress

import pytest


def add_rewrite_option(parser: pytest.Parser) -> None:
    """Let pytest take ``--rewrite``; called by the conftest of each folder that knows it."""
    with suppress(ValueError):  # another folder of the same run has added it
        parser.addoption(
            "--rewrite",
            action="store_true",
            default=False,
            help="write down what came out instead of comparing; read the diff like code",
        )
