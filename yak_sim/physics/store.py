"""The simulated metadata store: an executor that is reached through the network.

The executor is the Python model, or the scripts of the real store on fakeredis; both give the same
results. Requests and replies use network links. A request can be lost, and a reply can be lost
after the store has executed the call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from yak_core.ids import CallId, NodeId
from yak_core.metadata.partition_state import PartitionState
from yak_core.metadata.store_calls import Cas, MetaOutcome, MetaRequest
from yak_core.model.store import StoreModel
from yak_sim.physics.kinds import StoreKind
from yak_sim.physics.network import Network, Receive
from yak_sim.physics.topology import STORE

if TYPE_CHECKING:
    from yak_sim.physics.lua_store import LuaStore

CLUSTER: Final = "sim"
"""Cluster name in the keys of the fake Redis."""

ANY: Final = "any"
CAS: Final = "cas"
"""The calls that a fault affects: all calls, or only those that write the partition state."""

_LossCounts: TypeAlias = dict[tuple[NodeId, str], int]


Executor: TypeAlias = "StoreModel | LuaStore"
"""Executes a call immediately; ``history`` holds the accepted partition states."""


class Caller(Protocol):
    """The backend that sent a call."""

    node_id: NodeId

    def on_outcome(self, call: CallId, outcome: MetaOutcome, cause: int) -> None:
        """Handle the answer; ignore it if the call has timed out."""
        ...


@dataclass(slots=True)
class StoreCall:
    """A call in flight to the store."""

    caller: Caller
    call: CallId
    request: MetaRequest


@dataclass(slots=True)
class StoreAnswer:
    """The outcome of a call, in flight to its caller."""

    caller: Caller
    call: CallId
    outcome: MetaOutcome


def executor_of(kind: StoreKind) -> Executor:
    """Return a new, empty store of this kind."""
    if kind == StoreKind.MODEL:
        return StoreModel()
    # Imported here, because the import takes a second and few runs need it.
    from fakeredis import FakeServer, FakeStrictRedis

    from yak_sim.physics.lua_store import LuaStore

    return LuaStore(FakeStrictRedis(server=FakeServer()), CLUSTER)


class SimStore:
    """The network end of the store.

    ``down`` drops every request on arrival. ``on_state`` receives each accepted partition state.
    """

    def __init__(
        self, network: Network, executor: Executor, on_state: Callable[[PartitionState], None]
    ) -> None:
        self.executor = executor
        self.down = False
        self._network = network
        self._on_state = on_state
        self._reported = 0
        self._requests_to_lose: _LossCounts = {}
        self._replies_to_lose: _LossCounts = {}
        self.executed = 0
        self.requests_lost = 0
        self.replies_lost = 0

    @property
    def state(self) -> PartitionState | None:
        """Return the stored partition state."""
        history = self.executor.history
        return history[-1] if history else None

    def receiver_for(self, src: str) -> Receive:
        """Return the receiver of the messages from ``src``."""
        assert src != STORE
        return self._on_call

    def lose_requests(self, node: NodeId, count: int, kind: str = ANY) -> None:
        """Drop the next ``count`` calls of ``node`` of this kind (ANY or CAS) on arrival."""
        _add(self._requests_to_lose, node, kind, count)

    def lose_replies(self, node: NodeId, count: int, kind: str = ANY) -> None:
        """Execute the next ``count`` calls of ``node`` of this kind and drop the replies."""
        _add(self._replies_to_lose, node, kind, count)

    def lose_writes(self, count: int) -> None:
        """Forget the last ``count`` accepted partition states."""
        self.executor.lose_writes(count)
        self._reported = len(self.executor.history)

    def clear_faults(self) -> None:
        """End all faults of the store."""
        self.down = False
        self._requests_to_lose.clear()
        self._replies_to_lose.clear()

    def _on_call(self, payload: object, cause: int) -> None:
        assert isinstance(payload, StoreCall)
        node = payload.caller.node_id
        if self.down or _take_loss(self._requests_to_lose, node, payload.request):
            self.requests_lost += 1
            return
        outcome = self.executor.apply(payload.request)
        self.executed += 1
        history = self.executor.history
        while self._reported < len(history):
            self._reported += 1
            self._on_state(history[self._reported - 1])
        if _take_loss(self._replies_to_lose, node, payload.request):
            self.replies_lost += 1
            return
        answer = StoreAnswer(payload.caller, payload.call, outcome)
        self._network.link(STORE, node).send(answer, cause)


def _add(losses: _LossCounts, node: NodeId, kind: str, count: int) -> None:
    assert kind in (ANY, CAS), f"calls must be {ANY!r} or {CAS!r}, got {kind!r}"
    losses[node, kind] = losses.get((node, kind), 0) + count


def _take_loss(losses: _LossCounts, node: NodeId, request: MetaRequest) -> bool:
    """Return whether this call is to be lost; if so, decrement the counter."""
    if not losses:
        return False
    for kind in (ANY, CAS) if isinstance(request, Cas) else (ANY,):
        left = losses.get((node, kind), 0)
        if left > 0:
            losses[node, kind] = left - 1
            return True
    return False
