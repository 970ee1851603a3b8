"""Wrong rules that several tests give to a scenario; each is a mistake that somebody has made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from yak_core.ids import NodeId, Offset
from yak_core.rules import Rules


def own_end(
    hw: Offset,
    _committed: tuple[NodeId, ...],
    _maximal: tuple[NodeId, ...],
    positions: Mapping[NodeId, Offset],
    _min_isr: int,
) -> Offset:
    """A wrong rule: what one replica has is committed."""
    return max([hw, *positions.values()])


ACK_OWN_END = replace(Rules(), advance_high_watermark=own_end)
NO_TRUNCATION = replace(
    Rules(),
    truncation_point=lambda _epochs, leo, *_: leo,
    conflict_point=lambda _epochs, leo, _message: leo,
)
