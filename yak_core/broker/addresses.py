"""The addresses of this broker in the partition state, after its registration."""

from __future__ import annotations

from yak_core.broker.context import Context
from yak_core.broker.store_session import StoreSession
from yak_core.ids import BrokerEpoch
from yak_core.metadata.partition_state import PartitionState
from yak_core.metadata.store_calls import ProposalKind
from yak_core.metadata.transitions import Rejected, addresses_in, announce


def announce_addresses(
    context: Context, session: StoreSession, partition: PartitionState, broker_epoch: BrokerEpoch
) -> None:
    """Propose both addresses of this broker, once every registered broker can read them.

    Until then its entry has only the peer URL. This is so during a rolling upgrade from a version
    that knows only one address.
    """
    entry = partition.node(context.node)
    config = context.config
    urls = addresses_in(partition, context.node, config.url, config.peer_url)
    if entry is None or urls == (entry.url, entry.peer_url) or not session.may_propose(partition):
        return
    state = announce(
        partition, attempt=context.new_attempt(), node=context.node, broker_epoch=broker_epoch,
        url=config.url, peer_url=config.peer_url,
    )  # fmt: skip
    if not isinstance(state, Rejected):
        session.propose(ProposalKind.ANNOUNCE, partition, state, None)
