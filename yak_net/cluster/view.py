"""The cluster as its brokers tell it, merged into one picture; must never change anything."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import aiohttp

from yak_net.cluster.status import BrokerStatus, ClusterStatus

ASK_S: Final = 1.0
"""A broker that takes longer to answer does not count as up."""
OK: Final = "ok"


@dataclass(frozen=True)
class Answer:
    """What a broker answered: its health, and its view of the cluster; empty without an answer."""

    health: dict[str, Any] = field(default_factory=dict)
    view: dict[str, Any] = field(default_factory=dict)


async def ask(session: aiohttp.ClientSession, urls: Mapping[str, str]) -> dict[str, Answer]:
    """Ask brokers at once how they are."""
    answers = await asyncio.gather(*(_ask(session, url) for url in urls.values()))
    return dict(zip(urls, answers, strict=True))


async def _ask(session: aiohttp.ClientSession, url: str) -> Answer:
    health, view = await asyncio.gather(
        _get(session, f"{url}/health", (200, 503)), _get(session, f"{url}/v1/cluster", (200,))
    )
    return Answer(health, view)


async def _get(
    session: aiohttp.ClientSession, url: str, expected: tuple[int, ...]
) -> dict[str, Any]:
    try:
        async with asyncio.timeout(ASK_S), session.get(url) as answer:
            if answer.status not in expected:
                return {}
            body = await answer.json()
    except (aiohttp.ClientError, OSError, ValueError):  # TimeoutError is an OSError
        return {}
    return body if isinstance(body, dict) else {}


def merge(
    cluster: str, rows: Sequence[BrokerStatus], answers: Mapping[str, Answer]
) -> ClusterStatus:
    """One picture from the processes (``rows``) and their answers.

    The newest view counts: that of the highest epoch and version, and among equals the leader's.
    """
    brokers = tuple(_with_answer(row, answers.get(row.id, Answer())) for row in rows)
    views = [(row.id, answers[row.id].view) for row in rows if row.id in answers]
    views = [(node, view) for node, view in views if view]
    if not views:
        return ClusterStatus(cluster, brokers=brokers)
    _, best = max(
        views,
        key=lambda pair: (
            _int(pair[1], "epoch") or 0,
            _int(pair[1], "version") or 0,
            pair[1].get("leader") == pair[0],
        ),
    )
    leader = _text(best, "leader")
    return ClusterStatus(
        cluster,
        leader,
        _int(best, "epoch"),
        _names(best, "isr"),
        _names(best, "elr"),
        _int(best, "hw"),
        _int(best, "version"),
        any(row.id == leader and row.role == "leader" and row.health == OK for row in brokers),
        brokers,
    )


def _with_answer(row: BrokerStatus, answer: Answer) -> BrokerStatus:
    health = answer.health
    if not health:
        return row
    return replace(
        row,
        role=_text(health, "role"),
        leo=_int(health, "leo"),
        hw=_int(health, "hw"),
        up=True,
        health=_text(health, "status") or "",
        remark=row.remark or _text(health, "reason") or "",
    )


def _int(body: dict[str, Any], name: str) -> int | None:
    value = body.get(name)
    return value if isinstance(value, int) else None


def _text(body: dict[str, Any], name: str) -> str | None:
    value = body.get(name)
    return value if isinstance(value, str) else None


def _names(body: dict[str, Any], name: str) -> tuple[str, ...]:
    value = body.get(name)
    return tuple(map(str, value)) if isinstance(value, list) else ()
