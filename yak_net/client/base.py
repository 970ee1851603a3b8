"""Base class of the producer and the consumer: starts one runtime and stops it.

A client belongs to the event loop on which it was started. A call from another loop, from another
thread, without a loop, or in a forked child raises IllegalStateError at once: the connections and
futures of the client work on its own loop only, and two processes must not share a connection.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import warnings
import weakref
from collections.abc import Iterable
from typing import ClassVar, Final, Self

from yak_net.client.errors import IllegalStateError, UnknownError
from yak_net.client.options import Runtime, RuntimeFactory, servers_of


class Client:
    """A client that ``async with`` starts and stops.

    ``KIND`` is the name of the client in error messages. ``ERROR_SUFFIX`` ends the
    messages of errors that are raised after the client was stopped or halted.
    """

    KIND: ClassVar[str]
    ERROR_SUFFIX: ClassVar[str] = ""

    #: Whether this process started the client and has not stopped it.
    _is_open = False

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
        #: The event loop of the client; None before the start, and in a forked child.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = False
        self._was_started = False

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

    def __del__(self) -> None:
        """Warn of records that are lost with the client, or of a client that was never started."""
        if getattr(self, "_was_started", True):
            self._warn_of_unresolved()
            return
        name = type(self).__name__
        warnings.warn(
            f"the {self.KIND} was never started, so nothing was sent or read; use "
            f"`async with {name}()` in a coroutine, or Sync{name} without an event loop",
            RuntimeWarning,
            stacklevel=2,
            source=self,
        )

    def _own(self, runtime: Runtime) -> None:
        """Make the running event loop the owner of the client."""
        self._runtime = runtime
        self._loop = asyncio.get_running_loop()
        self._is_open = True
        _OPEN.add(self)

    def _close(self) -> None:
        """Record that the client is stopped."""
        self._is_open = False
        _OPEN.discard(self)

    def _count_unresolved(self) -> int:
        """Return the number of accepted records without a result."""
        return 0

    def _warn_of_unresolved(self) -> None:
        """Emit a ResourceWarning if the client was not stopped and has unresolved records."""
        if not self._is_open:
            return
        self._is_open = False
        count = self._count_unresolved()
        if count:
            records = "1 accepted record" if count == 1 else f"{count} accepted records"
            warnings.warn(
                f"a {self.KIND} was dropped with {records} whose outcome is unknown; "
                "await its stop(), or use async with",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )

    def _check_not_started(self) -> None:
        self._was_started = True
        if self._runtime is not None or self._stopped:
            raise IllegalStateError(
                f"the {self.KIND} was already started or stopped; create a new one"
            )

    def _check_loop(self) -> None:
        """Raise IllegalStateError for a caller that does not run on the client's event loop."""
        if self._runtime is None:
            return
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if self._loop is None:
            where = "process; create a new one after the fork"
        elif running is None:
            where = "event loop, and none is running here; await it on its own loop"
        elif running is not self._loop:
            where = "event loop; use it on the loop that started it, or create a new one"
        else:
            return
        raise IllegalStateError(f"the {self.KIND} belongs to another {where}")

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
        self._check_loop()
        if runtime.halt_reason:
            raise UnknownError(f"{self._halt_message(runtime.halt_reason)}{self.ERROR_SUFFIX}")
        return runtime

    def _halt_message(self, halt_reason: str) -> str:
        reason = halt_reason or "its runtime was closed"
        return f"the {self.KIND} halted because of a bug: {reason}"


_OPEN: Final[weakref.WeakSet[Client]] = weakref.WeakSet()
"""The clients that this process started and has not stopped."""


@atexit.register
def _on_exit() -> None:
    """Warn of records that are lost because the program ends."""
    for client in list(_OPEN):
        client._warn_of_unresolved()


def _on_fork() -> None:
    """Disown the clients of the parent process: only the parent sends their records."""
    for client in list(_OPEN):
        client._loop = None
        client._is_open = False
    _OPEN.clear()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_on_fork)
