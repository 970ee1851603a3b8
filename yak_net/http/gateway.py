"""The interface through which the HTTP endpoints use a broker.

:class:`yak_net.broker.server.BrokerServer` implements it; tests implement it over a manual world.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # `yak cluster status` needs Health only: it does not import the core
    from yak_core.broker.health import BrokerHealth
    from yak_core.broker.view import BrokerView
    from yak_core.contract.messages import Request, Response
    from yak_core.ids import NodeId
    from yak_net.metrics.elections import Election
    from yak_net.metrics.journal import Entry
    from yak_net.storage.times import TimePosition


class Phase(StrEnum):
    """Phase of a broker process."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    HALTED = "halted"


class Health(StrEnum):
    """Health of a broker, as ``GET /health`` reports it."""

    OK = "ok"
    STARTING = "starting"
    STOPPING = "stopping"
    DEGRADED = "degraded"
    """Something is wrong. The broker may be ready all the same, without its metadata store."""


class BrokerStopped(Exception):
    """The broker stopped before it responded.

    ``sent`` is False if the node never received the request: it then had no effect.
    """

    def __init__(self, sent: bool) -> None:
        super().__init__("the broker stopped before it responded")
        self.sent = sent


class Gateway(Protocol):
    """One broker, as the HTTP endpoints use it."""

    @property
    def node_id(self) -> NodeId:
        """Id of the broker."""
        ...

    @property
    def cluster(self) -> str:
        """Name of the cluster."""
        ...

    @property
    def version(self) -> str:
        """Version of the program."""
        ...

    @property
    def phase(self) -> Phase:
        """Phase of the process."""
        ...

    @property
    def halt_reason(self) -> str:
        """Reason of the halt, one sentence; empty if the broker has not halted."""
        ...

    def url_of(self, node: NodeId | None) -> str:
        """Return a broker's URL for clients; "" if it is unknown."""
        ...

    def peer_urls(self) -> dict[NodeId, str]:
        """Return the other brokers' URLs for brokers."""
        ...

    def history(self) -> tuple[list[Election], list[Entry]]:
        """Return the newest elections and events that this broker has seen, oldest first."""
        ...

    def wall_ms(self) -> int:
        """Return the wall clock in ms since 1970, for record timestamps."""
        ...

    def health(self) -> BrokerHealth | None:
        """Return the health of the node now; None while no node runs."""
        ...

    def view(self) -> BrokerView | None:
        """Return the state of the node now; None while no node runs."""
        ...

    def metrics(self, accept: str, status: Health, *, is_ready: bool) -> tuple[bytes, str]:
        """Return the page of metrics in a format that ``accept`` allows, and its content type."""
        ...

    async def first_since(self, timestamp_ms: int, end: int) -> TimePosition | None:
        """Return the first record below offset ``end`` since a time.

        ``end`` is at most the high watermark. Raises BrokerStopped, BatchError, OSError.
        """
        ...

    async def ask(self, request: Request) -> Response:
        """Deliver a request to the node and wait for the response.

        Cancelling the coroutine cancels the call. Raises BrokerStopped if the broker stops first.
        """
        ...
