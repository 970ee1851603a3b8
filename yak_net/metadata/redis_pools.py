"""Connection pools of redis-py for one server, or for the primary that Sentinels name.

redis-py does not retry: only the node can decide to send a call again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from yak_net.metadata.redis_address import RedisAddress

CONNECTIONS_MAX: Final = 32


class NoPrimary(RedisConnectionError):
    """No Sentinel named the address of a primary; the message says why and what to do."""


class SentinelClient:
    """Asks the Sentinels for the primary of one service.

    ``wait_s`` is the time limit in seconds for the reply of one Sentinel. A new connection to the
    primary asks again. After a failover the Sentinels may disagree for a while: the answer with the
    newest configuration counts, as soon as the majority of them agree or all have answered.
    """

    def __init__(self, address: RedisAddress, wait_s: float) -> None:
        self._address = address
        self._wait_s = wait_s
        login = dict(address.sentinel_login)
        self._sentinels = [
            Redis(connection_pool=_pool(_settings(address, login | {"host": host, "port": port})))
            for host, port in address.sentinels
        ]
        for sentinel in self._sentinels:
            sentinel.response_callbacks.clear()  # Replies as they are on the wire.

    async def discover_master(self, service: str) -> tuple[str, int]:
        """Return (host, port) of the primary; the pool of redis-py calls this method.

        Raises NoPrimary.
        """
        tasks = [asyncio.create_task(self._ask(each, service)) for each in self._sentinels]
        found: dict[tuple[str, int], list[int]] = {}
        reasons: list[str] = []
        try:
            for task in asyncio.as_completed(tasks):
                answer = await task
                if isinstance(answer, str):
                    reasons.append(answer)
                    continue
                primary, config_epoch = answer
                found.setdefault(primary, []).append(config_epoch)
                if 2 * len(found[primary]) > len(tasks):
                    break
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if not found:
            raise NoPrimary("; ".join(dict.fromkeys(reasons)))
        return max(found, key=lambda primary: max(found[primary]))

    async def aclose(self) -> None:
        """Close the connections to the Sentinels."""
        for sentinel in self._sentinels:
            await sentinel.connection_pool.aclose()

    async def _ask(self, sentinel: Any, service: str) -> tuple[tuple[str, int], int] | str:
        """Return ((host, port), configuration epoch) as one Sentinel knows it, or a reason."""
        try:
            async with asyncio.timeout(self._wait_s):
                flat = await sentinel.execute_command("SENTINEL", "MASTER", service)
            fields = dict(zip(flat[::2], flat[1::2], strict=True))
            primary = (fields[b"ip"].decode(), int(fields[b"port"]))
            return primary, int(fields[b"config-epoch"])
        except TimeoutError:
            return f"no reply of a Sentinel within {self._wait_s:g} s"
        except (ResponseError, AuthenticationError, AuthorizationError) as error:
            return f"a Sentinel refused: {error}"
        except (RedisError, OSError) as error:
            return f"a Sentinel cannot be reached: {error}"
        except (TypeError, ValueError, KeyError, AttributeError):
            return "a Sentinel sent an invalid reply; check that it is a Sentinel"


def pool_of(address: RedisAddress, sentinels: SentinelClient | None) -> Any:
    """Return a pool for the server or the primary at ``address``, without open connections."""
    settings = _settings(address, address.options)
    if sentinels is None:
        return _pool(settings)
    if settings.pop("connection_class", None) is not None:
        settings["ssl"] = True
    make: Any = SentinelConnectionPool
    return make(address.service, sentinels, **settings)


def _pool(settings: Mapping[str, Any]) -> Any:
    return ConnectionPool(**settings)


def _settings(address: RedisAddress, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a pool. TLS is for the server and for the Sentinels."""
    tls = {} if address.tls is None else {"connection_class": SSLConnection, **address.tls}
    return {
        **options,
        **tls,
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
