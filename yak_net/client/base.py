"""What the producer and the consumer share: a runtime that is started once, and stopped once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Self

from yak_net.client.errors import IllegalStateError, UnknownError
from yak_net.client.options import Runtime, RuntimeFactory, servers_of


class Client:
    """A client; ``async with`` starts and stops it.

    ``KIND`` is its name in errors, ``ADVICE`` what they add when it takes no more calls.
    """

    KIND: ClassVar[str]
    ADVICE: ClassVar[str] = ""

    def __init__(
        self,
        bootstrap_servers: str | Iterable[str] | None,
        client_id: str | None,
        bootstrap_timeout_ms: int,
        runtime: RuntimeFactory,
    ) -> None:
        self._servers = servers_of(bootstrap_servers)
        self._name = client_id or self.KIND
        self._within_ms = bootstrap_timeout_ms
        self._make_runtime = runtime
        self._runtime: Runtime | None = None
        self._stopped = False

    async def start(self) -> None:
        """Find the brokers. Raises NoBrokersAvailable, and may be tried again then."""

    async def stop(self) -> None:
        """End."""

    async def __aenter__(self) -> Self:
        """Start. Raises what :meth:`start` raises."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop."""
        await self.stop()

    def _check_new(self) -> None:
        if self._runtime is not None or self._stopped:
            raise IllegalStateError(f"a {self.KIND} is started once: make a new one")

    def _check_running(self) -> Runtime:
        runtime = self._runtime
        if self._stopped:
            raise IllegalStateError(
                f"the {self.KIND} was stopped{self.ADVICE or ': make a new one'}"
            )
        if runtime is None:
            raise IllegalStateError(
                f"the {self.KIND} is not started: use async with, or call start()"
            )
        if runtime.failed:
            raise UnknownError(f"{self._bug(runtime.failed)}{self.ADVICE}")
        return runtime

    def _bug(self, failed: str) -> str:
        return f"the {self.KIND} is over, which is a bug: {failed or 'its runtime was closed'}"
