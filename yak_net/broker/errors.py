"""The error of a broker that cannot start."""

from __future__ import annotations


class CannotStart(Exception):
    """The broker cannot start; the message says why and what to do."""
