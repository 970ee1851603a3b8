"""Wrappers that measure a broker's links, disk and metadata store."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from time import perf_counter
from typing import ParamSpec, TypeVar

from prometheus_client import Histogram

from yak_core.contract.messages import PeerMessage
from yak_core.ids import NodeId
from yak_core.metadata.store_calls import Cas, MetaOutcome, MetaRequest, Publish, Read, Unknown
from yak_net.metrics.counts import Counts, Traffic
from yak_net.runtime.backend import Sender, Store
from yak_net.storage import System

P = ParamSpec("P")
T = TypeVar("T")


class CountedSender:
    """The links to the peers; counts the messages that were queued."""

    def __init__(self, sender: Sender, traffic: Traffic) -> None:
        self._send = sender.send
        self._traffic = traffic

    def send(self, dst: NodeId, message: PeerMessage) -> bool:
        """Queue a message on the link; return False if it certainly does not arrive."""
        queued = self._send(dst, message)
        if queued:
            self._traffic.add(message)
        return queued


class TimedStore:
    """The metadata store; measures each call, and counts those without a reply."""

    def __init__(self, store: Store, counts: Counts) -> None:
        self._store = store
        self._counts = counts

    async def call(self, request: MetaRequest) -> MetaOutcome:
        """Execute one call; raise what the store raises."""
        name = name_of_call(request)
        began = perf_counter()
        outcome: MetaOutcome | None = None
        try:
            outcome = await self._store.call(request)
            return outcome
        except asyncio.CancelledError:
            outcome = Unknown()  # the broker ends: not a failure of the store
            began = -1.0
            raise
        finally:
            if began >= 0:
                self._counts.store_s.labels(name).observe(perf_counter() - began)
                if outcome is None or isinstance(outcome, Unknown):
                    self._counts.store_failures[name] += 1


def name_of_call(request: MetaRequest) -> str:
    """Return the name of a call of the store, as metrics have it."""
    match request:
        case Read():
            return "read"
        case Cas():
            return "cas"
        case Publish():
            return "publish"
    return "renew"


def timed_system(system: System, counts: Counts) -> System:
    """Return ``system`` with measured flushes and writes; threads may call it."""
    return dataclasses.replace(
        system, sync=_timed(system.sync, counts.flush_s), write=_timed(system.write, counts.write_s)
    )


def _timed(call: Callable[P, T], histogram: Histogram) -> Callable[P, T]:
    def timed(*args: P.args, **kwargs: P.kwargs) -> T:
        began = perf_counter()
        try:
            return call(*args, **kwargs)
        finally:
            histogram.observe(perf_counter() - began)

    return timed
