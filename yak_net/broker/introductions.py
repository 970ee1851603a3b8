"""Ask the URLs of the other brokers who answers there, before the node of a broker starts."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

import aiohttp
import structlog

from yak_core.ids import NodeId
from yak_core.metadata.store_calls import Read, StoreOk
from yak_net.broker.errors import CannotStart
from yak_net.broker.peers import Peers
from yak_net.metadata.redis_store import RedisStore
from yak_net.runtime.settings import BrokerSettings
from yak_net.runtime.wire import CLUSTER_HEADER, NODE_HEADER, certificates

PEER_CHECK_S: Final = 1.0

log = structlog.get_logger("yak.broker")


async def check_peers(settings: BrokerSettings) -> None:
    """Raise CannotStart if a peer's URL answers with another node id or another cluster."""
    others = [(node, url) for node, url in settings.brokers if node != settings.node_id]
    found = await asyncio.gather(*(identity_at(url) for _, url in others))
    for (node, url), (name, cluster) in zip(others, found, strict=True):
        if cluster and cluster != settings.cluster:
            raise CannotStart(
                f"cluster mismatch: {name} at {url} belongs to cluster {cluster}, this broker "
                f"to cluster {settings.cluster}; correct --cluster or the list of brokers"
            )
        if name and name != node:
            raise CannotStart(
                f"expected {node} at {url}, found {name}; correct the list of brokers"
            )


async def find_followers(
    settings: BrokerSettings, store: RedisStore, peers: Peers
) -> tuple[NodeId, ...]:
    """Return the ids of all brokers: from the partition state if the cluster exists.

    Otherwise waits until each follower URL answers. Raises CannotStart if two ids are equal.
    """
    found_ids: dict[str, NodeId] = {}
    logged: set[str] = set()
    while True:
        outcome = await store.call(Read())
        if isinstance(outcome, StoreOk) and outcome.value.state is not None:
            return outcome.value.state.replicas
        for url in settings.followers:
            name, _ = await identity_at(url)
            if name:
                found_ids[url] = name
            elif url not in logged:
                logged.add(url)
                log.info("waiting for follower", url=url)
        if len(found_ids) == len(settings.followers):
            ids = (settings.node_id, *found_ids.values())
            if len(set(ids)) != len(ids):
                raise CannotStart(
                    f"two brokers have the same id, got {', '.join(sorted(ids))}; "
                    "give each broker its own --node-id"
                )
            peers.update_urls({node: url for url, node in found_ids.items()})
            return tuple(sorted(ids))
        await asyncio.sleep(0.1)


async def identity_at(url: str) -> tuple[NodeId, str]:
    """Return the id and cluster of the broker at ``url``; empty if none answers in PEER_CHECK_S."""
    with suppress(aiohttp.ClientError, OSError, TimeoutError):
        timeout = aiohttp.ClientTimeout(total=PEER_CHECK_S)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"{url}/health", ssl=certificates(url)) as answer,
        ):
            return (answer.headers.get(NODE_HEADER, ""), answer.headers.get(CLUSTER_HEADER, ""))
    return ("", "")
