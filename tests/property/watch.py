"""Observers of a walk: counts of situations, and the hooks for the invariants."""

from __future__ import annotations

from dataclasses import dataclass, fields

from yak_core.broker.saved_state import CLEAN_MARKER_KEY
from yak_core.config import BrokerConfig
from yak_core.contract.effects import Effect, FlushLog, Observe
from yak_core.contract.events import Event, Started
from yak_core.contract.host import Host
from yak_core.contract.notes import (
    DuplicateRecognised,
    IsrExpanded,
    IsrShrunk,
    Registered,
    Truncated,
)
from yak_core.ids import Micros, NodeId
from yak_core.invariants import Invariants
from yak_core.manual.backend import ManualBackend
from yak_core.metadata.store_calls import MetaRequest, Refused, StoreOk
from yak_core.model.store import StoreModel


@dataclass
class Counts:
    """Counts of situations in one walk, or of walks that reached them."""

    epochs: int = 0
    second_leader: int = 0
    truncated: int = 0
    unknown: int = 0
    unknown_write: int = 0
    torn_crash: int = 0
    crash: int = 0
    machine_crash: int = 0
    kill: int = 0
    session_kept: int = 0
    crash_within: int = 0
    shrunk: int = 0
    expanded: int = 0
    duplicate: int = 0
    no_space: int = 0
    damage: int = 0
    committed: int = 0
    healed: int = 0
    stuck: int = 0
    moves: int = 0
    walks: int = 0

    def add(self, walk: Counts) -> None:
        """Count each situation that the walk reached once."""
        for field in fields(self):
            value = getattr(walk, field.name)
            once = field.name not in ("epochs", "moves", "walks")
            setattr(self, field.name, getattr(self, field.name) + (bool(value) if once else value))


class WatchedStore(StoreModel):
    """The store model; the invariants see each partition state before any node receives it."""

    def __init__(self, invariants: Invariants) -> None:
        super().__init__()
        self.invariants = invariants

    def apply(self, request: MetaRequest) -> StoreOk | Refused:
        known = len(self.history)
        outcome = super().apply(request)
        for record in self.history[known:]:
            self.invariants.on_state(record)
        return outcome


class Tally:
    """An observer that counts notes of the brokers."""

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self._unmarked: dict[NodeId, bool] = {}

    def after_step(self, host: Host, now: Micros, event: Event, effects: list[Effect]) -> None:
        counts = self.counts
        if type(event) is Started and isinstance(event.config, BrokerConfig):
            marker = any(key == CLEAN_MARKER_KEY for key, _ in event.recovered.saved)
            self._unmarked[host.node_id] = event.config.flush == "os" and not marker
        for effect in effects:
            if type(effect) is Observe:
                note = effect.note
                if type(note) is Truncated:
                    counts.truncated += note.end < note.end_before
                elif type(note) is Registered and note.clean and host.start > 1:
                    counts.session_kept += self._unmarked[host.node_id]
                elif type(note) is IsrShrunk:
                    counts.shrunk += 1
                elif type(note) is IsrExpanded:
                    counts.expanded += 1
                elif type(note) is DuplicateRecognised:
                    counts.duplicate += 1


class WatchedBackend(ManualBackend):
    """A broker's backend; crashes are counted and passed to the invariants."""

    __slots__ = ("counts", "invariants")

    counts: Counts | None
    invariants: Invariants | None

    def go_down(self, reason: str, keep_unsynced: int | None = None) -> None:
        if self.counts is not None and reason == "crash":
            self.counts.crash += 1
            self.counts.torn_crash += _between_append_and_flush(self)
        if self.counts is not None:
            self.counts.machine_crash += keep_unsynced is not None
            self.counts.kill += reason == "kill"
        super().go_down(reason, keep_unsynced)
        if self.invariants is not None:
            self.invariants.on_crash(self.node_id, self.disk.image)


def _between_append_and_flush(place: ManualBackend) -> bool:
    """Return whether a crash now would fall between an append and its flush."""
    orders = [pending.effect for pending in place.disk.queue if pending.result is None]
    return place.disk.image.unsynced > 0 and any(isinstance(order, FlushLog) for order in orders)
