"""The metadata store's scripts run on a Redis client; must never decide or retry.

Stands in for the pure model wherever a :class:`yak_core.model.store.StoreModel` is used: on a
fake Redis within the process, or on a real server.
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
    """What is needed of a synchronous redis-py client made without ``decode_responses``."""

    def evalsha(self, sha: str, numkeys: int, *keys_and_args: str | bytes) -> object:
        """Run a script that the server has seen."""

    def eval(self, script: str, numkeys: int, *keys_and_args: str | bytes) -> object:
        """Run a script, which also shows it to the server."""

    def hgetall(self, name: str) -> object:
        """All fields of a hash."""


class LuaStore:
    """One cluster's store on ``client``, with the calls and the state of a ``StoreModel``.

    Give it a client without retries of its own: a repeated call belongs to the node, which knows
    what it has seen. ``history`` holds the records whose writes this object saw accepted, so a
    write that ended as Unknown is not in it.
    """

    __slots__ = ("_client", "_keys", "history")

    def __init__(self, client: RedisClient, cluster: str) -> None:
        self._client = client
        self._keys = keys_of(cluster)
        self.history: list[PartitionState] = []

    def apply(self, request: MetaRequest) -> MetaOutcome:
        """Carry out one call. Unknown when the connection failed or timed out.

        Raises RecordError when what the store holds is damaged, and redis-py's ResponseError when
        the server cannot run the scripts at all.
        """
        try:
            reply = self._run(request)
        except (RedisConnectionError, RedisTimeoutError):
            return Unknown()
        outcome = decode_reply(request, reply)
        if isinstance(request, Cas) and isinstance(outcome, StoreOk):
            self.history.append(request.state)
        return outcome

    @property
    def state(self) -> PartitionState | None:
        """The record stored now."""
        return self._read().state

    @property
    def renewals(self) -> dict[NodeId, tuple[BrokerEpoch, int]]:
        """The beats stored now: node -> (incarnation, count)."""
        return {node: (broker_epoch, count) for node, broker_epoch, count in self._read().renewals}

    @property
    def status(self) -> dict[str, str]:
        """The advisory view stored now."""
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
            # The server restarted or was flushed, and has run nothing. EVAL carries the text along,
            # so no second flush can come between, as it could after SCRIPT LOAD.
            return self._client.eval(call.script, len(call.keys), *call.keys, *call.args)
