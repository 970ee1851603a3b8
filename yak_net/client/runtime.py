"""Runtime of a client node on sockets; retries are the task of the node.

It implements the contract of docs/contract.md for a producer or a consumer: messages and timers. A
client node has no disk and no metadata store. Its calls come from the application in the same
process.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Final, NoReturn

from yak_core.config import ClientConfig
from yak_core.contract.client_calls import ClientCall, ClientResult
from yak_core.contract.effects import (
    Answer,
    CancelTimer,
    Effect,
    Exit,
    Halt,
    Observe,
    Send,
    SetTimer,
)
from yak_core.contract.events import (
    Called,
    Cancelled,
    Event,
    NotSent,
    PeerLost,
    Received,
    Recovered,
    Started,
    StopAsked,
    TimerFired,
)
from yak_core.contract.host import Host
from yak_core.contract.messages import Response
from yak_core.contract.node import Build
from yak_core.contract.notes import Note
from yak_core.errors import ErrorCode
from yak_core.ids import CallId, NodeId
from yak_net.client.errors import NoBrokersAvailable
from yak_net.client.links import Links
from yak_net.runtime.settings import parse_url
from yak_net.runtime.timers import Timers, now_us, wall_ms

DISCOVERY_RETRY_S: Final = 0.1
_CONNECTION_CODES: Final = (ErrorCode.REQUEST_TIMED_OUT, ErrorCode.NETWORK_EXCEPTION)


class ClientRuntime:
    """Runs one client node. ``halt_reason`` is the reason why it halted (a bug), else empty.

    ``config`` is called with the ids of the brokers that were found. ``servers`` are URLs or
    ``host:port``.
    """

    def __init__(
        self,
        kind: str,
        build: Build,
        config: Callable[[tuple[NodeId, ...]], ClientConfig],
        servers: tuple[str, ...],
        on_note: Callable[[Note], None] | None = None,
    ) -> None:
        self.node_id: NodeId = f"{kind}-{secrets.token_hex(4)}"
        self.halt_reason = ""
        self._build = build
        self._config = config
        self._servers = tuple(parse_url(server) for server in servers)
        self._on_note = on_note
        self._links: Links | None = None
        self._backend: ClientBackend | None = None

    async def start(self, within_s: float) -> None:
        """Find the brokers, connect to one of them, and start the node.

        Raises NoBrokersAvailable if no bootstrap server answers, or if no broker answers at the
        address that it advertises.
        """
        links = self._links = Links(self._on_response, self._on_lost, self._on_not_sent)
        brokers = await self._find_brokers(links, within_s)
        backend = self._backend = ClientBackend(links, self._on_note, self._on_failed)
        backend.host = Host(self.node_id, 1, self._build, backend)
        nonce = secrets.randbits(128)
        backend.deliver(Started(self.node_id, self._config(tuple(brokers)), nonce, Recovered()))

    async def _find_brokers(self, links: Links, within_s: float) -> list[NodeId]:
        """Return the ids of the brokers, the leader first. Raises NoBrokersAvailable."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        while True:
            found = await links.discover(self._servers)
            if found is not None:
                brokers = sorted(links.urls)
                if found.leader in brokers:
                    brokers.remove(found.leader)
                    brokers.insert(0, found.leader)
                if await links.reach(brokers):
                    return brokers
            if loop.time() >= deadline:
                break
            await asyncio.sleep(DISCOVERY_RETRY_S)
        if not links.urls:
            causes = (f"{url} ({links.server_failures.get(url)})" for url in self._servers)
            raise NoBrokersAvailable(f"no broker answers at {', '.join(causes)}")
        raise NoBrokersAvailable(
            f"a broker answers at {', '.join(self._servers)}, but none at its advertised address: "
            f"{links.describe_failures()}",
            "start each broker with an --advertised-url that its clients can reach",
        )

    def connection_failures(self) -> str:
        """Return the brokers to which the newest connection failed, and why; empty for none."""
        return "" if self._links is None else self._links.describe_failures()

    def ask(self, call: ClientCall) -> asyncio.Future[ClientResult]:
        """Deliver a call to the node; return the future of its result."""
        assert self._backend is not None, "the runtime is not started"
        return self._backend.ask(call)

    def cancel(self, future: asyncio.Future[ClientResult]) -> None:
        """Cancel a call and its future."""
        if self._backend is not None:
            self._backend.cancel(future)

    async def close(self) -> None:
        """Close the connections and stop the node; it answers the pending calls or drops them.

        The connections are closed first: then the node knows which requests never left. Both are
        closed completely also if the call is cancelled.
        """
        try:
            if self._links is not None:
                await self._links.close()
        finally:
            if self._backend is not None:
                self._backend.close()

    def _on_response(self, src: NodeId, response: Response) -> None:
        if self._backend is not None:
            self._backend.deliver(Received(src, response))

    def _on_lost(self, broker: NodeId) -> None:
        if self._backend is not None:
            self._backend.deliver(PeerLost(broker))

    def _on_not_sent(self, correlation: int) -> None:
        if self._backend is not None:
            self._backend.deliver(NotSent(correlation))

    def _on_failed(self, reason: str) -> None:
        self.halt_reason = reason


