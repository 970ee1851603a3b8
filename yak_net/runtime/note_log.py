"""The node's remarks as lines of the log; must never steer anything."""

from __future__ import annotations

import dataclasses
import logging
import sys
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

QUIET: Final = (
    HighWatermarkAdvanced,
    IgnoredMessage,
    PartitionStateObserved,
    ProduceRefused,
    DuplicateRecognised,
    LogDiverged,
    StoreUnknown,
)
"""Told only with ``--verbose``: they come by the thousand, or say what another line says."""

log = structlog.get_logger("yak.node")
_verbose = False


def configure(*, verbose: bool) -> None:
    """Log to standard error, in lines for people."""
    global _verbose  # noqa: PLW0603 - a process has one log
    _verbose = verbose
    colours = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S.%f", utc=False),
            structlog.dev.ConsoleRenderer(colors=colours, pad_event_to=24, sort_keys=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def log_note(note: Note) -> None:
    """Log one remark."""
    if isinstance(note, QUIET) and not _verbose:
        return  # before its words are made: they come with every batch
    fields = {
        field.name: _word(getattr(note, field.name)) for field in dataclasses.fields(note)
    }
    log.info(type(note).__name__, **fields)


def _word(value: object) -> object:
    return ",".join(map(str, value)) if isinstance(value, tuple) else value
