"""The state of a cluster as it changes, read from the stream of one broker after the other.

When the connection ends or is silent, the stream of the next known broker continues. The last state
stays, with its age.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import aiohttp
import msgspec

from yak_net.http.endpoints import STREAM_CLUSTER
from yak_net.http.reports import BrokerRow, ClusterState, Timeline, merged
from yak_net.runtime.wire import certificates

CONNECT_S: Final = 1.0
SILENT_S: Final = 2.5
"""Seconds without an event after which a broker counts as lost; it sends one each second."""
RETRY_S: Final = 0.3
RATE_S: Final = 3.0
"""Seconds over which rates are measured."""
LINE_MAX: Final = 1024 * 1024

_STATE: Final = msgspec.json.Decoder(ClusterState)
_TIMELINE: Final = msgspec.json.Decoder(Timeline)


@dataclass(frozen=True)
class Sample:
    """The ends of the log at a time of this machine, in seconds; ``nbytes`` are the leader's."""

    at: float
    leader: str | None
    hw: int | None
    nbytes: int | None


@dataclass(frozen=True)
class Verdict:
    """Whether records with acks=all can be committed, None if unknown, and why not."""

    ready: bool | None
    reason: str


class ClusterFeed:
    """The newest state; ``live`` is False while no broker sends it.

    ``source`` is the broker that sends it, ``lost`` the last one whose connection ended.
    ``tried`` counts the failed attempts since the last event.
    """

    def __init__(self, servers: Sequence[str]) -> None:
        self._urls = list(dict.fromkeys(url.rstrip("/") for url in servers))
        self.state: ClusterState | None = None
        self.timeline = Timeline([], [])
        self.live = False
        self.source = self.lost = ""
        self.received_at = 0.0
        self.tried = 0
        self._samples: deque[Sample] = deque()
        self._last_rows: dict[str, tuple[BrokerRow, float]] = {}

    @property
    def unreachable(self) -> bool:
        """Whether each known broker has failed since the last event."""
        return self.tried >= len(self._urls)

    @property
    def urls(self) -> list[str]:
        """The known URLs, the next one first."""
        return list(self._urls)

    def age_s(self) -> float:
        """Return the age of the state."""
        return time.monotonic() - self.received_at

    async def run(self) -> None:
        """Read streams until cancelled."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENT_S)
        async with aiohttp.ClientSession(timeout=timeout, read_bufsize=LINE_MAX) as session:
            while True:
                # What failed shows as lost; the next broker may answer.
                with suppress(aiohttp.ClientError, OSError, TimeoutError, ValueError):
                    await self._read(session, self._urls[0])
                if self.live:
                    self.live, self.lost = False, self.source
                self.tried += 1
                self._urls.append(self._urls.pop(0))
                await asyncio.sleep(RETRY_S)

    async def _read(self, session: aiohttp.ClientSession, url: str) -> None:
        """Read the events of one connection. Raises ValueError for what is not a state."""
        address = url + STREAM_CLUSTER.paths[0]
        async with session.get(address, ssl=certificates(url)) as answer:
            answer.raise_for_status()
            name = b""
            async for line in answer.content:
                kind, _, value = line.rstrip(b"\n").partition(b": ")
                if kind == b"event":
                    name = value
                elif kind == b"data" and name == b"state":
                    self._on_state(_STATE.decode(value))
                elif kind == b"data" and name == b"timeline":
                    found = merged([self.timeline, _TIMELINE.decode(value)])
                    self.timeline = Timeline(found.elections[-20:], found.events[-60:])

    def _on_state(self, state: ClusterState) -> None:
        if self.state is not None and state.cluster != self.state.cluster:
            raise ValueError(f"{state.node} is in cluster {state.cluster}")
        now = time.monotonic()
        self.live, self.tried = True, 0
        self.source, self.received_at = state.node, now
        state.brokers = [self._with_last(row, now) for row in state.brokers]
        self.state = state
        found = [row.url.rstrip("/") for row in state.brokers if row.url]
        self._urls = list(dict.fromkeys([*self._urls, *found]))
        leader = next((row for row in state.brokers if row.id == state.leader and row.up), None)
        nbytes = None if leader is None else leader.appended_bytes
        self._samples.append(Sample(now, state.leader, state.hw, nbytes))
        while now - self._samples[0].at > RATE_S:
            self._samples.popleft()

    def _with_last(self, row: BrokerRow, now: float) -> BrokerRow:
        """Return the row, with the numbers of an earlier report if the broker is down."""
        if row.age_ms is not None:
            self._last_rows[row.id] = (row, now - row.age_ms / 1_000)
            return row
        last = self._last_rows.get(row.id)
        if row.up is not False or last is None:
            return row
        return msgspec.structs.replace(
            last[0], up=False, age_ms=int((now - last[1]) * 1_000), in_isr=row.in_isr,
            in_elr=row.in_elr, lag_records=row.lag_records, lag_ms=row.lag_ms,
        )  # fmt: skip

    def rates(self) -> tuple[float | None, float | None]:
        """Return records and bytes per second, None if unknown."""
        if not self.live or len(self._samples) < 2:
            return None, None
        first, last = self._samples[0], self._samples[-1]
        took = last.at - first.at
        if took < 0.4 or first.hw is None or last.hw is None:
            return None, None
        records = max(0, last.hw - first.hw) / took
        one_leader = len({sample.leader for sample in self._samples}) == 1
        if not one_leader or first.nbytes is None or last.nbytes is None:
            return records, None
        return records, max(0, last.nbytes - first.nbytes) / took

    def verdict(self) -> Verdict:
        """Return what the leader's /readyz says, or why there is no such answer."""
        if self.state is None or not self.live:
            return Verdict(None, "no broker answers")
        return verdict_of(self.state)


def verdict_of(state: ClusterState) -> Verdict:
    """Return whether the leader in ``state`` can commit records, and what is wrong."""
    rows = {row.id: row for row in state.brokers}
    leader = rows.get(state.leader or "")
    if leader is None:
        return Verdict(False, rows[state.node].reason or "no leader")
    if leader.up is False:
        return Verdict(False, f"the leader {leader.id} is down; an election follows")
    if leader.ready is None:
        return Verdict(None, f"{leader.id} has not reported yet")
    reasons = [leader.reason] if leader.reason else []
    reasons += [f"{row.id} is down" for row in state.brokers if row.up is False]
    reasons += [
        f"{row.id}: {row.reason}"
        for row in state.brokers
        if row.up and row.reason and row is not leader
    ]
    return Verdict(leader.ready, "; ".join(reasons))
