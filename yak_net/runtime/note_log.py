"""Log lines for the notes of a node."""

from __future__ import annotations

import dataclasses
from typing import Final

import structlog

from yak_core.contract.notes import (
    DuplicateRecognised,
    HighWatermarkAdvanced,
    IgnoredMessage,
    LogDiverged,
    Note,
    PartitionStateObserved,
    ProduceRefused,
    StoreUnknown,
)

VERBOSE_ONLY: Final = (
    HighWatermarkAdvanced,
    IgnoredMessage,
    PartitionStateObserved,
    ProduceRefused,
    DuplicateRecognised,
    LogDiverged,
    StoreUnknown,
)
"""Logged with ``--verbose`` only: they are too frequent, or repeat another log line."""

log = structlog.get_logger("yak.node")
_verbose = False


def configure(*, verbose: bool) -> None:
    """Log the notes in VERBOSE_ONLY, too, if ``verbose``."""
    global _verbose  # noqa: PLW0603 - a process has one log
    _verbose = verbose


def log_note(note: Note) -> None:
    """Log one note: its class name and its fields. Notes in VERBOSE_ONLY need ``--verbose``."""
    if isinstance(note, VERBOSE_ONLY) and not _verbose:
        return  # before the costly formatting: some notes occur with every batch
    fields = {field.name: _text(getattr(note, field.name)) for field in dataclasses.fields(note)}
    log.info(type(note).__name__, **fields)


def _text(value: object) -> object:
    return ",".join(map(str, value)) if isinstance(value, tuple) else value
