"""The metadata store as plain Python, the oracle for the scripts; must never judge a record.

The simulator runs on this by default. It is as dumb as the real store: it compares a stamp and
perhaps a beat, and then writes what it was given. Whether the record makes sense was decided by
:mod:`yak_core.metadata.transitions` before the call.
"""

from __future__ import annotations

from yak_core.ids import BrokerEpoch, NodeId
from yak_core.metadata.partition_state import PartitionState
from yak_core.metadata.store_calls import (
    NOTHING_SAID,
    REFUSED_GUARD,
    REFUSED_STAMP,
    Cas,
    MetaRequest,
    MetaValue,
    Publish,
    Read,
    Refused,
    RenewLease,
    StoreOk,
)


class StoreModel:
    """One cluster's record, beats and advisory view.

    ``beats`` is node -> (incarnation, count). ``history`` holds every record ever accepted, oldest
    first, for checkers; the last one is ``record``.
    """

    __slots__ = ("beats", "history", "record", "view")

    def __init__(self) -> None:
        self.record: PartitionState | None = None
        self.beats: dict[NodeId, tuple[BrokerEpoch, int]] = {}
        self.view: dict[str, str] = {}
        self.history: list[PartitionState] = []

    def apply(self, request: MetaRequest) -> StoreOk | Refused:
        """Carry out one call at once. A model is never out of reach, so never Unknown."""
        if isinstance(request, Read):
            return StoreOk(self._value())
        if isinstance(request, RenewLease):
            return self._on_beat(request)
        if isinstance(request, Cas):
            return self._on_cas(request)
        assert isinstance(request, Publish)
        self.view = dict(request.view)
        return StoreOk(NOTHING_SAID)

    def fork(self) -> StoreModel:
        """An independent copy that shares nothing mutable."""
        copy = StoreModel()
        copy.record = self.record
        copy.beats = dict(self.beats)
        copy.view = dict(self.view)
        copy.history = list(self.history)
        return copy

    def _on_cas(self, request: Cas) -> StoreOk | Refused:
        stored = None if self.record is None else self.record.stamp
        if stored != request.expected:
            return Refused(REFUSED_STAMP, self._value())
        if request.guard is not None:
            node, count = request.guard
            if self._count(node) != count:
                return Refused(REFUSED_GUARD, self._value())
        self.record = request.record
        self.history.append(request.record)
        return StoreOk(self._value())

    def _on_beat(self, request: RenewLease) -> StoreOk:
        assert request.broker_epoch >= 1, "a node beats only after its registration"
        self.beats[request.node] = (request.broker_epoch, self._count(request.node) + 1)
        if self.record is not None and self.record.stamp == request.known:
            return StoreOk(MetaValue(None, True, self._beats()))
        return StoreOk(self._value())

    def _count(self, node: NodeId) -> int:
        return self.beats[node][1] if node in self.beats else 0

    def _beats(self) -> tuple[tuple[NodeId, BrokerEpoch, int], ...]:
        return tuple((node, *self.beats[node]) for node in sorted(self.beats))

    def _value(self) -> MetaValue:
        return MetaValue(self.record, False, self._beats())
