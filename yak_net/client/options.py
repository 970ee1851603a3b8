"""What the producer and the consumer share: their words, checked; must never open a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, Protocol, TypeAlias

from yak_core.config import ClientConfig
from yak_core.contract.client_calls import ClientCall, ClientResult
from yak_core.contract.node import Build
from yak_core.ids import NodeId

BOOTSTRAP_TIMEOUT_MS: Final = 5_000
"""How long the bootstrap servers are asked before a client gives up."""

MakeConfig: TypeAlias = Callable[[tuple[NodeId, ...]], ClientConfig]


class Runtime(Protocol):
    """What carries a client node; :class:`yak_net.client.runtime.ClientRuntime` is the real one.

    ``failed`` says why it is over, and is empty as long as it is not.
    """

    failed: str

    async def start(self, within_s: float) -> None: ...
    def ask(self, call: ClientCall) -> asyncio.Future[ClientResult]: ...
    def cancel(self, future: asyncio.Future[ClientResult]) -> None: ...
    async def close(self) -> None: ...


RuntimeFactory: TypeAlias = Callable[[str, Build, MakeConfig, tuple[str, ...]], Runtime]
"""Makes one of a name, what builds the node, its configuration and the servers to ask first."""


def on_sockets(name: str, build: Build, config: MakeConfig, servers: tuple[str, ...]) -> Runtime:
    """The runtime that everybody uses."""
    # It brings aiohttp with it, which takes longer to import than all else together.
    from yak_net.client.runtime import ClientRuntime

    return ClientRuntime(name, build, config, servers)


async def open_runtime(runtime: Runtime, within_ms: int) -> None:
    """Start it, and close it again if that fails. Raises NoBrokersAvailable."""
    try:
        await runtime.start(within_ms / 1000)
    except BaseException:
        await close_runtime(runtime)
        raise


async def close_runtime(runtime: Runtime) -> None:
    """Close it to the end, even if cancelled meanwhile: half of it would leave sockets open."""
    closing = asyncio.ensure_future(runtime.close())
    try:
        await asyncio.shield(closing)
    except asyncio.CancelledError:
        await closing
        raise


def servers_of(given: str | Iterable[str] | None) -> tuple[str, ...]:
    """URLs of the bootstrap servers: ``"host:port,host:port"``, a list, or where they are found.

    Raises ValueError for what is no address.
    """
    from yak_net.runtime.settings import parse_url

    if given is None:
        from yak_net.runtime.state_file import bootstrap_servers

        given = bootstrap_servers()
    words = given.split(",") if isinstance(given, str) else list(given)
    servers = tuple(parse_url(word) for word in words if word.strip())
    if not servers:
        raise ValueError("no bootstrap server is given; one is 127.0.0.1:8080")
    return servers


def at_least(lowest: int, **values: object) -> None:
    """ValueError for a number that is smaller, TypeError for what is no whole number."""
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{name} is a whole number, not {value!r}")
        if value < lowest:
            raise ValueError(f"{name} is at least {lowest}, not {value}")