class ClientBackend:
    """Backend of a client node. ``host`` is set right after the host is created."""

    host: Host
    now = staticmethod(now_us)

    def __init__(
        self,
        links: Links,
        on_note: Callable[[Note], None] | None,
        on_failed: Callable[[str], None],
    ) -> None:
        self._links = links
        self._on_note = on_note
        self._on_failed = on_failed
        self._loop = asyncio.get_running_loop()
        self._timers = Timers(lambda key, cause: self.deliver(TimerFired(key), cause))
        self._calls = 0
        self._futures: dict[CallId, asyncio.Future[ClientResult]] = {}
        self._ids: dict[asyncio.Future[ClientResult], CallId] = {}

    def deliver(self, event: Event, cause: int = -1) -> None:
        """Deliver an event to the node."""
        self.host.deliver(event, cause)

    def ask(self, call: ClientCall) -> asyncio.Future[ClientResult]:
        """Deliver a call; return the future of its result, which may be done already."""
        future: asyncio.Future[ClientResult] = self._loop.create_future()
        self._calls += 1
        number = CallId(self._calls)
        self._futures[number] = future
        self._ids[future] = number
        self.deliver(Called(number, call, wall_ms()))
        return future

    def cancel(self, future: asyncio.Future[ClientResult]) -> None:
        """Cancel a call and its future, and deliver Cancelled to the node."""
        number = self._ids.pop(future, None)
        if number is not None:
            del self._futures[number]
            future.cancel()
            self.deliver(Cancelled(number))

    def close(self) -> None:
        """Stop the node, which may answer pending calls, and cancel the others."""
        self.deliver(StopAsked(0))
        self._end()

    def _end(self) -> None:
        self.host.stop()
        self._timers.clear()
        for future in self._futures.values():
            future.cancel()
        self._futures.clear()
        self._ids.clear()

    # -- effects --------------------------------------------------------------------------------

    def send(self, effect: Send) -> None:
        """Send a request to a broker."""
        self._links.send(effect.dst, effect.message)  # type: ignore[arg-type]

    def set_timer(self, effect: SetTimer) -> None:
        """Set or replace a timer."""
        self._timers.set(effect.key, effect.lo_us, effect.hi_us, self.host.step_number)

    def cancel_timer(self, effect: CancelTimer) -> None:
        """Cancel a timer."""
        self._timers.cancel(effect.key)

    def answer(self, effect: Answer) -> None:
        """Answer a call of the application."""
        future = self._futures.pop(effect.call, None)
        if future is not None:
            del self._ids[future]
            if not future.done():
                future.set_result(self._explained(effect.result))  # type: ignore[arg-type]

    def _explained(self, result: ClientResult) -> ClientResult:
        """Return the result; add to a timeout the brokers that cannot be reached, and why."""
        if result.error not in _CONNECTION_CODES:
            return result
        failures = self._links.describe_failures()
        if not failures:
            return result
        detail = f"{result.detail}: " if result.detail else ""
        return replace(result, detail=f"{detail}cannot connect to {failures}")

    def observe(self, effect: Observe) -> None:
        """Pass a note to ``on_note``."""
        if self._on_note is not None:
            self._on_note(effect.note)

    def halt(self, effect: Halt) -> None:
        """Record the failure. The host calls this after an exception; the node issues no Halt."""
        self._on_failed(effect.reason)
        self._end()

    def exit(self, effect: Exit) -> None:
        """Stop the node and cancel the calls that it has not answered."""
        self._end()

    def append_log(self, effect: Effect) -> None:
        """Raise TypeError: a client node has no disk and no metadata store."""
        _raise_unexpected(effect)

    flush_log = truncate_log = send_log = answer_log = save_state = call_meta = append_log


def _raise_unexpected(effect: Effect) -> NoReturn:
    raise TypeError(f"unexpected effect of a client node: {type(effect).__name__}")
