"""The client of a metadata store on a Redis server, for one event loop.

A call is one run of a Lua script. It is sent once: redis-py's retries are off, because only the
node can decide to retry. A lost connection, a timeout and a server error all end as Unknown, and
:attr:`RedisStore.problem` says what to do.

A late reply must not become the reply of a later call. Therefore one timeout applies to the whole
call, and none inside redis-py. redis-py closes a connection whose call is interrupted by the
timeout or a cancellation, and replaces a connection with unread bytes before its next use.
tests/net/test_redis_lost_replies.py checks this.

With Sentinel, a failover replaces the primary by a replica. Each call is then followed by ``WAIT
1`` on its connection, and is Unknown if no replica has all that the reply shows (F80, F85). This
applies to reads as well: a primary that was replaced and has not noticed it must not confirm what
only it has. ``WAIT`` is about the writes of its own connection, so a write of one key precedes it.
A failover may still choose a replica that lacks the last change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, Final, TypeVar

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError

from yak_core.ids import Micros
from yak_core.metadata.partition_state import PartitionStateError
from yak_core.metadata.redis_scripts import SHAS, ScriptCall, decode_reply, encode_request, keys_of
from yak_core.metadata.store_calls import MetaOutcome, MetaRequest, Unknown
from yak_net.metadata.redis_address import RedisAddress, address_of
from yak_net.metadata.redis_errors import describe
from yak_net.metadata.redis_pools import SentinelClient, pool_of

EMBEDDED_FIELD: Final = "yak_embedded"
"""Field of the INFO reply that identifies the server of :mod:`yak_net.metadata.embedded`."""

EMBEDDED_NAME: Final = "the embedded metadata store"
"""The name of that server in messages: its address is another one at each start."""

SENTINEL_WAIT: Final = 0.25
"""Part of the timeout of a call within which one Sentinel must answer."""

COPY_WAIT: Final = 0.5
"""Part of the timeout of a call within which a replica must have the change, with Sentinel.

