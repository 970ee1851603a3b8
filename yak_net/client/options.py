"""Checks of client options, and the interface of the runtime behind a client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, Protocol, TypeAlias

from yak_core.config import ClientConfig
from yak_core.contract.client_calls import ClientCall, ClientResult
from yak_core.contract.node import Build
from yak_core.ids import NodeId

BOOTSTRAP_TIMEOUT_MS: Final = 5_000
"""Time limit, in ms, for the response of a bootstrap server."""

MakeConfig: TypeAlias = Callable[[tuple[NodeId, ...]], ClientConfig]


class Runtime(Protocol):
    """Runs a client node. :class:`yak_net.client.runtime.ClientRuntime` does so on sockets.

    ``halt_reason`` is the reason why the node halted; it is empty while the node runs.
    ``connection_failures`` returns the brokers that cannot be reached, and why.
    """

    halt_reason: str

    async def start(self, within_s: float) -> None: ...
    def ask(self, call: ClientCall) -> asyncio.Future[ClientResult]: ...
    def cancel(self, future: asyncio.Future[ClientResult]) -> None: ...
    def connection_failures(self) -> str: ...
    async def close(self) -> None: ...


RuntimeFactory: TypeAlias = Callable[[str, Build, MakeConfig, tuple[str, ...]], Runtime]
"""Makes a runtime from: client name, build function, configuration, bootstrap servers."""


def socket_runtime(
    name: str, build: Build, config: MakeConfig, servers: tuple[str, ...]
) -> Runtime:
    """Return the default runtime, which uses sockets."""
    # Imported late: the import of aiohttp takes longer than all other imports together.
    from yak_net.client.runtime import ClientRuntime

    return ClientRuntime(name, build, config, servers)


async def open_runtime(runtime: Runtime, within_ms: int) -> None:
    """Start a runtime, and close it if the start fails. Raises NoBrokersAvailable."""
    try:
        await runtime.start(within_ms / 1000)
    except BaseException:
        await close_runtime(runtime)
        raise


async def close_runtime(runtime: Runtime) -> None:
    """Close a runtime. A cancelled call still closes it completely, so no socket stays open."""
    closing = asyncio.ensure_future(runtime.close())
    try:
        await asyncio.shield(closing)
    except asyncio.CancelledError:
        await closing
        raise


def servers_of(given: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return the URLs of the bootstrap servers: of ``"host:port,host:port"``, or of a list.

    None stands for the local cluster, else YAK_BOOTSTRAP_SERVERS, else 127.0.0.1:8080. Raises
    ValueError for an invalid address.
    """
    from yak_net.runtime.settings import SettingsError, parse_url
    from yak_net.runtime.state_file import DEFAULT_SERVER, SERVERS_VARIABLE, bootstrap_servers

    found = bootstrap_servers() if given is None else given
    parts = found.split(",") if isinstance(found, str) else list(found)
    try:
        servers = tuple(parse_url(part) for part in parts if part.strip())
    except SettingsError as error:
        if given is None and parts != [DEFAULT_SERVER]:
            raise ValueError(f"{error}; correct the variable {SERVERS_VARIABLE}") from error
        raise
    if not servers:
        raise ValueError("no bootstrap server given; give host:port, such as 127.0.0.1:8080")
    return servers


def at_least(minimum: int, **values: object) -> None:
    """Raise ValueError for a value below ``minimum``, TypeError for a value that is no integer."""
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{name} must be an integer, got {value!r}")
        if value < minimum:
            raise ValueError(f"{name} must be at least {minimum}, got {value}")
