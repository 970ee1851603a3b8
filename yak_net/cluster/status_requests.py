"""Requests for the status of brokers, also of a cluster that this machine did not start."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from yak_net.cluster.errors import ClusterError
from yak_net.cluster.status import Answer, BrokerStatus, ClusterStatus, State, merge
from yak_net.runtime.wire import certificates

if TYPE_CHECKING:
    import aiohttp

RESPONSE_TIMEOUT_S: Final = 1.0
"""Time limit for a response of a broker; without a response the broker is not ``up``."""


async def request_status(session: aiohttp.ClientSession, url: str) -> Answer:
    """Return the responses of the broker at ``url``; empty if it does not respond in time."""
    health, view = await asyncio.gather(
        get_json(session, f"{url}/health", 200, 503), get_json(session, f"{url}/v1/cluster", 200)
    )
    return health, view


async def remote_status(servers: Sequence[str]) -> ClusterStatus:
    """Return the status of the cluster that one of ``servers``, a list of URLs, belongs to.

    The other brokers are asked at the URLs that the first answer names. Raises ClusterError if no
    server answers as a broker.
    """
    import aiohttp

    async with aiohttp.ClientSession() as session:
        answers = await asyncio.gather(*(request_status(session, url) for url in servers))
        found = [(health, view) for health, view in answers if view and health]
        if not found:
            raise ClusterError(
                f"no broker answers at {', '.join(servers)}; check the address, and that the "
                "broker runs"
            )
        # The highest epoch has the newest list of brokers.
        view = max((view for _, view in found), key=lambda each: each["epoch"] or 0)
        rows = [
            BrokerStatus(str(row["id"]), str(row["url"] or ""), state=State.RUNNING)
            for row in view["brokers"]
        ]
        asked = [row for row in rows if row.url]
        responses = await asyncio.gather(*(request_status(session, row.url) for row in asked))
    by_node = {str(health["node"]): (health, view) for health, view in found}
    # A broker may answer here at the given address, and not at the one that it advertises.
    for row, answer in zip(asked, responses, strict=True):
        if answer[0]:
            by_node[row.id] = answer
    return merge(str(view["cluster"]), rows, by_node)


async def get_json(
    session: aiohttp.ClientSession,
    url: str,
    *expected: int,
    timeout_s: float = RESPONSE_TIMEOUT_S,
) -> dict[str, Any]:
    """Return the JSON object of the response; empty if there is none."""
    import aiohttp

    try:
        async with (
            asyncio.timeout(timeout_s),
            session.get(url, ssl=certificates(url)) as answer,
        ):
            body = await answer.json() if answer.status in expected else {}
    except (aiohttp.ClientError, OSError, ValueError):  # TimeoutError is an OSError
        return {}
    return body if isinstance(body, dict) else {}
