"""The client of a metadata store on a Redis server, for one event loop.

A call is one run of a Lua script. It is sent once: redis-py's retries are off, because only the
node can decide to retry. A lost connection, a timeout and a server error all end as Unknown, and
:attr:`RedisStore.problem` says what to do.

A late reply must not become the reply of a later call. Therefore one timeout applies to the whole
call, and none inside redis-py. redis-py closes a connection whose call is interrupted by the
timeout or a cancellation, and replaces a connection with unread bytes before its next use.
tests/net/test_redis_lost_replies.py checks this.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, Final, TypeVar
from urllib.parse import parse_qs, quote, urlsplit

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from yak_core.ids import Micros
from yak_core.metadata.partition_state import PartitionStateError
from yak_core.metadata.redis_scripts import SHAS, ScriptCall, decode_reply, encode_request, keys_of
from yak_core.metadata.store_calls import MetaOutcome, MetaRequest, Unknown

EMBEDDED_FIELD: Final = "yak_embedded"
"""Field of the INFO reply that identifies the server of :mod:`yak_net.metadata.embedded`."""

EMBEDDED_NAME: Final = "the embedded metadata store"
"""The name of that server in messages: its address is another one at each start."""

CONNECTIONS_MAX: Final = 32
SERVER_TEXT_MAX: Final = 200

# Allowed options after the ? of the URL. Others, such as retries, would override settings below.
_URL_OPTIONS: Final = frozenset(
    {
        *("db", "username", "password", "ssl_ca_certs", "ssl_ca_path", "ssl_certfile"),
        *("ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"),
    }
)

_ADVICE_BY_CLASS: Final[tuple[tuple[tuple[type[Exception], ...], str], ...]] = (
    ((BusyLoadingError,), "is still loading its data; wait until it is ready"),
    (
        (AuthenticationError, AuthorizationError, NoPermissionError),
        "denied access; check the user and the password in the URL, and the server's ACL",
    ),
    ((ReadOnlyError, MasterDownError), "is a replica; use the URL of the primary"),
    ((OutOfMemoryError,), "is out of memory; raise its maxmemory, or delete other data in it"),
    (
        (ClusterError, MovedError),
        "is a Redis Cluster without YAK's keys on this node; use a primary outside a cluster",
    ),
    ((RedisConnectionError, OSError), "cannot be reached; start it, or check the URL"),
)
_ADVICE_BY_CODE: Final = {
    "MISCONF": "cannot write to its disk; free disk space, and read its log",
    "BUSY": "is blocked by a long-running script; stop the script with SCRIPT KILL",
    "WRONGTYPE": "has other data in YAK's keys; use another cluster name or database",
}

_REQUIRED_SETTINGS: Final = (
    ("appendonly", "yes", "a restart can lose all metadata"),
    ("appendfsync", "always", "a power failure can lose acknowledged writes"),
    ("maxmemory-policy", "noeviction", "it can delete the metadata when its memory is full"),
)
"""(setting, the value that durability requires, the risk of another value)."""

_T = TypeVar("_T")


class StoreError(Exception):
    """The metadata in the store is damaged, so that the broker must halt, or was not deleted."""


class _NoReply(Exception):
    """A call got no valid reply; the message is the reason."""


class RedisStore:
    """The metadata store of one cluster on the Redis server at ``url``.

    ``url`` is ``redis://``, ``rediss://`` (TLS) or ``unix://``, with user, password and database as
    in redis-py. A call that takes more than ``timeout_us`` microseconds is Unknown. Any number of
    calls may be in flight. Raises ValueError if ``url`` is invalid; the message never contains the
    URL, because of the password.

    ``problem`` is the reason why the newest call got no reply, and what to do; "" after a reply.
    """

    def __init__(self, url: str, cluster: str, timeout_us: Micros) -> None:
        assert timeout_us > 0
        options = _options_of(url)
        self._address = str(options.get("path") or f"{options['host']}:{options['port']}")
        database = int(options.get("db") or 0)
        self._name = f"Redis at {self._address}" + (f", database {database}" if database else "")
        password = str(options.get("password") or "")
        self._secrets = tuple(secret for secret in (password, quote(password, safe="")) if secret)
        self._cluster = cluster
        self._keys = keys_of(cluster)
        self._timeout_s = timeout_us / 1_000_000
        self._pool = _pool_of(options)
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
                raise _NoReply(
                    f"Redis at {self._address} returned {type(reply).__name__} from a script, "
                    f"expected a list; check that it is a Redis server"
                )
        except _NoReply as reason:
            self.problem = str(reason)
            return Unknown()
        try:
            outcome = decode_reply(request, reply)
        except PartitionStateError as damage:
            raise StoreError(
                f"the metadata of cluster {self._cluster} in Redis at {self._address} is damaged: "
                f"{damage}"
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
            info = await self._with_timeout(self._execute_if_allowed("INFO"))
        except _NoReply:
            return self._name
        return EMBEDDED_NAME if EMBEDDED_FIELD in _fields_of(info) else self._name

    async def warnings(self) -> tuple[str, ...]:
        """Return warnings about settings of the server that endanger the metadata."""
        try:
            return await self._with_timeout(self._find_warnings())
        except _NoReply as reason:
            return (str(reason),)

    async def delete_all(self) -> None:
        """Delete the metadata of the cluster. Raises StoreError if the server does not confirm it.

        No broker may use the store.
        """
        keys = self._keys
        try:
            await self._with_timeout(self._execute("DEL", keys.state, keys.renewals, keys.status))
        except _NoReply as reason:
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

    async def _run(self, call: ScriptCall) -> object:
        arguments: tuple[str | int | bytes, ...] = (len(call.keys), *call.keys, *call.args)
        try:
            return await self._execute("EVALSHA", SHAS[call.script], *arguments)
        except NoScriptError:
            # The server has lost its scripts, for example in a restart, and has run nothing. EVAL
            # contains the script; after SCRIPT LOAD, the server could lose it again before EVALSHA.
            return await self._execute("EVAL", call.script, *arguments)

    async def _execute(self, *arguments: str | int | bytes) -> Any:
        if self._closed:
            raise RedisConnectionError("the metadata store client is closed")
        return await self._client.execute_command(*arguments)

    async def _with_timeout(self, awaitable: Awaitable[_T]) -> _T:
        """Await ``awaitable`` within the timeout of one call. Raises _NoReply if it fails."""
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
                raise _NoReply(f"the client of Redis at {self._address} is closed") from None
            reason = (
                f"Redis at {self._address} did not reply within {self._timeout_s:g} s; check that "
                f"it runs, and the network to it"
            )
            raise _NoReply(reason) from None
        except (RedisError, OSError, ValueError) as error:
            # redis-py raises ValueError if it cannot parse an error reply of the server.
            raise _NoReply(self._describe(error)) from None

    def _describe(self, error: BaseException) -> str:
        """Return a text about ``error`` with advice; replace passwords in it by ``***``."""
        while isinstance(error.__cause__, RedisError):
            error = error.__cause__  # redis-py wraps errors that occur while it connects.
        text = str(error) or type(error).__name__
        for secret in self._secrets:
            text = text.replace(secret, "***")
        text = " ".join(text.split())[:SERVER_TEXT_MAX].rstrip(".")
        advice = _ADVICE_BY_CODE.get(text.split(" ")[0], "")
        for kinds, kind_advice in _ADVICE_BY_CLASS:
            if not advice and isinstance(error, kinds):
                advice = kind_advice
        advice = advice or "cannot run scripts; check that it is Redis 5 or newer, and read its log"
        return f"Redis at {self._address} {advice} (error: {text})"

    async def _find_warnings(self) -> tuple[str, ...]:
        found: list[str] = []
        info = _fields_of(await self._execute_if_allowed("INFO"))
        if EMBEDDED_FIELD in info:
            warning = (
                f"the metadata at {self._address} is in the memory of one process and is not "
                f"durable; yak cluster up rebuilds it from the data folders of all brokers"
            )
            return (warning,)
        if info.get("role", "master") != "master":
            found.append(
                f"Redis at {self._address} is a replica and can lose or refuse writes; use the URL "
                f"of its primary"
            )
        for name, required, risk in _REQUIRED_SETTINGS:
            answer = await self._execute_if_allowed("CONFIG", "GET", name)
            if not isinstance(answer, list) or len(answer) != 2:
                found.append(
                    f"Redis at {self._address} does not permit CONFIG GET; check that it has "
                    + ", ".join(f"{key} {value}" for key, value, _ in _REQUIRED_SETTINGS)
                )
                break
            value = answer[1]
            actual = value.decode("ascii", "replace") if isinstance(value, bytes) else "unset"
            if actual != required:
                found.append(
                    f"Redis at {self._address} has {name} {actual}, so {risk}; "
                    f"set {name} {required}"
                )
        return tuple(found)

    async def _execute_if_allowed(self, *arguments: str) -> object:
        try:
            return await self._execute(*arguments)
        except ResponseError:
            return None  # Managed servers and ACLs forbid INFO and CONFIG.


def _fields_of(info: object) -> dict[str, str]:
    """Return the fields of an INFO reply; none if the reply is not text."""
    text = info.decode("utf-8", "replace") if isinstance(info, bytes) else ""
    pairs = (line.partition(":") for line in text.splitlines() if not line.startswith("#"))
    return {name: value for name, colon, value in pairs if colon}


def _options_of(url: str) -> dict[str, Any]:
    """Return the connection pool's arguments. Raises ValueError without the URL's content."""
    parts, options = urlsplit(""), None
    with suppress(ValueError):
        parts, options = urlsplit(url), dict[str, Any](parse_url(url))
    # Do not chain the suppressed ValueError: its message may contain a part of the password.
    if options is None:
        raise ValueError(
            "the Redis URL is invalid; expected redis://USER:PASSWORD@HOST:PORT/DATABASE, "
            "rediss:// for TLS, or unix:///PATH, with % codes for special characters"
        )
    if not _URL_OPTIONS.issuperset(parse_qs(parts.query)):
        raise ValueError(
            f"the Redis URL has an unsupported option; supported after the ? are "
            f"{', '.join(sorted(_URL_OPTIONS))}"
        )
    if parts.scheme == "unix":
        if not options.get("path"):
            raise ValueError("the Redis URL has no socket path; expected unix:///PATH")
    else:
        if not re.fullmatch(r"/?[0-9]*", parts.path):
            raise ValueError("the database in the Redis URL must be a number, such as /0")
        options = {"host": "localhost", "port": 6379} | options
    return options | {
        "max_connections": CONNECTIONS_MAX,
        # The timeout of the whole call is sufficient. redis-py would use asyncio.wait_for, which
        # can lose a cancellation before Python 3.12.
        "socket_timeout": None,
        "socket_connect_timeout": None,
        # For commands and connections; redis-py's default retries both up to ten times.
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "decode_responses": False,
    }


def _pool_of(options: dict[str, Any]) -> Any:
    """Return the pool, without open connections. Raises ValueError for inconsistent options."""
    pool: Any = None
    with suppress(TypeError, ValueError, RedisError):
        made: Any = ConnectionPool(**options)
        made.make_connection()
        pool = made
    if pool is None:
        raise ValueError(
            "the Redis URL has inconsistent options: ssl_ options require rediss://, and "
            "ssl_cert_reqs must be none, optional or required"
        )
    return pool
