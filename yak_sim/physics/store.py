"""The metadata store as its callers meet it; must never judge what is written.

The calls are carried out by a model in the process, or by the scripts of the real store on a fake
Redis: both are the same to a run. Here a call travels there and back over links of its own, may
find nobody, and may lose its answer after the store has acted.
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
"""Which calls a fault is about: all, or only those that would replace the record."""

_Doomed: TypeAlias = dict[tuple[NodeId, str], int]


Executor: TypeAlias = "StoreModel | LuaStore"
"""What carries out a call at once; its ``history`` are the records that were accepted."""


class Caller(Protocol):
    """The incarnation that waits for an answer."""

    node_id: NodeId

    def on_outcome(self, call: CallId, outcome: MetaOutcome, cause: int) -> None:
        """Take the answer, unless it came too late."""
        ...


@dataclass(slots=True)
class StoreCall:
    """A call on its way to the store."""

    caller: Caller
    call: CallId
    request: MetaRequest


@dataclass(slots=True)
class StoreAnswer:
    """The outcome on its way back."""

    caller: Caller
    call: CallId
    outcome: MetaOutcome


def executor_of(kind: StoreKind) -> Executor:
    """Return a fresh, empty store."""
    if kind == StoreKind.MODEL:
        return StoreModel()
    # Imported here, because it takes a second and nearly every run does without.
    from fakeredis import FakeServer, FakeStrictRedis

    from yak_sim.physics.lua_store import LuaStore

    return LuaStore(FakeStrictRedis(server=FakeServer()), CLUSTER)


class SimStore:
    """The store's end of the network.

    ``down`` loses every request that arrives. ``on_state`` is told of each record that was
    accepted.
    """

    def __init__(
        self, network: Network, executor: Executor, on_state: Callable[[PartitionState], None]
    ) -> None:
        self.executor = executor
        self.down = False
        self._network = network
        self._on_record = on_state
        self._told = 0
        self._doomed_requests: _Doomed = {}
        self._doomed_replies: _Doomed = {}
        self.carried_out = 0
        self.requests_lost = 0
        self.replies_lost = 0

    @property
    def state(self) -> PartitionState | None:
        """The record stored now."""
        history = self.executor.history
        return history[-1] if history else None

    def inlet(self, src: str) -> Receive:
        """Who takes what comes from ``src``."""
        assert src != STORE
        return self._on_call

    def lose_requests(self, node: NodeId, count: int, kind: str = ANY) -> None:
        """Lose the next calls of ``node`` of this kind (ANY or CAS) before the store sees them."""
        _add(self._doomed_requests, node, kind, count)

    def lose_replies(self, node: NodeId, count: int, kind: str = ANY) -> None:
        """Carry out the next calls of ``node`` of this kind and lose the answers."""
        _add(self._doomed_replies, node, kind, count)

    def recover(self) -> None:
        """End every fault of the store."""
        self.down = False
        self._doomed_requests.clear()
        self._doomed_replies.clear()

    def _on_call(self, payload: object, cause: int) -> None:
        assert isinstance(payload, StoreCall)
        node = payload.caller.node_id
        if self.down or _uses_up(self._doomed_requests, node, payload.request):
            self.requests_lost += 1
            return
        outcome = self.executor.apply(payload.request)
        self.carried_out += 1
        history = self.executor.history
        while self._told < len(history):
            self._told += 1
            self._on_record(history[self._told - 1])
        if _uses_up(self._doomed_replies, node, payload.request):
            self.replies_lost += 1
            return
        answer = StoreAnswer(payload.caller, payload.call, outcome)
        self._network.link(STORE, node).send(answer, cause)


def _add(doomed: _Doomed, node: NodeId, kind: str, count: int) -> None:
    assert kind in (ANY, CAS), f"calls are {ANY!r} or {CAS!r}, not {kind!r}"
    doomed[node, kind] = doomed.get((node, kind), 0) + count


def _uses_up(doomed: _Doomed, node: NodeId, request: MetaRequest) -> bool:
    """Whether this call is doomed; then one fewer is."""
    if not doomed:
        return False
    for kind in (ANY, CAS) if isinstance(request, Cas) else (ANY,):
        left = doomed.get((node, kind), 0)
        if left > 0:
            doomed[node, kind] = left - 1
            return True
    return False
