"""The addresses of all brokers of a cluster: one for clients, one for other brokers.

They are in the partition state. The peer addresses of the start-up options serve until it is known.
"""

from __future__ import annotations

import structlog

from yak_core.ids import NodeId
from yak_core.metadata.partition_state import SCHEMA, PartitionState
from yak_net.broker.peers import Peers
from yak_net.runtime.settings import BrokerSettings

log = structlog.get_logger("yak.broker")


class Addresses:
    """The addresses that one broker knows; it connects ``peers`` to the others.

    ``own_url`` is this broker's own address for clients; empty before it listens.
    """

    def __init__(self, settings: BrokerSettings, peers: Peers) -> None:
        self.own_url = ""
        self._settings = settings
        self._peers = peers
        self._client_urls: dict[NodeId, str] = {}
        self._withheld = False
        peers.update_urls(dict(settings.brokers))

    def listen_on(self, port: int) -> None:
        """Take the port that the broker listens on."""
        settings = self._settings
        self.own_url = settings.url_at(port)
        log.info(
            "listening", url=self.own_url, peer_url=settings.peer_url or self.own_url, port=port,
            node=settings.node_id, cluster=settings.cluster,
        )  # fmt: skip

    def client_url_of(self, node: NodeId | None) -> str:
        """Return a broker's URL for clients; "" if it is unknown."""
        if node == self._settings.node_id:
            return self.own_url
        return "" if node is None else self._client_urls.get(node, "")

    def update(self, state: PartitionState) -> None:
        """Take the addresses of the registered brokers, and connect to them."""
        self._client_urls = {node: entry.url for node, entry in state.nodes}
        self._peers.update_urls({node: entry.url_for_peers for node, entry in state.nodes})
        entry = state.node(self._settings.node_id)
        withheld = entry is not None and entry.url != self.own_url
        if withheld and not self._withheld:
            older = [node for node, other in state.nodes if other.schema_max < SCHEMA]
            log.warning(
                "other brokers give clients the peer URL of this broker, until all run a version "
                "that reads two addresses; upgrade the older ones",
                older=", ".join(older), url=self.own_url, peer_url=self._settings.peer_url,
            )  # fmt: skip
        elif self._withheld and not withheld:
            log.info("other brokers give clients the URL of this broker", url=self.own_url)
        self._withheld = withheld