Redis ends a WAIT up to 0.1 s late, and the reply must arrive before the timeout."""

CLOSE_S: Final = 0.1

TLS_HINT: Final = ", and that its port uses TLS"
"""Advice after a timeout with TLS: a server without it waits for the end of the first command."""

_T = TypeVar("_T")


class StoreError(Exception):
    """The metadata in the store is damaged, so that the broker must halt, or was not deleted."""


class NoReply(Exception):
    """A call got no valid reply; the message is the reason, and what to do."""


class RedisStore:
    """The metadata store of one cluster on the Redis server at ``url``.

    ``url`` has one of the forms of :mod:`yak_net.metadata.redis_address`. A call that takes more
    than ``timeout_us`` microseconds is Unknown. Any number of calls may be in flight. Raises
    ValueError if ``url`` is invalid; the message never contains the URL, because of the password.

    ``problem`` is the reason why the newest call got no reply, and what to do; "" after a reply.
    """

    def __init__(self, url: str, cluster: str, timeout_us: Micros) -> None:
        assert timeout_us > 0
        self.address: RedisAddress = address_of(url)
        database = self.address.database
        self._name = f"Redis at {self.address.name}"
        self._name += f", database {database}" if database else ""
        self._cluster = cluster
        self._keys = keys_of(cluster)
        self._sync_key = f"yak:{{{cluster}}}:sync"
        self._timeout_s = timeout_us / 1_000_000
        self._sentinels: SentinelClient | None = None
        if self.address.sentinels:
            self._sentinels = SentinelClient(self.address, self._timeout_s * SENTINEL_WAIT)
        self._pool = pool_of(self.address, self._sentinels)
        self._client: Any = Redis(connection_pool=self._pool)
        self._client.response_callbacks.clear()  # Replies as they are on the wire.
        self._in_flight: set[asyncio.Timeout] = set()
        self._none_in_flight = asyncio.Event()
        self._closed = False
        self.problem = ""

    async def call(self, request: MetaRequest) -> MetaOutcome:
        """Execute one call; Unknown if it gets no reply. Raises StoreError on damaged metadata."""
        try:
            reply = await self._with_timeout(self._run(encode_request(self._keys, request)))
            if not isinstance(reply, list):
                raise NoReply(
                    f"Redis at {self.address.name} returned {type(reply).__name__} from a script, "
                    f"expected a list; check that it is a Redis server"
                )
        except NoReply as reason:
            self.problem = str(reason)
            if self._sentinels is not None:
                await self._forget_primary()
            return Unknown()
        try:
            outcome = decode_reply(request, reply)
        except PartitionStateError as damage:
            raise StoreError(
                f"the metadata of cluster {self._cluster} in Redis at {self.address.name} is "
                f"damaged: {damage}"
            ) from damage
        self.problem = ""
        return outcome

    @property
    def record_key(self) -> str:
        """The key of the partition state on the server."""
        return self._keys.state

    async def name(self) -> str:
        """Return the server's name for messages, such as ``Redis at 127.0.0.1:6379``.

        It has no password, and stays the same as long as the address does. A server that does not
        answer has the name of a Redis server.
        """
        try:
            info = await self.inspect("INFO")
        except NoReply:
            return self._name
        return EMBEDDED_NAME if EMBEDDED_FIELD in fields_of(info) else self._name

    async def inspect(self, *arguments: str) -> Any:
        """Return the reply to a command that changes nothing; None if the server refuses it.

        Managed servers and ACLs forbid INFO and CONFIG. Raises NoReply.
        """
        return await self._with_timeout(self._execute_if_allowed(*arguments))

    async def delete_all(self) -> None:
        """Delete the metadata of the cluster. Raises StoreError if the server does not confirm it.

        No broker may use the store.
        """
        keys = self._keys
        try:
            await self._with_timeout(
                self._execute_confirmed("DEL", keys.state, keys.renewals, keys.status)
            )
            await self._with_timeout(self._execute("DEL", self._sync_key))
        except NoReply as reason:
            raise StoreError(str(reason)) from None

    async def close(self) -> None:
        """End calls in flight as Unknown, and close all connections; later calls are Unknown."""
        self._closed = True
        for timeout in tuple(self._in_flight):
            if not timeout.expired():
                timeout.reschedule(0)
        while self._in_flight:
            self._none_in_flight.clear()
            await self._none_in_flight.wait()
        await self._pool.aclose()
        if self._sentinels is not None:
            await self._sentinels.aclose()

    async def _run(self, call: ScriptCall) -> object:
        arguments: tuple[str | int | bytes, ...] = (len(call.keys), *call.keys, *call.args)
        if self._sentinels is not None:
            # Not EVALSHA: the first wait for a replica would be after an error.
            return await self._execute_confirmed("EVAL", call.script, *arguments)
        try:
            return await self._execute("EVALSHA", SHAS[call.script], *arguments)
        except NoScriptError:
            # The server has lost its scripts, for example in a restart, and has run nothing. EVAL
            # contains the script; after SCRIPT LOAD, the server could lose it again before EVALSHA.
            return await self._execute("EVAL", call.script, *arguments)

    async def _execute_confirmed(self, *arguments: str | int | bytes) -> Any:
        """Run a command; with Sentinel, confirm that a replica has all that the reply shows."""
        if self._sentinels is None:
            return await self._execute(*arguments)
        self._check_open()
        wait_s = self._timeout_s * COPY_WAIT
        pipeline = self._client.pipeline(transaction=False)
        pipeline.execute_command(*arguments)
        # A replica that has this write has all earlier ones, of any connection.
        pipeline.execute_command("SET", self._sync_key, "")
        pipeline.execute_command("WAIT", 1, int(wait_s * 1000))
        replies = await pipeline.execute(raise_on_error=False)
        for each in replies:
            if isinstance(each, Exception):
                raise each
        reply, _, copies = replies
        if copies < 1:
            raise NoReply(
                f"Redis at {self.address.name} has no replica that confirmed the change within "
                f"{wait_s:g} s; start a replica, or check its link to the primary"
            )
        return reply

    async def _forget_primary(self) -> None:
        """Close idle connections, so that the next call asks the Sentinels for the primary."""
        with suppress(TimeoutError, OSError, RedisError):
            async with asyncio.timeout(CLOSE_S):
                await self._pool.disconnect(inuse_connections=False)

    def _check_open(self) -> None:
        if self._closed:
            raise RedisConnectionError("the metadata store client is closed")

    async def _execute(self, *arguments: str | int | bytes) -> Any:
        self._check_open()
        return await self._client.execute_command(*arguments)

    async def _with_timeout(self, awaitable: Awaitable[_T]) -> _T:
        """Await ``awaitable`` within the timeout of one call. Raises NoReply if it fails."""
        try:
            async with asyncio.timeout(self._timeout_s) as timeout:
                self._in_flight.add(timeout)
                try:
                    return await awaitable
                finally:
                    self._in_flight.discard(timeout)
                    self._none_in_flight.set()
        except TimeoutError:
            if self._closed:
                raise NoReply(f"the client of Redis at {self.address.name} is closed") from None
            reason = (
                f"Redis at {self.address.name} did not reply within {self._timeout_s:g} s; check "
                f"that it runs, and the network to it"
            )
            raise NoReply(reason + TLS_HINT * (self.address.tls is not None)) from None
        except (RedisError, OSError, ValueError) as error:
            # redis-py raises ValueError if it cannot parse an error reply of the server.
            raise NoReply(describe(self.address, error)) from None

    async def _execute_if_allowed(self, *arguments: str) -> object:
        try:
            return await self._execute(*arguments)
        except ResponseError:
            return None


def fields_of(info: object) -> dict[str, str]:
    """Return the fields of an INFO reply; none if the reply is not text."""
    text = info.decode("utf-8", "replace") if isinstance(info, bytes) else ""
    pairs = (line.partition(":") for line in text.splitlines() if not line.startswith("#"))
    return {name: value for name, colon, value in pairs if colon}
