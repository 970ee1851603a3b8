"""The metrics of one broker process: its counts, and the state that its page shows."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from typing import Final

from yak_core.broker.health import BrokerHealth
from yak_core.broker.view import BrokerView
from yak_core.trace.version import DISTRIBUTION
from yak_net.broker.peers import Peers
from yak_net.http.connections import Connections
from yak_net.http.gateway import Health
from yak_net.metrics.counts import Counts
from yak_net.metrics.measured import CountedSender, TimedStore, timed_system
from yak_net.metrics.page import Page, State
from yak_net.runtime.backend import Sender, Store
from yak_net.runtime.budget import Budget
from yak_net.runtime.timers import now_us, wall_ms
from yak_net.storage import System

STATUSES: Final = tuple(str(status) for status in Health)


def version() -> str:
    """Return the version of the installed distribution; "0" if it is not installed."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "0"


class Meters:
    """The counts of one broker, and the parts of its process that its page shows.

    The server sets ``connections``, ``log_bytes`` and ``lines_dropped`` when it has them.
    """

    def __init__(self, node: str, cluster: str, client_queue: Budget, http_bytes: Budget) -> None:
        self.counts = Counts(node, now_us, wall_ms)
        self.connections: Connections | None = None
        self.log_bytes: Callable[[], int] | None = None
        self.lines_dropped: Callable[[], int] = int
        self._page = Page(self.counts)
        self._node, self._cluster = node, cluster
        self._client_queue, self._http_bytes = client_queue, http_bytes
        self._version = version()

    def system(self) -> System:
        """Return the system calls of the storage, measured."""
        return timed_system(System(), self.counts)

    def sender(self, peers: Sender) -> CountedSender:
        """Return the links to the peers, counted."""
        return CountedSender(peers, self.counts.sent)

    def store(self, store: Store) -> TimedStore:
        """Return the metadata store, measured."""
        return TimedStore(store, self.counts)

    def page(
        self,
        accept: str,
        peers: Peers,
        status: Health,
        is_ready: bool,
        view: BrokerView | None,
        health: BrokerHealth | None,
    ) -> tuple[bytes, str]:
        """Return the page of metrics and its content type."""
        open_ = self.connections
        state = State(
            node=self._node,
            cluster=self._cluster,
            version=self._version,
            status=status,
            statuses=STATUSES,
            is_ready=is_ready,
            view=view,
            health=health,
            connections=0 if open_ is None else len(open_),
            connections_max=0 if open_ is None else open_.most,
            accepted=0 if open_ is None else open_.accepted,
            busy=0 if open_ is None else open_.busy,
            peer_queues=peers.queues(),
            client_queue=self._client_queue.used,
            http_bytes=self._http_bytes.used,
            log_bytes=None if self.log_bytes is None else self.log_bytes(),
            log_lines_dropped=self.lines_dropped(),
        )
        return self._page.render(state, accept)
