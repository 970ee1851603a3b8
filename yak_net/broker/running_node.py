"""The node of a broker process, as its HTTP endpoints and client connections use it."""

from __future__ import annotations

import asyncio

from yak_core.broker.health import BrokerHealth, health_of
from yak_core.broker.roles import Broker
from yak_core.broker.view import BrokerView, view_of
from yak_core.contract.client_calls import ClientResult
from yak_core.contract.messages import Request, Response
from yak_core.ids import CallId
from yak_net.broker.meters import Meters
from yak_net.http.gateway import BrokerStopped
from yak_net.runtime.backend import NetBackend, OnAnswer


class RunningNode:
    """The node in ``backend``; without a backend, or after the end of its incarnation, none runs.

    The coroutines in :meth:`ask` end with BrokerStopped at :meth:`stopped`.
    """

    def __init__(self, meters: Meters) -> None:
        self.backend: NetBackend | None = None
        self._meters = meters
        self._pending: set[asyncio.Future[Response]] = set()

    @property
    def broker(self) -> Broker | None:
        """The broker, None while none runs."""
        if self.backend is None or not self.backend.host.alive:
            return None
        broker = self.backend.host.node
        assert isinstance(broker, Broker)
        return broker

    def health(self) -> BrokerHealth | None:
        """Return the health of the node now; None while no node runs."""
        broker = self.broker
        if broker is None or self.backend is None:
            return None
        return health_of(broker, self.backend.now())

    def view(self) -> BrokerView | None:
        """Return the state of the node now; None while no node runs."""
        broker = self.broker
        if broker is None or self.backend is None:
            return None
        return view_of(broker, self.backend.now())

    def start_call(self, request: Request, on_answer: OnAnswer) -> CallId | None:
        """Deliver a request to the node; return None while no node runs."""
        if self.broker is None or self.backend is None:
            return None
        return self.backend.ask(request, self._meters.counts.measured(request, on_answer))

    def cancel(self, call: CallId) -> None:
        """Cancel a call whose client disconnected."""
        if self.backend is not None:
            self.backend.cancel(call)

    async def ask(self, request: Request) -> Response:
        """Deliver a request to the node and wait for the response.

        Cancelling the coroutine cancels the call. Raises BrokerStopped if the broker stops first.
        """
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

        def on_answer(result: Response | ClientResult) -> None:
            if not answer.done():
                answer.set_result(result)  # type: ignore[arg-type]

        call = self.start_call(request, on_answer)
        if call is None:
            raise BrokerStopped(sent=False)
        self._pending.add(answer)
        try:
            return await answer
        finally:
            self._pending.discard(answer)
            if not answer.done() or answer.cancelled():
                self.cancel(call)

    def stopped(self) -> None:
        """End the coroutines that wait for a response with BrokerStopped."""
        for answer in tuple(self._pending):
            if not answer.done():
                answer.set_exception(BrokerStopped(sent=True))

    def close(self) -> None:
        """Cancel the coroutines that wait for a response."""
        for answer in tuple(self._pending):
            answer.cancel()
