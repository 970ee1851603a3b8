"""What the HTTP side needs of the broker behind it; must never hold a broker.

The process implements it over a node and its world, tests over a world by hand.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # `yak cluster status` reads Health, and has no use for a core
    from yak_core.contract.messages import Request, Response
    from yak_core.ids import NodeId


class Phase(StrEnum):
    """Phase of a broker process."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    HALTED = "halted"


class Health(StrEnum):
    """What ``GET /health`` says of a broker."""

    OK = "ok"
    STARTING = "starting"
    STOPPING = "stopping"
    DEGRADED = "degraded"


class Gone(Exception):
    """The broker stopped before it answered.

    ``sent`` is False if the request was never given to the node, so that it had no effect.
    """

    def __init__(self, sent: bool) -> None:
        super().__init__("the broker stopped before it answered")
        self.sent = sent


class Gateway(Protocol):
    """One broker, as its endpoints see it."""

    @property
    def node_id(self) -> NodeId:
        """The broker's own id."""
        ...

    @property
    def cluster(self) -> str:
        """The name of the cluster."""
        ...

    @property
    def phase(self) -> Phase:
        """The phase of the process."""
        ...

    @property
    def halted_because(self) -> str:
        """Why it halted, one sentence; empty unless it did."""
        ...

    def url_of(self, node: NodeId | None) -> str:
        """Where clients reach a broker; empty when that is not known."""
        ...

    def wall_ms(self) -> int:
        """The wall clock in ms since 1970, as data for records."""
        ...

    async def ask(self, request: Request) -> Response:
        """Ask the node. Raises Gone; cancelling the wait cancels the call at the node."""
        ...
