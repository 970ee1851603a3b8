"""The narrative of a run: one line per important event.

Lines come from the notes of the brokers and from the faults that scripts inject. A high watermark
change has no line of its own, because it follows almost every record.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from yak_core.contract import notes
from yak_core.contract.notes import Note
from yak_core.ids import Epoch, Micros, NodeId, Offset


@dataclass(frozen=True, slots=True)
class Line:
    """One line, with the leader of the cluster at that time, its epoch and its high watermark.

    Without a leader, ``leader`` is None, and ``epoch`` and ``hw`` are -1.
    """

    at_us: Micros
    text: str
    leader: NodeId | None
    epoch: Epoch
    hw: Offset

    def __str__(self) -> str:
        at = f"t={self.at_us / 1_000_000:.3f}s"
        if self.leader is None:
            return f"{at} {self.text} [no leader]"
        return f"{at} {self.text} [leader {self.leader}, epoch {self.epoch}, HW {self.hw}]"


OnLine: TypeAlias = Callable[[Line], None]

Headline: TypeAlias = Callable[[], tuple[NodeId | None, Epoch, Offset]]


class Narrative:
    """Keeps the lines of a run and passes each new line to ``on_line``."""

    def __init__(
        self, now: Callable[[], Micros], headline: Headline, on_line: OnLine | None
    ) -> None:
        self.lines: list[Line] = []
        self._now = now
        self._headline = headline
        self._on_line = on_line
        self._seen_keys: dict[tuple[object, ...], None] = {}

    def add(self, text: str) -> None:
        """Add a line."""
        line = Line(self._now(), text, *self._headline())
        self.lines.append(line)
        if self._on_line is not None:
            self._on_line(line)

    def on_note(self, node: NodeId, note: Note) -> None:
        """Add a line for a broker's note, if the note has a line and is not a repetition."""
        text_of = _TEXT_OF.get(type(note))
        if text_of is not None:
            text = text_of(node, note)
            if text is not None and self._is_first(node, note):
                self.add(text)

    def _is_first(self, node: NodeId, note: Note) -> bool:
        """Return whether this is the first note for its key: brokers report some events twice."""
        key = _key(node, note)
        if key is None:
            return True
        if key in self._seen_keys:
            return False
        self._seen_keys[key] = None
        return True


def _key(node: NodeId, note: Note) -> tuple[object, ...] | None:
    if isinstance(note, notes.IsrShrunk | notes.IsrExpanded):
        return ("isr", note.partition_epoch)
    if isinstance(note, notes.FencedPeer):
        return ("fenced", note.peer, note.epoch)
    if isinstance(note, notes.Campaigned):
        return ("campaigned", node, note.epoch)
    return None


def _names(nodes: tuple[NodeId, ...]) -> str:
    return ", ".join(nodes)


def _registered(node: NodeId, note: notes.Registered) -> str:
    how = "log complete" if note.clean else "log possibly incomplete"
    return f"{node} registered, {how}"


def _became_leader(node: NodeId, note: notes.BecameLeader) -> str:
    return f"{node} elected leader, epoch {note.epoch}, log end {note.epoch_start}"


def _became_follower(node: NodeId, note: notes.BecameFollower) -> str | None:
    return None if note.leader is None else f"{node} follows {note.leader}, epoch {note.epoch}"


def _stepped_down(node: NodeId, note: notes.SteppedDown) -> str:
    left = f", {note.unknown} pending requests answered unknown" if note.unknown else ""
    return f"{node} stepped down, epoch {note.epoch}{left}"


def _campaigned(node: NodeId, note: notes.Campaigned) -> str:
    return f"{node} campaigns for leader, epoch {note.epoch}"


def _truncated(node: NodeId, note: notes.Truncated) -> str | None:
    if note.end >= note.end_before:
        return None
    return f"{node} truncated its log from {note.end_before} to {note.end}"


def _fenced(node: NodeId, note: notes.FencedPeer) -> str:
    return f"{node} fenced {note.peer}, stale epoch {note.epoch}"


def _shrunk(_node: NodeId, note: notes.IsrShrunk) -> str:
    return f"{_names(note.removed)} left the ISR, now {_names(note.isr) or 'empty'}"


def _expanded(_node: NodeId, note: notes.IsrExpanded) -> str:
    return f"{_names(note.added)} joined the ISR, now {_names(note.isr)}"


def _reset(node: NodeId, note: notes.ProducerReset) -> str:
    return f"{node} starts producer epoch {note.producer_epoch}, gave up {note.abandoned} batches"


_TEXT_OF: dict[type, Callable[[NodeId, Any], str | None]] = {
    notes.Registered: _registered,
    notes.BecameLeader: _became_leader,
    notes.BecameFollower: _became_follower,
    notes.SteppedDown: _stepped_down,
    notes.Campaigned: _campaigned,
    notes.Truncated: _truncated,
    notes.FencedPeer: _fenced,
    notes.IsrShrunk: _shrunk,
    notes.IsrExpanded: _expanded,
    notes.ProducerReset: _reset,
}
