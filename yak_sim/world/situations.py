"""What a run has reached: situations by kind of note, and a halt; must never influence the run."""

from __future__ import annotations

from yak_core.contract import notes
from yak_core.contract.notes import Note
from yak_core.ids import NodeId, Offset


class Halted(Exception):
    """A broker halted and the scenario had not said that it may."""

    def __init__(self, node: NodeId, reason: str, event: int) -> None:
        self.node = node
        self.reason = reason
        self.event = event
        super().__init__(f"{node} halted: {reason}")


class Situations:
    """Counts what happened in a run, by kind of note."""

    __slots__ = ("_counts", "truncations", "truncations_by_node", "leaders")

    def __init__(self) -> None:
        self._counts: dict[type, int] = {}
        self.leaders: list[tuple[NodeId, int]] = []
        self.truncations = 0
        self.truncations_by_node: dict[NodeId, list[tuple[Offset, Offset]]] = {}

    def on_note(self, node: NodeId, note: Note) -> None:
        """Count one remark."""
        kind = type(note)
        self._counts[kind] = self._counts.get(kind, 0) + 1
        if kind is notes.BecameLeader:
            assert isinstance(note, notes.BecameLeader)
            self.leaders.append((node, note.epoch))
        elif kind is notes.Truncated:
            assert isinstance(note, notes.Truncated)
            if note.end < note.end_before:
                self.truncations += 1
                self.truncations_by_node.setdefault(node, []).append((note.end_before, note.end))

    def goals(self, unflushed_crashes: int) -> dict[str, int]:
        """How often each situation worth reaching was reached."""
        count = self._counts.get
        return {
            "leaders elected": len(self.leaders),
            "second leader elected": max(0, len(self.leaders) - 1),
            "suffix truncated": self.truncations,
            "unknown metadata outcome": count(notes.StoreUnknown, 0),
            "crash between append and flush": unflushed_crashes,
            "leader stepped down": count(notes.SteppedDown, 0),
            "stale message fenced": count(notes.FencedPeer, 0),
            "log diverged": count(notes.LogDiverged, 0),
            "isr shrunk": count(notes.IsrShrunk, 0),
            "isr expanded": count(notes.IsrExpanded, 0),
            "duplicate recognised": count(notes.DuplicateRecognised, 0),
            "producer reset": count(notes.ProducerReset, 0),
        }
