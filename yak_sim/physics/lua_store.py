"""The metadata store as Lua scripts, executed through a Redis client.

It has the interface of :class:`yak_core.model.store.StoreModel`, and runs on fakeredis in the same
process or on a real server. It does not retry; retries belong to the node.
"""

from __future__ import annotations

from typing import Protocol

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError
from redis.exceptions import TimeoutError as RedisTimeoutError

from yak_core.ids import BrokerEpoch, NodeId
from yak_core.metadata.partition_state import PartitionState
from yak_core.metadata.redis_scripts import SHAS, decode_reply, encode_request, keys_of
from yak_core.metadata.store_calls import (
    Cas,
    MetaOutcome,
    MetaRequest,
    MetaValue,
    Read,
    StoreOk,
    Unknown,
)


class RedisClient(Protocol):
    """The methods used of a synchronous redis-py client without ``decode_responses``."""

    def evalsha(self, sha: str, numkeys: int, *keys_and_args: str | bytes) -> object:
        """Run a script that is in the script cache of the server."""

    def eval(self, script: str, numkeys: int, *keys_and_args: str | bytes) -> object:
        """Run a script and add it to the script cache of the server."""

    def hgetall(self, name: str) -> object:
        """Return all fields of a hash."""

    def delete(self, name: str) -> object:
        """Delete a key."""


class LuaStore:
    """The store of one cluster on ``client``, with the interface of a ``StoreModel``.

    The client must not retry: the node repeats a call with the knowledge of earlier replies.
    ``history`` holds the partition states of successful writes, without those whose outcome is
    Unknown.
    """

    __slots__ = ("_client", "_keys", "history")

    def __init__(self, client: RedisClient, cluster: str) -> None:
        self._client = client
        self._keys = keys_of(cluster)
        self.history: list[PartitionState] = []

    def apply(self, request: MetaRequest) -> MetaOutcome:
        """Execute one call. Return Unknown if the connection fails or times out.

        Raise RecordError if the stored data is damaged, and redis-py's ResponseError if the server
        cannot run the scripts.
        """
        try:
            reply = self._run(request)
        except (RedisConnectionError, RedisTimeoutError):
            return Unknown()
        outcome = decode_reply(request, reply)
        if isinstance(request, Cas) and isinstance(outcome, StoreOk):
            self.history.append(request.state)
        return outcome

    def lose_writes(self, count: int) -> None:
        """Forget the last ``count`` partition states, as a failover to a stale replica does."""
        assert 1 <= count <= len(self.history)
        del self.history[-count:]
        self._client.delete(self._keys.state)
        if self.history:
            # The CAS script writes any state to an empty store.
            self._run(Cas(expected=None, state=self.history[-1], guard=None))

    @property
    def state(self) -> PartitionState | None:
        """Return the stored partition state."""
        return self._read().state

    @property
    def renewals(self) -> dict[NodeId, tuple[BrokerEpoch, int]]:
        """Return the stored lease renewals as node -> (broker epoch, count)."""
        return {node: (broker_epoch, count) for node, broker_epoch, count in self._read().renewals}

    @property
    def status(self) -> dict[str, str]:
        """Return the stored advisory view."""
        fields = self._client.hgetall(self._keys.status)
        assert isinstance(fields, dict)
        return {name.decode(): value.decode() for name, value in fields.items()}

    def _read(self) -> MetaValue:
        outcome = decode_reply(Read(), self._run(Read()))
        assert isinstance(outcome, StoreOk)
        return outcome.value

    def _run(self, request: MetaRequest) -> object:
        call = encode_request(self._keys, request)
        try:
            sha = SHAS[call.script]
            return self._client.evalsha(sha, len(call.keys), *call.keys, *call.args)
        except NoScriptError:
            # The server has restarted or its script cache was flushed; the script did not run. EVAL
            # contains the script, so another flush cannot make it fail, unlike SCRIPT LOAD.
            return self._client.eval(call.script, len(call.keys), *call.keys, *call.args)
