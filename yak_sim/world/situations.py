"""Counters of the situations that a run has reached, from the notes of its nodes."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from yak_core.contract import notes
from yak_core.contract.notes import Note
from yak_core.ids import NodeId, Offset


class Situation(StrEnum):
    """A situation that a run should reach; the values are the goal names in a verdict file."""

    LEADER_ELECTED = "leaders elected"
    SECOND_LEADER_ELECTED = "second leader elected"
    SUFFIX_TRUNCATED = "suffix truncated"
    STORE_UNKNOWN = "unknown metadata outcome"
    UNFLUSHED_CRASH = "crash between append and flush"
    STEPPED_DOWN = "leader stepped down"
    STALE_MESSAGE_FENCED = "stale message fenced"
    LOG_DIVERGED = "log diverged"
    ISR_SHRUNK = "isr shrunk"
    ISR_EXPANDED = "isr expanded"
    DUPLICATE_RECOGNISED = "duplicate recognised"
    PRODUCER_RESET = "producer reset"


_OF_NOTE: Final[Mapping[type[Note], Situation]] = {
    notes.BecameLeader: Situation.LEADER_ELECTED,
    notes.Truncated: Situation.SUFFIX_TRUNCATED,
    notes.StoreUnknown: Situation.STORE_UNKNOWN,
    notes.SteppedDown: Situation.STEPPED_DOWN,
    notes.FencedPeer: Situation.STALE_MESSAGE_FENCED,
    notes.LogDiverged: Situation.LOG_DIVERGED,
    notes.IsrShrunk: Situation.ISR_SHRUNK,
    notes.IsrExpanded: Situation.ISR_EXPANDED,
    notes.DuplicateRecognised: Situation.DUPLICATE_RECOGNISED,
    notes.ProducerReset: Situation.PRODUCER_RESET,
}


class Halted(Exception):
    """A broker halted without ``expect_halt``."""

    def __init__(self, node: NodeId, reason: str, event: int) -> None:
        self.node = node
        self.reason = reason
        self.event = event
        super().__init__(f"{node} halted: {reason}")


class Situations:
    """The number of times that a run has reached each situation (``counts``).

    ``leaders`` holds (broker, epoch) of each election. ``truncations`` holds the (end before, end
    after) pairs of each broker.
    """

    __slots__ = ("counts", "leaders", "truncations")

    def __init__(self) -> None:
        self.counts = dict.fromkeys(Situation, 0)
        self.leaders: list[tuple[NodeId, int]] = []
        self.truncations: dict[NodeId, list[tuple[Offset, Offset]]] = {}

    def reach(self, situation: Situation) -> None:
        """Count one situation."""
        self.counts[situation] += 1

    def on_note(self, node: NodeId, note: Note) -> None:
        """Count the situation of a note, if it has one."""
        situation = _OF_NOTE.get(type(note))
        if situation is None:
            return
        if isinstance(note, notes.Truncated):
            if note.end >= note.end_before:
                return
            self.truncations.setdefault(node, []).append((note.end_before, note.end))
        elif isinstance(note, notes.BecameLeader):
            if self.leaders:
                self.reach(Situation.SECOND_LEADER_ELECTED)
            self.leaders.append((node, note.epoch))
        self.reach(situation)
