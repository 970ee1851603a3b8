"""Broken protocols without names, for a lesson on testing: each replaces one rule.

A student writes a test that kills them, so nothing but this file says what is wrong with which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from yak_core.batch import Batch
from yak_core.ids import Offset
from yak_core.log.producers import ProducerEntry
from yak_core.rules import Rules, SequenceCheck, SequenceResult, accept_sequence


def _commit_what_has(count: int) -> Callable[..., Offset]:
    """Return a rule that commits what ``count`` brokers have; each ISR member can be elected."""
    return lambda hw, committed, maximal, positions, min_isr: max(
        [hw, *sorted(positions.values(), reverse=True)[count - 1 : count]]
    )


def _append_retries(known: ProducerEntry | None, batch: Batch) -> SequenceCheck:
    """Append a batch again that is already in the log."""
    check = accept_sequence(known, batch)
    if check.result in (SequenceResult.DUPLICATE, SequenceResult.DUPLICATE_OLD):
        return SequenceCheck(SequenceResult.ACCEPT)
    return check


def _append_all(known: ProducerEntry | None, batch: Batch) -> SequenceCheck:
    """Append each batch, without a look at its sequence numbers."""
    return SequenceCheck(SequenceResult.ACCEPT)


ANONYMOUS_PROTOCOLS: Final[Mapping[str, Rules]] = MappingProxyType(
    {
        "A": Rules(accept_sequence=_append_retries),
        "B": Rules(advance_high_watermark=_commit_what_has(2)),
        "C": Rules(readable_end=lambda hw, leo: leo),
        "D": Rules(may_join=lambda facts: True),
        "E": Rules(accept_sequence=_append_all),
        "F": Rules(advance_high_watermark=_commit_what_has(1)),
    }
)
"""Six protocols, A to F. Each breaks a promise to the clients in some runs with faults."""
