"""Base class of the producer and the consumer: starts one runtime and stops it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Self

from yak_net.client.errors import IllegalStateError, UnknownError
from yak_net.client.options import Runtime, RuntimeFactory, servers_of


class Client:
    """A client that ``async with`` starts and stops.

    ``KIND`` is the name of the client in error messages. ``ERROR_SUFFIX`` ends the
    messages of errors that are raised after the client was stopped or halted.
    """

    KIND: ClassVar[str]
    ERROR_SUFFIX: ClassVar[str] = ""

    def __init__(
        self,
        bootstrap_servers: str | Iterable[str] | None,
        client_id: str | None,
        bootstrap_timeout_ms: int,
        runtime: RuntimeFactory,
    ) -> None:
        self._servers = servers_of(bootstrap_servers)
        self._name = client_id or self.KIND
        self._bootstrap_timeout_ms = bootstrap_timeout_ms
        self._make_runtime = runtime
        self._runtime: Runtime | None = None
        self._stopped = False

    async def start(self) -> None:
        """Find the brokers. Raises NoBrokersAvailable; the call may be repeated then."""

    async def stop(self) -> None:
        """Stop the client."""

    def connection_failures(self) -> str:
        """Return the brokers to which the newest connection failed, and why; empty for none."""
        return "" if self._runtime is None else self._runtime.connection_failures()

    async def __aenter__(self) -> Self:
        """Start the client. Raises the errors of :meth:`start`."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the client."""
        await self.stop()

    def _check_not_started(self) -> None:
        if self._runtime is not None or self._stopped:
            raise IllegalStateError(
                f"the {self.KIND} was already started or stopped; create a new one"
            )

    def _check_running(self) -> Runtime:
        runtime = self._runtime
        if self._stopped:
            raise IllegalStateError(
                f"the {self.KIND} was stopped{self.ERROR_SUFFIX or '; create a new one'}"
            )
        if runtime is None:
            raise IllegalStateError(
                f"the {self.KIND} is not started; use async with or call start()"
            )
        if runtime.halt_reason:
            raise UnknownError(f"{self._halt_message(runtime.halt_reason)}{self.ERROR_SUFFIX}")
        return runtime

    def _halt_message(self, halt_reason: str) -> str:
        reason = halt_reason or "its runtime was closed"
        return f"the {self.KIND} halted because of a bug: {reason}"
