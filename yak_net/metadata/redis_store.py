"""The metadata store on a Redis server, for one event loop; must never decide, repeat or guess.

A call is one run of a script. It is asked once: the driver's retries are off, because a repeated
call belongs to the node, which knows what it has seen. Only an answer of the script counts; a lost
connection, a time-out and a server's error all end as Unknown, and :attr:`RedisStore.problem` says
what a person can do about it.

A reply that comes after its call has ended must never be taken for that of a later call. So there
is one bound around the whole call and none inside the driver: what the bound or a cancellation
interrupts is closed by redis-py on the way out, and a connection in which bytes lie waiting is
replaced before its next use. tests/net/test_redis_lost_replies.py holds it to that.
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

EMBEDDED_MARK: Final = "yak_embedded"
"""The field of INFO by which the server of :mod:`yak_net.metadata.embedded` is known."""

CONNECTIONS_MAX: Final = 32
SERVER_TEXT_MAX: Final = 200

# What may stand behind the ? of the URL. Anything else, such as retries, would undo what is set
# below.
_QUERY: Final = frozenset(
    {
        *("db", "username", "password", "ssl_ca_certs", "ssl_ca_path", "ssl_certfile"),
        *("ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"),
    }
)

_ADVICE: Final[tuple[tuple[tuple[type[Exception], ...], str], ...]] = (
    ((BusyLoadingError,), "is still loading its data: wait until it has"),
    (
        (AuthenticationError, AuthorizationError, NoPermissionError),
        "refuses us: check the user and the password in its address, and what its ACL allows",
    ),
    ((ReadOnlyError, MasterDownError), "is a replica: name the primary instead"),
    ((OutOfMemoryError,), "is out of memory: raise its maxmemory, or delete what else it holds"),
    (
        (ClusterError, MovedError),
        "is a Redis Cluster that does not serve our keys there: name one primary outside a cluster",
    ),
    ((RedisConnectionError, OSError), "cannot be reached: start it, or check the address"),
)
_ADVICE_BY_WORD: Final = {
    "MISCONF": "cannot write to its disk: free some space, and read its log",
    "BUSY": "is held up by somebody's script: stop that with SCRIPT KILL",
    "WRONGTYPE": "holds something else under our keys: use another cluster name or database",
}

_SETTINGS: Final = (
    ("appendonly", "yes", "a restart can lose the whole metadata"),
    ("appendfsync", "always", "a power cut can lose writes that it has confirmed"),
    ("maxmemory-policy", "noeviction", "it may delete the metadata when its memory is full"),
)
"""(setting, what the promise needs, what else may happen)."""

_T = TypeVar("_T")


class StoreError(Exception):
    """What the store holds is damaged: going on is not possible. One sentence for a person."""


class _NoAnswer(Exception):
    """Why a call has no answer, as one sentence."""


class RedisStore:
    """One cluster's metadata on the server at ``url``.

    ``url`` is ``redis://``, ``rediss://`` (TLS) or ``unix://``, with user, password and database as
    redis-py reads them. A call that takes more than ``timeout_us`` is Unknown. Any number of calls
    may be under way. Raises ValueError, which never quotes the URL, when ``url`` is of no use.

    ``problem`` is "" after a call that was answered, and else why the newest call was not: one
    sentence that names the next step.
    """

    def __init__(self, url: str, cluster: str, timeout_us: Micros) -> None:
        assert timeout_us > 0
        options = _options_of(url)
        self._where = str(options.get("path") or f"{options['host']}:{options['port']}")
        password = str(options.get("password") or "")
        self._secrets = tuple(word for word in (password, quote(password, safe="")) if word)
        self._cluster = cluster
        self._keys = keys_of(cluster)
        self._timeout_s = timeout_us / 1_000_000
        self._pool = _pool_of(options)
        self._client: Any = Redis(connection_pool=self._pool)
        self._client.response_callbacks.clear()  # Replies as they are on the wire.
        self._under_way: set[asyncio.Timeout] = set()
        self._idle = asyncio.Event()
        self._closed = False
        self.problem = ""

    async def call(self, request: MetaRequest) -> MetaOutcome:
        """Carry out one call; Unknown when it has no answer. Raises StoreError on damage."""
        try:
            reply = await self._within(self._run(encode_request(self._keys, request)))
            if not isinstance(reply, list):
                raise _NoAnswer(
                    f"Redis at {self._where} answers scripts with something else than a list: "
                    f"check that it is a Redis server."
                )
        except _NoAnswer as reason:
            self.problem = str(reason)
            return Unknown()
        try:
            outcome = decode_reply(request, reply)
        except PartitionStateError as damage:
            raise StoreError(
                f"The metadata of cluster {self._cluster} on the Redis at {self._where} is "
                f"damaged, so no broker can go on with it: {damage}"
            ) from damage
        self.problem = ""
        return outcome

    async def remarks(self) -> tuple[str, ...]:
        """What the server promises less of than is needed, each a sentence; best none."""
        try:
            return await self._within(self._remarks())
        except _NoAnswer as reason:
            return (str(reason),)

    async def close(self) -> None:
        """End the calls under way as Unknown and close all connections; later calls are Unknown."""
        self._closed = True
        for bound in tuple(self._under_way):
            if not bound.expired():
                bound.reschedule(0)
        while self._under_way:
            self._idle.clear()
            await self._idle.wait()
        await self._pool.aclose()

    async def _run(self, call: ScriptCall) -> object:
        words: tuple[str | int | bytes, ...] = (len(call.keys), *call.keys, *call.args)
        try:
            return await self._execute("EVALSHA", SHAS[call.script], *words)
        except NoScriptError:
            # The server restarted or was flushed, and has run nothing. EVAL carries the text along,
            # so no second flush can come between, as it could after SCRIPT LOAD.
            return await self._execute("EVAL", call.script, *words)

    async def _execute(self, *words: str | int | bytes) -> Any:
        if self._closed:
            raise RedisConnectionError("this side has closed the connection")
        return await self._client.execute_command(*words)

    async def _within(self, work: Awaitable[_T]) -> _T:
        """Await ``work`` as long as one call may take. Raises _NoAnswer when it failed."""
        try:
            async with asyncio.timeout(self._timeout_s) as bound:
                self._under_way.add(bound)
                try:
                    return await work
                finally:
                    self._under_way.discard(bound)
                    self._idle.set()
        except TimeoutError:
            if self._closed:
                raise _NoAnswer(f"This side has closed its Redis at {self._where}.") from None
            reason = (
                f"Redis at {self._where} gave no answer within {self._timeout_s:g} s: check that "
                f"it runs, and the network to it."
            )
            raise _NoAnswer(reason) from None
        except (RedisError, OSError, ValueError) as error:
            # A ValueError is redis-py's when it cannot read what the server sent as an error.
            raise _NoAnswer(self._sentence(error)) from None

    def _sentence(self, error: BaseException) -> str:
        """What ``error`` means for a person, without our secrets, which a server may echo."""
        while isinstance(error.__cause__, RedisError):
            error = error.__cause__  # redis-py wraps what goes wrong while it connects to a socket.
        said = str(error) or type(error).__name__
        for secret in self._secrets:
            said = said.replace(secret, "***")
        said = " ".join(said.split())[:SERVER_TEXT_MAX].rstrip(".")
        advice = _ADVICE_BY_WORD.get(said.split(" ")[0], "")
        for kinds, words in _ADVICE:
            if not advice and isinstance(error, kinds):
                advice = words
        advice = advice or "cannot run our scripts: check that it is Redis 5 or newer, read its log"
        return f"Redis at {self._where} {advice} (it said: {said})."

    async def _remarks(self) -> tuple[str, ...]:
        found: list[str] = []
        info = _fields_of(await self._execute_if_allowed("INFO"))
        if EMBEDDED_MARK in info:
            remark = (
                f"The metadata at {self._where} lies in the memory of one process and is not "
                f"durable: when that process ends, the cluster is forgotten."
            )
            return (remark,)
        if info.get("role", "master") != "master":
            found.append(
                f"Redis at {self._where} is a replica and can lose or refuse writes: name its "
                f"primary instead."
            )
        for name, wanted, danger in _SETTINGS:
            answer = await self._execute_if_allowed("CONFIG", "GET", name)
            if not isinstance(answer, list) or len(answer) != 2:
                found.append(
                    f"Redis at {self._where} does not tell its settings (CONFIG GET), so make sure "
                    f"yourself: " + ", ".join(f"{key} {value}" for key, value, _ in _SETTINGS) + "."
                )
                break
            held = answer[1].decode("ascii", "replace") if isinstance(answer[1], bytes) else "unset"
            if held != wanted:
                found.append(
                    f"Redis at {self._where} has {name} {held}, so {danger}: set {name} {wanted}."
                )
        return tuple(found)

    async def _execute_if_allowed(self, *words: str) -> object:
        try:
            return await self._execute(*words)
        except ResponseError:
            return None  # Managed servers and ACLs forbid INFO and CONFIG.


def _fields_of(info: object) -> dict[str, str]:
    """The fields of a reply to INFO; none when it is something else."""
    text = info.decode("utf-8", "replace") if isinstance(info, bytes) else ""
    pairs = (line.partition(":") for line in text.splitlines() if not line.startswith("#"))
    return {name: value for name, colon, value in pairs if colon}


def _options_of(url: str) -> dict[str, Any]:
    """The arguments of the pool for ``url``. Raises ValueError with a sentence that hides it."""
    parts, options = urlsplit(""), None
    with suppress(ValueError):
        parts, options = urlsplit(url), dict[str, Any](parse_url(url))
    # Not raised from the ValueError that was suppressed, which may quote a part of the password.
    if options is None:
        raise ValueError(
            "The address of Redis cannot be read: write redis://USER:PASSWORD@HOST:PORT/DATABASE, "
            "rediss:// for TLS or unix:///PATH, with % codes for special characters."
        )
    if not _QUERY.issuperset(parse_qs(parts.query)):
        raise ValueError(
            f"The address of Redis has an option that YAK does not take: behind the ? may only be "
            f"{', '.join(sorted(_QUERY))}."
        )
    if parts.scheme == "unix":
        if not options.get("path"):
            raise ValueError("The address of Redis names no socket: write unix:///PATH.")
    else:
        if not re.fullmatch(r"/?[0-9]*", parts.path):
            raise ValueError("The database in the address of Redis must be a number, as in /0.")
        options = {"host": "localhost", "port": 6379} | options
    return options | {
        "max_connections": CONNECTIONS_MAX,
        # One bound around the call is enough, and asyncio.wait_for, which the driver would use for
        # its own, can swallow a cancellation before Python 3.12.
        "socket_timeout": None,
        "socket_connect_timeout": None,
        # Commands and connections share it; redis-py's own default repeats both up to ten times.
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "decode_responses": False,
    }


def _pool_of(options: dict[str, Any]) -> Any:
    """The pool, which opens nothing yet. Raises ValueError when ``options`` do not go together."""
    pool: Any = None
    with suppress(TypeError, ValueError, RedisError):
        made: Any = ConnectionPool(**options)
        made.make_connection()
        pool = made
    if pool is None:
        raise ValueError(
            "The address of Redis has options that do not fit: those that begin with ssl_ need "
            "rediss://, and ssl_cert_reqs is none, optional or required."
        )
    return pool
