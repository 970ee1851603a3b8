"""Look up an offset by time: the first record whose timestamp is not before a time.

This is Kafka's meaning of a lookup by time (ListOffsets, KIP-79). The leader answers ``GET
/v1/offsets``. If it is a broker of an earlier version, the log is read from its first record on
until one matches: timestamps are set by producers, and need not increase.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from yak_net.client.consumer import Consumer
from yak_net.runtime.wire import certificates

POLL_MS: Final = 1_000
ASK_S: Final = 10.0
"""Seconds for an answer of the leader; then the log is read."""


@dataclass(frozen=True)
class Found:
    """The result: ``offset`` is None if no record matches. The log is [earliest, latest)."""

    offset: int | None
    timestamp_ms: int | None
    earliest: int
    latest: int


def parse_time(text: str) -> int:
    """Return the ms since 1970 of ``1700000000000`` or of an ISO 8601 time. Raises ValueError.

    A time without a zone is local time.
    """
    word = text.strip()
    if word.isdigit():
        return int(word)
    try:
        return round(datetime.fromisoformat(word).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        raise ValueError(
            f"invalid time {text!r}; give ms since 1970, or a time such as 2026-05-01T12:30:00Z"
        ) from None


async def offset_at_time(
    servers: Sequence[str], time_ms: int, on_records: Callable[[int], None] = lambda _: None,
    **client: Any,
) -> Found:  # fmt: skip
    """Return the first record with this time or a later one; ``client``: those of the Consumer.

    ``on_records`` gets the number of records of each read. Raises the errors of the Consumer.
    """
    answer = await _ask(servers, time_ms)
    if answer is not None:
        return answer
    async with Consumer(servers, auto_offset_reset="earliest", **client) as consumer:
        earliest, latest = await consumer.position(), await consumer.end_offset()
        while await consumer.position() < latest:
            records = await consumer.getmany(POLL_MS)
            on_records(len(records))
            for record in records:
                if record.timestamp >= time_ms and record.offset < latest:
                    return Found(record.offset, record.timestamp, earliest, latest)
        return Found(None, None, earliest, latest)


async def _ask(servers: Sequence[str], time_ms: int) -> Found | None:
    """Return the answer of the leader, which the servers know; None if none has one."""
    import aiohttp

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ASK_S)) as session:
        for server in servers:
            url = f"{server}/v1/offsets?timestamp={time_ms}&redirect=1"
            try:
                async with session.get(url, ssl=certificates(server)) as reply:
                    body = await reply.json() if reply.status == 200 else {}
            except (aiohttp.ClientError, OSError, ValueError):
                continue  # the next server, or the read of the log, which reports the reason
            if {"earliest", "latest", "offset", "timestamp_ms"} <= body.keys():
                return Found(body["offset"], body["timestamp_ms"], body["earliest"], body["latest"])
    return None
