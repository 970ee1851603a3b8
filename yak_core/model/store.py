"""A model of the metadata store in memory, the test oracle of the Redis scripts.

The simulator uses it by default. Like the real store it compares the stamp and the guard of a
request and writes the given partition state without checking it:
:mod:`yak_core.metadata.transitions` made the state before the call.
"""

from __future__ import annotations

from yak_core.ids import BrokerEpoch, NodeId
from yak_core.metadata.partition_state import PartitionState
from yak_core.metadata.store_calls import (
    NO_VALUE,
    Cas,
    MetaRequest,
    MetaValue,
    Publish,
    Read,
    Refusal,
    Refused,
    RenewLease,
    StoreOk,
)


class StoreModel:
    """The partition state, lease counters and status hash of one cluster.

    ``renewals`` maps a node to (broker epoch, count). ``history`` holds all accepted partition
    states, oldest first, for checkers; the last one is ``state``.
    """

    __slots__ = ("renewals", "history", "state", "status")

    def __init__(self) -> None:
        self.state: PartitionState | None = None
        self.renewals: dict[NodeId, tuple[BrokerEpoch, int]] = {}
        self.status: dict[str, str] = {}
        self.history: list[PartitionState] = []

    def apply(self, request: MetaRequest) -> StoreOk | Refused:
        """Execute one call and return its outcome, which is never Unknown."""
        if isinstance(request, Read):
            return StoreOk(self._value())
        if isinstance(request, RenewLease):
            return self._on_renewal(request)
        if isinstance(request, Cas):
            return self._on_cas(request)
        assert isinstance(request, Publish)
        self.status = dict(request.status)
        return StoreOk(NO_VALUE)

    def lose_writes(self, count: int) -> None:
        """Forget the last ``count`` partition states, as a failover to a stale replica does.

        The contract of the store excludes this fault (F80). The lease counters stay.
        """
        assert 1 <= count <= len(self.history)
        del self.history[-count:]
        self.state = self.history[-1] if self.history else None

    def _on_cas(self, request: Cas) -> StoreOk | Refused:
        stored = None if self.state is None else self.state.stamp
        if stored != request.expected:
            return Refused(Refusal.STAMP, self._value())
        if request.guard is not None:
            node, count = request.guard
            if self._count(node) != count:
                return Refused(Refusal.GUARD, self._value())
        self.state = request.state
        self.history.append(request.state)
        return StoreOk(self._value())

    def _on_renewal(self, request: RenewLease) -> StoreOk:
        assert request.broker_epoch >= 1, "a node renews its lease only after its registration"
        self.renewals[request.node] = (request.broker_epoch, self._count(request.node) + 1)
        if self.state is not None and self.state.stamp == request.known:
            return StoreOk(MetaValue(None, True, self._renewals()))
        return StoreOk(self._value())

    def _count(self, node: NodeId) -> int:
        return self.renewals[node][1] if node in self.renewals else 0

    def _renewals(self) -> tuple[tuple[NodeId, BrokerEpoch, int], ...]:
        return tuple((node, *self.renewals[node]) for node in sorted(self.renewals))

    def _value(self) -> MetaValue:
        return MetaValue(self.state, False, self._renewals())
